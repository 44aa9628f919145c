"""Bootstrap intervals over questions, or over whatever else was drawn at random; p by drawing.

Questions that resemble one another are drawn together: `clusters` gives a label a question, and
whole clusters are resampled (Davison and Hinkley 1997, ch. 3.8); None: each question by itself.

Shape suffixes: R resamples, C clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deception_saes.rng import generator

Clusters = Sequence[str] | None

FEWEST = 5
"""Below this many clusters a bootstrap interval says nothing."""


@dataclass(frozen=True)
class Interval:
    """A number from n questions with its percentile bootstrap interval; NaN ends if they are of
    fewer clusters than FEWEST."""

    mean: float
    low: float
    high: float
    n: int

    def columns(self, name: str = "value") -> dict[str, float]:
        """As columns of a tidy table: `name`, ci_low, ci_high, n."""
        return {name: self.mean, "ci_low": self.low, "ci_high": self.high, "n": self.n}


def resampled_places(n: int, draws: int, seed: int) -> np.ndarray:
    """Which of n clusters each resample holds, [draws, n]. One n and seed mean the same resamples,
    so that intervals of several quantities of the same questions are comparable."""
    return generator(seed, "bootstrap", str(n)).integers(0, n, size=(draws, n))


def percentiles(
    drawn_R: np.ndarray, shares: tuple[float, float] = (0.025, 0.975)
) -> tuple[float, float]:
    """Ends of the percentile interval (Efron and Tibshirani 1993, ch. 13): below each lies this
    share of the draws. NaN if a draw is."""
    low, high = np.quantile(drawn_R, shares)
    return float(low), float(high)


def place_of(n: int, clusters: Clusters) -> np.ndarray:
    """The number of each question's cluster, from 0, [n].

    Raises ValueError if there is not one label a question.
    """
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} cluster labels for {n} questions")
    place_Q: np.ndarray = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return place_Q


def mean_interval(
    per_question: ArrayLike, draws: int, seed: int, level: float = 0.95, clusters: Clusters = None
) -> Interval:
    """Mean of one number a question, [n].

    Give paired differences for a contrast: resampling questions keeps their pairing.
    Raises ValueError for no values, one that is not finite, or another number of labels.
    """
    values = np.asarray(per_question, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"a mean over questions needs a list of at least one number, "
                         f"got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(values))} of {len(values)} values are "
                         "not finite; a mean over them says nothing")
    return _interval(values, np.ones_like(values), draws, seed, level, clusters)


def ratio_interval(
    numerators: ArrayLike, denominators: ArrayLike, draws: int, seed: int, level: float = 0.95,
    clusters: Clusters = None,
) -> Interval:
    """Sum of numerators over sum of denominators, both [n] by question; the same questions are
    resampled in both.

    Raises ValueError if the lists differ in length, are empty or hold what is not finite, or for
    another number of labels.
    """
    above, below = (np.asarray(x, dtype=np.float64) for x in (numerators, denominators))
    if above.shape != below.shape or above.ndim != 1 or len(above) == 0:
        raise ValueError(f"a ratio over questions needs two lists of one length, got shapes "
                         f"{above.shape} and {below.shape}")
    if not (np.isfinite(above).all() and np.isfinite(below).all()):
        raise ValueError("a numerator or denominator is not finite; their ratio says nothing")
    return _interval(above, below, draws, seed, level, clusters)


def _interval(
    above: np.ndarray, below: np.ndarray, draws: int, seed: int, level: float, clusters: Clusters
) -> Interval:
    """Sum of `above` over sum of `below`."""
    n, place_Q = len(above), place_of(len(above), clusters)
    found = float(above.sum() / below.sum())
    above_C, below_C = (np.bincount(place_Q, weights=of) for of in (above, below))
    if len(above_C) < FEWEST:
        return Interval(found, float("nan"), float("nan"), n)
    picked = resampled_places(len(above_C), draws, seed)
    drawn_R = above_C[picked].sum(axis=1) / below_C[picked].sum(axis=1)
    return Interval(found, *percentiles(drawn_R, ((1 - level) / 2, (1 + level) / 2)), n)


def standard_error(per_question: np.ndarray, clusters: Clusters = None) -> float:
    """Standard error of a mean over questions whose clusters were drawn at random: of C clusters,
    the root of C / (C - 1) times the sum of their squared sums of residuals, over n (Liang and
    Zeger 1986, doi:10.1093/biomet/73.1.13); SD / √n if each is by itself. NaN for one cluster."""
    n, place_Q = len(per_question), place_of(len(per_question), clusters)
    residual_C = np.bincount(place_Q, weights=per_question - per_question.mean())
    count = len(residual_C)
    if count < 2:
        return float("nan")
    return float(np.sqrt(count / (count - 1) * (residual_C**2).sum()) / n)


def empirical_p(observed: float, null_R: np.ndarray) -> float:
    """(1 + number of draws at least as large) / (draws + 1)."""
    return float((1 + (null_R >= observed).sum()) / (len(null_R) + 1))
