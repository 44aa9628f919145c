"""How much faster the resumable head sweep is than the plain hook loop, and than TransformerLens.

Embedded model, labelled two-shot framing, sandbag condition, 50 questions, every head of every
layer. The contestants run one after the other in this process, on the same threads, prompts and
batch size; the plain ones are timed on every LAYER_STEP-th layer, one head of each, since a plain
head costs the same wherever it stands. Ends with `ratio` lines.

usage: python benchmarks/head_sweep.py [--layer-step 3]
TransformerLens is measured where it is installed; `make bench` runs this in an environment with it.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch

from deception_saes.interventions.ablation import ablated_p_correct, plain_p_correct
from deception_saes.models.anatomy import Head, anatomy
from deception_saes.models.load import LanguageModel, load
from deception_saes.models.registry import get
from deception_saes.paper.profiles import profile_named
from deception_saes.store.files import artifacts_root
from deception_saes.tasks.framings import FRAMINGS
from deception_saes.tasks.prompts import PromptSet, prompt_set, scorable
from deception_saes.tasks.trivia import load_questions, spread

QUESTIONS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layer-step", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(profile_named("embedded").threads)
    lm = load(get("smollm2it"), artifacts_root(), "cpu")
    framing = FRAMINGS["two_shot_labelled"]
    kept, _ = scorable(spread(load_questions(), QUESTIONS + 10), framing, lm.tokenizer)
    asked = prompt_set(framing, kept[:QUESTIONS], lm.tokenizer)
    prompts, correct = asked.prompts["sandbag"], asked.correct["sandbag"]
    parts = anatomy(lm.model)
    every = [(Head(layer, head),) for layer in range(parts.n_layers)
             for head in range(parts.n_heads)]
    some = [(Head(layer, layer % parts.n_heads),)
            for layer in range(0, parts.n_layers, options.layer_step)]

    engine, ours = timed(lambda: ablated_p_correct(lm.model, prompts, correct, every))
    per_head = engine / len(every)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    plain, theirs = timed(
        lambda: plain_p_correct(lm.model, prompts, correct, some, batch_size=QUESTIONS))
    rows = [every.index(heads) for heads in some]
    print(f"engine: {per_head:.3f} s a head, {engine:.0f} s for {len(every)} heads x {QUESTIONS} "
          f"questions; peak memory of the process {memory:.2f} GiB")
    print(f"plain hook loop: {plain / len(some):.3f} s a head ({len(some)} heads timed)")
    print(f"largest difference in P(correct): {np.abs(ours[rows] - theirs).max():.1e}")
    print(f"ratio plain / engine: {plain / len(some) / per_head:.2f}")
    if find_spec("transformer_lens"):
        lens, p_lens = timed(lambda: transformer_lens_p_correct(lm, asked, some))
        print(f"TransformerLens: {lens / len(some):.3f} s a head; largest difference in P(correct) "
              f"{np.abs(p_lens - theirs).max():.1e}")
        print(f"ratio TransformerLens / engine: {lens / len(some) / per_head:.2f}")
    else:
        print("ratio TransformerLens / engine: not run, transformer_lens is not installed")


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Seconds and result of one call."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def transformer_lens_p_correct(
    lm: LanguageModel, asked: PromptSet, sets: list[tuple[Head, ...]]
) -> np.ndarray:
    """The plain loop in TransformerLens, the same weights, hook_z of the head set to zero."""
    import transformer_lens
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights

    config = lm.model.config
    cfg = transformer_lens.HookedTransformerConfig(
        n_layers=config.num_hidden_layers, d_model=config.hidden_size,
        d_head=config.head_dim, n_heads=config.num_attention_heads,
        n_key_value_heads=config.num_key_value_heads, d_mlp=config.intermediate_size,
        d_vocab=config.vocab_size, n_ctx=512, act_fn="silu", normalization_type="RMS",
        positional_embedding_type="rotary", rotary_dim=config.head_dim,
        rotary_base=int(config.rope_parameters["rope_theta"]), rotary_adjacent_pairs=False,
        gated_mlp=True, final_rms=True, eps=config.rms_norm_eps,
        original_architecture="LlamaForCausalLM", dtype=torch.float32, device="cpu",
    )
    hooked = transformer_lens.HookedTransformer(cfg, tokenizer=None)
    hooked.load_state_dict(convert_llama_weights(lm.model, cfg), strict=False)
    prompts, correct = asked.prompts["sandbag"], asked.correct["sandbag"]
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    ids = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    p_correct = np.empty((len(sets), len(prompts)))
    for index, heads in enumerate(sets):
        (head,) = heads

        def zero(z: torch.Tensor, hook: object, h: int = head.head) -> torch.Tensor:
            z[:, :, h] = 0.0
            return z

        with torch.inference_mode(), hooked.hooks(
            fwd_hooks=[(f"blocks.{head.layer}.attn.hook_z", zero)]
        ):
            final = hooked(ids, stop_at_layer=cfg.n_layers)
            last = hooked.ln_final(final[torch.arange(len(prompts)), lengths - 1][:, None])
            log_p = torch.log_softmax(hooked.unembed(last)[:, 0].double(), dim=-1)
        p_correct[index] = [float(log_p[row, list(tokens)].exp().sum())
                            for row, tokens in enumerate(correct)]
    return p_correct


if __name__ == "__main__":
    main()
