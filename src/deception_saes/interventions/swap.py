"""Edits of the residual through an SAE's features, and the same edits without an SAE.

Every edit takes residuals x [Q, D] of some prompts and gives residuals of the same shape; what it
needs to know of genuine and sandbag prompts it takes from *training* questions, which are others.

Shape suffixes: Q prompts edited, T training questions, D d_model, S d_sae, N draws, E edits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from deception_saes.rng import generator
from deception_saes.saes.sae import Sae


@dataclass(frozen=True)
class Training:
    """The training questions under both conditions.

    genuine_TD, sandbag_TD: residuals, one row a question, questions in one order.
    centre: what a condition's typical features are: "median", or "mean".
    """

    sae: Sae
    genuine_TD: torch.Tensor
    sandbag_TD: torch.Tensor
    centre: str = "median"

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
    def step_D(self) -> torch.Tensor:
        """(m_G − m_S) W_dec."""
        return (self.m_G - self.m_S) @ self.sae.weights["W_dec"]

    @cached_property
    def live_S(self) -> torch.Tensor:
        """Indices of the features active on at least one training prompt in twenty."""
        active_S = (self.genuine_TS > 0).float().mean(0) + (self.sandbag_TS > 0).float().mean(0)
        return (active_S / 2 >= 0.05).nonzero()[:, 0]


def centre_of(features_TS: torch.Tensor, centre: str) -> torch.Tensor:
    """Coordinate-wise median, the mean of the middle two if their number is even, or mean, [S].

    Raises ValueError for another word.
    """
    if centre == "mean":
        return features_TS.mean(0)
    if centre != "median":
        raise ValueError(f"centre is {centre!r}; expected 'median' or 'mean'")
    # a feature active on less than half of the rows has a median of 0 and need not be sorted
    often_S = ((features_TS > 0).sum(0) * 2 >= len(features_TS)).nonzero()[:, 0]
    sorted_TS = features_TS[:, often_S].sort(dim=0).values
    middle = len(features_TS) // 2
    medians = sorted_TS[middle]
    if len(features_TS) % 2 == 0:
        medians = (sorted_TS[middle - 1] + medians) / 2
    return features_TS.new_zeros(features_TS.shape[1]).index_copy_(0, often_S, medians)


def swap(training: Training, genuine: bool = True) -> torch.Tensor:
    """E6, decode(m_G), or E4, decode(m_S): a constant [D], the error term dropped."""
    return training.sae.decode(training.m_G if genuine else training.m_S)


def relabelled(
    training: Training, draws: int, seed: int, *purpose: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Typical features [N, S] of half-and-half relabelled sets, and of their complements.

    A draw's set takes genuine features of exactly half of the training questions (of one fewer, if
    their number is odd) and sandbag features of the others; its complement takes the rest.
    """
    random = generator(seed, "relabelled", *purpose)
    found = []
    for _ in range(draws):
        half = torch.zeros(len(training.genuine_TS), dtype=torch.bool)
        half[torch.from_numpy(random.permutation(len(half))[: len(half) // 2])] = True
        half = half.to(training.genuine_TS.device)[:, None]
        found.append([centre_of(torch.where(of, training.genuine_TS, training.sandbag_TS),
                                training.centre) for of in (half, ~half)])
    first, second = zip(*found, strict=True)
    return torch.stack(first), torch.stack(second)


def norm_matched(training: Training, draws: int, seed: int, *purpose: str) -> torch.Tensor:
    """E3: decode(m_S) + R u, [N, D]; R = ‖decode(m_G) − decode(m_S)‖.

    u: unit sum of randomly drawn live decoder rows that carry the permuted entries of m_G − m_S.
    Where m_G equals m_S nothing is added.
    """
    random = generator(seed, "norm-matched", *purpose)
    difference_S = training.m_G - training.m_S
    entries = difference_S[difference_S != 0]
    decoder_SD, live = training.sae.weights["W_dec"], training.live_S
    start_D = training.sae.decode(training.m_S)
    radius = torch.linalg.vector_norm(training.step_D)
    edits = []
    for _ in range(draws):
        rows = live[torch.from_numpy(random.permutation(len(live))[: len(entries)])]
        carried = entries[torch.from_numpy(random.permutation(len(entries)))][: len(rows)]
        sum_D = carried @ decoder_SD[rows]
        size = torch.linalg.vector_norm(sum_D)
        edits.append(start_D + radius * sum_D / size if size > 0 else start_D)
    return torch.stack(edits)


def top_features(training: Training, seed_floor: float = 0.05) -> torch.Tensor:
    """Indices of the live features, by absolute Cohen's d between the conditions, largest first."""
    live = training.live_S
    genuine, sandbag = training.genuine_TS[:, live], training.sandbag_TS[:, live]
    sd = ((genuine.var(0) + sandbag.var(0)) / 2).sqrt()
    d = (genuine.mean(0) - sandbag.mean(0)) / sd.clamp(min=float(seed_floor * sd.median()))
    return live[d.abs().argsort(descending=True, stable=True)]
