"""How each engine's cost grows when one size is doubled and the others stay, and its peak memory.

Random weights, prompts of random tokens behind a beginning that all share, random rows, one thread.
Edits at the last position are made in the middle of the model, behind a clean run that is not
timed. A model's width stays when its heads are doubled. The growth expected is that of tokens
through blocks, rows through matrices, numbers drawn; a probe's solver takes more steps on some data
than on others. TopK stays below it: its k features are of one number at any d_sae, and are found in
one time at any d_in. Each engine runs once untimed, then in rounds, all its sizes in turn; the
round of fewest processor seconds counts. Before that, each in a process of its own, the peak memory
on random weights in SmolLM2-135M's shape: of the head sweep on as many questions as the embedded
profile sweeps (the first layer's heads, which hold most), and of edits on half of the book's
answerable questions. Ends with `ratio` lines.

usage: python benchmarks/growth.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deception_saes.activations.capture import residuals
from deception_saes.analysis.bootstrap import mean_interval
from deception_saes.analysis.folds import design
from deception_saes.analysis.probes import activation_probe, held_out_scores, one_thread
from deception_saes.interventions.ablation import ablated_p_correct
from deception_saes.models.anatomy import Head, anatomy
from deception_saes.models.forward import token_mass
from deception_saes.models.last_position import LastPositionRun
from deception_saes.models.load import load
from deception_saes.models.registry import get
from deception_saes.models.spec import Shape
from deception_saes.saes.bank import train_bank
from deception_saes.saes.config import Recipe, SaeConfig
from deception_saes.saes.registry import ARCHITECTURES
from deception_saes.saes.training import Job

SEED = 0
SMALL = Shape(layers=4, d_model=256, heads=4, kv_heads=4, d_ff=1024, vocabulary=4096)
SHARED, OWN = 42, 13  # tokens of a prompt: those that all begin with, and its own
QUESTIONS, CAPTURED, EDITS = 20, 160, 100
K, THRESHOLD = 32, 1.9
SWEPT, EDITED, DRAWS = 40, 115, 20  # of the embedded profile
MOST_MEMORY = 3.0  # GiB of a process

Work = Callable[[], object]


@dataclass(frozen=True)
class Engine:
    """An engine at its base size, and with each size doubled."""

    name: str
    base: Work
    doubled: Mapping[str, tuple[Work, float]]
    """By what is doubled: the work, and by how much it should grow."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", choices=MEMORY_OF, help="the peak of this process, alone")
    parser.add_argument("--folder", type=Path, help="where that finds its model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        with redirect_stderr(StringIO()):
            MEMORY_OF[options.memory_of](random_model("full", get("smollm2it").shape,
                                                      options.folder))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
        return
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for name in MEMORY_OF:  # while this process is small: a child begins with its peak
            child = subprocess.run(
                [sys.executable, __file__, "--memory-of", name, "--folder", folder],
                stdout=subprocess.PIPE, text=True, check=True)
            peak = float(child.stdout)
            print(f"{name}, SmolLM2-135M's shape: peak memory of the process {peak:.2f} GiB",
                  flush=True)
            ratios.append(f"ratio peak memory / {MOST_MEMORY:g} GiB, {name}: "
                          f"{peak / MOST_MEMORY:.2f}")
        print(f"\n{'engine':24}{'doubled':12}{'before s':>10}{'after s':>10}{'growth':>8}"
              f"{'expected':>10}")
        for engine in engines(Path(folder)):
            ratios += grown(engine, options.rounds)
    print("\n".join(ratios))


def grown(engine: Engine, rounds: int) -> list[str]:
    """Print the engine's rows of the table; the ratios."""
    works = {"": engine.base, **{what: work for what, (work, _) in engine.doubled.items()}}
    took = [{what: timed(work) for what, work in works.items()} for _ in range(1 + rounds)]
    best = {what: min(of[what] for of in took[1:]) for what in works}
    ratios = []
    for what, (_, expected) in engine.doubled.items():
        growth = best[what] / best[""]
        print(f"{engine.name:24}{what:12}{best['']:10.3f}{best[what]:10.3f}{growth:8.2f}"
              f"{expected:10.2f}", flush=True)
        ratios.append(f"ratio growth / expected, {engine.name}, {what}: {growth / expected:.2f}")
    return ratios


def timed(work: Work) -> float:
    with redirect_stderr(StringIO()):  # progress bars
        start = time.process_time()
        work()
        return time.process_time() - start


def engines(folder: Path) -> Iterator[Engine]:
    """All of them, one after the other, so that not all their data are held at once."""
    yield from on_models(*(random_model(name, shape, folder) for name, shape in (
        ("base", SMALL), ("heads", replace(SMALL, heads=8, kv_heads=8)),
        ("layers", replace(SMALL, layers=8)))))
    for architecture in ARCHITECTURES:
        yield Engine(f"SAE training, {architecture}", bank(architecture), {
            "rows": (bank(architecture, rows=2560), 2), "SAEs": (bank(architecture, saes=4), 2),
            "d_sae": (bank(architecture, d_sae=2048), 2),
            "d_in": (bank(architecture, d_in=512), 2)})
    yield Engine("probes", probe(4000, 512), {
        "completions": (probe(8000, 512), 2), "width": (probe(4000, 1024), 2)})
    yield Engine("bootstrap", interval(200, 40_000), {
        "questions": (interval(400, 40_000), 2), "draws": (interval(200, 80_000), 2)})


def on_models(base: Any, more_heads: Any, more_layers: Any) -> Iterator[Engine]:
    def sweep_of(questions: int, heads: int, layers: int) -> float:
        """Tokens through blocks, a clean run's and each head's: of its own block the MLP alone is
        run, of the last one the attention."""
        return (SHARED + OWN * questions) * (layers + heads * layers * (layers - 1) / 2)

    before = sweep_of(QUESTIONS, SMALL.heads, SMALL.layers)
    yield Engine("head sweep", partial(sweep, base, QUESTIONS), {
        what: (partial(sweep, model, questions), sweep_of(questions, *sizes) / before)
        for what, model, questions, *sizes in (
            ("questions", base, 2 * QUESTIONS, SMALL.heads, SMALL.layers),
            ("heads", more_heads, QUESTIONS, 2 * SMALL.heads, SMALL.layers),
            ("layers", more_layers, QUESTIONS, SMALL.heads, 2 * SMALL.layers))})
    yield Engine("last-position edits", edits(base, QUESTIONS, EDITS), {
        "questions": (edits(base, 2 * QUESTIONS, EDITS), 2),
        "edits": (edits(base, QUESTIONS, 2 * EDITS), 2),
        "layers": (edits(more_layers, QUESTIONS, EDITS), 2)})
    tokens = SHARED + OWN * CAPTURED
    yield Engine("capture", partial(capture, base, CAPTURED), {
        "questions": (partial(capture, base, 2 * CAPTURED), (tokens + OWN * CAPTURED) / tokens),
        "layers": (partial(capture, more_layers, CAPTURED), 2)})


def random_model(name: str, shape: Shape, folder: Path) -> Any:
    """A model of random weights, made in a process of its own if the folder does not hold it."""
    spec = get("tinyllama-random")
    return load(replace(spec, slug=name, source=replace(spec.source, shape=shape)), folder,
                "cpu").model


def prompts_of(model: Any, questions: int) -> list[list[int]]:
    random = np.random.default_rng(SEED)
    shared = random.integers(model.config.vocab_size, size=SHARED)
    own = random.integers(model.config.vocab_size, size=(questions, OWN))
    return [[*shared.tolist(), *row] for row in own.tolist()]


def sweep(model: Any, questions: int, layers: Sequence[int] = ()) -> object:
    """Every head of these layers, by default of all."""
    parts = anatomy(model)
    sets = [(Head(layer, head),) for layer in layers or range(parts.n_layers)
            for head in range(parts.n_heads)]
    return ablated_p_correct(model, prompts_of(model, questions), [(0,)] * questions, sets)


def edits(model: Any, questions: int, count: int) -> Work:
    """So many edits in the middle of the model, behind a clean run made now."""
    layer = anatomy(model).n_layers // 2 - 1  # half of the blocks stand above it
    run = LastPositionRun(model, prompts_of(model, questions), [layer])
    x_QD = run.residual(layer)
    noise = torch.randn(count, *x_QD.shape, generator=torch.Generator().manual_seed(SEED))
    return lambda: run.final_hidden(layer, x_QD + 0.1 * x_QD.std() * noise)


def edits_and_answers(model: Any) -> object:
    hidden_NQD = edits(model, EDITED, DRAWS)()
    return token_mass(model, hidden_NQD, [(0,)] * EDITED)


def capture(model: Any, questions: int) -> object:
    return residuals(model, prompts_of(model, questions), range(anatomy(model).n_layers), "suffix",
                     batch_size=32, label=None)


def bank(
    architecture: str, rows: int = 1280, saes: int = 2, d_sae: int = 1024, d_in: int = 256
) -> Work:
    """Training of a bank in one epoch; no feature counts as dead."""
    x_ND = torch.randn(rows, d_in, generator=torch.Generator().manual_seed(SEED))
    config = SaeConfig(architecture, d_in, d_sae, k=K if architecture == "topk" else None)
    recipe = Recipe(epochs=1, initial_threshold=THRESHOLD, dead_window=1.0)
    jobs = [Job(str(number), config, recipe, np.arange(rows)) for number in range(saes)]
    return lambda: train_bank(jobs, x_ND, SEED)


def probe(completions: int, width: int) -> Work:
    """The probe of one layer, five folds, labels that tell nothing."""
    random = np.random.default_rng(SEED)
    x_ND = random.standard_normal((completions, width), dtype=np.float32)
    of = design(random.permutation(completions) % 2 == 0,
                [f"scenario {number % 4}" for number in range(completions)],
                np.arange(completions), SEED)

    def work() -> None:
        with one_thread():
            held_out_scores(activation_probe, x_ND, of)

    return work


def interval(questions: int, draws: int) -> Work:
    values = np.random.default_rng(SEED).random(questions)
    return lambda: mean_interval(values, draws, SEED)


MEMORY_OF: dict[str, Callable[[Any], object]] = {
    "head sweep": lambda model: sweep(model, SWEPT, [0]),
    "last-position edits": edits_and_answers,
}


if __name__ == "__main__":
    main()
