"""How much faster edits at the last position are than a whole forward pass for each of them.

Embedded model, labelled two-shot framing, sandbag condition, 50 questions, middle layer. The engine
runs the prompts once and lets the last position alone go on; the plain way runs every prompt whole
for every edit, in batches of equal length, a hook putting the edit in. One after the other in this
process, on the same threads, the plain way on fewer edits, all of which cost it the same. Ends with
a `ratio` line.

usage: python benchmarks/swap.py [--edits 200] [--plain-edits 3]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from deception_saes.models.anatomy import anatomy
from deception_saes.models.forward import token_mass
from deception_saes.models.last_position import LastPositionRun
from deception_saes.models.load import LanguageModel, load
from deception_saes.models.registry import get
from deception_saes.paper.profiles import profile_named
from deception_saes.store.files import artifacts_root
from deception_saes.tasks.framings import FRAMINGS
from deception_saes.tasks.prompts import prompt_set, scorable
from deception_saes.tasks.trivia import load_questions, spread

QUESTIONS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--plain-edits", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(profile_named("embedded").threads)
    lm = load(get("smollm2it"), artifacts_root(), "cpu")
    framing = FRAMINGS["two_shot_labelled"]
    kept, _ = scorable(spread(load_questions(), QUESTIONS + 10), framing, lm.tokenizer)
    asked = prompt_set(framing, kept[:QUESTIONS], lm.tokenizer)
    prompts, correct = asked.prompts["sandbag"], asked.correct["sandbag"]
    layer = anatomy(lm.model).n_layers // 2

    begun = time.perf_counter()
    run = LastPositionRun(lm.model, prompts, [layer])
    clean = time.perf_counter() - begun
    x_QD = run.residual(layer)
    noise = torch.randn(options.edits, *x_QD.shape, generator=torch.Generator().manual_seed(0))
    edits_NQD = x_QD + 0.1 * x_QD.std() * noise
    begun = time.perf_counter()
    ours = token_mass(lm.model, run.final_hidden(layer, edits_NQD), correct)
    engine = (time.perf_counter() - begun) / options.edits
    few = edits_NQD[: options.plain_edits]
    begun = time.perf_counter()
    theirs = plain_p_correct(lm, prompts, correct, layer, few)
    plain = (time.perf_counter() - begun) / len(few)
    print(f"engine: {engine:.3f} s an edit of {QUESTIONS} prompts at L{layer}, after a clean run "
          f"of {clean:.1f} s; {options.edits} edits")
    print(f"plain: {plain:.2f} s an edit; {len(few)} edits")
    print(f"largest difference in P(correct): {np.abs(ours[: len(few)] - theirs).max():.1e}")
    print(f"ratio plain / engine: {plain / engine:.1f}")
    share = (clean + options.edits * engine) / options.edits
    print(f"ratio plain / engine, its clean run shared by {options.edits} edits: "
          f"{plain / share:.1f}")


@torch.inference_mode()
def plain_p_correct(
    lm: LanguageModel, prompts: list[list[int]], correct: list[tuple[int, ...]], layer: int,
    edits_NQD: torch.Tensor,
) -> np.ndarray:
    """P(correct) [edits, prompts] by whole forward passes."""
    parts = anatomy(lm.model)
    by_length: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(row)
    p_correct = np.empty(edits_NQD.shape[:2])
    for edit, x_QD in enumerate(edits_NQD):
        for rows in by_length.values():

            def put(module: object, inputs: object, output: object, rows: list[int] = rows,
                    x_QD: torch.Tensor = x_QD) -> object:
                hidden_BTD = output[0] if isinstance(output, tuple) else output
                hidden_BTD[:, -1] = x_QD[rows]
                return output

            ids = torch.tensor([prompts[row] for row in rows], device=lm.model.device)
            with parts.blocks[layer].register_forward_hook(put):
                hidden_BTD = lm.model.base_model(ids, use_cache=False).last_hidden_state
            p_correct[edit, rows] = token_mass(lm.model, hidden_BTD[:, -1],
                                               [correct[row] for row in rows])
    return p_correct


if __name__ == "__main__":
    main()
