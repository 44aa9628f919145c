"""What is said of the separation by single features: TopK against JumpReLU, and one outlier.

Apart from what computes it, so that what is said anew makes no computation stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from deception_saes.tidy import described

BASELINES = {"raw": "raw coordinates", "components": "principal components"}

_D = "Cohen's d"
_MEASURES = {
    "n_questions": ("count", "questions of the evaluating half"),
    "n_live": ("count", "features active on at least 5% of prompts"),
    "d_max": (_D, "largest |d| of a live feature"),
    "d_max_no_floor": (_D, "the same without the floor of the pooled SD"),
    "null_95": (_D, "95% quantile of d_max when conditions are swapped at random by question"),
    "p": ("p", "of d_max: (1 + swaps of the conditions with a maximum at least as large) / (swaps "
               "+ 1)"),
    "d_mean_live": (_D, "mean |d| over live features"),
    "d_mean_all": (_D, "mean |d| over all features, 0 for those that are never active"),
    "sd_of_best": ("ratio", "pooled SD of the largest feature, over the live features' median SD"),
    "d_picked": (_D, "|d| of the feature picked on the choosing half"),
    "d_picked_low": (_D, "lower end of its 95% interval"),
    "d_picked_high": (_D, "upper end"),
}
_VALUE = {"value": ("", "the measure, in `unit`"), "unit": ("", "unit of value and interval")}


def separation_table(found: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """What `separation.separation_at` found at each layer, a dictionary and layer a row."""
    return described(
        pd.DataFrame([row for at_layer in found for row in at_layer["rows"]]),
        "Cohen's d between sandbag and genuine prompts in a dictionary, at the last prompt "
        "position; a dictionary and a layer a row",
        dictionary=("", "the SAE's tag; raw: the residual's coordinates; components: its principal "
                        "components"), **_MEASURES,
        **{f"untrained_{name}": (unit, f"{name} of the same SAE before training; of SAEs that are "
                                       "compared alone")
           for name, (unit, _) in _MEASURES.items()})


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of JumpReLU and TopK SAEs that are compared at matched layer and condition."""
    return table[table["untrained_d_max"].notna()]


def pair_table(table: pd.DataFrame, found: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The matched pairs: in how many each architecture has the larger d_max, and the ratio of their
    mean d; and in how many SAEs training raised d_max."""
    of = compared(table)
    n = int(table["n_questions"].iloc[0])
    d_max = of.pivot_table(index=["layer", "train_set"], columns="architecture", values="d_max")
    wins, pairs = d_max["jumprelu"] - d_max["topk"], len(d_max)
    ratios = np.median([by_architecture["jumprelu"] / by_architecture["topk"] for at_layer in found
                        for by_architecture in at_layer["d_means"].values()], axis=0)
    # resampling adds noise to every |d|, so quantiles of the resampled ratios may miss the ratio
    # itself; their spread is used, around it, on a log scale
    reach = np.exp(NormalDist().inv_cdf(0.975) * np.log(ratios[1:]).std(ddof=1))
    beaten = (of["d_max"] > of["untrained_d_max"]).sum()
    rows = [
        {"measure": "wins.jumprelu", "value": float((wins > 0).sum()), "unit": f"of {pairs}",
         "n": pairs, "quantity": f"pairs of {pairs} in which JumpReLU wins on d_max"},
        {"measure": "wins.topk", "value": float((wins < 0).sum()), "unit": f"of {pairs}",
         "n": pairs, "quantity": f"pairs of {pairs} in which TopK wins on d_max"},
        {"measure": "d_mean_ratio", "value": float(ratios[0]), "ci_low": float(ratios[0] / reach),
         "ci_high": float(ratios[0] * reach), "unit": "ratio", "n": n,
         "quantity": "d_mean over all features, JumpReLU over TopK, median of the pairs"},
        {"measure": "beats_untrained", "value": float(beaten), "unit": f"of {len(of)}",
         "n": len(of), "quantity": f"SAEs of {len(of)} whose d_max is above that of their "
                                   "untrained start"},
    ]
    return described(
        pd.DataFrame(rows), "JumpReLU and TopK at matched layer and training condition",
        measure=("", "wins: pairs in which the architecture has the larger d_max; d_mean_ratio: "
                     "mean |d| over all features, JumpReLU over TopK; beats_untrained: SAEs with a "
                     "larger d_max than before training"), **_VALUE)


def outlier_table(table: pd.DataFrame, layer: int, *, permutations: int) -> pd.DataFrame:
    """The compared SAEs of one layer that are trained on both conditions: d_max beside its null and
    its rank among all SAEs, a row an architecture and measure."""
    trained = table[table["architecture"].notna()]
    of = compared(table)
    rows = []
    for found in of[(of["layer"] == layer) & (of["train_set"] == "mixed")].to_dict("records"):
        n, rank = int(found["n_questions"]), 1 + int((trained["d_max"] > found["d_max"]).sum())
        about = {"architecture": found["architecture"], "tag": found["dictionary"], "layer": layer,
                 "train_set": "mixed"}
        ends = {"ci_low": found["d_picked_low"], "ci_high": found["d_picked_high"]}
        for measure, value, unit, rests_on, quantity in (
                ("d_max", found["d_max"], _D, n, "d_max"),
                ("null_95", found["null_95"], _D, permutations,
                 "95% quantile of d_max under swapped conditions"),
                ("p", found["p"], "p", permutations, "p of d_max under swapped conditions"),
                ("no_floor", found["d_max_no_floor"], _D, n,
                 "d_max without a floor under the SD"),
                ("picked", found["d_picked"], _D, n,
                 "d of the feature picked on the choosing half"),
                ("untrained", found["untrained_d_max"], _D, n, "d_max of its untrained start"),
                ("rank", float(rank), "count", len(trained),
                 f"rank by d_max among the {len(trained)} SAEs")):
            rows.append({**about, "measure": measure, "value": value, "unit": unit, "n": rests_on,
                         "quantity": quantity, **(ends if measure == "picked" else {})})
    columns = ["architecture", "tag", "layer", "train_set", "measure", "value", "ci_low", "ci_high",
               "unit", "n", "quantity"]
    return described(
        pd.DataFrame(rows, columns=columns), "two SAEs of one layer, trained on both conditions",
        measure=("", "d_max; null_95, p: of its null; no_floor: without the floor of the SD; "
                     "picked: d of the feature picked on the choosing half; untrained: d_max "
                     "before training; rank: by d_max among all SAEs"), **_VALUE)
