"""Means over questions crossed with something else that was drawn at random, such as wordings.

Shape suffixes: Q questions, W wordings.
"""

from __future__ import annotations

import numpy as np
import scipy

from deception_saes.analysis.bootstrap import FEWEST, Clusters, Interval, place_of, standard_error


def wordings_interval(
    one_QW: np.ndarray, other_QW: np.ndarray, level: float = 0.95, clusters: Clusters = None
) -> Interval:
    """Mean difference between two conditions, each asked of the same questions in wordings of its
    own, with an interval over questions and over the wordings of either; n: questions.

    The variance of the mean is V = V_Q + V_1 + V_2 - V_E: between clusters of questions, between
    the wordings of each condition, and the residual, which all three hold, taken off again; at
    least the larger of V_Q and V_1 + V_2. Student's t with the degrees of freedom of Satterthwaite
    (1946, doi:10.2307/3002019). NaN ends below FEWEST clusters or wordings.
    Raises ValueError if the questions differ in number.
    """
    if len(one_QW) != len(other_QW):
        raise ValueError(f"{len(one_QW)} and {len(other_QW)} questions; both conditions must be "
                         "asked the same")
    mean, n = float(one_QW.mean() - other_QW.mean()), len(one_QW)
    count = len(np.unique(place_of(n, clusters)))
    if min(count, one_QW.shape[1], other_QW.shape[1]) < FEWEST:
        return Interval(mean, float("nan"), float("nan"), n)
    of_questions = standard_error(one_QW.mean(1) - other_QW.mean(1), clusters) ** 2
    terms = [(of_questions, count - 1)]
    residual = 0.0
    for of_QW in (one_QW, other_QW):
        wordings = of_QW.shape[1]
        terms.append((float(np.var(of_QW.mean(0), ddof=1)) / wordings, wordings - 1))
        rest_QW = of_QW - of_QW.mean(0) - of_QW.mean(1, keepdims=True) + of_QW.mean()
        residual += float((rest_QW**2).sum()) / ((n - 1) * (wordings - 1)) / of_QW.size
    of_wordings = terms[1][0] + terms[2][0]
    variance = max(of_questions + of_wordings - residual, of_questions, of_wordings)
    if variance == 0:
        return Interval(mean, mean, mean, n)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in terms)
    half = float(scipy.stats.t.ppf((1 + level) / 2, freedom)) * variance**0.5
    return Interval(mean, mean - half, mean + half, n)
