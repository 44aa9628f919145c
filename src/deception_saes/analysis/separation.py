"""How far single features set two kinds of text apart, and what that is by chance: Cohen's d
between the conditions of a question, and in how many completions of either label a feature fires.

Shape suffixes: Q questions, F or S features, N completions, R draws, P labellings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from deception_saes.analysis.bootstrap import Clusters, place_of, resampled_places
from deception_saes.analysis.folds import Design
from deception_saes.rng import generator

LEAST_ACTIVE = 0.05
"""A feature is live if it is active on at least this share of the prompts of both conditions."""
FLOOR = 0.05
"""Least pooled SD that d is divided by, as a share of the median pooled SD of live features."""

_DRAWS_AT_ONCE = 500
_Z95 = 1.959963984540054

# Cohen's d


@dataclass(frozen=True)
class Separation:
    """How far each feature sets two conditions apart."""

    d_F: np.ndarray
    """Cohen's d, first condition minus second; 0 where the SD is 0 and no floor applies."""
    live_F: np.ndarray
    """Which features are live."""
    sd_F: np.ndarray
    """Pooled SD, before the floor."""

    @property
    def best(self) -> int | None:
        """The live feature of largest absolute d, None if none is live."""
        if not self.live_F.any():
            return None
        return int(np.where(self.live_F, np.abs(self.d_F), -1.0).argmax())

    @property
    def d_max(self) -> float:
        """The largest absolute d of a live feature; NaN if none is live."""
        return float("nan") if self.best is None else float(abs(self.d_F[self.best]))

    @property
    def d_mean_live(self) -> float:
        """Mean absolute d of live features; NaN if none is live."""
        return float(np.abs(self.d_F[self.live_F]).mean()) if self.live_F.any() else float("nan")

    @property
    def d_mean_all(self) -> float:
        """Mean absolute d of all features, those of dead ones being 0."""
        return float(np.abs(self.d_F).mean())


def live(first_QF: np.ndarray, second_QF: np.ndarray) -> np.ndarray:
    """Which features are active on at least LEAST_ACTIVE of all prompts, [F]."""
    active_F = (first_QF != 0).sum(axis=0) + (second_QF != 0).sum(axis=0)
    return np.asarray(active_F >= LEAST_ACTIVE * (len(first_QF) + len(second_QF)))


def floor_of(first_QF: np.ndarray, second_QF: np.ndarray) -> float:
    """The least SD to divide by: FLOOR of the median pooled SD of live features; 0 without any."""
    live_F = live(first_QF, second_QF)
    sd_F = separation(first_QF, second_QF, 0.0).sd_F[live_F]
    return FLOOR * float(np.median(sd_F)) if len(sd_F) else 0.0


def separation(first_QF: np.ndarray, second_QF: np.ndarray, floor: float) -> Separation:
    """Unpaired Cohen's d with pooled SD, of the same questions under two conditions.

    first_QF, second_QF: features [questions, features]. floor: least SD, 0 for none.
    Raises ValueError if the shapes differ or if there are fewer than two questions.
    """
    d_RF, sd_RF = _weighted_d(first_QF, second_QF, np.ones((1, len(first_QF))), floor)
    return Separation(d_RF[0], live(first_QF, second_QF), sd_RF[0])


def null_d_max(
    first_QF: np.ndarray, second_QF: np.ndarray, floor: float, draws: int, seed: int
) -> np.ndarray:
    """d_max if the conditions were exchangeable within each question, [draws].

    Each draw swaps the conditions of every question with probability one half; the live features
    are those of the data, which no swap changes. NaN if none is live.
    """
    live_F = live(first_QF, second_QF)
    if not live_F.any():
        return np.full(draws, np.nan)
    first_QF, second_QF = first_QF[:, live_F], second_QF[:, live_F]
    n = len(first_QF)
    signs_RQ = generator(seed, "swapped conditions", str(n)).integers(0, 2, size=(draws, n)) * 2 - 1
    difference_RF = signs_RQ @ (first_QF - second_QF) / n
    # the variances are about the mean of both conditions, which is taken off first: squares of
    # large means would round
    centre_F = (first_QF + second_QF).mean(axis=0) / 2
    squares_F = ((first_QF - centre_F) ** 2 + (second_QF - centre_F) ** 2).sum(axis=0)
    sd_RF = np.sqrt(np.maximum(squares_F - n * difference_RF**2 / 2, 0) / (2 * (n - 1)))
    d_max_R: np.ndarray = np.abs(_divided(difference_RF, sd_RF, floor)).max(axis=1)
    return d_max_R


def resampled_d(
    first_QF: np.ndarray, second_QF: np.ndarray, floor: float, draws: int, seed: int,
    clusters: Clusters = None,
) -> Iterator[np.ndarray]:
    """Cohen's d of every feature in bootstrap resamples of the questions, parts of [draws, F].

    The resamples are those of `mean_interval`.
    """
    place_Q = place_of(len(first_QF), clusters)
    count = int(place_Q.max()) + 1
    picked_RC = resampled_places(count, draws, seed)
    for start in range(0, draws, _DRAWS_AT_ONCE):
        weights_RQ = np.stack([np.bincount(row, minlength=count)[place_Q]
                               for row in picked_RC[start : start + _DRAWS_AT_ONCE]])
        yield _weighted_d(first_QF, second_QF, weights_RQ.astype(np.float64), floor)[0]


def _weighted_d(
    first_QF: np.ndarray, second_QF: np.ndarray, weights_RQ: np.ndarray, floor: float
) -> tuple[np.ndarray, np.ndarray]:
    """d and pooled SD, [R, F], of questions counted `weights_RQ` times each."""
    if first_QF.shape != second_QF.shape or first_QF.ndim != 2 or len(first_QF) < 2:
        raise ValueError(f"Cohen's d needs the same two or more questions under both conditions, "
                         f"got features of shape {first_QF.shape} and {second_QF.shape}")
    n_R1 = weights_RQ.sum(axis=1, keepdims=True)
    means, spread_RF = [], np.zeros((len(weights_RQ), first_QF.shape[1]))
    for x_QF in (first_QF, second_QF):
        centre_F = x_QF.mean(axis=0)
        mean_RF = weights_RQ @ (x_QF - centre_F) / n_R1
        spread_RF += weights_RQ @ (x_QF - centre_F) ** 2 - n_R1 * mean_RF**2
        means.append(centre_F + mean_RF)
    sd_RF = np.sqrt(np.maximum(spread_RF, 0) / (2 * (n_R1 - 1)))
    return _divided(means[0] - means[1], sd_RF, floor), sd_RF


def _divided(difference_RF: np.ndarray, sd_RF: np.ndarray, floor: float) -> np.ndarray:
    d_RF: np.ndarray = np.divide(difference_RF, np.maximum(sd_RF, floor),
                                 out=np.zeros_like(difference_RF),
                                 where=np.maximum(sd_RF, floor) > 0)
    return d_RF


# Rates of firing


def wilson(hits: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95% score interval of a proportion (Wilson 1927, J. Am. Stat. Assoc. 22, 209)."""
    z = _Z95
    n_ = np.asarray(n, dtype=np.float64)
    p = np.asarray(hits, dtype=np.float64) / n_
    centre = (p + z**2 / (2 * n_)) / (1 + z**2 / n_)
    reach = z / (1 + z**2 / n_) * np.sqrt(p * (1 - p) / n_ + z**2 / (4 * n_**2))
    return np.maximum(centre - reach, 0.0), np.minimum(centre + reach, 1.0)


def newcombe(
    hits: ArrayLike, n: ArrayLike, other_hits: ArrayLike, other_n: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95% interval of a difference of two proportions, from their Wilson intervals
    (Newcombe 1998, Stat. Med. 17, 873-890, method 10)."""
    p, q = (np.asarray(a, dtype=np.float64) / np.asarray(b, dtype=np.float64)
            for a, b in ((hits, n), (other_hits, other_n)))
    (p_low, p_high), (q_low, q_high) = wilson(hits, n), wilson(other_hits, other_n)
    found = p - q
    return (found - np.hypot(p - p_low, q_high - q), found + np.hypot(p_high - p, q - q_low))


def rate_differences(fires_NS: np.ndarray, labels_PN: np.ndarray) -> np.ndarray:
    """Rate in the completions labelled True less that in the others, [P, S]."""
    fires = fires_NS.astype(np.float32)
    yes_PN = labels_PN.astype(np.float32)
    no_PN = 1 - yes_PN
    found: np.ndarray = (yes_PN @ fires / yes_PN.sum(axis=1, keepdims=True)
                         - no_PN @ fires / no_PN.sum(axis=1, keepdims=True))
    return found


def within_scenario_p(fires_NS: np.ndarray, of: Design) -> np.ndarray:
    """Two-sided p of every feature, [S], that its rate does not depend on the label within a
    scenario (Mantel and Haenszel 1959, J. Natl. Cancer Inst. 22, 719-748, without continuity
    correction); 1 for a feature that always or never fires in each scenario."""
    excess_S, variance_S = np.zeros(fires_NS.shape[1]), np.zeros(fires_NS.shape[1])
    for scenario in range(len(of.scenarios)):
        rows = of.scenario_N == scenario
        n, deceptive = int(rows.sum()), int(of.deceptive_N[rows].sum())
        if n < 2:
            continue
        fired_S = fires_NS[rows].sum(axis=0)
        excess_S += fires_NS[rows & of.deceptive_N].sum(axis=0) - fired_S * deceptive / n
        variance_S += (deceptive * (n - deceptive) * fired_S * (n - fired_S)
                       / (n**2 * (n - 1.0)))
    z_S = np.divide(np.abs(excess_S), np.sqrt(variance_S), out=np.zeros_like(excess_S),
                    where=variance_S > 0)
    p_S: np.ndarray = 2 * scipy.stats.norm.sf(z_S)
    return p_S


def remeasured(fires_NS: np.ndarray, of: Design) -> tuple[list[int], np.ndarray]:
    """The feature of the largest difference, deceptive less honest, picked without each fold, and
    whether it fires in that fold's completions: the features by fold, and bool [N]."""
    picked, fires_N = [], np.zeros(len(of.deceptive_N), dtype=bool)
    for fold in np.unique(of.fold_N):
        held = of.fold_N == fold
        others = ~held & ~np.isin(of.group_N, of.group_N[held])
        best = int(rate_differences(fires_NS[others], of.deceptive_N[None, others])[0].argmax())
        picked.append(best)
        fires_N[held] = fires_NS[held, best]
    return picked, fires_N
