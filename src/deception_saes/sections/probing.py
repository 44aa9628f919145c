"""Probes assessed as every section on behavioural deception reports them.

Shape suffixes: N completions, L probes side by side (layers, numbers of components), P labellings,
R resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deception_saes.analysis.folds import permuted_labels
from deception_saes.analysis.permutation import p_values, widening
from deception_saes.analysis.probe_scores import (
    Measured,
    bootstrap,
    interval,
    measure,
    measure_permuted,
)

if TYPE_CHECKING:
    from deception_saes.analysis.folds import Design
    from deception_saes.sections.results import Value

MEASURES = ("accuracy", "auroc")
SCALE = {"accuracy": 100.0, "auroc": 1.0}
"""Balanced accuracy is reported in percent."""
UNIT = {"accuracy": "percent", "auroc": "auroc"}
NAME = {"accuracy": "balanced accuracy", "auroc": "AUROC"}


@dataclass(frozen=True)
class Assessed:
    """Probes on the same completions. found: [L]; resampled: [R, L], of the same resamples for
    all probes of one design and seed; widen_L: see `analysis.permutation.widening`."""

    found: Measured
    resampled: Measured
    widen_L: np.ndarray

    def ends(self, what: str, probe: int) -> tuple[float, float]:
        """95% interval of a measure of one probe, in its unit."""
        low, high = interval(getattr(self.found, what)[probe],
                             getattr(self.resampled, what)[:, probe], self.widen_L[probe])
        return SCALE[what] * low, SCALE[what] * high


@dataclass(frozen=True)
class Null:
    """The ridge probe on the labels, [L], and on permuted ones, [P, L]."""

    ridge: Measured
    permuted: Measured
    widen_L: np.ndarray

    def p(self, what: str) -> tuple[np.ndarray, np.ndarray]:
        """p of each probe, and p of each against the largest of all, both [L]."""
        return p_values(getattr(self.ridge, what), getattr(self.permuted, what))


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
    return Null(Measured(both[0][0], both[1][0]), Measured(both[0][1:], both[1][1:]),
                np.array(widen))


def assess(
    scores_LN: np.ndarray, of: Design, widen_L: np.ndarray, draws: int, seed: int
) -> Assessed:
    """Held-out scores with their resamples. widen_L: of each probe, or one for all, [1]."""
    return Assessed(measure(scores_LN, of), bootstrap(scores_LN, of, draws, seed),
                    np.broadcast_to(widen_L, len(scores_LN)))


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


def values_of(
    assessed: Assessed, probe: int, id: str, quantity: str, n: int, about: dict[str, Any],
    claims: dict[str, str] | None = None,
) -> Iterator[Value]:
    """Both measures of a probe: values `{id}.accuracy` and `{id}.auroc`. claims: by measure."""
    from deception_saes.sections.results import Value

    row = columns(assessed, probe)
    for what in MEASURES:
        yield Value(f"{id}.{what}", f"{NAME[what]} of {quantity}", row[what], UNIT[what],
                    claim=(claims or {}).get(what), ci_low=row[f"{what}_low"],
                    ci_high=row[f"{what}_high"], n=n, **about)


def differences(
    first: Assessed, i: int, second: Assessed, j: int, id: str, quantity: str, n: int,
    about: dict[str, Any],
) -> Iterator[Value]:
    """Both differences of two probes: values `{id}.accuracy` (pp) and `{id}.auroc`."""
    from deception_saes.sections.results import Value

    for what, unit in (("accuracy", "pp"), ("auroc", "auroc")):
        found, low, high = difference(first, i, second, j, what)
        yield Value(f"{id}.{what}", f"{NAME[what]} of {quantity}", found, unit, ci_low=low,
                    ci_high=high, n=n, **about)
