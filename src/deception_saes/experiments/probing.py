"""Probes assessed as everything that reads completions reports them.

Shape suffixes: N completions, L probes side by side (layers, numbers of components), P labellings,
R resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deception_saes.analysis.folds import Design, permuted_labels
from deception_saes.analysis.probe_scores import (
    Performance,
    bootstrap,
    interval,
    measure,
    measure_permuted,
    p_values,
)
from deception_saes.analysis.probes import widening
from deception_saes.experiments.reading import Reading
from deception_saes.rng import subseed
from deception_saes.tidy import with_ends

MEASURES = ("accuracy", "auroc")
SCALE = {"accuracy": 100.0, "auroc": 1.0}
"""Balanced accuracy is reported in percent."""
UNIT = {"accuracy": "percent", "auroc": "auroc"}
NAME = {"accuracy": "balanced accuracy", "auroc": "AUROC"}
PROBE_LIBRARIES = ("scikit-learn", "scipy")
"""Distributions that decide what a fitted probe gives, for `cached`'s `libraries`."""


PROBE_COLUMNS = {
    **with_ends("accuracy", "percent", "balanced accuracy, held out"),
    **with_ends("auroc", "auroc", "area under the ROC curve within scenarios, averaged over them, "
                "held out"),
}
"""What `columns` gives, for `tidy.described`."""


@dataclass(frozen=True)
class Assessed:
    """Probes on the same completions."""

    found: Performance
    """[L]."""
    resampled: Performance
    """[R, L], the same resamples for all probes of one design and seed."""
    widen_L: np.ndarray
    """See `analysis.probes.widening`."""

    def ends(self, what: str, probe: int) -> tuple[float, float]:
        """95% interval of a measure of one probe, in its unit."""
        low, high = interval(getattr(self.found, what)[probe],
                             getattr(self.resampled, what)[:, probe], self.widen_L[probe])
        return SCALE[what] * low, SCALE[what] * high


@dataclass(frozen=True)
class Null:
    """The ridge counterparts of probes."""

    ridge: Performance
    """On the labels, [L]."""
    permuted: Performance
    """On permuted ones, [P, L]."""
    widen_L: np.ndarray
    """See `analysis.probes.widening`."""

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Null:
        """From what `dataclasses.asdict` makes of it, which a cached call may return."""
        return cls(Performance(**plain["ridge"]), Performance(**plain["permuted"]),
                   plain["widen_L"])

    def p(self, what: str) -> tuple[np.ndarray, np.ndarray]:
        """p of each probe, and p of each against the largest of all, both [L]."""
        return p_values(getattr(self.ridge, what), getattr(self.permuted, what))

    def band(self) -> np.ndarray:
        """The middle 95% of balanced accuracy on permuted labels, in percent, [2, L]."""
        return np.asarray(100 * np.quantile(self.permuted.accuracy, [0.025, 0.975], axis=0))


def resampling_seed(seed: int, round: str) -> int:
    """Of the resamples and permutations of a round: rounds are drawn apart from each other."""
    return subseed(seed, "probes", round)


def labellings(of: Design, draws: int, seed: int) -> np.ndarray:
    """The labels, then permuted ones, bool [1 + draws, N]."""
    return np.concatenate([of.deceptive_N[None], permuted_labels(of, draws, seed)])


def null_of(ridge_LPN: Iterable[np.ndarray], labels_PN: np.ndarray, of: Design, seed: int) -> Null:
    """From the scores of the ridge probe on `labellings`, which are read one probe at a time."""
    accuracy, auroc, widen = [], [], []
    for scores_PN in ridge_LPN:
        found = measure_permuted(scores_PN, labels_PN, of)
        accuracy.append(found[0])
        auroc.append(found[1])
        widen.append(widening(scores_PN[1:], labels_PN[1:], of, seed))
    both = np.stack(accuracy, axis=1), np.stack(auroc, axis=1)
    return Null(Performance(both[0][0], both[1][0]), Performance(both[0][1:], both[1][1:]),
                np.array(widen))


def assess(
    scores_LN: np.ndarray, of: Design, widen_L: np.ndarray, draws: int, seed: int
) -> Assessed:
    """Held-out scores with their resamples. widen_L: of each probe, or one for all, [1]."""
    return Assessed(measure(scores_LN, of), bootstrap(scores_LN, of, draws, seed),
                    np.broadcast_to(widen_L, len(scores_LN)))


def assess_round(
    reading: Reading, round: str, scores_LN: np.ndarray, widen_L: np.ndarray, resamples: int
) -> Assessed:
    """Held-out scores of a round's balanced set, `assess`ed."""
    return assess(scores_LN, reading.balanced_of(round).design, widen_L, resamples,
                  resampling_seed(reading.seed, round))


def columns(of: Assessed, probe: int) -> dict[str, float]:
    """Both measures of a probe with their intervals: columns of a table."""
    row: dict[str, float] = {}
    for what in MEASURES:
        low, high = of.ends(what, probe)
        row |= {what: SCALE[what] * float(getattr(of.found, what)[probe]),
                f"{what}_low": low, f"{what}_high": high}
    return row


def difference(first: Assessed, i: int, second: Assessed, j: int, what: str
               ) -> tuple[float, float, float]:
    """Probe i of the first less probe j of the second, paired by completion, with its interval:
    in the measure's unit, percentage points for balanced accuracy."""
    found = getattr(first.found, what)[i] - getattr(second.found, what)[j]
    resampled = getattr(first.resampled, what)[:, i] - getattr(second.resampled, what)[:, j]
    widen = max(first.widen_L[i], second.widen_L[j])
    ends = interval(found, resampled, widen, (-1, 1))
    found, low, high = (SCALE[what] * round(float(x), 12) + 0.0 for x in (found, *ends))
    return found, low, high
