"""Bootstrap intervals over questions, or over whatever else was drawn at random; p by drawing.

Shape suffixes: R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deception_saes.rng import generator

FEWEST = 5
"""Below this many questions a bootstrap interval says nothing."""


@dataclass(frozen=True)
class Interval:
    """A number from n questions with its percentile bootstrap interval; NaN ends if n < FEWEST."""

    mean: float
    low: float
    high: float
    n: int

    def columns(self, name: str = "value") -> dict[str, float]:
        """As columns of a tidy table: `name`, ci_low, ci_high, n."""
        return {name: self.mean, "ci_low": self.low, "ci_high": self.high, "n": self.n}


def resampled_places(n: int, draws: int, seed: int) -> np.ndarray:
    """Which of n questions each resample holds, [draws, n]. One n and seed mean the same resamples,
    so that intervals of several quantities of the same questions are comparable."""
    return generator(seed, "bootstrap", str(n)).integers(0, n, size=(draws, n))


def percentiles(
    drawn_R: np.ndarray, shares: tuple[float, float] = (0.025, 0.975)
) -> tuple[float, float]:
    """Ends of the percentile interval (Efron and Tibshirani 1993, ch. 13): below each lies this
    share of the draws. NaN if a draw is."""
    low, high = np.quantile(drawn_R, shares)
    return float(low), float(high)


def bootstrap_interval(
    found: float, statistic: Callable[[np.ndarray], np.ndarray], n: int, draws: int, seed: int,
    level: float = 0.95,
) -> Interval:
    """What was found on n questions with its interval.

    statistic: the same in each resample, [draws], given the places of its questions, [draws, n].
    """
    if n < FEWEST:
        return Interval(found, float("nan"), float("nan"), n)
    drawn_R = statistic(resampled_places(n, draws, seed))
    return Interval(found, *percentiles(drawn_R, ((1 - level) / 2, (1 + level) / 2)), n)


def mean_interval(
    per_question: ArrayLike, draws: int, seed: int, level: float = 0.95
) -> Interval:
    """Mean of one number a question, [n].

    Give paired differences for a contrast: resampling questions keeps their pairing.
    Raises ValueError for no values, or one that is not finite.
    """
    values = np.asarray(per_question, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"a mean over questions needs a list of at least one number, "
                         f"got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(values))} of {len(values)} values are "
                         "not finite; a mean over them says nothing")
    return bootstrap_interval(float(values.mean()), lambda picked: values[picked].mean(axis=1),
                              len(values), draws, seed, level)


def ratio_interval(
    numerators: ArrayLike, denominators: ArrayLike, draws: int, seed: int, level: float = 0.95
) -> Interval:
    """Sum of numerators over sum of denominators, both [n] by question; the same questions are
    resampled in both.

    Raises ValueError if the lists differ in length, are empty or hold what is not finite.
    """
    above, below = (np.asarray(x, dtype=np.float64) for x in (numerators, denominators))
    if above.shape != below.shape or above.ndim != 1 or len(above) == 0:
        raise ValueError(f"a ratio over questions needs two lists of one length, got shapes "
                         f"{above.shape} and {below.shape}")
    if not (np.isfinite(above).all() and np.isfinite(below).all()):
        raise ValueError("a numerator or denominator is not finite; their ratio says nothing")
    return bootstrap_interval(
        float(above.sum() / below.sum()),
        lambda picked: above[picked].sum(axis=1) / below[picked].sum(axis=1),
        len(above), draws, seed, level)


def empirical_p(observed: float, null_R: np.ndarray) -> float:
    """(1 + number of draws at least as large) / (draws + 1)."""
    return float((1 + (null_R >= observed).sum()) / (len(null_R) + 1))
