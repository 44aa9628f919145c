"""Edits of the residual through an SAE's features, and the same edits without an SAE.

An edit takes residuals x [Q, D] of some prompts to others. What it needs to know of genuine and
sandbag prompts it takes from *training* questions, which are not those edited. Each edit is a
dataclass whose call is its formula. In the formulas: f(x), the features of x; m_G and m_S, the
coordinate-wise medians of the features on genuine and sandbag training prompts.

Shape suffixes: Q prompts edited, T training questions, D d_model, S d_sae, N draws.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import torch

from deception_saes.rng import generator
from deception_saes.saes.sae import Sae

Centre = Literal["median", "mean"]
Side = Literal["genuine", "sandbag"]

_LEAST_ACTIVE = 0.05  # as a share of training prompts, for a feature to count as live
_FLOOR = 0.05  # under the SD of a feature's d, as a share of the median of live ones


@dataclass(frozen=True, eq=False)
class Training:
    """The training questions under both conditions: residuals, one row a question, questions in one
    order."""

    sae: Sae
    genuine_TD: torch.Tensor
    sandbag_TD: torch.Tensor
    reference_sae: Sae | None = None
    """The one whose edits `AtNormOf` makes others as long as; None: `sae`."""

    @cached_property
    def reference(self) -> Training:
        """The same questions through `reference_sae`."""
        if self.reference_sae is None:
            return self
        return replace(self, sae=self.reference_sae, reference_sae=None)

    @cached_property
    def genuine_TS(self) -> torch.Tensor:
        return self.sae.encode(self.genuine_TD)

    @cached_property
    def sandbag_TS(self) -> torch.Tensor:
        return self.sae.encode(self.sandbag_TD)

    @property
    def m_G(self) -> torch.Tensor:
        """Median features [S] of genuine prompts."""
        return self.typical("genuine", "median")

    @property
    def m_S(self) -> torch.Tensor:
        """Median features [S] of sandbag prompts."""
        return self.typical("sandbag", "median")

    def typical(self, side: Side, centre: Centre) -> torch.Tensor:
        """Median or mean features [S] of one condition's prompts."""
        if (side, centre) not in self._typical:
            features_TS = self.genuine_TS if side == "genuine" else self.sandbag_TS
            self._typical[side, centre] = centre_of(features_TS, centre)
        return self._typical[side, centre]

    @cached_property
    def _typical(self) -> dict[tuple[Side, Centre], torch.Tensor]:
        return {}

    def step(self, centre: Centre = "median", without_top: int = 0) -> torch.Tensor:
        """(m_G − m_S) W_dec, [D]; or from mean to mean. without_top: how many features of largest
        |Cohen's d| are left out."""
        difference_S = self.typical("genuine", centre) - self.typical("sandbag", centre)
        if without_top:
            difference_S = difference_S.index_fill(0, self.by_d[:without_top], 0.0)
        return self.decoded(difference_S)

    @property
    def mean_difference_D(self) -> torch.Tensor:
        """Mean genuine residual less mean sandbag residual."""
        return self.genuine_TD.mean(0) - self.sandbag_TD.mean(0)

    @cached_property
    def active_S(self) -> torch.Tensor:
        """On how many training prompts each feature is active, [S]."""
        return (self.genuine_TS > 0).sum(0) + (self.sandbag_TS > 0).sum(0)

    @cached_property
    def live(self) -> torch.Tensor:
        """Indices of the features active on at least one training prompt in twenty."""
        return (self.active_S >= _LEAST_ACTIVE * 2 * len(self.genuine_TS)).nonzero()[:, 0]

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

    def matched(self, features: int) -> torch.Tensor:
        """Indices of other features than `by_d[:features]`, as many: for each of these in turn the
        one of nearest firing rate that is not taken yet, the first of several."""
        chosen = self.by_d[:features]
        free_S = torch.ones_like(self.active_S, dtype=torch.bool).index_fill(0, chosen, False)
        found: list[int] = []
        for active in self.active_S[chosen][: int(free_S.sum())]:
            distance_S = (self.active_S - active).abs()
            found.append(int(torch.where(free_S, distance_S, distance_S.max() + 1).argmin()))
            free_S[found[-1]] = False
        return torch.tensor(found, dtype=torch.long, device=chosen.device)

    def components(self, count: int) -> torch.Tensor:
        """The first principal components of the paired differences genuine − sandbag, about 0, at
        most [count, D]. About their mean they would leave out what sets the conditions apart."""
        difference_TD = (self.genuine_TD - self.sandbag_TD).double()
        components_CD: torch.Tensor = torch.linalg.svd(difference_TD, full_matrices=False).Vh
        return components_CD[:count]

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


@dataclass(frozen=True)
class Draws:
    """What drawn edits are drawn by."""

    halves_NT: torch.Tensor
    """Of each draw, the training questions whose genuine features are taken as genuine; of the
    others it is the sandbag ones. As `relabellings` gives them, every second draw the complement of
    the one before."""
    seed: int
    purpose: tuple[str, ...] = ()
    """With `seed`, what all other draws are drawn by."""


class Edit(Protocol):
    """An edit without draws. A dataclass: its fields decide what it does."""

    def __call__(
        self, training: Training, x_QD: torch.Tensor, other_QD: torch.Tensor
    ) -> torch.Tensor:
        """The edited residuals, [Q, D]. other_QD: of the same questions, other condition."""


class DrawnEdit(Protocol):
    """An edit that is drawn at random. A dataclass: its fields decide what it does."""

    def __call__(self, training: Training, x_QD: torch.Tensor, draws: Draws) -> torch.Tensor:
        """The edited residuals of every draw, [N, Q, D]."""


@dataclass(frozen=True)
class Reconstruct:
    """decode(f(x))."""

    def __call__(
        self, training: Training, x_QD: torch.Tensor, other_QD: torch.Tensor
    ) -> torch.Tensor:
        return training.sae.decode(training.sae.encode(x_QD))


@dataclass(frozen=True)
class SwapTo:
    """decode(m_G), or decode(m_S): every feature set to what is typical of one condition, the
    prompt's error term dropped. dose: a part of the way there from the other condition's."""

    side: Side
    centre: Centre = "median"
    dose: float = 1.0

    def __call__(
        self, training: Training, x_QD: torch.Tensor, other_QD: torch.Tensor
    ) -> torch.Tensor:
        if self.dose == 1.0:
            return training.sae.decode(training.typical(self.side, self.centre)).expand_as(x_QD)
        away: Side = "sandbag" if self.side == "genuine" else "genuine"
        from_D = training.sae.decode(training.typical(away, self.centre))
        step_D = training.step(self.centre) * (1 if self.side == "genuine" else -1)
        return (from_D + self.dose * step_D).expand_as(x_QD)


@dataclass(frozen=True)
class AddDifference:
    """x + dose (m_G − m_S) W_dec, or less it toward sandbag: the error term is kept. without_top:
    as many features of largest |Cohen's d| are taken out of the difference."""

    toward: Side
    centre: Centre = "median"
    dose: float = 1.0
    without_top: int = 0

    def __call__(
        self, training: Training, x_QD: torch.Tensor, other_QD: torch.Tensor
    ) -> torch.Tensor:
        step_D = training.step(self.centre, self.without_top)
        if self.dose != 1.0:
            step_D = self.dose * step_D
        return x_QD + step_D if self.toward == "genuine" else x_QD - step_D


@dataclass(frozen=True)
class SwapTop:
    """x + Σ over the `features` live features of largest |Cohen's d| of (m_G,j − f_j(x)) W_dec,j:
    these alone are set to the genuine median, the error term is kept."""

    features: int

    def __call__(
        self, training: Training, x_QD: torch.Tensor, other_QD: torch.Tensor
    ) -> torch.Tensor:
        return _set_to_genuine(training, x_QD, training.by_d[: self.features])


@dataclass(frozen=True)
class SwapMatched:
    """As `SwapTop`, of other features that are matched to those in firing rate, see
    `Training.matched`."""

    features: int

    def __call__(
        self, training: Training, x_QD: torch.Tensor, other_QD: torch.Tensor
    ) -> torch.Tensor:
        return _set_to_genuine(training, x_QD, training.matched(self.features))


@dataclass(frozen=True)
class SwapComponents:
    """x + Σ over the first `components` principal components v of the paired differences of
    (mean_G − x)·v v: the residual's part in them is set to the genuine mean. No SAE."""

    components: int

    def __call__(
        self, training: Training, x_QD: torch.Tensor, other_QD: torch.Tensor
    ) -> torch.Tensor:
        v_KD = training.components(self.components).to(x_QD)
        return x_QD + (training.genuine_TD.mean(0) - x_QD) @ v_KD.T @ v_KD


@dataclass(frozen=True)
class AtNormOf:
    """`edit` with each question's step made as long as that of `reference` through
    `Training.reference_sae`, so that they differ in direction alone. No step stays none."""

    edit: Edit
    reference: Edit

    def __call__(
        self, training: Training, x_QD: torch.Tensor, other_QD: torch.Tensor
    ) -> torch.Tensor:
        step_QD = self.edit(training, x_QD, other_QD) - x_QD
        wanted_QD = self.reference(training.reference, x_QD, other_QD) - x_QD
        own_Q1, wanted_Q1 = (torch.linalg.vector_norm(of_QD, dim=1, keepdim=True)
                             for of_QD in (step_QD, wanted_QD))
        return x_QD + step_QD * torch.where(own_Q1 > 0, wanted_Q1 / own_Q1, 0.0)


@dataclass(frozen=True)
class Patch:
    """The same question's residual under the other condition: the ceiling. No SAE."""

    def __call__(
        self, training: Training, x_QD: torch.Tensor, other_QD: torch.Tensor
    ) -> torch.Tensor:
        return other_QD


@dataclass(frozen=True)
class MedianResidual:
    """The coordinate-wise median of genuine residuals. No SAE."""

    def __call__(
        self, training: Training, x_QD: torch.Tensor, other_QD: torch.Tensor
    ) -> torch.Tensor:
        median_D = np.median(training.genuine_TD.cpu().numpy(), axis=0)
        return torch.from_numpy(median_D).to(x_QD).expand_as(x_QD)


@dataclass(frozen=True)
class AddMeanDifference:
    """x + mean genuine residual − mean sandbag residual. No SAE."""

    def __call__(
        self, training: Training, x_QD: torch.Tensor, other_QD: torch.Tensor
    ) -> torch.Tensor:
        return x_QD + training.mean_difference_D


@dataclass(frozen=True)
class SwapRelabelled:
    """decode of the median over a set that takes genuine features from half of the questions and
    sandbag features from the rest: a half dose between both swaps, no null."""

    def __call__(self, training: Training, x_QD: torch.Tensor, draws: Draws) -> torch.Tensor:
        sets_NS = _relabelled(training, draws)
        return training.sae.decode(sets_NS)[:, None].expand(-1, *x_QD.shape)


@dataclass(frozen=True)
class AddRelabelledDifference:
    """x + the difference between complementary relabelled halves, through W_dec, the error term
    kept: a null with mean zero."""

    def __call__(self, training: Training, x_QD: torch.Tensor, draws: Draws) -> torch.Tensor:
        first_NS = _relabelled(training, draws)
        second_NS = first_NS.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
        return x_QD + training.decoded(first_NS - second_NS)[:, None]


@dataclass(frozen=True)
class RandomFeatures:
    """decode(m_S) + R u; u: unit sum of random live decoder rows that carry the permuted entries of
    m_G − m_S; R: the norm of the step from m_S to m_G. Where these are equal nothing is added."""

    def __call__(self, training: Training, x_QD: torch.Tensor, draws: Draws) -> torch.Tensor:
        return _norm_matched(training, draws)[:, None].expand(-1, *x_QD.shape)


@dataclass(frozen=True)
class AddRandomDirection:
    """x + a random direction of the mean difference's norm. No SAE."""

    def __call__(self, training: Training, x_QD: torch.Tensor, draws: Draws) -> torch.Tensor:
        random = generator(draws.seed, "random direction", *draws.purpose)
        shape = (len(draws.halves_NT), x_QD.shape[1])
        step_ND = torch.from_numpy(random.standard_normal(shape)).to(x_QD)
        step_ND *= (torch.linalg.vector_norm(training.mean_difference_D)
                    / torch.linalg.vector_norm(step_ND, dim=1, keepdim=True))
        return x_QD + step_ND[:, None]


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


def _set_to_genuine(
    training: Training, x_QD: torch.Tensor, features_M: torch.Tensor
) -> torch.Tensor:
    """x + Σ over these features of (m_G,j − f_j(x)) W_dec,j."""
    change_QM = training.m_G[features_M] - training.sae.encode(x_QD)[:, features_M]
    return x_QD + change_QM @ training.sae.weights["W_dec"][features_M]


def _relabelled(training: Training, draws: Draws) -> torch.Tensor:
    """Median features [N, S] of the set that takes each half as genuine.

    Where a half is not exactly half of the questions, some of the larger part are left out at
    random: the median of a feature that sets the conditions apart goes with the majority, and a
    draw with one would be a full dose.
    """
    random = generator(draws.seed, "left out", *draws.purpose)
    genuine_TS, sandbag_TS = training.genuine_TS, training.sandbag_TS
    sets: list[torch.Tensor] = []
    for half_T in draws.halves_NT[::2]:
        parts = [half_T.nonzero()[:, 0], (~half_T).nonzero()[:, 0]]
        size = min(len(part) for part in parts)
        half, rest = (part[torch.from_numpy(np.sort(random.permutation(len(part))[:size]))]
                      for part in parts)
        sets += [centre_of(torch.cat([genuine_TS[of], sandbag_TS[other]]), "median")
                 for of, other in ((half, rest), (rest, half))]
    return torch.stack(sets)


def _norm_matched(training: Training, draws: Draws) -> torch.Tensor:
    """decode(m_S) + R u, [N, D]."""
    random = generator(draws.seed, "norm-matched", *draws.purpose)
    difference_S = training.m_G - training.m_S
    entries, live = difference_S[difference_S != 0], training.live
    radius = torch.linalg.vector_norm(training.decoded(difference_S))
    steps = []
    for _ in range(len(draws.halves_NT)):
        rows = live[torch.from_numpy(random.permutation(len(live))[: len(entries)])]
        carried = entries[torch.from_numpy(random.permutation(len(entries)))][: len(rows)]
        sum_D = carried @ training.sae.weights["W_dec"][rows]
        size = torch.linalg.vector_norm(sum_D)
        steps.append(radius * sum_D / size if size > 0 else sum_D)
    return training.sae.decode(training.m_S) + torch.stack(steps)
