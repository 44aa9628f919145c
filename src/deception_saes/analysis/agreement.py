"""How far two judges agree on the labels of completions.

Shape suffixes: N completions that both judged, G groups of them, L labels, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deception_saes.analysis.bootstrap import FEWEST
from deception_saes.rng import generator
from deception_saes.tasks.labels import LABELS

DECIDED = ("honest", "deceptive")
_MOST_UNDEFINED = 0.05


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges.

    kappa: Cohen's (1960, Educ. Psychol. Meas. 20, 37-46), 1 for full agreement and 0 for what the
        judges' shares of labels give by chance; NaN where both give one and the same label to all.
    low, high: its 95% percentile bootstrap interval over completions, or over their groups; NaN
        for fewer than FEWEST groups, or if kappa is undefined in over 5% of the resamples (the
        others are left out).
    observed: share of completions with the same label from both.
    table_LL: completions by label of the first judge (rows) and of the second, in the order of
        `labels`.
    n, groups: completions that count, and groups of them that were resampled.
    only_first, only_second: completions that one of the two gave no label.
    """

    labels: tuple[str, ...]
    kappa: float
    low: float
    high: float
    observed: float
    table_LL: np.ndarray
    n: int
    groups: int
    only_first: int
    only_second: int


def agreement(
    first: Mapping[str, str],
    second: Mapping[str, str],
    draws: int,
    seed: int,
    groups: Mapping[str, int] | None = None,
    labels: Sequence[str] = LABELS,
) -> Agreement:
    """Agreement on the completions to which both judges gave one of `labels`.

    first, second: label by completion id. With DECIDED as `labels`, a completion that either
    judge finds ambiguous is left out.
    groups: of near-duplicates, by completion id: resampled as wholes. None: each its own.
    Raises ValueError if there is no such completion, for a label that is not of LABELS, or for a
    completion without a group.
    """
    from sklearn.metrics import cohen_kappa_score

    unknown = sorted({*first.values(), *second.values()} - set(LABELS))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no label; expected one of {', '.join(LABELS)}")
    both = [id for id in first if id in second and first[id] in labels and second[id] in labels]
    if not both:
        raise ValueError(f"the judges have no completion in common with a label of "
                         f"{', '.join(labels)}: the first labelled {len(first)}, the second "
                         f"{len(second)}; compare judges of the same completions")
    code = {label: place for place, label in enumerate(labels)}
    first_N, second_N = (np.array([code[of[id]] for id in both]) for of in (first, second))
    tables_GLL = _tables(first_N, second_N, _group_of(both, groups), len(labels))
    table_LL = tables_GLL.sum(axis=0)
    single = len({*first_N.tolist(), *second_N.tolist()}) == 1
    # scikit-learn warns where kappa is 0 / 0, and gives NaN
    kappa = float("nan") if single else float(cohen_kappa_score(first_N, second_N))
    low, high = _interval(tables_GLL, draws, seed)
    return Agreement(tuple(labels), kappa, low, high, float(np.trace(table_LL) / len(both)),
                     table_LL, len(both), len(tables_GLL), len(first.keys() - second.keys()),
                     len(second.keys() - first.keys()))


def kappas(table_RLL: np.ndarray) -> np.ndarray:
    """Cohen's kappa of each confusion table, [R]; NaN where it is 0 / 0."""
    n_R = table_RLL.sum(axis=(1, 2))
    observed_R = np.trace(table_RLL, axis1=1, axis2=2) / n_R
    chance_R = (table_RLL.sum(axis=1) * table_RLL.sum(axis=2)).sum(axis=1) / n_R**2
    with np.errstate(invalid="ignore"):
        found: np.ndarray = np.where(chance_R == 1, np.nan,
                                     (observed_R - chance_R) / (1 - chance_R))
    return found


def _group_of(ids: Sequence[str], groups: Mapping[str, int] | None) -> np.ndarray:
    if groups is None:
        return np.arange(len(ids))
    for id in ids:
        if id not in groups:
            raise ValueError(f"completion {id!r} has no group; give one for each, or none at all")
    group_N: np.ndarray = np.unique([groups[id] for id in ids], return_inverse=True)[1]
    return group_N


def _tables(
    first_N: np.ndarray, second_N: np.ndarray, group_N: np.ndarray, labels: int
) -> np.ndarray:
    tables_GLL = np.zeros((int(group_N.max()) + 1, labels, labels), dtype=np.int64)
    np.add.at(tables_GLL, (group_N, first_N, second_N), 1)
    return tables_GLL


def _interval(tables_GLL: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    n = len(tables_GLL)
    if n < FEWEST:
        return float("nan"), float("nan")
    picked_RG = generator(seed, "bootstrap", str(n)).integers(0, n, size=(draws, n))
    kappa_R = kappas(np.stack([tables_GLL[picked_G].sum(axis=0) for picked_G in picked_RG]))
    defined_R = kappa_R[~np.isnan(kappa_R)]
    if len(defined_R) < (1 - _MOST_UNDEFINED) * draws:
        return float("nan"), float("nan")
    low, high = np.quantile(defined_R, [0.025, 0.975])
    return float(low), float(high)
