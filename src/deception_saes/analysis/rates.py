"""In how many completions a feature fires: differences between labels, and their intervals.

Shape suffixes: N completions, S features, P labellings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from deception_saes.analysis.folds import Design

_Z95 = 1.959963984540054


def wilson(hits: ArrayLike, n: ArrayLike, z: float = _Z95) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the score interval of a proportion (Wilson 1927, J. Am. Stat. Assoc. 22, 209)."""
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
    from scipy.stats import norm

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
    p_S: np.ndarray = 2 * norm.sf(z_S)
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
