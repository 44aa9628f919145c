"""The head sweep of one model, framing and condition, kept layer by layer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from deception_saes.interventions.ablation import ablated_p_correct
from deception_saes.interventions.resume import ResumableRun
from deception_saes.models.anatomy import Head, anatomy
from deception_saes.models.load import weights_hash
from deception_saes.store.ensure import ensure, is_made
from deception_saes.store.files import write_atomic
from deception_saes.store.spec import Spec
from deception_saes.tasks.framings import Condition
from deception_saes.tasks.prompts import PromptSet

if TYPE_CHECKING:
    from deception_saes.models.load import LanguageModel
    from deception_saes.models.spec import ModelSpec


@dataclass(frozen=True)
class _SweepParams:
    model: ModelSpec
    framing: str
    condition: str
    questions: tuple[str, ...]
    device: str
    threads: int
    layer: int


def all_heads(lm: LanguageModel) -> list[Head]:
    """Every head of the model, by layer."""
    parts = anatomy(lm.model)
    return [Head(layer, head) for layer in range(parts.n_layers) for head in range(parts.n_heads)]


def sweep(lm: LanguageModel, asked: PromptSet, condition: Condition, tree: Path) -> np.ndarray:
    """Effect on P(correct) of ablating each head alone, in pp, [heads, questions].

    Each layer is kept in `tree` when it is done, so a killed sweep goes on where it stopped.
    """
    import torch

    prompts, correct = asked.prompts[condition], asked.correct[condition]
    resumable = anatomy(lm.model).family.resumable
    run: ResumableRun | None = None
    layers = []
    asked_hash = hashlib.sha256(repr((prompts, correct)).encode()).hexdigest()
    for layer in range(anatomy(lm.model).n_layers):
        unit = f"sweep-{lm.spec.slug}-{asked.framing.name}-{condition}-L{layer}"
        spec = Spec(unit, _SweepParams(lm.spec, asked.framing.name, condition, asked.ids,
                                       lm.model.device.type, torch.get_num_threads(), layer),
                    sources=(__name__,), inputs=(asked_hash, *weights_hash(lm.spec)))
        if not is_made(tree, spec) and run is None and resumable:
            run = ResumableRun(lm.model, prompts)

        def make(
            out: Path, layer: int = layer, unit: str = unit, run: ResumableRun | None = run
        ) -> None:
            sets = [(), *((Head(layer, head),) for head in range(anatomy(lm.model).n_heads))]
            found = ablated_p_correct(lm.model, prompts, correct, sets, run=run,
                                      label=f"{asked.framing.name} {condition} L{layer}")
            table = pd.DataFrame(100 * (found[1:] - found[0]), columns=list(asked.ids))
            write_atomic(out / _file(unit), table.to_csv(index=False, lineterminator="\n"))

        ensure(tree, spec, make)
        layers.append(pd.read_csv(tree / _file(unit)).to_numpy())
    return np.concatenate(layers)


def circuit(heads: pd.DataFrame, size: int) -> list[Head]:
    """The suppressor heads: in §27's table, those of largest effect on sandbag prompts."""
    top = heads.sort_values("effect_sandbag", ascending=False, kind="stable").head(size)
    return [Head(int(row.layer), int(row.head)) for row in top.itertuples()]


def p_correct_under(
    lm: LanguageModel, asked: PromptSet, condition: Condition,
    sets: Sequence[tuple[Head, ...]], label: str,
) -> np.ndarray:
    """P(correct) in percent under each head set, [sets, questions]."""
    return 100 * ablated_p_correct(lm.model, asked.prompts[condition], asked.correct[condition],
                                   sets, label=f"{asked.framing.name} {condition}, {label}")


def _file(unit: str) -> str:
    return f"sections/{unit}.csv"
