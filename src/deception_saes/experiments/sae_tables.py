"""Tables of SAEs: how well they describe, what swaps through them do, what training costs,
how far their single features set conditions apart.

Apart from what runs them, so that a statistic that is edited makes no run stale.

Shape suffixes: Q questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from deception_saes.analysis.bootstrap import (
    Clusters,
    mean_interval,
    percentiles,
    ratio_interval,
)
from deception_saes.cache import cached
from deception_saes.saes.tags import SaeTag
from deception_saes.tidy import VALUE_AND_UNIT, described, with_ends

if TYPE_CHECKING:
    from deception_saes.experiments.behavioural_saes import BehaviouralSaes

BASELINES = {"raw": "raw coordinates", "components": "principal components"}

_D = "Cohen's d"
_SEPARATION_COLUMNS = {
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
    **with_ends("d_picked", _D, "|d| of the feature picked on the choosing half"),
}
_GAPS = (("E6", "E4"), ("E6Δ", "E4Δ"), ("E6", "E2"))
_SWAP = "swap."  # before an edit's name where it stands among measures
_NAMES = {"E2": "reconstruction only", "E6": "full SAE swap", "E4": "reversed direction",
          "E6Δ": "difference swap", "E4Δ": "reversed difference swap",
          "E5.16": "swap of the sixteen features of largest Cohen's d"}
_ZOO_COLUMNS = {
    "l0": ("features", "active features of a question token, mean"),
    "explained_variance": ("share", "1 − squared error / variance, on question tokens"),
    "explained_variance_own": ("share", "the same on question tokens of its own training "
                                        "condition"),
    "explained_variance_last": ("share", "the same at the last prompt position"),
    "l0_last": ("features", "active features at the last prompt position, mean"),
    "mse": ("squared residual", "mean squared error per coordinate, on question tokens"),
    "dead_share": ("share", "share of features that are active on no question token"),
    "kl_recovered": ("share", "1 − KL(clean ‖ with SAE) / KL(clean ‖ mean-replaced), at the last "
                              "prompt position"),
}
_KINDS = {"topk": ("topk", True, "TopK"),
          "learned": ("jumprelu", True, "JumpReLU with learned thresholds"),
          "prefix": ("jumprelu", False, "JumpReLU with thresholds at 0")}
_MEDIANS = {"l0": ("L0", "features"), "explained_variance": ("explained variance", "share"),
            "dead_share": ("dead share", "share"), "kl_recovered": ("KL recovered", "share"),
            "seconds": ("training", "s")}


# The sandbagging SAEs


@cached()
def measure_table(
    tags: Sequence[SaeTag], found: Mapping[str, Any], *, clusters: Clusters, draws: int, seed: int
) -> pd.DataFrame:
    """From what `zoo.quality_at` found, a row an SAE and measure, with an interval over questions
    where there is one. clusters: of the questions. draws, seed: of the bootstrap."""
    rows = [{"tag": tag.name, "architecture": tag.architecture, "layer": tag.layer,
             "train_set": tag.train_set, **row}
            for tag in tags for row in _zoo_measures(found[tag.name], clusters, draws, seed)]
    return described(
        pd.DataFrame(rows), "a sandbagging SAE and a measure a row, on the evaluating half",
        measure=("", "as the columns of s25_saes.csv; swap.E6: effect of an edit on sandbag "
                     "prompts; swap.E6-E4: the gap between two"),
        condition=("", "the edit whose effect it is"), **VALUE_AND_UNIT)


def _zoo_measures(
    of: Mapping[str, Any], clusters: Clusters, draws: int, seed: int
) -> Iterator[dict[str, Any]]:
    tokens, own, last = of["tokens"], of["own"], of["last"]
    for measure, above_Q, below_Q, quantity in (
            ("explained_variance", tokens["kept"], tokens["spread"],
             "explained variance, question tokens"),
            ("explained_variance_last", last["kept"], last["spread"],
             "explained variance, last prompt position"),
            ("kl_recovered", of["kl_replaced"] - of["kl"], of["kl_replaced"],
             "KL recovered at the last prompt position")):
        yield {"measure": measure, "unit": "share", "quantity": quantity,
               **ratio_interval(above_Q, below_Q, draws, seed, clusters=clusters).columns()}
    for measure, rows, value, unit, quantity in (
            ("explained_variance_own", own, own["explained_variance"], "share",
             "explained variance, tokens of its training condition"),
            ("mse", tokens, tokens["mse"], "squared residual",
             "mean squared error per coordinate, question tokens"),
            ("l0", tokens, tokens["l0"], "features", "L0, question tokens"),
            ("l0_last", last, last["l0"], "features", "L0, last prompt position"),
            ("dead_share", tokens, 100 * tokens["dead_share"], "percent",
             "features active on no question token")):
        yield {"measure": measure, "unit": unit, "quantity": quantity, "value": value,
               "n": rows["rows"]}
    effects = {name: effects_NQ[0] for name, effects_NQ in of["effects"].items()}
    for name, effect_Q in effects.items():
        yield {"measure": f"{_SWAP}{name}", "unit": "pp", "condition": name,
               "quantity": f"effect of {name} on sandbag prompts",
               **mean_interval(effect_Q, draws, seed, clusters=clusters).columns()}
    for first, second in _GAPS:
        if {first, second} <= effects.keys():
            yield {"measure": f"{_SWAP}{first}-{second}", "unit": "pp",
                   "quantity": f"gap {first}-{second} on sandbag prompts",
                   **mean_interval(effects[first] - effects[second], draws, seed,
                                   clusters=clusters).columns()}


def sae_table(
    tags: Sequence[SaeTag], measures: pd.DataFrame, seconds: Mapping[str, float]
) -> pd.DataFrame:
    """From `measure_table`, an SAE a row. seconds: of training, by tag."""
    wide = measures.pivot(index="tag", columns="measure", values="value")
    swaps = [name for name in measures["measure"].unique() if name.startswith(_SWAP)]
    found = pd.DataFrame([
        {"tag": tag.name, "architecture": tag.architecture, "layer": tag.layer,
         "train_set": tag.train_set, "k": tag.k, "expansion": tag.expansion,
         **wide.loc[tag.name, list(_ZOO_COLUMNS)],
         "seconds": seconds.get(tag.name, float("nan")),
         **wide.loc[tag.name, swaps].rename(lambda name: name.removeprefix(_SWAP))}
        for tag in tags])
    found["dead_share"] /= 100
    return described(
        found, "a sandbagging SAE a row, measured on the evaluating half", **_ZOO_COLUMNS,
        **{name: ("pp", _about_swap(name)) for name in
           (swap.removeprefix(_SWAP) for swap in swaps)})


def _about_swap(name: str) -> str:
    first, _, second = name.partition("-")
    if second:
        return f"effect of {first} less that of {second}, sandbag prompts"
    return f"effect on sandbag prompts of {name}" + (f", {_NAMES[name]}" if name in _NAMES else "")


def architecture_medians(saes: pd.DataFrame) -> pd.DataFrame:
    """From `sae_table`, medians over the SAEs of one size, so that the architecture alone differs:
    a row an architecture and measure."""
    rows = []
    for architecture, of in saes.groupby("architecture"):
        same_size = of[of["expansion"] == of["expansion"].min()]
        for measure, unit, quantity in (
                ("seconds", "s", f"median seconds to train one {architecture} SAE"),
                *((name, unit, f"median {name.replace('_', ' ')} of the {architecture} SAEs")
                  for name, unit in (("explained_variance", "share"), ("kl_recovered", "share"),
                                     ("l0", "features")))):
            rows.append({"architecture": architecture, "measure": measure, "unit": unit,
                         "quantity": quantity, "value": float(same_size[measure].median()),
                         "n": len(same_size)})
    return described(
        pd.DataFrame(rows), "an architecture and a measure a row, SAEs of the usual size",
        measure=("", "as the columns of s25_saes.csv"), value=("", "median, in `unit`"),
        unit=("", "unit of the value"), n=("count", "SAEs"))


def training_ratios(saes: pd.DataFrame, *, k: int) -> pd.Series:
    """From `sae_table`, seconds of training of JumpReLU over TopK with this k, of the usual size,
    by layer and training condition."""
    usual = saes[saes["expansion"] == saes["expansion"].min()].set_index(["layer", "train_set"])
    jumprelu = usual[usual["architecture"] == "jumprelu"]["seconds"]
    topk = usual[(usual["architecture"] == "topk") & (usual["k"] == k)]["seconds"]
    return jumprelu / topk


# Their separation of conditions, TopK against JumpReLU


def separation_table(found: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """What `separation.separation_at` found at each layer, a dictionary and layer a row."""
    return described(
        pd.DataFrame([row for at_layer in found for row in at_layer["rows"]]),
        "Cohen's d between sandbag and genuine prompts in a dictionary, at the last prompt "
        "position; a dictionary and a layer a row",
        dictionary=("", "the SAE's tag; raw: the residual's coordinates; components: its principal "
                        "components"), **_SEPARATION_COLUMNS,
        **{f"untrained_{name}": (unit, f"{name} of the same SAE before training; of SAEs that are "
                                       "compared alone")
           for name, (unit, _) in _SEPARATION_COLUMNS.items()})


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of JumpReLU and TopK SAEs that are compared at matched layer and condition."""
    return table[table["untrained_d_max"].notna()]


def pair_table(
    table: pd.DataFrame, found: Iterable[Mapping[str, Any]], *, blocks: int
) -> pd.DataFrame:
    """The matched pairs: in how many each architecture has the larger d_max, and the ratio of their
    mean d; and in how many SAEs training raised d_max. blocks: of the language model."""
    of = compared(table)
    n = int(table["n_questions"].iloc[0])
    d_max = of.pivot_table(index=["layer", "train_set"], columns="architecture", values="d_max")
    wins, pairs = d_max["jumprelu"] - d_max["topk"], len(d_max)
    by_topk = wins[wins < 0].reset_index()
    late_mixed = (2 * by_topk["layer"] >= blocks) & (by_topk["train_set"] == "mixed")
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
        {"measure": "wins.topk.late_mixed", "value": float(late_mixed.sum()),
         "unit": f"of {len(by_topk)}", "n": len(by_topk),
         "quantity": "TopK's wins on d_max at half of the depth or later with mixed training"},
        {"measure": "d_mean_ratio", "value": float(ratios[0]), "ci_low": float(ratios[0] / reach),
         "ci_high": float(ratios[0] * reach), "unit": "ratio", "n": n,
         "quantity": "d_mean over all features, JumpReLU over TopK, median of the pairs"},
        {"measure": "beats_untrained", "value": float(beaten), "unit": f"of {len(of)}",
         "n": len(of), "quantity": f"SAEs of {len(of)} whose d_max is above that of their "
                                   "untrained start"},
    ]
    return described(
        pd.DataFrame(rows), "JumpReLU and TopK at matched layer and training condition",
        measure=("", "wins: pairs in which the architecture has the larger d_max; late_mixed: "
                     "those at half of the depth or later with mixed training; d_mean_ratio: "
                     "mean |d| over all features, JumpReLU over TopK; beats_untrained: SAEs with a "
                     "larger d_max than before training"), **VALUE_AND_UNIT)


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
                     "before training; rank: by d_max among all SAEs"), **VALUE_AND_UNIT)


def topk_less_jumprelu(
    table: pd.DataFrame, found: Iterable[Mapping[str, Any]], layer: int
) -> pd.DataFrame:
    """TopK less JumpReLU, of the compared SAEs of one layer that are trained on both conditions:
    of d_max, a maximum without an interval, and of d of the features picked on the choosing half,
    with an interval over questions, the same resamples for both. No rows without that layer."""
    of = compared(table)
    d_max = of[(of["layer"] == layer) & (of["train_set"] == "mixed")].set_index("architecture")[
        "d_max"]
    rows: list[dict[str, Any]] = []
    for picked in (at_layer["picked"]["mixed"] for at_layer in found
                   if at_layer["rows"][0]["layer"] == layer):
        difference = picked["topk"] - picked["jumprelu"]
        low, high = percentiles(difference[1:])
        about = {"layer": layer, "train_set": "mixed", "unit": _D,
                 "n": int(of["n_questions"].iloc[0])}
        rows += [
            {**about, "measure": "d_max", "value": d_max["topk"] - d_max["jumprelu"],
             "quantity": "d_max, TopK less JumpReLU"},
            {**about, "measure": "picked", "value": difference[0], "ci_low": low, "ci_high": high,
             "quantity": "d of the feature picked on the choosing half, TopK less JumpReLU, one "
                         "training of each"}]
    columns = ["layer", "train_set", "measure", "value", "ci_low", "ci_high", "unit", "n",
               "quantity"]
    return described(
        pd.DataFrame(rows, columns=columns), "TopK less JumpReLU at one layer, trained on both "
        "conditions",
        measure=("", "d_max; picked: d of the feature picked on the choosing half"),
        **VALUE_AND_UNIT)


# The behavioural SAEs


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
            rows.append({"kind": kind, "measure": "l0_share", **share.columns(), "unit": "percent",
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
        **VALUE_AND_UNIT)


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
                      "high": float(high),
                      "share": float(count / len(together))}
                     for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)]
    return described(
        pd.DataFrame(rows), "histogram of JumpReLU thresholds, all SAEs of a layer together",
        low=("residual", "lower edge of the bin"),
        high=("residual", "upper edge; the last bin holds what lies above it too"),
        share=("share", "features in the bin"))
