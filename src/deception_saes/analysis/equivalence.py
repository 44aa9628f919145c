"""Paired contrasts over questions: is there a difference, is it too small to matter, could it have
been seen at all.

Equivalence is two one-sided tests at 5% (TOST; Schuirmann 1987, J. Pharmacokinet. Biopharm. 15,
657-680): the 90% interval lies within ±margin, a margin fixed before the data are seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from deception_saes.analysis.bootstrap import (
    FEWEST,
    Clusters,
    mean_interval,
    place_of,
    standard_error,
)

Outcome = Literal["equivalent", "different", "inconclusive"]


@dataclass(frozen=True)
class Contrast:
    """A mean of paired differences, one a question, all but `n`, `clusters` and `p` in their unit.
    Intervals are percentile bootstrap intervals from the same resamples, NaN below FEWEST clusters.
    """

    mean: float
    low: float
    high: float
    """95% interval."""
    low90: float
    high90: float
    """90% interval."""
    n: int
    clusters: int
    """Of the questions; n if each is by itself."""
    sd: float
    """√n times the standard error of the mean, see `bootstrap.standard_error`: without clusters
    the SD over questions. NaN for one cluster."""
    p: float
    """Two-sided, paired t-test against 0. Where all differences are one number, sd is 0 and t has
    no value: p is 1 if they are 0, else 0. NaN for one cluster."""
    detectable: float
    """The true difference that a two-sided test at 5% finds with 80% power at this n and sd,
    (z_.975 + z_.8) sd / √n."""


def contrast(
    per_question: ArrayLike, draws: int, seed: int, clusters: Clusters = None
) -> Contrast:
    """The contrast of paired differences, [n], one a question.

    draws, seed: of the bootstrap, see `mean_interval`, whose ValueErrors it raises.
    """
    values = np.asarray(per_question, dtype=np.float64)
    wide = mean_interval(values, draws, seed, clusters=clusters)
    narrow = mean_interval(values, draws, seed, level=0.9, clusters=clusters)
    count = len(np.unique(place_of(len(values), clusters)))
    sd, p = _spread_and_p(values, clusters, count)
    detectable = (_z(0.975) + _z(0.8)) * sd / math.sqrt(wide.n)
    return Contrast(wide.mean, wide.low, wide.high, narrow.low, narrow.high, wide.n, count, sd, p,
                    detectable)


def widened(found: Contrast, sigma: float, freedom: int) -> Contrast:
    """The contrast with the uncertainty of what was estimated before it, as if both were normal.

    sigma: SD, in the contrast's unit, of its mean over draws of what the treatment was learned
    from; freedom: of how many independent draws, few of which call for t instead of a normal.
    Questions alone say how a *given* edit acts on other questions; an edit learned from noise
    acts on all of them alike, and an interval over questions then excludes 0 far too often.
    `sd` grows as if more questions made sigma smaller in the same measure.
    """
    if not found.sd > 0 or not sigma > 0:
        return found
    sigma *= float(scipy.stats.t.ppf(0.975, freedom)) / _z(0.975)
    factor = float(np.sqrt(1 + found.n * sigma**2 / found.sd**2))
    ends = {name: found.mean + factor * (getattr(found, name) - found.mean)
            for name in ("low", "high", "low90", "high90")}
    error = factor * found.sd / np.sqrt(found.n)
    p = float(2 * scipy.stats.t.sf(abs(found.mean) / error, found.clusters - 1))
    return replace(found, **ends, sd=factor * found.sd, p=p,
                   detectable=factor * found.detectable)


def verdict(contrast: Contrast, margin: float) -> Outcome:
    """What the intervals say of a true difference; margin in the contrast's unit.

    "equivalent": the 90% interval lies within ±margin, whether or not the 95% one includes 0: a
    difference that is there, yet smaller than matters, is no difference here.
    "different": the 95% interval lies beyond the margin, on one side of it.
    "inconclusive": neither, or fewer than FEWEST clusters.
    Raises ValueError if the margin is not above 0 and finite.
    """
    _require_margin(margin)
    if contrast.clusters < FEWEST:
        return "inconclusive"
    if -margin <= contrast.low90 and contrast.high90 <= margin:
        return "equivalent"
    if contrast.low > margin or contrast.high < -margin:
        return "different"
    return "inconclusive"


def verdict_by_share(
    per_question: ArrayLike, whole: ArrayLike, share: float, draws: int, seed: int,
    clusters: Clusters = None,
) -> Outcome:
    """As `verdict`, of paired differences, [n], against a margin that is a share of the mean of
    `whole`, [n], the same questions'. Both are resampled together, so that the margin's own
    uncertainty counts. Means what it says only where the mean of `whole` lies above 0."""
    values, margins = np.asarray(per_question), share * np.asarray(whole)
    above, below = (contrast(of, draws, seed, clusters)
                    for of in (values - margins, values + margins))
    if above.high90 <= 0 <= below.low90:
        return "equivalent"
    return "different" if above.low > 0 or below.high < 0 else "inconclusive"


def questions_needed(sd: float, margin: float) -> int:
    """Questions at which TOST at 5% finds equivalence with 80% power if the true difference is 0.

    Normal approximation for one sample, ((z_.95 + z_.9) sd / margin)², rounded up (Chow, Shao and
    Wang 2008, Sample Size Calculations in Clinical Research, ch. 3); never below FEWEST. sd,
    margin: in one unit.
    Raises ValueError if the margin is not above 0 and finite, or sd is negative or not finite.
    """
    _require_margin(margin)
    if not 0 <= sd < math.inf:
        raise ValueError(f"sd {sd} is not a spread: it must be finite and not negative")
    root = (_z(0.95) + _z((1 + 0.8) / 2)) * sd / margin
    return max(FEWEST, math.ceil(root**2))


def holm(p_values: ArrayLike) -> np.ndarray:
    """p-values adjusted for their number, [tests] (Holm 1979, Scand. J. Statist. 6, 65-70).

    Holds under any dependence between the tests. NaN, a test that was not made, stays NaN and is
    not counted. Raises ValueError if p_values is not a list or one lies outside 0 to 1.
    """
    p_T = np.asarray(p_values, dtype=np.float64)
    if p_T.ndim != 1:
        raise ValueError(f"p-values to adjust are one list, got shape {p_T.shape}")
    made = np.flatnonzero(~np.isnan(p_T))
    if ((p_T[made] < 0) | (p_T[made] > 1)).any():
        raise ValueError(f"p-values lie between 0 and 1, got {p_T[made].min()} to "
                         f"{p_T[made].max()}")
    order = made[np.argsort(p_T[made], kind="stable")]
    stepped = p_T[order] * (len(order) - np.arange(len(order)))
    adjusted = np.full(len(p_T), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted


def _spread_and_p(values: np.ndarray, clusters: Clusters, count: int) -> tuple[float, float]:
    if count == 1:
        return math.nan, math.nan
    if (values == values[0]).all():
        return 0.0, float(values[0] == 0)
    error = standard_error(values, clusters)
    p = 2 * scipy.stats.t.sf(abs(values.mean()) / error, count - 1) if error > 0 else 0.0
    return math.sqrt(len(values)) * error, float(p)


def _z(quantile: float) -> float:
    return NormalDist().inv_cdf(quantile)


def _require_margin(margin: float) -> None:
    if not 0 < margin < math.inf:
        raise ValueError(f"a margin of equivalence is above 0 and finite, got {margin}")
