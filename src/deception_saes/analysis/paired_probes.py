"""Whether one probe is better than another on the same completions.

Shape suffixes: N completions, L probes, P permutations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deception_saes.analysis.folds import Design
from deception_saes.analysis.probe_scores import TIE
from deception_saes.rng import generator


@dataclass(frozen=True)
class Paired:
    """difference_L: balanced accuracy of each probe less that of its rival, from -1 to 1.
    p_L: two-sided, of exchanged probes. exchanged_PL: the differences then."""

    difference_L: np.ndarray
    p_L: np.ndarray
    exchanged_PL: np.ndarray

    @property
    def better(self) -> int:
        """How many probes are better than their rivals, by however little."""
        return int((self.difference_L > TIE).sum())

    @property
    def better_P(self) -> np.ndarray:
        """How many are where probes and rivals are exchanged at random."""
        better_P: np.ndarray = (self.exchanged_PL > TIE).sum(axis=1)
        return better_P


def paired(
    scores_LN: np.ndarray, rivals_LN: np.ndarray, of: Design, draws: int, seed: int
) -> Paired:
    """Compare held-out scores of probes with those of their rivals, one rival each.

    The null is that probe and rival are alike: what they say of a completion is exchanged at
    random, near-duplicates together, and for all pairs of probes at once.
    Raises ValueError if the two are not of one shape.
    """
    if scores_LN.shape != rivals_LN.shape:
        raise ValueError(f"{scores_LN.shape} scores of probes and {rivals_LN.shape} of their "
                         "rivals; expected one rival for each probe")
    right_LN, rival_right_LN = (_right(scores, of) for scores in (scores_LN, rivals_LN))
    count_N = np.where(of.deceptive_N, of.deceptive_N.sum(), (~of.deceptive_N).sum())
    gain_LN = (right_LN - rival_right_LN) / (2 * count_N)
    signs_PG = generator(seed, "exchanged").choice([-1.0, 1.0], size=(draws, of.group_N.max() + 1))
    exchanged_PL = signs_PG[:, of.group_N] @ gain_LN.T
    difference_L = gain_LN.sum(axis=1)
    at_least = np.abs(exchanged_PL) >= np.abs(difference_L) - TIE
    return Paired(difference_L, (1 + at_least.sum(axis=0)) / (1 + draws), exchanged_PL)


def least_detectable(standard_error: float, n: int, n_other: int, power: float = 0.8) -> float:
    """The difference that a two-sided test at 5% finds with this power, by the standard error of
    `n` completions, if there were `n_other` of them."""
    from scipy.stats import norm

    reach = norm.ppf(0.975) + norm.ppf(power)
    return float(reach * standard_error * np.sqrt(n / n_other))


def _right(scores_LN: np.ndarray, of: Design) -> np.ndarray:
    toward_LN = np.where(of.deceptive_N, scores_LN, -scores_LN)
    right_LN: np.ndarray = (toward_LN > TIE) + 0.5 * (np.abs(toward_LN) <= TIE)
    return right_LN
