"""Products with a batch of features, most of which are zero.

On a CPU, adding up the rows that the features which are not zero ask for (`embedding_bag`) gives
the sums of the dense product sooner, and so does multiplying out only the entries that are asked
for (`sampled_addmm`); on another device, and where many are not zero, the dense product does.

Shape suffixes: B rows, S features, D width, E entries that are not zero.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import embedding_bag

DENSEST = 0.25
"""Share of entries from which on the dense product is taken."""
CACHE = 2**24
"""Bytes that count as cached. Of larger weights, as many rows are added up at once."""
PART = 2**19
"""Bytes of a sum made at once: it is still in a cache when it is copied."""

with warnings.catch_warnings():
    # the first sparse tensor of a process warns that they are new; the products are tested
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 0], [], [], (1, 1), dtype=torch.float32, check_invariants=False)


class _Bags(NamedTuple):
    """Rows to add up, bag by bag."""

    wanted_E: torch.Tensor
    place_E: torch.Tensor
    """Where their weights stand in the flat [B x S]."""
    bounds: torch.Tensor
    """Where each bag begins in these lists, and where the last one ends."""


class Products:
    """Products with matrices [B, S] that are zero wherever `on_BS`, of truth values, is False."""

    def __init__(self, on_BS: torch.Tensor) -> None:
        self.on_BS = on_BS
        on_cpu = on_BS.device.type == "cpu"
        self.active = float(on_BS.count_nonzero()) / on_BS.numel() if on_cpu else 1.0
        self._row_bags: list[_Bags] = []

    def by_row(self, f_BS: torch.Tensor, w_SD: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """f W, [B, D]; in `out` or in memory of its own."""
        if self.active >= DENSEST:
            return torch.mm(f_BS, w_SD, out=out)
        at_once = max(1, CACHE // w_SD[0].nbytes)
        if not self._row_bags:
            self._row_bags = [_bags_of_rows(on_BS) for on_BS in self.on_BS.split(at_once, 1)]
        total, *others = (_added_up(*block, torch.empty_like(out)) for block in zip(
            self._row_bags, f_BS.split(at_once, 1), w_SD.split(at_once), strict=True))
        for block_BD in others:
            total.add_(block_BD)
        return total

    def by_feature(self, f_BS: torch.Tensor, x_BD: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """f^T x, [S, D]; in `out` or in memory of its own."""
        if self.active >= DENSEST:
            return torch.mm(f_BS.T, x_BD, out=out)
        return _added_up(self._feature_bags, f_BS, x_BD, out)

    def back(self, x_BD: torch.Tensor, w_SD: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """x W^T in `out` [B, S], but 0 or the product where `on_BS` is False."""
        if self.active >= DENSEST:
            return torch.mm(x_BD, w_SD.T, out=out)
        bags = self._feature_bags
        pattern_SB = torch.sparse_csr_tensor(
            bags.bounds, bags.wanted_E, x_BD.new_zeros(len(bags.wanted_E)),
            self.on_BS.T.shape, check_invariants=False)
        # feature by feature, so that each row of W is read once
        found = torch.sparse.sampled_addmm(pattern_SB, w_SD, x_BD.T, beta=0.0)
        out.zero_().view(-1).scatter_(0, bags.place_E, found.values())
        return out

    @cached_property
    def _feature_bags(self) -> _Bags:
        rows, features = self.on_BS.shape
        turned_E = _places(self.on_BS.T)
        feature_E, row_E = turned_E // rows, turned_E % rows
        return _Bags(row_E, row_E * features + feature_E, _bounds(self.on_BS, 0))


def _bags_of_rows(on_BS: torch.Tensor) -> _Bags:
    place_E = _places(on_BS)
    return _Bags(place_E % on_BS.shape[1], place_E, _bounds(on_BS, 1))


def _added_up(
    bags: _Bags, f_BS: torch.Tensor, of: torch.Tensor, out: torch.Tensor
) -> torch.Tensor:
    """Large sums part by part into `out`: so much new memory would be slow to fill."""
    weight_E = f_BS.reshape(-1).index_select(0, bags.place_E)
    at_once = len(out) if _is_cached(out) else max(1, PART // out[0].nbytes)
    parts = bags.bounds[:-1].split(at_once)
    bounds = [*(int(starts[0]) for starts in parts), len(weight_E)]
    sums = (embedding_bag(bags.wanted_E[begin:end], of, starts - begin, mode="sum",
                          per_sample_weights=weight_E[begin:end])
            for starts, (begin, end) in zip(parts, pairwise(bounds), strict=True))
    if len(parts) == 1:
        return next(sums)
    for place, of_part in zip(out.split(at_once), sums, strict=True):
        place.copy_(of_part)
    return out


def _is_cached(x: torch.Tensor) -> bool:
    return x.nbytes <= CACHE


def _places(on: torch.Tensor) -> torch.Tensor:
    """Where a matrix of truth values, read row by row, is True; numpy looks much faster."""
    return torch.from_numpy(np.flatnonzero(on.contiguous().numpy()))


def _bounds(on_BS: torch.Tensor, dim: int) -> torch.Tensor:
    """Where the bags begin, and the last one ends, if each takes what is True along `dim`."""
    counts = on_BS.sum(dim)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
