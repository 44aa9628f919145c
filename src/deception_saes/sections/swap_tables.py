"""From the effects of interventions to what is said of them: means, gaps, equivalence, shares.

Shape suffixes: N draws, Q questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from deception_saes.analysis.bootstrap import mean_interval, ratio_interval
from deception_saes.analysis.equivalence import (
    contrast,
    holm,
    questions_needed,
    verdict,
    widened,
)
from deception_saes.sections.swap import Effects
from deception_saes.tasks.framings import Condition

PLAIN = "no SAE"
PUBLISHED_BOUND = 0.15
"""pp: what the study's gaps stay below."""
_WITH_SHARE = ("E2", "E6", "E6Δ", "median_residual", "mean_difference")  # and every E5
_PAIRS = (("E6", "E4"), ("E6", "E1"), ("E6", "half"), ("E1", "half"), ("E6Δ", "E1Δ"),
          ("E6Δ", "E4Δ"), ("E6", "E3"), ("E6", "E2"), ("mean_difference", "random_direction"))
_MIRRORED = ("E4", "E4Δ", "half")
NAMES = {"half": "(E4 + E6) / 2", "mean_difference": "mean difference",
         "random_direction": "random direction", "median_residual": "median residual"}


@dataclass(frozen=True)
class Cell:
    """One SAE, or none (PLAIN), at one layer, on the prompts of one condition.

    depth: of the study's layers. few: which of all questions the drawn edits were run on.
    clean_Q: P(correct) in percent without intervention.
    """

    name: str
    depth: int
    layer: int
    condition: Condition
    effects: Effects
    clean_Q: np.ndarray
    few: np.ndarray

    @property
    def about(self) -> dict[str, object]:
        return {"architecture": self.name, "depth": self.depth, "layer": self.layer,
                "prompts": self.condition}


@dataclass(frozen=True)
class Counting:
    """margin: below which a gap is as good as none, in pp; draws, seed: of the bootstrap."""

    margin: float
    draws: int
    seed: int


def gap_name(gap: str) -> str:
    """A gap as it stands on pages: "E6 − E1"."""
    return " − ".join(NAMES.get(side, side) for side in gap.split("-"))


def margin_of(cells: Sequence[Cell], share: float) -> float:
    """A share of the clean genuine − sandbag difference, in pp. Not above 0 where the sandbag
    instruction does not lower P(correct): then nothing can be called equivalent."""
    clean = {cell.condition: float(cell.clean_Q.mean()) for cell in cells}
    return share * (clean["genuine"] - clean["sandbag"])


def effect_table(cells: Sequence[Cell], how: Counting) -> pd.DataFrame:
    """A row for every intervention; on sandbag prompts with its share of the patch's effect, if
    that is above 0."""
    return pd.DataFrame([row for cell in cells for row in _effects(cell, cells, how)])


def gap_table(cells: Sequence[Cell], how: Counting) -> pd.DataFrame:
    """A row for every gap between an intervention and a control of it. p_holm: corrected over
    layers and architectures, for each gap and condition."""
    table = pd.DataFrame([row for cell in cells for row in _gap_rows(cell, cells, how)])
    corrected = table.groupby(["gap", "prompts"])["p"].transform(lambda p: holm(p.to_numpy()))
    return table.assign(p_holm=corrected)


@dataclass(frozen=True)
class Gap:
    """per_question: [Q]. empirical_p: of the intervention among its control's draws, None if that
    has none. sigma: SD of such a gap between relabelled sets, in which there is nothing to find:
    what the gap's mean owes to the questions that the edit was learned from; freedom: of how many
    independent sets."""

    per_question: np.ndarray
    empirical_p: float | None
    sigma: float
    freedom: int


def gaps(cell: Cell) -> dict[str, Gap]:
    """By name ("E6-E1"). With draws: on the questions of the draws."""
    effects = dict(cell.effects)
    if {"E4", "E6"} <= effects.keys():
        effects["half"] = (effects["E4"] + effects["E6"]) / 2
    found = {}
    for treated, control in _PAIRS:
        if not {treated, control} <= effects.keys():
            continue
        drawn = max(len(effects[treated]), len(effects[control])) > 1
        first_NQ, second_NQ = (
            effects[name][:, cell.few] if drawn and len(effects[name]) == 1 else effects[name]
            for name in (treated, control))
        beyond = None
        if len(second_NQ) > 1:
            reached = int((second_NQ.mean(axis=1) >= first_NQ.mean()).sum())
            beyond = (1 + reached) / (1 + len(second_NQ))
        found[f"{treated}-{control}"] = Gap(first_NQ.mean(axis=0) - second_NQ.mean(axis=0), beyond,
                                            *_sigma(treated, control, effects))
    return found


def _sigma(treated: str, control: str, effects: Effects) -> tuple[float, int]:
    """Sigma and its degrees of freedom. Of a swap less its mirror image: of a relabelled set less
    its complement, the next draw. Of a swap less anything else: of a relabelled set. 0 of an edit
    that no relabelled set stands beside: its interval is over questions alone."""
    null = {"E6": "E1", "E6Δ": "E1Δ"}.get(treated)
    if null not in effects:
        return 0.0, 1
    means_N = effects[null].mean(axis=1)
    pairs = len(means_N) // 2
    if control in {"E4", "E4Δ"}:
        means_N = means_N[::2] - means_N[1::2]
    elif control == "half":
        means_N = (means_N[::2] - means_N[1::2]) / 2
    about = 0.0 if control in _MIRRORED else means_N.mean()
    return float(np.sqrt(np.mean((means_N - about) ** 2))), pairs


def _effects(cell: Cell, cells: Sequence[Cell], how: Counting) -> Iterator[dict[str, object]]:
    patch_Q = _cell(cells, PLAIN, cell.depth, cell.condition).effects["patch"][0]
    reached = mean_interval(patch_Q, how.draws, how.seed).low
    for name, effects_NQ in cell.effects.items():
        per_question = effects_NQ.mean(axis=0)
        found = mean_interval(per_question, how.draws, how.seed)
        share = low = high = np.nan
        shared = name in _WITH_SHARE or name.startswith("E5.")
        if shared and cell.condition == "sandbag" and reached > 0:
            of_patch = ratio_interval(per_question, patch_Q, how.draws, how.seed)
            share, low, high = (100 * x for x in (of_patch.mean, of_patch.low, of_patch.high))
        sigma = effects_NQ.mean(axis=1).std(ddof=1) if len(effects_NQ) > 1 else np.nan
        yield {**cell.about, "intervention": name, "effect": found.mean, "ci_low": found.low,
               "ci_high": found.high, "n": found.n, "draws": len(effects_NQ),
               "sigma": float(sigma), "share": share, "share_low": low, "share_high": high,
               "clean": float(cell.clean_Q.mean())}


def _gap_rows(cell: Cell, cells: Sequence[Cell], how: Counting) -> Iterator[dict[str, object]]:
    lost = _reconstruction_loses_half(cell, cells)

    def word(margin: float) -> str:
        if lost:
            return "uninformative"
        return verdict(found, margin) if margin > 0 else "inconclusive"

    for name, gap in gaps(cell).items():
        given = contrast(gap.per_question, how.draws, how.seed)
        found = widened(given, gap.sigma, gap.freedom)
        yield {**cell.about, "gap": name, "mean": found.mean, "ci_low": given.low,
               "ci_high": given.high, "sigma": gap.sigma, "wide_low": found.low,
               "wide_high": found.high, "low90": found.low90, "high90": found.high90,
               "n": found.n, "p": found.p, "empirical_p": gap.empirical_p,
               "detectable": found.detectable, "verdict": word(how.margin),
               "verdict_published": word(PUBLISHED_BOUND),
               "n_published": questions_needed(found.sd, PUBLISHED_BOUND)}


def _reconstruction_loses_half(cell: Cell, cells: Sequence[Cell]) -> bool:
    """Whether E2 alone takes half of the genuine P(correct): then no swap tells anything."""
    if cell.name == PLAIN:
        return False
    genuine = _cell(cells, cell.name, cell.depth, "genuine")
    return float(genuine.effects["E2"].mean()) <= -0.5 * float(genuine.clean_Q.mean())


def _cell(cells: Sequence[Cell], name: str, depth: int, condition: Condition) -> Cell:
    return next(cell for cell in cells
                if (cell.name, cell.depth, cell.condition) == (name, depth, condition))
