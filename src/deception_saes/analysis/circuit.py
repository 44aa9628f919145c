"""Statistics of head ablation. Shape suffixes: H heads or head sets, Q questions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

from deception_saes.analysis.bootstrap import (
    Clusters,
    Interval,
    mean_interval,
    place_of,
    ratio_interval,
)
from deception_saes.models.anatomy import Head
from deception_saes.rng import generator

Effects = NDArray[np.float64]


def studentised(effects_HQ: Effects) -> Effects:
    """Mean over questions by its standard error, [H]; 0 where a head changes nothing at all."""
    n = effects_HQ.shape[1]
    error = effects_HQ.std(axis=1, ddof=1) / np.sqrt(n)
    mean = effects_HQ.mean(axis=1)
    return np.asarray(np.divide(mean, error, out=np.zeros_like(mean), where=error > 0))


def max_t_p_values(
    effects_HQ: Effects, draws: int, seed: int, clusters: Clusters = None
) -> Effects:
    """Two-sided p of every head, corrected for their number, [H].

    The sign of every cluster of questions is flipped at random, one sign for all heads, and the
    largest |t| over heads makes the null (Westfall and Young 1993; sign flips suppose effects
    symmetric around zero under the null). p = (1 + draws at least as large) / (draws + 1).
    """
    rng = generator(seed, "max-t sign flips")
    observed = np.abs(studentised(effects_HQ))
    largest = np.empty(draws)
    place_Q = place_of(effects_HQ.shape[1], clusters)
    for draw in range(draws):
        signs = rng.choice([-1.0, 1.0], size=place_Q.max(initial=0) + 1)[place_Q]
        largest[draw] = np.abs(studentised(effects_HQ * signs)).max()
    at_least = (largest[None] >= observed[:, None]).sum(axis=1)
    return np.asarray((1 + at_least) / (draws + 1))


def split_half_correlation(
    effects_HQ: Effects, splits: int, seed: int, other_HQ: Effects | None = None
) -> Effects:
    """Spearman's rank correlation of mean effects between two random halves of the questions, for
    every split, [splits].

    other_HQ: effects of the same heads on the same questions, asked another way; the second half's
    are then these, so that the correlation is one that the split-half correlations of both limit.
    """
    return np.array([np.corrcoef(_ranks(first_H), _ranks(second_H))[0, 1] for first_H, second_H
                     in _of_split_halves(effects_HQ, other_HQ, splits, seed)])


def split_half_overlap(
    effects_HQ: Effects, count: int, splits: int, seed: int, other_HQ: Effects | None = None
) -> Effects:
    """How many heads are among the top `count` of both random halves, for every split, [splits];
    other_HQ: as for `split_half_correlation`."""
    return np.array([
        len(set(top_heads(first_H[:, None], count)) & set(top_heads(second_H[:, None], count)))
        for first_H, second_H in _of_split_halves(effects_HQ, other_HQ, splits, seed)], dtype=float)


def _of_split_halves(
    effects_HQ: Effects, other_HQ: Effects | None, splits: int, seed: int
) -> Iterator[tuple[Effects, Effects]]:
    """Mean effects on a random half of the questions and, of `other_HQ`, on the rest, [H] each."""
    rng = generator(seed, "split halves")
    second_HQ = effects_HQ if other_HQ is None else other_HQ
    n = effects_HQ.shape[1]
    for _ in range(splits):
        order = rng.permutation(n)
        yield (effects_HQ[:, order[: n // 2]].mean(axis=1),
               second_HQ[:, order[n // 2 :]].mean(axis=1))


def top_heads_when_swapped(
    portions_HQ: Effects, count: int, draws: int, seed: int, clusters: Clusters = None
) -> list[list[int]]:
    """`top_heads` of the portions when the two conditions of every question are swapped or not, by
    one coin a cluster of questions for all heads: a list a draw. A swap turns the sign of all
    portions of the question."""
    rng = generator(seed, "swapped conditions")
    place_Q = place_of(portions_HQ.shape[1], clusters)
    return [top_heads(portions_HQ * rng.choice([-1.0, 1.0], size=place_Q.max() + 1)[place_Q], count)
            for _ in range(draws)]


def top_heads(effects_HQ: Effects, count: int) -> list[int]:
    """Indices of the `count` heads of largest mean effect, largest first; ties by index."""
    return [int(i) for i in np.argsort(-effects_HQ.mean(axis=1), kind="stable")[:count]]


def selection_frequency(effects_HQ: Effects, count: int, splits: int, seed: int) -> Effects:
    """Share of random half-splits in which each head is among the top `count` of one half, [H]."""
    rng = generator(seed, "stability splits")
    times = np.zeros(len(effects_HQ))
    n = effects_HQ.shape[1]
    for _ in range(splits):
        half = rng.permutation(n)[: n // 2]
        times[top_heads(effects_HQ[:, half], count)] += 1
    return times / splits


@dataclass(frozen=True)
class Redundancy:
    """1 − combined / sum of singles; None where the sum's interval is not above zero."""

    sum_of_singles: Interval
    share: Interval | None


def redundancy(
    combined_Q: Effects, singles_HQ: Effects, draws: int, seed: int, level: float = 0.95,
    clusters: Clusters = None,
) -> Redundancy:
    """The redundancy of a head set, with percentile bootstrap intervals over questions."""
    sums_Q = singles_HQ.sum(axis=0)
    total = mean_interval(sums_Q, draws, seed, level, clusters)
    if not total.low > 0:
        return Redundancy(total, None)
    return Redundancy(total, ratio_interval(sums_Q - combined_Q, sums_Q, draws, seed, level,
                                            clusters))


def subsets(heads: list[Head]) -> list[tuple[Head, ...]]:
    """Every subset but the empty one, small ones first."""
    return [subset for size in range(1, len(heads) + 1) for subset in combinations(heads, size)]


def uniform_sets(
    all_heads: list[Head], chosen: list[Head], draws: int, seed: int
) -> list[tuple[Head, ...]]:
    """Random sets of as many heads as chosen, disjoint from them.

    Raises ValueError if the model has too few other heads.
    """
    others = sorted(set(all_heads) - set(chosen))
    if len(others) < len(chosen):
        raise ValueError(f"{len(others)} heads besides the {len(chosen)} chosen ones: too few to "
                         "draw as many at random; choose a smaller circuit_size")
    rng = generator(seed, "uniform heads")
    return [tuple(sorted(others[i] for i in rng.choice(len(others), len(chosen), replace=False)))
            for _ in range(draws)]


def layer_matched_sets(
    all_heads: list[Head], chosen: list[Head], draws: int, seed: int
) -> list[tuple[Head, ...]]:
    """Random sets with the chosen ones' multiset of layers, disjoint from them.

    All of them, each once, if there are fewer than 100 or than `draws`. If a layer has too few
    others, a head of the nearest layer that has one stands in.
    """
    layers = sorted({head.layer for head in chosen})
    others = {layer: sorted(h for h in set(all_heads) - set(chosen) if h.layer == layer)
              for layer in layers}
    wanted = {layer: sum(head.layer == layer for head in chosen) for layer in layers}
    count = prod(comb(len(others[layer]), wanted[layer]) for layer in layers)
    rng = generator(seed, "layer-matched heads")
    if not count:
        return [_nearest_layers(set(all_heads) - set(chosen), chosen, rng) for _ in range(draws)]
    if count < max(draws, 100):
        parts = [list(combinations(others[layer], wanted[layer])) for layer in layers]
        return [tuple(head for part in choice for head in part) for choice in product(*parts)]
    return [tuple(others[layer][i] for layer in layers
                  for i in sorted(rng.choice(len(others[layer]), wanted[layer], replace=False)))
            for _ in range(draws)]


def _nearest_layers(
    others: set[Head], chosen: list[Head], rng: np.random.Generator
) -> tuple[Head, ...]:
    """For each chosen head one of the others that are nearest in layer, none twice."""
    drawn: list[Head] = []
    for layer in (head.layer for head in chosen):
        free = sorted(others - set(drawn))
        least = min(abs(head.layer - layer) for head in free)
        near = [head for head in free if abs(head.layer - layer) == least]
        drawn.append(near[rng.integers(len(near))])
    return tuple(sorted(drawn))


def damage_matched_sets(
    damage: dict[Head, float], chosen: list[Head], draws: int, seed: int, nearest: int = 12
) -> list[tuple[Head, ...]]:
    """Random sets in which a head of like collateral damage stands for each chosen one.

    damage: of every head alone, above zero. Each stand-in is drawn from the `nearest` other heads
    by difference in log damage, none twice in a set.
    """
    rng = generator(seed, "damage-matched heads")
    others = sorted(set(damage) - set(chosen))
    near = {head: sorted(others, key=lambda o: (abs(np.log(damage[o] / damage[head])), o))
            for head in chosen}
    sets = []
    for _ in range(draws):
        drawn: list[Head] = []
        for head in chosen:
            free = [other for other in near[head] if other not in drawn][:nearest]
            drawn.append(free[rng.integers(len(free))])
        sets.append(tuple(sorted(drawn)))
    return sets


def _ranks(values: Effects) -> Effects:
    """Ranks with ties averaged."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
