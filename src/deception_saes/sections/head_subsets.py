"""Restoration by the subsets of the suppressor heads, for §28."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from deception_saes.analysis.bootstrap import mean_interval
from deception_saes.models.anatomy import Head
from deception_saes.sections.sweep import p_correct_under
from deception_saes.tasks.prompts import PromptSet

if TYPE_CHECKING:
    from deception_saes.models.load import LanguageModel


def best_of_size(sets: Sequence[tuple[Head, ...]], on_choosing_S: np.ndarray) -> set[int]:
    """Of the sets of each size, the place of the one that restores most on the choosing half."""
    sizes = {len(heads) for heads in sets}
    return {max((i for i, heads in enumerate(sets) if len(heads) == size),
                key=lambda i: on_choosing_S[i]) for size in sizes}


def restorations(
    lm: LanguageModel, asked: PromptSet, sets: Sequence[tuple[Head, ...]], best: set[int],
    together_Q: np.ndarray, few: int | None,
) -> list[np.ndarray]:
    """By set, the effect on P(correct) in pp on sandbag prompts, [questions]: of single heads, the
    best of each size and all together on every question, of the others on `few` of them.

    together_Q: that of the last set, all heads, which is known.
    """
    found = {len(sets) - 1: together_Q}
    reported = [i for i, heads in enumerate(sets[:-1]) if len(heads) == 1 or i in best]
    others = [i for i in range(len(sets) - 1) if i not in reported]
    for places, of, label in ((reported, asked, "subsets"),
                              (others, asked.spread(few), "other subsets")):
        p_SQ = p_correct_under(lm, of, "sandbag", [(), *(sets[i] for i in places)], label)
        found |= dict(zip(places, p_SQ[1:] - p_SQ[0], strict=True))
    return [found[i] for i in range(len(sets))]


def table_of_subsets(
    sets: Sequence[tuple[Head, ...]], restored: Sequence[np.ndarray], on_choosing_S: np.ndarray,
    best: set[int], draws: int, seed: int,
) -> pd.DataFrame:
    """One row a set: its restoration with an interval of so many bootstrap draws, and on the
    choosing half."""
    rows = []
    for place, (heads, restoration_Q) in enumerate(zip(sets, restored, strict=True)):
        found = mean_interval(restoration_Q, draws, seed)
        rows.append({"size": len(heads), "heads": " ".join(map(str, heads)),
                     "restoration": found.mean, "ci_low": found.low, "ci_high": found.high,
                     "n": found.n, "on_choosing": float(on_choosing_S[place]),
                     "best_of_size": place in best})
    return pd.DataFrame(rows)
