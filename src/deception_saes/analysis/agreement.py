"""Several judges of the same completions: how far their labels agree, and what those of each do to
a probe whose folds are the same under all of them.

The probe of a judge learns from what that judge called honest or deceptive, in the training folds.
Its held-out scores are then measured against that judge's labels, and against another's: labels
that say nothing of what was read can still be learned, if they follow something else in the text.

Shape suffixes: N completions, D features, G groups of completions, L labels, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sklearn

from deception_saes.analysis.bootstrap import FEWEST, percentiles, resampled_places
from deception_saes.analysis.folds import (
    Design,
    design,
    permuted_labels,
    splits,
    training_weights,
)
from deception_saes.analysis.probe_scores import bootstrap, measure
from deception_saes.analysis.probes import ridge_scores, widening
from deception_saes.tasks.labels import LABELS

_MOST_UNDEFINED = 0.05  # of resamples

# Agreement


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges."""

    kappa: float
    """Cohen's (1960, Educ. Psychol. Meas. 20, 37-46), 1 for full agreement and 0 for what the
    judges' shares of labels give by chance; NaN where both give one and the same label to all."""
    low: float
    high: float
    """95% percentile bootstrap interval over groups of completions; NaN for fewer than FEWEST, or
    if kappa is undefined in over 5% of the resamples (the others are left out)."""
    observed: float
    """Share of completions with the same label from both."""
    table_LL: np.ndarray
    """Completions by label of the first judge (rows) and of the second, in the order of LABELS."""
    n: int
    """Completions that both labelled."""


def agreement(
    first: Mapping[str, str], second: Mapping[str, str], groups: Mapping[str, int], draws: int,
    seed: int,
) -> Agreement:
    """Agreement on the completions that both judges labelled.

    first, second: label by completion id. groups: of near-duplicates, by completion id: resampled
    as wholes. Raises ValueError if there is no such completion, or for a label that is not of
    LABELS.
    """
    unknown = sorted({*first.values(), *second.values()} - set(LABELS))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no label; expected one of {', '.join(LABELS)}")
    both = [id for id in first if id in second]
    if not both:
        raise ValueError(f"the judges have no completion in common: the first labelled "
                         f"{len(first)}, the second {len(second)}; compare judges of the same "
                         "completions")
    first_N, second_N = (np.array([LABELS.index(of[id]) for id in both])
                         for of in (first, second))
    group_N = np.unique([groups[id] for id in both], return_inverse=True)[1]
    table_GLL = np.zeros((int(group_N.max()) + 1, len(LABELS), len(LABELS)), dtype=np.int64)
    np.add.at(table_GLL, (group_N, first_N, second_N), 1)
    table_LL = table_GLL.sum(axis=0)
    single = len({*first_N.tolist(), *second_N.tolist()}) == 1
    # scikit-learn warns where kappa is 0 / 0, and gives NaN
    kappa = float("nan") if single else float(sklearn.metrics.cohen_kappa_score(first_N, second_N))
    return Agreement(kappa, *_kappa_interval(table_GLL, draws, seed),
                     float(np.trace(table_LL) / len(both)), table_LL, len(both))


def kappas(table_RLL: np.ndarray) -> np.ndarray:
    """Cohen's kappa of each confusion table, [R]; NaN where it is 0 / 0."""
    n_R = table_RLL.sum(axis=(1, 2))
    observed_R = np.trace(table_RLL, axis1=1, axis2=2) / n_R
    chance_R = (table_RLL.sum(axis=1) * table_RLL.sum(axis=2)).sum(axis=1) / n_R**2
    with np.errstate(invalid="ignore"):
        found: np.ndarray = np.where(chance_R == 1, np.nan,
                                     (observed_R - chance_R) / (1 - chance_R))
    return found


def _kappa_interval(table_GLL: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    n = len(table_GLL)
    if n < FEWEST:
        return float("nan"), float("nan")
    kappa_R = kappas(np.stack([table_GLL[picked_G].sum(axis=0)
                               for picked_G in resampled_places(n, draws, seed)]))
    if np.count_nonzero(~np.isnan(kappa_R)) < (1 - _MOST_UNDEFINED) * draws:
        return float("nan"), float("nan")
    return percentiles(kappa_R[~np.isnan(kappa_R)])


# A probe under each judge's labels

HONEST, DECEPTIVE, NEITHER = 0, 1, -1
"""Codes of a label; NEITHER also where a judge has not read the completion."""
_CODES = {"honest": HONEST, "deceptive": DECEPTIVE}


@dataclass(frozen=True)
class Scored:
    """AUROC of held-out scores against one judge's labels, with its percentile bootstrap interval
    over completions, near-duplicates drawn together."""

    auroc: float
    low: float
    high: float

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
    labelled = replace(of, deceptive_N=code_N == DECEPTIVE)
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
    part = _labelled(of, code_N, rows)
    found = measure(scores_N[None, rows], part).auroc[0]
    if not np.isfinite(found):
        return None
    resampled = bootstrap(scores_N[None, rows], part, draws, seed).auroc[:, 0]
    return Scored(float(found), *percentiles(resampled[~np.isnan(resampled)]))


def widening_under(
    x_ND: np.ndarray, of: Design, code_N: np.ndarray, draws: int, seed: int
) -> float:
    """By what factor the interval of `scored` is too narrow for a probe of these labels, since it
    holds the fitted probe fixed (see `probes.widening`). draws: permutations."""
    rows = np.flatnonzero(code_N != NEITHER)
    part = _labelled(of, code_N, rows)
    labels_PN = permuted_labels(part, draws, seed)
    return widening(ridge_scores(x_ND[rows], part, labels_PN), labels_PN, part, seed)


def _labelled(of: Design, code_N: np.ndarray, rows: np.ndarray) -> Design:
    return Design(code_N[rows] == DECEPTIVE, of.scenario_N[rows],
                  np.unique(of.group_N[rows], return_inverse=True)[1], of.fold_N[rows],
                  of.scenarios)
