"""How far single features of SAEs set sandbag apart from genuine prompts at the last position,
beside what chance, training, and the residual's own coordinates give.

Shape suffixes: N rows, Q questions, F features, R draws, K components, D d_model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from deception_saes.activations.capture import Activations
from deception_saes.analysis.bootstrap import Clusters, empirical_p, percentiles
from deception_saes.analysis.separation import (
    Separation,
    floor_of,
    null_d_max,
    resampled_d,
    separation,
)
from deception_saes.cache import cached
from deception_saes.experiments.saes import SaeSet, activations, read, untrained
from deception_saes.saes.sae import Sae
from deception_saes.saes.tags import SaeTag

_USUAL_EXPANSION = 4


Pair = tuple[np.ndarray, np.ndarray]
"""Features of the same questions, [Q, features], under sandbag and genuine."""


@cached()
def separation_at(
    saes: SaeSet, layer: int, *, k: int, draws: int, permutations: int, seed: int
) -> dict[str, Any]:
    """The SAEs of a layer, and the residual's coordinates and principal components there.

    `rows`: a dictionary each, with what `_measures` gives; JumpReLU and TopK with this k also with
    that of the same SAE before training. `d_means`: of these, by training condition and
    architecture, mean |d| over all features: of the data first, then of resampled questions.
    `picked`: the same of the feature that `_picked_d` picks.
    draws: of the bootstrap over questions. permutations: of the null of d_max.
    """
    torch.set_num_threads(saes.task.subject.threads)
    bank = saes.bank(layer)
    halves = [read(activations(half, saes.layers, "last"), [layer])
              for half in (saes.task.evaluating, saes.task.choosing)]
    resampling: dict[str, Any] = {"draws": draws, "seed": seed,
                                  "clusters": saes.task.evaluating.clusters}
    how = {**resampling, "permutations": permutations}
    rows: list[dict[str, Any]] = []
    d_means: dict[str, dict[str, np.ndarray]] = {}
    picked: dict[str, dict[str, np.ndarray]] = {}

    for name, pairs in _without_sae(halves, layer):
        rows.append({"dictionary": name, "layer": layer, **_measures(pairs, **how)})
    for tag in tqdm(bank.tags, desc=f"separation at L{layer}", unit="SAE"):
        pairs = _encoded(bank.sae(tag), halves, layer)
        row = {"dictionary": tag.name, "layer": layer, "train_set": tag.train_set,
               "architecture": tag.architecture, "k": tag.k, "expansion": tag.expansion,
               **_measures(pairs, **how)}
        if _is_compared(tag, k):
            start = _measures(_encoded(untrained(saes, tag), halves, layer), **how)
            row |= {f"untrained_{name}": value for name, value in start.items()}
            d_means.setdefault(tag.train_set, {})[tag.architecture] = _d_mean(
                pairs[0], **resampling)
            picked.setdefault(tag.train_set, {})[tag.architecture] = _picked_d(pairs, **resampling)
        rows.append(row)
    return {"rows": rows, "d_means": d_means, "picked": picked}


def _is_compared(tag: SaeTag, k: int) -> bool:
    return tag.expansion == _USUAL_EXPANSION and (
        tag.architecture == "jumprelu" or (tag.architecture, tag.k) == ("topk", k))


def _encoded(sae: Sae, halves: list[Activations], layer: int) -> list[Pair]:
    with torch.inference_mode():
        return _pairs(halves, lambda of: sae.encode(of.x_by_layer[layer]).double().numpy())


def _without_sae(halves: list[Activations], layer: int) -> Iterator[tuple[str, list[Pair]]]:
    """The residual's coordinates, and its principal components, found on the choosing half."""

    def raw(of: Activations) -> np.ndarray:
        x_ND: np.ndarray = of.x_by_layer[layer].double().numpy()
        return x_ND

    _, choosing = halves
    mean_D = raw(choosing).mean(axis=0)
    _, size_K, axes_KD = np.linalg.svd(raw(choosing) - mean_D, full_matrices=False)
    axes_KD = axes_KD[size_K > 1e-9 * size_K[0]]
    yield "raw", _pairs(halves, raw)
    yield "components", _pairs(halves, lambda of: (raw(of) - mean_D) @ axes_KD.T)


def _pairs(halves: list[Activations], features: Callable[[Activations], np.ndarray]) -> list[Pair]:
    """Of each half."""
    return [(of_half[half.condition == "sandbag"], of_half[half.condition == "genuine"])
            for half in halves for of_half in [features(half)]]


def _measures(
    pairs: list[Pair], *, draws: int, permutations: int, seed: int, clusters: Clusters
) -> dict[str, float]:
    """d_max with and without the floor beside its null; the feature picked on the choosing half,
    with its interval over questions; means over features."""
    evaluated, _ = pairs
    floor = floor_of(*evaluated)
    found = separation(*evaluated, floor)
    picked = _picked_d(pairs, draws, seed, clusters)
    low, high = percentiles(picked[1:])
    null = null_d_max(*evaluated, floor, permutations, seed)
    return {
        "n_questions": float(len(evaluated[0])), "n_live": float(found.live_F.sum()),
        "d_max": found.d_max,
        "d_max_no_floor": separation(*evaluated, 0.0).d_max,
        "null_95": float(np.quantile(null, 0.95)),
        "p": empirical_p(found.d_max, null),
        "d_mean_live": found.d_mean_live, "d_mean_all": found.d_mean_all,
        "sd_of_best": _share_of_median_sd(found),
        "d_picked": float(picked[0]), "d_picked_low": low, "d_picked_high": high,
    }


def _picked_d(pairs: list[Pair], draws: int, seed: int, clusters: Clusters) -> np.ndarray:
    """|d| on the evaluating half of the feature of largest |d| on the choosing half: of the data
    first, then of resampled questions. NaN if no feature is live there."""
    evaluated, chosen = pairs
    best = separation(*chosen, floor_of(*chosen)).best
    if best is None:
        return np.full(1 + draws, np.nan)
    floor = floor_of(*evaluated)
    sandbag_Q1, genuine_Q1 = (of_QF[:, [best]] for of_QF in evaluated)
    d_1 = separation(sandbag_Q1, genuine_Q1, floor).d_F
    drawn = resampled_d(sandbag_Q1, genuine_Q1, floor, draws, seed, clusters)
    d_R: np.ndarray = np.abs(np.concatenate([d_1, *(d_R1[:, 0] for d_R1 in drawn)]))
    return d_R


def _share_of_median_sd(found: Separation) -> float:
    """Pooled SD of the best feature over the median of the live ones."""
    if found.best is None:
        return float("nan")
    return float(found.sd_F[found.best] / np.median(found.sd_F[found.live_F]))


def _d_mean(evaluated: Pair, draws: int, seed: int, clusters: Clusters) -> np.ndarray:
    floor = floor_of(*evaluated)
    drawn = resampled_d(*evaluated, floor, draws, seed, clusters)
    return np.concatenate([[separation(*evaluated, floor).d_mean_all],
                           *(np.abs(d_RF).mean(axis=1) for d_RF in drawn)])
