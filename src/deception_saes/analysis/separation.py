"""How far single features set two conditions apart: Cohen's d, and what it is by chance.

Shape suffixes: Q questions, F features, R draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deception_saes.rng import generator

LEAST_ACTIVE = 0.05
"""A feature is live if it is active on at least this share of the prompts of both conditions."""
FLOOR = 0.05
"""Least pooled SD that d is divided by, as a share of the median pooled SD of live features."""


@dataclass(frozen=True)
class Separation:
    """d_F: Cohen's d of each feature, first condition minus second; 0 where the SD is 0 and no
    floor applies. live_F: which features are live. sd_F: pooled SD, before the floor."""

    d_F: np.ndarray
    live_F: np.ndarray
    sd_F: np.ndarray

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
    active_F = (first_QF != 0).mean(axis=0) + (second_QF != 0).mean(axis=0)
    return np.asarray(active_F / 2 >= LEAST_ACTIVE)


def separation(
    first_QF: np.ndarray, second_QF: np.ndarray, floor: float = FLOOR
) -> Separation:
    """Unpaired Cohen's d with pooled SD, of the same questions under two conditions.

    first_QF, second_QF: features [questions, features].
    Raises ValueError if the shapes differ or if there are fewer than two questions.
    """
    weights_1Q = np.ones((1, len(first_QF)))
    live_F = live(first_QF, second_QF)
    d_RF, sd_RF = _weighted_d(first_QF, second_QF, weights_1Q, live_F, floor)
    return Separation(d_RF[0], live_F, sd_RF[0])


def null_d_max(
    first_QF: np.ndarray, second_QF: np.ndarray, draws: int, seed: int, floor: float = FLOOR
) -> np.ndarray:
    """d_max if the conditions were exchangeable within each question, [draws].

    Each draw swaps the conditions of every question with probability one half; the live features
    are those of the data, which no swap changes.
    """
    live_F = live(first_QF, second_QF)
    first_QF, second_QF = first_QF[:, live_F], second_QF[:, live_F]
    if not live_F.any():
        return np.full(draws, np.nan)
    n = len(first_QF)
    signs_RQ = generator(seed, "swapped conditions", str(n)).integers(0, 2, size=(draws, n)) * 2 - 1
    difference_RF = signs_RQ @ (first_QF - second_QF) / n
    sum_F = (first_QF + second_QF).sum(axis=0) / n
    squares_F = (first_QF**2 + second_QF**2).sum(axis=0)
    # of the two means only their sum and difference matter to the two variances together
    spread_RF = squares_F - n * (sum_F**2 + difference_RF**2) / 2
    sd_RF = np.sqrt(np.maximum(spread_RF, 0) / (2 * (n - 1)))
    d_max_R: np.ndarray = np.abs(_divided(difference_RF, sd_RF, floor)).max(axis=1)
    return d_max_R


def resampled_d(
    first_QF: np.ndarray, second_QF: np.ndarray, draws: int, seed: int, floor: float = FLOOR
) -> np.ndarray:
    """Cohen's d of every feature in bootstrap resamples of the questions, [draws, F].

    One n and seed mean the same resamples, here and in `mean_interval`.
    """
    n = len(first_QF)
    picked = generator(seed, "bootstrap", str(n)).integers(0, n, size=(draws, n))
    weights_RQ = np.stack([np.bincount(row, minlength=n) for row in picked]).astype(np.float64)
    d_RF, _ = _weighted_d(first_QF, second_QF, weights_RQ, live(first_QF, second_QF), floor)
    return d_RF


def _weighted_d(
    first_QF: np.ndarray, second_QF: np.ndarray, weights_RQ: np.ndarray, live_F: np.ndarray,
    floor: float,
) -> tuple[np.ndarray, np.ndarray]:
    """d and pooled SD, [R, F], of questions counted `weights_RQ` times each."""
    if first_QF.shape != second_QF.shape or first_QF.ndim != 2 or len(first_QF) < 2:
        raise ValueError(f"Cohen's d needs the same two or more questions under both conditions, "
                         f"got features of shape {first_QF.shape} and {second_QF.shape}")
    n = len(first_QF)
    means, spread = [], np.zeros((len(weights_RQ), first_QF.shape[1]))
    for x_QF in (first_QF, second_QF):
        centre_F = x_QF.mean(axis=0)  # taken off first: squares of large means would round
        centred_QF = x_QF - centre_F
        mean_RF = weights_RQ @ centred_QF / n
        spread += weights_RQ @ centred_QF**2 - n * mean_RF**2
        means.append(centre_F + mean_RF)
    sd_RF = np.sqrt(np.maximum(spread, 0) / (2 * (n - 1)))
    return _divided(means[0] - means[1], sd_RF, floor, live_F), sd_RF


def _divided(
    difference_RF: np.ndarray, sd_RF: np.ndarray, floor: float, live_F: np.ndarray | None = None
) -> np.ndarray:
    of_live_RF = sd_RF if live_F is None else sd_RF[:, live_F]
    least_R1 = np.zeros((len(sd_RF), 1))
    if of_live_RF.shape[1]:
        least_R1 = floor * np.median(of_live_RF, axis=1, keepdims=True)
    sd_RF = np.maximum(sd_RF, least_R1)
    d_RF: np.ndarray = np.divide(difference_RF, sd_RF, out=np.zeros_like(difference_RF),
                                 where=sd_RF > 0)
    return d_RF
