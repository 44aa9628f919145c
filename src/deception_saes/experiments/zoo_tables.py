"""What is said of a set's SAEs: their quality, gaps between swaps through them, what they cost.

Apart from what runs the model, so that a statistic that is edited makes no run stale.

Shape suffixes: Q questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from deception_saes.analysis.bootstrap import mean_interval, ratio_interval
from deception_saes.cache import cached
from deception_saes.saes.tags import SaeTag
from deception_saes.tidy import described

_GAPS = (("E6", "E4"), ("E6Δ", "E4Δ"), ("E6", "E2"))
_SWAP = "swap."  # before an edit's name where it stands among measures
_NAMES = {"E2": "reconstruction only", "E6": "full SAE swap", "E4": "reversed direction",
          "E6Δ": "difference swap", "E4Δ": "reversed difference swap",
          "E5.16": "swap of the sixteen features of largest Cohen's d"}
_MEASURES = {
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


@cached()
def measure_table(
    tags: Sequence[SaeTag], found: Mapping[str, Any], *, draws: int, seed: int
) -> pd.DataFrame:
    """From what `zoo.quality_at` found, a row an SAE and measure, with an interval over questions
    where there is one. draws, seed: of the bootstrap."""
    rows = [{"tag": tag.name, "architecture": tag.architecture, "layer": tag.layer,
             "train_set": tag.train_set, **row}
            for tag in tags for row in _measures(found[tag.name], draws, seed)]
    return described(
        pd.DataFrame(rows), "a sandbagging SAE and a measure a row, on the evaluating half",
        measure=("", "as the columns of s25_saes.csv; swap.E6: effect of an edit on sandbag "
                     "prompts; swap.E6-E4: the gap between two"),
        value=("", "the measure, in `unit`"), unit=("", "unit of value and interval"),
        condition=("", "the edit whose effect it is"))


def _measures(of: Mapping[str, Any], draws: int, seed: int) -> Iterator[dict[str, Any]]:
    tokens, own, last = of["tokens"], of["own"], of["last"]
    for measure, above_Q, below_Q, quantity in (
            ("explained_variance", tokens["kept"], tokens["spread"],
             "explained variance, question tokens"),
            ("explained_variance_last", last["kept"], last["spread"],
             "explained variance, last prompt position"),
            ("kl_recovered", of["kl_replaced"] - of["kl"], of["kl_replaced"],
             "KL recovered at the last prompt position")):
        yield {"measure": measure, "unit": "share", "quantity": quantity,
               **ratio_interval(above_Q, below_Q, draws, seed).columns}
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
               **mean_interval(effect_Q, draws, seed).columns}
    for first, second in _GAPS:
        if {first, second} <= effects.keys():
            yield {"measure": f"{_SWAP}{first}-{second}", "unit": "pp",
                   "quantity": f"gap {first}-{second} on sandbag prompts",
                   **mean_interval(effects[first] - effects[second], draws, seed).columns}


def sae_table(
    tags: Sequence[SaeTag], measures: pd.DataFrame, seconds: Mapping[str, float]
) -> pd.DataFrame:
    """From `measure_table`, an SAE a row. seconds: of training, by tag."""
    wide = measures.pivot(index="tag", columns="measure", values="value")
    swaps = [name for name in measures["measure"].unique() if name.startswith(_SWAP)]
    found = pd.DataFrame([
        {"tag": tag.name, "architecture": tag.architecture, "layer": tag.layer,
         "train_set": tag.train_set, "k": tag.k, "expansion": tag.expansion,
         **wide.loc[tag.name, list(_MEASURES)],
         "seconds": seconds.get(tag.name, float("nan")),
         **wide.loc[tag.name, swaps].rename(lambda name: name.removeprefix(_SWAP))}
        for tag in tags])
    found["dead_share"] /= 100
    return described(
        found, "a sandbagging SAE a row, measured on the evaluating half", **_MEASURES,
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
