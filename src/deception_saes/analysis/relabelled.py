"""One probe under the labels of several judges, its folds the same under all of them.

The probe of a judge learns from what that judge called honest or deceptive, in the training folds.
Its held-out scores are then measured against that judge's labels, and against another's: labels
that say nothing of what was read can still be learned, if they follow something else in the text.

Shape suffixes: N completions, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deception_saes.analysis.folds import (
    Design,
    design,
    permuted_labels,
    splits,
    training_weights,
)
from deception_saes.analysis.permutation import ridge_scores, widening
from deception_saes.analysis.probe_scores import bootstrap, measure

HONEST, DECEPTIVE, NEITHER = 0, 1, -1
"""Codes of a label; NEITHER also where a judge has not read the completion."""
_CODES = {"honest": HONEST, "deceptive": DECEPTIVE}


@dataclass(frozen=True)
class Scored:
    """AUROC of held-out scores against one judge's labels, with its percentile bootstrap interval
    over completions, near-duplicates drawn together. honest, deceptive: completions behind it."""

    auroc: float
    low: float
    high: float
    honest: int
    deceptive: int

    def widened(self, factor: float) -> Scored:
        """The same with an interval `factor` times as wide about its middle, within [0, 1]."""
        middle = (self.low + self.high) / 2
        low, high = (middle + factor * (end - middle) for end in (self.low, self.high))
        return replace(self, low=max(0.0, low), high=min(1.0, high))


def codes(labels: Sequence[str | None]) -> np.ndarray:
    """A judge's labels as codes, int [N]; None where it gave none."""
    return np.array([_CODES.get(label or "", NEITHER) for label in labels])


def common_folds(
    code_N: np.ndarray, scenario: Sequence[str], group: Sequence[int] | np.ndarray, seed: int
) -> Design:
    """Folds of all completions, labelled or not, dealt evenly by one judge's labels.

    Raises ValueError as `folds.design` does.
    """
    # what is neither makes a scenario of its own while folds are dealt, so that it is spread too
    dealt = [f"{name} {'neither' if code == NEITHER else 'labelled'}"
             for name, code in zip(scenario, code_N, strict=True)]
    of = design(code_N == DECEPTIVE, dealt, group, seed)
    names, scenario_N = np.unique(np.asarray(scenario, dtype=object), return_inverse=True)
    return Design(of.deceptive_N, scenario_N, of.group_N, of.fold_N, tuple(map(str, names)))


def held_out_under(
    make: Callable[[], Any], x_ND: np.ndarray, of: Design, code_N: np.ndarray
) -> np.ndarray | None:
    """Logit of "deceptive" of every completion, by a probe fitted to the labels `code_N` of other
    folds, [N]; None if a training set has no scenario with both labels.

    make: an unfitted pipeline that ends in a classifier that takes sample weights.
    """
    labelled = _under(of, code_N)
    scores_N = np.full(len(code_N), np.nan)
    for train, test in splits(of, of.fold_N):
        rows = train[code_N[train] != NEITHER]
        weights = training_weights(labelled, rows)
        rows, weights = rows[weights > 0], weights[weights > 0]
        if not len(rows):
            return None
        probe = make()
        last = probe.steps[-1][0]
        probe.fit(x_ND[rows], code_N[rows] == DECEPTIVE, **{f"{last}__sample_weight": weights})
        scores_N[test] = probe.decision_function(x_ND[test])
    return scores_N


def scored(
    scores_N: np.ndarray, of: Design, code_N: np.ndarray, draws: int, seed: int
) -> Scored | None:
    """How well scores tell apart what these labels call honest and deceptive; None if no scenario
    and fold has both."""
    rows = np.flatnonzero(code_N != NEITHER)
    if len(np.unique(code_N[rows])) < 2:
        return None
    part = _rows(_under(of, code_N), rows)
    found = measure(scores_N[None, rows], part).auroc[0]
    if not np.isfinite(found):
        return None
    resampled = bootstrap(scores_N[None, rows], part, draws, seed).auroc[:, 0]
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Scored(float(found), float(low), float(high), int((code_N[rows] == HONEST).sum()),
                  int((code_N[rows] == DECEPTIVE).sum()))


def widening_under(
    x_ND: np.ndarray, of: Design, code_N: np.ndarray, draws: int, seed: int
) -> float:
    """By what factor the interval of `scored` is too narrow for a probe of these labels, since it
    holds the fitted probe fixed (see `permutation.widening`). draws: permutations."""
    rows = np.flatnonzero(code_N != NEITHER)
    part = _rows(_under(of, code_N), rows)
    labels_PN = permuted_labels(part, draws, seed)
    return widening(ridge_scores(x_ND[rows], part, labels_PN), labels_PN, part, seed)


def _under(of: Design, code_N: np.ndarray) -> Design:
    return Design(code_N == DECEPTIVE, of.scenario_N, of.group_N, of.fold_N, of.scenarios)


def _rows(of: Design, rows: np.ndarray) -> Design:
    return Design(of.deceptive_N[rows], of.scenario_N[rows],
                  np.unique(of.group_N[rows], return_inverse=True)[1], of.fold_N[rows],
                  of.scenarios)
