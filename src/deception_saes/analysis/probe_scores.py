"""How well held-out scores tell deceptive from honest completions.

Balanced accuracy is pooled over scenarios at threshold 0. AUROC is that of pairs of one cell, that
is, of one scenario and one probe, averaged over scenarios: scores of different probes differ in
their offset, and pooling them before ranking lowers the AUROC of a probe that knows nothing
(Airola et al. 2011, Comput. Stat. Data Anal. 55, 1828-1844).

Shape suffixes: N completions, L layers or other kinds of probe, R resamples, P permutations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deception_saes.analysis.folds import Design, resampled_weights

TIE = 1e-9
"""Scores, which are logits, that differ by less differ by rounding alone."""
_DRAWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Measured:
    """accuracy, auroc: from 0 to 1, of each probe, [L]; or of each probe in each resample or
    permutation, [R, L]."""

    accuracy: np.ndarray
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
    `analysis.permutation.widening`; within: what the quantity is bounded by."""
    low, high = np.nanquantile(resampled_R, [0.025, 0.975])
    ends = (point - widen * (point - low), point + widen * (high - point))
    return (float(np.clip(ends[0], *within)), float(np.clip(ends[1], *within)))


def measure(scores_LN: np.ndarray, of: Design, cell_N: np.ndarray | None = None) -> Measured:
    """Balanced accuracy and AUROC of held-out scores.

    scores_LN: higher for deceptive, threshold 0. cell_N: what may be ranked against each other, by
    default a scenario's completions in one fold.
    """
    ones_RN = np.ones((1, len(of.deceptive_N)), dtype=np.float32)
    found = _weighted(scores_LN, of, ones_RN, of.cell_N if cell_N is None else cell_N)
    return Measured(found.accuracy[0], found.auroc[0])


def bootstrap(
    scores_LN: np.ndarray, of: Design, draws: int, seed: int, cell_N: np.ndarray | None = None
) -> Measured:
    """What `measure` gives in resamples of the completions, the fitted probes being held fixed.

    One design and seed mean the same resamples, so that probes can be compared in each.
    """
    weights_RN = resampled_weights(of, draws, seed)
    cell_N = of.cell_N if cell_N is None else cell_N
    parts = [_weighted(scores_LN, of, weights_RN[start : start + _DRAWS_AT_ONCE], cell_N)
             for start in range(0, draws, _DRAWS_AT_ONCE)]
    return Measured(np.concatenate([part.accuracy for part in parts]),
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


def _weighted(
    scores_LN: np.ndarray, of: Design, weights_RN: np.ndarray, cell_N: np.ndarray
) -> Measured:
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
    return Measured(accuracy_RL, auroc_RL)


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
