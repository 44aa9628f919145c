"""Bootstrap intervals over questions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deception_saes.rng import generator

FEWEST = 5
"""Below this many questions a bootstrap interval says nothing."""


@dataclass(frozen=True)
class Interval:
    """A mean over questions with its percentile bootstrap interval; NaN ends if n < FEWEST."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def columns(self) -> dict[str, float]:
        """As columns of a tidy table."""
        return {"value": self.mean, "ci_low": self.low, "ci_high": self.high, "n": self.n}


def mean_interval(
    per_question: ArrayLike, draws: int, seed: int, level: float = 0.95
) -> Interval:
    """Mean with a percentile bootstrap interval (Efron and Tibshirani 1993, ch. 13).

    per_question: [n], one number a question. Give paired differences for a contrast: resampling
    questions keeps their pairing. One n and seed mean the same resamples, so that intervals of
    several quantities of the same questions are comparable.
    Raises ValueError for no values, or one that is not finite.
    """
    values = np.asarray(per_question, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"a mean over questions needs a list of at least one number, "
                         f"got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(values))} of {len(values)} values are "
                         "not finite; a mean over them says nothing")
    n = len(values)
    if n < FEWEST:
        return Interval(float(values.mean()), float("nan"), float("nan"), n)
    picked = generator(seed, "bootstrap", str(n)).integers(0, n, size=(draws, n))
    means = values[picked].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high), n)


def ratio_interval(
    numerators: ArrayLike, denominators: ArrayLike, draws: int, seed: int, level: float = 0.95
) -> Interval:
    """Sum of numerators over sum of denominators, both [n] by question, with the interval that
    `mean_interval` would give a mean: the same questions are resampled in both.

    Raises ValueError if the lists differ in length, are empty or hold what is not finite.
    """
    above, below = (np.asarray(x, dtype=np.float64) for x in (numerators, denominators))
    if above.shape != below.shape or above.ndim != 1 or len(above) == 0:
        raise ValueError(f"a ratio over questions needs two lists of one length, got shapes "
                         f"{above.shape} and {below.shape}")
    if not (np.isfinite(above).all() and np.isfinite(below).all()):
        raise ValueError("a numerator or denominator is not finite; their ratio says nothing")
    n = len(above)
    ratio = float(above.sum() / below.sum())
    if n < FEWEST:
        return Interval(ratio, float("nan"), float("nan"), n)
    picked = generator(seed, "bootstrap", str(n)).integers(0, n, size=(draws, n))
    ratios = above[picked].sum(axis=1) / below[picked].sum(axis=1)
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return Interval(ratio, float(low), float(high), n)
