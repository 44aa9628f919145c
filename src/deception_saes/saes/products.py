"""Products with a batch of features, most of which are zero.

On a CPU, adding up the rows that the features which are not zero ask for (`embedding_bag`) gives
the sums of the dense product sooner; on another device, and where many are not zero, the dense
product does.

Shape suffixes: B rows, S features, D width, E entries that are not zero.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from torch.nn.functional import embedding_bag

DENSEST = 0.25
"""Share of entries from which on the dense product is taken."""
DENSEST_UNCACHED = 0.05
"""The same where the rows to add up come from memory and not from a cache."""
CACHE = 2**24
"""Bytes that count as cached."""
PART = 2**19
"""Bytes of a sum made at once: it is still in a cache when it is copied."""


class _Bags(NamedTuple):
    """Rows to add up, bag by bag."""

    wanted_E: torch.Tensor
    place_E: torch.Tensor
    """Where their weights stand in the flat [B x S]."""
    starts: torch.Tensor
    """Where each bag begins in these lists."""


class Products:
    """Products with matrices [B, S] that are zero wherever `on_BS`, of truth values, is False."""

    def __init__(self, on_BS: torch.Tensor) -> None:
        self.on_BS = on_BS
        on_cpu = on_BS.device.type == "cpu"
        self.active = float(on_BS.count_nonzero()) / on_BS.numel() if on_cpu else 1.0

    def by_row(self, f_BS: torch.Tensor, w_SD: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """f W, [B, D]; in `out` or in memory of its own."""
        if self.active >= (DENSEST if _is_cached(w_SD) else min(DENSEST, DENSEST_UNCACHED)):
            return torch.mm(f_BS, w_SD, out=out)
        return _added_up(self._row_bags, f_BS, w_SD, out)

    def by_feature(self, f_BS: torch.Tensor, x_BD: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """f^T x, [S, D]; in `out` or in memory of its own."""
        if self.active >= DENSEST:
            return torch.mm(f_BS.T, x_BD, out=out)
        return _added_up(self._feature_bags, f_BS, x_BD, out)

    @cached_property
    def _row_bags(self) -> _Bags:
        rows, features = self.on_BS.shape
        place_E = self.on_BS.view(-1).nonzero()[:, 0]
        return _Bags(place_E % features, place_E, _starts(place_E // features, rows))

    @cached_property
    def _feature_bags(self) -> _Bags:
        rows, features = self.on_BS.shape
        turned_E = self.on_BS.T.reshape(-1).nonzero()[:, 0]
        feature_E, row_E = turned_E // rows, turned_E % rows
        return _Bags(row_E, row_E * features + feature_E, _starts(feature_E, features))


def _added_up(
    bags: _Bags, f_BS: torch.Tensor, of: torch.Tensor, out: torch.Tensor
) -> torch.Tensor:
    """Large sums part by part into `out`: so much new memory would be slow to fill."""
    weight_E = f_BS.reshape(-1).take(bags.place_E)
    at_once = len(out) if _is_cached(out) else max(1, PART // out[0].nbytes)
    parts = bags.starts.split(at_once)
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


def _starts(bag_E: torch.Tensor, bags: int) -> torch.Tensor:
    ends = torch.bincount(bag_E, minlength=bags).cumsum(0)
    return torch.cat([ends.new_zeros(1), ends[:-1]])
