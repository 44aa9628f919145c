"""Edits of the residual through an SAE's features, and the same edits without an SAE.

An edit takes residuals x [Q, D] of some prompts to others. What it needs to know of genuine and
sandbag prompts it takes from *training* questions, which are not those edited.

Shape suffixes: Q prompts edited, T training questions, D d_model, S d_sae, N draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from deception_saes.rng import generator
from deception_saes.saes.sae import Sae

Centre = Literal["median", "mean"]
DOSES = (0.0, 0.25, 0.5, 0.75, 1.0)

_LEAST_ACTIVE = 0.05  # as a share of training prompts, for a feature to count as live
_FLOOR = 0.05  # under the SD of a feature's d, as a share of the median of live ones


@dataclass(frozen=True)
class Training:
    """The training questions under both conditions.

    genuine_TD, sandbag_TD: residuals, one row a question, questions in one order.
    centre: what is typical of a condition's features: their median, or their mean.
    """

    sae: Sae
    genuine_TD: torch.Tensor
    sandbag_TD: torch.Tensor
    centre: Centre = "median"

    @cached_property
    def genuine_TS(self) -> torch.Tensor:
        return self.sae.encode(self.genuine_TD)

    @cached_property
    def sandbag_TS(self) -> torch.Tensor:
        return self.sae.encode(self.sandbag_TD)

    @cached_property
    def m_G(self) -> torch.Tensor:
        """Typical features [S] of genuine prompts."""
        return centre_of(self.genuine_TS, self.centre)

    @cached_property
    def m_S(self) -> torch.Tensor:
        """Typical features [S] of sandbag prompts."""
        return centre_of(self.sandbag_TS, self.centre)

    @property
    def mean_difference_D(self) -> torch.Tensor:
        """Mean genuine residual less mean sandbag residual."""
        return self.genuine_TD.mean(0) - self.sandbag_TD.mean(0)

    @cached_property
    def live(self) -> torch.Tensor:
        """Indices of the features active on at least one training prompt in twenty."""
        active_S = (self.genuine_TS > 0).sum(0) + (self.sandbag_TS > 0).sum(0)
        return (active_S >= _LEAST_ACTIVE * 2 * len(self.genuine_TS)).nonzero()[:, 0]

    @cached_property
    def by_d(self) -> torch.Tensor:
        """Indices of the live features by absolute Cohen's d, largest first."""
        if not len(self.live):
            return self.live
        genuine, sandbag = self.genuine_TS[:, self.live], self.sandbag_TS[:, self.live]
        sd = ((genuine.var(0) + sandbag.var(0)) / 2).sqrt()
        sd = sd.clamp(min=_FLOOR * float(sd.median()))
        d = (genuine.mean(0) - sandbag.mean(0)) / sd
        return self.live[d.abs().argsort(descending=True, stable=True)]

    def decoded(self, features: torch.Tensor) -> torch.Tensor:
        """features W_dec: a difference of residuals, without the decoder's bias."""
        return features @ self.sae.weights["W_dec"]


def centre_of(features_TS: torch.Tensor, centre: Centre) -> torch.Tensor:
    """Coordinate-wise median (the mean of the middle two if their number is even) or mean, [S]."""
    if centre == "mean":
        return features_TS.mean(0)
    # active on less than half of the rows, a feature has a median of 0 and need not be sorted
    often_S = ((features_TS > 0).sum(0) * 2 >= len(features_TS)).nonzero()[:, 0]
    sorted_TS = features_TS[:, often_S].sort(dim=0).values
    middle = len(features_TS) // 2
    medians = sorted_TS[middle]
    if len(features_TS) % 2 == 0:
        medians = (sorted_TS[middle - 1] + medians) / 2
    return features_TS.new_zeros(features_TS.shape[1]).index_copy_(0, often_S, medians)


def single_edits(
    training: Training, x_QD: torch.Tensor, top: Sequence[int]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The edits without draws, by name, [Q, D]: E2, E6, E4, E6Δ, E4Δ, E5 of the top m features,
    and E6 and E6Δ by doses.

    A dose of E6 lies on the way from decode(m_S) to decode(m_G), one of E6Δ on that from x.
    """
    sae, m_G, m_S = training.sae, training.m_G, training.m_S
    features_QS = sae.encode(x_QD)
    step_D = training.decoded(m_G - m_S)
    from_D = sae.decode(m_S)
    yield "E2", sae.decode(features_QS)
    yield "E6", sae.decode(m_G).expand_as(x_QD)
    yield "E4", from_D.expand_as(x_QD)
    yield "E6Δ", x_QD + step_D
    yield "E4Δ", x_QD - step_D
    for m in top:
        best = training.by_d[:m]
        yield f"E5.{m}", x_QD + (m_G[best] - features_QS[:, best]) @ sae.weights["W_dec"][best]
    for dose in DOSES[1:-1]:
        yield f"E6.{dose:g}", (from_D + dose * step_D).expand_as(x_QD)
        yield f"E6Δ.{dose:g}", x_QD + dose * step_D


def drawn_edits(
    training: Training, x_QD: torch.Tensor, halves_NT: torch.Tensor, seed: int, *purpose: str
) -> Iterator[tuple[str, torch.Tensor]]:
    """The edits that are drawn, by name, [N, Q, D]: E1, E1Δ and E3.

    halves_NT: of each draw, the training questions whose genuine features are taken as genuine;
    of the others it is the sandbag ones; as `relabellings` gives them, every second draw the
    complement of the one before. Where it is not exactly half of them, questions of the larger
    part are left out at random: the median of a feature that sets the conditions apart goes with
    the majority, and a draw with one would be a full dose.
    """
    random = generator(seed, "left out", *purpose)
    sets: list[torch.Tensor] = []
    for half_T in halves_NT[::2]:
        sets += _relabelled(training, half_T, random)
    first_NS = torch.stack(sets)
    second_NS = first_NS.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    yield "E1", training.sae.decode(first_NS)[:, None].expand(-1, *x_QD.shape)
    yield "E1Δ", x_QD + training.decoded(first_NS - second_NS)[:, None]
    steps_ND = _norm_matched(training, len(halves_NT), seed, *purpose)
    yield "E3", steps_ND[:, None].expand(-1, *x_QD.shape)


def relabellings(fold_Q: np.ndarray, draws: int, seed: int) -> torch.Tensor:
    """Random halves of the questions, [draws, Q], True for the half; every second draw is the
    complement of the one before.

    Each takes half of every fold, one more or fewer where a fold's number is odd: so a draw is one
    relabelling of all questions, of which the folds see parts, as they see parts of the true
    labels. Draws made anew in each fold would cancel out over the folds and look too quiet.
    Raises ValueError if `draws` is odd.
    """
    if draws % 2:
        raise ValueError(f"{draws} draws: give an even number, since they come in complements")
    random = generator(seed, "relabelled", str(len(fold_Q)))
    halves_NQ = np.zeros((draws, len(fold_Q)), dtype=bool)
    for draw in range(0, draws, 2):
        for place, fold in enumerate(np.unique(fold_Q)):
            of_fold = random.permutation(np.flatnonzero(fold_Q == fold))
            halves_NQ[draw, of_fold[: (len(of_fold) + place % 2) // 2]] = True
        halves_NQ[draw + 1] = ~halves_NQ[draw]
    return torch.from_numpy(halves_NQ)


def plain_edits(
    training: Training, x_QD: torch.Tensor, other_QD: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor]]:
    """The edits without an SAE and without draws, by name, [Q, D]: the same question's residual
    under the other condition (patch), the median genuine residual, the mean difference added.

    other_QD: residuals of the same questions under the other condition.
    """
    median_D = torch.from_numpy(np.median(training.genuine_TD.cpu().numpy(), axis=0)).to(x_QD)
    yield "patch", other_QD
    yield "median_residual", median_D.expand_as(x_QD)
    yield "mean_difference", x_QD + training.mean_difference_D


def random_directions(
    training: Training, x_QD: torch.Tensor, draws: int, seed: int, *purpose: str
) -> Iterator[tuple[str, torch.Tensor]]:
    """A random direction of the mean difference's norm added, by name, [N, Q, D]."""
    random = generator(seed, "random direction", *purpose)
    step_ND = torch.from_numpy(random.standard_normal((draws, x_QD.shape[1]))).to(x_QD)
    step_ND *= (torch.linalg.vector_norm(training.mean_difference_D)
                / torch.linalg.vector_norm(step_ND, dim=1, keepdim=True))
    yield "random_direction", x_QD + step_ND[:, None]


def _relabelled(
    training: Training, half_T: torch.Tensor, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Typical features [S] of the set that takes this half as genuine, and of its complement."""
    parts = [half_T.nonzero()[:, 0], (~half_T).nonzero()[:, 0]]
    size = min(len(part) for part in parts)
    half, rest = (part[torch.from_numpy(np.sort(random.permutation(len(part))[:size]))]
                  for part in parts)
    genuine_TS, sandbag_TS = training.genuine_TS, training.sandbag_TS
    first, second = (centre_of(torch.cat([genuine_TS[of], sandbag_TS[other]]), training.centre)
                     for of, other in ((half, rest), (rest, half)))
    return first, second


def _norm_matched(training: Training, draws: int, seed: int, *purpose: str) -> torch.Tensor:
    """decode(m_S) + R u, [N, D]; u: unit sum of random live decoder rows that carry the permuted
    entries of m_G − m_S. Where these are equal R is 0 and nothing is added."""
    random = generator(seed, "norm-matched", *purpose)
    difference_S = training.m_G - training.m_S
    entries, live = difference_S[difference_S != 0], training.live
    radius = torch.linalg.vector_norm(training.decoded(difference_S))
    steps = []
    for _ in range(draws):
        rows = live[torch.from_numpy(random.permutation(len(live))[: len(entries)])]
        carried = entries[torch.from_numpy(random.permutation(len(entries)))][: len(rows)]
        sum_D = carried @ training.sae.weights["W_dec"][rows]
        size = torch.linalg.vector_norm(sum_D)
        steps.append(radius * sum_D / size if size > 0 else sum_D)
    return training.sae.decode(training.m_S) + torch.stack(steps)
