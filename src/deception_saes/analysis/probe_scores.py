"""How well held-out scores tell deceptive from honest completions.

Balanced accuracy is pooled over scenarios at threshold 0. AUROC is that of pairs of one cell, that
is, of one scenario and one probe, averaged over scenarios: scores of different probes differ in
their offset, and pooling them before ranking lowers the AUROC of a probe that knows nothing
(Airola et al. 2011, Comput. Stat. Data Anal. 55, 1828-1844).

Whether one probe is better than another is judged on the same completions, pair by pair.

Shape suffixes: N completions, L layers or other kinds of probe, R resamples, P permutations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from deception_saes.analysis.bootstrap import percentiles
from deception_saes.analysis.folds import Design, resampled_weights
from deception_saes.rng import generator

TIE = 1e-9
"""Scores, which are logits, that differ by less differ by rounding alone."""
_DRAWS_AT_ONCE = 1000
_SATURATED = 0.95  # of what all dimensions gain over chance


@dataclass(frozen=True)
class Performance:
    """How well probes do, from 0 to 1: of each, [L], or of each in each resample or permutation,
    [R, L]."""

    accuracy: np.ndarray
    """Balanced accuracy."""
    auroc: np.ndarray

    @property
    def peak(self) -> np.ndarray:
        """The probe of highest balanced accuracy; of several, that of the highest AUROC among
        them, then the first. An integer [] or [R]."""
        # two accuracies differ by more than 1e-6 or not at all, AUROCs by less than 1
        return np.asarray(np.argmax(self.accuracy + 1e-6 * np.nan_to_num(self.auroc), axis=-1))


def interval(
    point: float, resampled_R: np.ndarray, widen: float = 1.0, within: tuple[float, float] = (0, 1)
) -> tuple[float, float]:
    """95% percentile interval, its ends `widen` times as far from the point, see
    `analysis.probes.widening`; within: what the quantity is bounded by."""
    low, high = percentiles(resampled_R[~np.isnan(resampled_R)])
    ends = (point - widen * (point - low), point + widen * (high - point))
    return (float(np.clip(ends[0], *within)), float(np.clip(ends[1], *within)))


def measure(scores_LN: np.ndarray, of: Design, cell_N: np.ndarray | None = None) -> Performance:
    """Balanced accuracy and AUROC of held-out scores.

    scores_LN: higher for deceptive, threshold 0. cell_N: what may be ranked against each other, by
    default a scenario's completions in one fold.
    """
    ones_RN = np.ones((1, len(of.deceptive_N)), dtype=np.float32)
    found = _weighted(scores_LN, of, ones_RN, of.cell_N if cell_N is None else cell_N)
    return Performance(found.accuracy[0], found.auroc[0])


def bootstrap(
    scores_LN: np.ndarray, of: Design, draws: int, seed: int, cell_N: np.ndarray | None = None
) -> Performance:
    """What `measure` gives in resamples of the completions, the fitted probes being held fixed.

    One design and seed mean the same resamples, so that probes can be compared in each.
    """
    weights_RN = resampled_weights(of, draws, seed)
    cell_N = of.cell_N if cell_N is None else cell_N
    parts = [_weighted(scores_LN, of, weights_RN[start : start + _DRAWS_AT_ONCE], cell_N)
             for start in range(0, draws, _DRAWS_AT_ONCE)]
    return Performance(np.concatenate([part.accuracy for part in parts]),
                    np.concatenate([part.auroc for part in parts]))


def scenario_auroc(scores_N: np.ndarray, of: Design, cell_N: np.ndarray | None = None
                   ) -> np.ndarray:
    """AUROC of each scenario, [scenarios]; NaN where no honest and deceptive completion share a
    cell."""
    cell_N = of.cell_N if cell_N is None else cell_N
    won, pairs = np.zeros(len(of.scenarios)), np.zeros(len(of.scenarios))
    for scenario, honest, deceptive in _cells(of, cell_N):
        beats = _beats(scores_N[None], honest, deceptive)
        won[scenario] += beats.sum()
        pairs[scenario] += beats.size
    auroc_S: np.ndarray = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return auroc_S


def measure_permuted(scores_PN: np.ndarray, labels_PN: np.ndarray, of: Design
                     ) -> tuple[np.ndarray, np.ndarray]:
    """Balanced accuracy and AUROC of scores of probes trained on permuted labels, each against its
    own labels, both [P]."""
    accuracy_P = balanced_accuracies(scores_PN, labels_PN, np.ones((1, scores_PN.shape[1])))[0]
    won, pairs = (np.zeros((len(labels_PN), len(of.scenarios))) for _ in range(2))
    for cell in np.unique(of.cell_N):
        rows = np.flatnonzero(of.cell_N == cell)
        scores, labels = scores_PN[:, rows], labels_PN[:, rows]
        beats = _above(scores[:, :, None] - scores[:, None, :])
        compared = labels[:, :, None] & ~labels[:, None, :]
        won[:, of.scenario_N[rows[0]]] += (beats * compared).sum(axis=(1, 2))
        pairs[:, of.scenario_N[rows[0]]] += compared.sum(axis=(1, 2))
    auroc = np.divide(won, pairs, out=np.full(won.shape, np.nan), where=pairs > 0)
    return accuracy_P, np.nanmean(auroc, axis=1)


def balanced_accuracies(
    scores_PN: np.ndarray, labels_PN: np.ndarray, weights_RN: np.ndarray
) -> np.ndarray:
    """Balanced accuracy of each probe against its own labels, [R, P], completions counted
    `weights_RN` times each."""
    above_PN = _above(scores_PN)
    rates = [weights_RN @ (right_PN * of_label).T / (weights_RN @ of_label.T.astype(np.float64))
             for right_PN, of_label in ((above_PN, labels_PN), (1 - above_PN, ~labels_PN))]
    mean_RP: np.ndarray = (rates[0] + rates[1]) / 2
    return mean_RP


def p_values(observed_L: np.ndarray, null_PL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-sided p of every layer, (1 + permutations at least as large) / (permutations + 1), and
    the same against the largest of all layers in each permutation, which holds for all layers
    together (Westfall and Young 1993). Both [L]."""
    # two accuracies that differ by less differ by rounding
    at_least = null_PL >= observed_L - 1e-9
    largest = null_PL.max(axis=1, keepdims=True) >= observed_L - 1e-9
    p_L, p_max_L = ((1 + of.sum(axis=0)) / (1 + len(null_PL)) for of in (at_least, largest))
    return p_L, p_max_L


def saturation(components: Sequence[int], accuracy: np.ndarray) -> np.ndarray:
    """The smallest number of components whose balanced accuracy is at least 95% of the way from
    chance to that of all dimensions, integers [...].

    components: ascending, the last being all dimensions. accuracy: from 0 to 1, [..., components].
    Where all dimensions are no better than chance there is nothing to share and the number, which
    always exists, means nothing.
    """
    accuracy = np.asarray(accuracy)
    if list(components) != sorted(components) or accuracy.shape[-1] != len(components):
        raise ValueError(f"{accuracy.shape[-1]} accuracies for components {list(components)}; "
                         "expected one for each, the numbers ascending")
    enough = 0.5 + _SATURATED * (accuracy[..., -1:] - 0.5)
    enough = np.minimum(enough, accuracy[..., -1:])  # below chance, all dimensions must do
    # two accuracies that differ by less differ by rounding
    first = np.argmax(accuracy >= enough - 1e-9, axis=-1)
    return np.asarray(np.asarray(components)[first])


@dataclass(frozen=True)
class Paired:
    """Probes beside their rivals."""

    difference_L: np.ndarray
    """Balanced accuracy of each probe less that of its rival, from -1 to 1."""
    p_L: np.ndarray
    """Two-sided, of exchanged probes."""
    exchanged_PL: np.ndarray
    """The differences where probes and rivals are exchanged at random."""

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
    right_LN, rival_right_LN = (_above(np.where(of.deceptive_N, scores, -scores))
                                for scores in (scores_LN, rivals_LN))
    count_N = np.where(of.deceptive_N, of.deceptive_N.sum(), (~of.deceptive_N).sum())
    gain_LN = (right_LN - rival_right_LN) / (2 * count_N)
    signs_PG = generator(seed, "exchanged").choice([-1.0, 1.0], size=(draws, of.group_N.max() + 1))
    exchanged_PL = signs_PG[:, of.group_N] @ gain_LN.T
    difference_L = gain_LN.sum(axis=1)
    at_least = np.abs(exchanged_PL) >= np.abs(difference_L) - TIE
    return Paired(difference_L, (1 + at_least.sum(axis=0)) / (1 + draws), exchanged_PL)


def least_detectable(standard_error: float, n: int, n_other: int) -> float:
    """The difference that a two-sided test at 5% finds with 80% power, by the standard error of
    `n` completions, if there were `n_other` of them."""
    reach = scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8)
    return float(reach * standard_error * np.sqrt(n / n_other))


def _weighted(
    scores_LN: np.ndarray, of: Design, weights_RN: np.ndarray, cell_N: np.ndarray
) -> Performance:
    accuracy_RL = balanced_accuracies(scores_LN, np.broadcast_to(of.deceptive_N, scores_LN.shape),
                                      weights_RN.astype(np.float64))
    shape = (len(of.scenarios), len(weights_RN), len(scores_LN))
    won_SRL, pairs_SR = np.zeros(shape), np.zeros(shape[:2])
    for scenario, honest, deceptive in _cells(of, cell_N):
        w_RP = (weights_RN[:, deceptive, None] * weights_RN[:, None, honest]).reshape(
            len(weights_RN), -1)
        won_SRL[scenario] += w_RP @ _beats(scores_LN, honest, deceptive).T
        pairs_SR[scenario] += w_RP.sum(axis=1)
    auroc_SRL = np.divide(won_SRL, pairs_SR[..., None], out=np.full(shape, np.nan),
                          where=pairs_SR[..., None] > 0)
    compared_R = (pairs_SR > 0).sum(axis=0)
    auroc_RL = np.nansum(auroc_SRL, axis=0) / np.where(compared_R > 0, compared_R, np.nan)[:, None]
    return Performance(accuracy_RL, auroc_RL)


def _cells(of: Design, cell_N: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Scenario, honest and deceptive rows of every cell that has both."""
    for cell in np.unique(cell_N):
        rows = np.flatnonzero(cell_N == cell)
        honest, deceptive = rows[~of.deceptive_N[rows]], rows[of.deceptive_N[rows]]
        if len(honest) and len(deceptive):
            yield int(of.scenario_N[rows[0]]), honest, deceptive


def _beats(scores_LN: np.ndarray, honest: np.ndarray, deceptive: np.ndarray) -> np.ndarray:
    """1 for each pair in which the deceptive completion scores higher, ½ for a tie, [L, pairs]."""
    gaps = scores_LN[:, deceptive, None] - scores_LN[:, None, honest]
    return _above(gaps.reshape(len(scores_LN), -1)).astype(np.float32)


def _above(scores: np.ndarray) -> np.ndarray:
    """1 above 0, 0 below, ½ at it."""
    above: np.ndarray = (scores > TIE) + 0.5 * (np.abs(scores) <= TIE)
    return above
