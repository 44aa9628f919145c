"""What is said of a grid of behavioural SAEs: how well it describes, and what learned thresholds
change.

Apart from what runs the SAEs, so that a statistic that is edited makes no run stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from deception_saes.analysis.bootstrap import mean_interval
from deception_saes.experiments.behavioural_saes import BehaviouralSaes
from deception_saes.tidy import described

_KINDS = {"topk": ("topk", True, "TopK"),
          "learned": ("jumprelu", True, "JumpReLU with learned thresholds"),
          "prefix": ("jumprelu", False, "JumpReLU with thresholds at 0")}
_MEDIANS = {"l0": ("L0", "features"), "explained_variance": ("explained variance", "share"),
            "dead_share": ("dead share", "share"), "kl_recovered": ("KL recovered", "share"),
            "seconds": ("training", "s")}


def grid_table(
    quality: pd.DataFrame, kl: pd.DataFrame, grids: Sequence[BehaviouralSaes]
) -> pd.DataFrame:
    """The table of `quality_of` these grids with the KL that each SAE recovers, 1 − KL with it / KL
    with the mean residual, both summed over tokens, and the seconds of its training."""
    total = (kl["kl"] * kl["tokens"]).groupby([kl["layer"], kl["sae"], kl["fixed"]]).sum()
    recovered = [float(1 - total[row.layer, row.sae, row.fixed] / total[row.layer, "mean", True])
                 for row in quality.itertuples()]
    seconds = {(name, saes.recipe.learn_threshold): of for saes in grids
               for name, of in saes.seconds.items()}
    return described(
        quality.assign(kl_recovered=recovered,
                       seconds=[seconds[row.sae, row.fixed] for row in quality.itertuples()]),
        "a behavioural SAE a row, those with thresholds at 0 too, measured on round R3",
        rows=("count", "training rows"), d_sae=("count", "features"),
        density_median=("share", "rows on which the median feature is active"),
        threshold_median=("residual", "median JumpReLU threshold; empty for TopK"),
        tokens=("count", "tokens it was measured on"))


def by_kind(grid: pd.DataFrame, kl: pd.DataFrame, *, draws: int, seed: int) -> pd.DataFrame:
    """Medians over SAEs of each kind; of JumpReLUs the mean share of active features with its
    interval over SAEs, and the largest median threshold of those at 0, so that one that was learned
    would show. draws, seed: of the bootstrap."""
    rows: list[dict[str, Any]] = []
    for kind, (architecture, learned_threshold, name) in _KINDS.items():
        of = grid[(grid["architecture"] == architecture) & (grid["fixed"] == learned_threshold)]
        n = {"kl_recovered": kl["completion"].nunique(), "seconds": len(of)}
        rows += [{"kind": kind, "measure": measure, "value": float(of[measure].median()),
                  "unit": unit, "n": n.get(measure, int(grid["tokens"].iloc[0])),
                  "quantity": f"{quantity}, {name}, median over SAEs"}
                 for measure, (quantity, unit) in _MEDIANS.items()]
        if architecture == "jumprelu":
            share = mean_interval(100 * of["l0"] / of["d_sae"], draws, seed)
            rows.append({"kind": kind, "measure": "l0_share", "value": share.mean,
                         "ci_low": share.low, "ci_high": share.high, "unit": "percent",
                         "n": share.n,
                         "quantity": f"L0 as a share of d_sae, {name}, mean over SAEs"})
        if not learned_threshold:
            rows.append({"kind": kind, "measure": "threshold", "unit": "threshold", "n": len(of),
                         "value": float(of["threshold_median"].max()),
                         "quantity": "largest median threshold of the pre-fix JumpReLUs"})
    return described(
        pd.DataFrame(rows), "three kinds of SAEs: TopK, JumpReLU with learned thresholds, and with "
        "thresholds at 0",
        kind=("", "topk; learned: JumpReLU with learned thresholds; prefix: with thresholds at 0"),
        measure=("", "l0, explained_variance, dead_share, kl_recovered and seconds: medians over "
                     "SAEs; l0_share: L0 over d_sae, mean over SAEs; threshold: the largest median "
                     "threshold"),
        value=("", "the measure, in `unit`"), unit=("", "unit of value and interval"))


def threshold_histogram(grids: Sequence[BehaviouralSaes], *, bins: int) -> pd.DataFrame:
    """Histograms of the JumpReLU thresholds of each layer, in one set of bins for all grids."""
    pooled: dict[tuple[int, bool], list[np.ndarray]] = {}
    for saes in grids:
        for tag, sae in saes.load():
            if "threshold" in sae.weights:
                pooled.setdefault((tag.layer, saes.recipe.learn_threshold), []).append(
                    sae.weights["threshold"].numpy())
    rows = []
    for layer in sorted({layer for layer, _ in pooled}):
        mine = {learned_threshold: of for (of_layer, learned_threshold), of in pooled.items()
                if of_layer == layer}
        most = max(float(np.quantile(one, 0.995)) for of in mine.values() for one in of)
        edges = np.linspace(0, most if most > 0 else 1.0, bins + 1)
        for learned_threshold, of in mine.items():
            together = np.concatenate(of)
            counts, _ = np.histogram(np.minimum(together, edges[-1]), edges)
            rows += [{"layer": layer, "fixed": learned_threshold, "low": float(low),
                      "high": float(high), "share": float(count / len(together))}
                     for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)]
    return described(
        pd.DataFrame(rows), "histogram of JumpReLU thresholds, all SAEs of a layer together",
        low=("residual", "lower edge of the bin"),
        high=("residual", "upper edge; the last bin holds what lies above it too"),
        share=("share", "features in the bin"))
