"""§18: the layer sweep."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deception_saes.experiments.layer_probes import TEXTS
from deception_saes.experiments.layer_tables import depth_in_words
from deception_saes.paper.numbers import row_value, with_interval
from deception_saes.paper.plots.common import Colours, legend_below

MAIN, PRIMARY = "R3", "mean"
POOLINGS = {"mean": ("mean over the completion's tokens", "genuine"),
            "last": ("last token", "sandbag")}
ROUND_STYLES = {"R1": ("muted", "s"), "R2": ("neutral", "D"), "R3": ("genuine", "o")}
PROBES = {
    "nested": "activations, layer chosen without the scored fold",
    "words": "words and pairs of words",
    "words_of_scenario": "the same, also by scenario",
    "length": "length",
}


def layers(
    figure: Figure, colours: Colours, table: pd.DataFrame, baselines: pd.DataFrame
) -> None:
    """Balanced accuracy by layer in the main round: a panel for each pooling."""
    text = baselines.set_index("probe")["accuracy"]
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (pooling, (name, colour)) in zip(panels, POOLINGS.items(), strict=True):
        of = _rows(table, MAIN, pooling)
        axes.fill_between(of["layer"], of["null_low"], of["null_high"], color=colours["muted"],
                          alpha=0.25, linewidth=0, label="permuted labels")
        axes.fill_between(of["layer"], of["accuracy_low"], of["accuracy_high"],
                          color=colours[colour], alpha=0.25, linewidth=0)
        axes.plot(of["layer"], of["accuracy"], "o-", markersize=3, color=colours[colour],
                  label="probe")
        axes.axhline(text["words"], color=colours["ink"], linestyle="--", linewidth=1,
                     label="words alone")
        axes.axhline(text["words_of_scenario"], color=colours["ink"], linestyle=":", linewidth=1.2,
                     label="words by scenario")
        axes.axhline(50, color=colours["muted"], linewidth=0.8)
        axes.set_title(name)
        axes.set_xlabel("layer")
    panels[0].set_ylabel("balanced accuracy, percent")
    legend_below(figure, panels[0])


def rounds(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Balanced accuracy by layer in every round, each curve's peak marked; below, how often each
    layer is the peak in resamples."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    found = [round for round in ROUND_STYLES if len(_rows(table, round, PRIMARY))]
    for place, round in enumerate(found):
        colour, marker = colours[ROUND_STYLES[round][0]], ROUND_STYLES[round][1]
        of = _rows(table, round, PRIMARY)
        above.plot(of["layer"], of["accuracy"], "-", color=colour, linewidth=1.2)
        peak = of.loc[of["peak"]].iloc[0]
        above.plot(peak["layer"], peak["accuracy"], marker, markersize=9, color=colour,
                   label=f"{round}, n = {peak['n']}: peak at L{peak['layer']}")
        width = 0.8 / len(found)
        below.bar(of["layer"] + width * (place - (len(found) - 1) / 2), 100 * of["peak_share"],
                  width, color=colour)
    above.axhline(50, color=colours["muted"], linewidth=0.8)
    above.set_ylabel("balanced accuracy,\npercent")
    below.set_ylabel("peak in resamples,\npercent")
    below.set_xlabel("layer")
    legend_below(figure, above)


def baselines(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Balanced accuracy and AUROC of what reads activations, words, or the length."""
    order = ["nested", *(probe for probe in table["probe"] if probe not in PROBES), *TEXTS]
    table = table.set_index("probe").loc[order]
    panels = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(table))
    for axes, what, chance, label in zip(panels, ("accuracy", "auroc"), (50, 0.5),
                                         ("balanced accuracy, percent", "AUROC"), strict=True):
        for row, (probe, of) in enumerate(table.iterrows()):
            colour = "sandbag" if probe in TEXTS else "genuine"
            axes.errorbar(of[what], row, xerr=_ends(of, what), fmt="o", capsize=3,
                          color=colours[colour])
        axes.axvline(chance, color=colours["muted"], linewidth=0.8)
        axes.set_xlabel(label)
    panels[0].set_yticks(rows, [PROBES.get(probe, f"activations, {depth_in_words(probe)}")
                                for probe in table.index])
    panels[0].invert_yaxis()


def transfer(
    figure: Figure, colours: Colours, table: pd.DataFrame, left_out: pd.DataFrame
) -> None:
    """AUROC by layer: within scenarios, and in scenarios left out of training."""
    within = _rows(table, MAIN, PRIMARY)
    axes = figure.subplots()
    for of, colour, label in ((within, "genuine", "scenarios that were trained on"),
                              (left_out, "sandbag", "scenario left out of training")):
        axes.fill_between(of["layer"], of["auroc_low"], of["auroc_high"], color=colours[colour],
                          alpha=0.25, linewidth=0)
        axes.plot(of["layer"], of["auroc"], "o-", markersize=3, color=colours[colour], label=label)
    axes.axhline(0.5, color=colours["muted"], linewidth=0.8)
    axes.set_xlabel("layer")
    axes.set_ylabel("AUROC")
    legend_below(figure, axes)


def scenarios(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """AUROC of each scenario, within it and left out of training."""
    table = table.sort_values("auroc", ascending=False).reset_index(drop=True)
    axes = figure.subplots()
    for row, of in table.iterrows():
        axes.errorbar(of["auroc"], row, xerr=_ends(of, "auroc"), fmt="o", capsize=3,
                      color=colours["genuine"], label="trained on" if row == 0 else None)
        axes.plot(of["transfer"], row, "D", color=colours["sandbag"],
                  label="left out of training" if row == 0 else None)
    axes.axvline(0.5, color=colours["muted"], linewidth=0.8)
    axes.set_yticks(range(len(table)), [f"{of.scenario.replace('_', ' ')} ({of.n})"
                                        for of in table.itertuples()])
    axes.invert_yaxis()
    axes.set_xlabel("AUROC")
    legend_below(figure, axes)


def peaks(table: pd.DataFrame) -> pd.DataFrame:
    """Every sweep in numbers: its highest layer, and what is left without a choice of the best."""
    titles = {"peak.layer": "peak layer", "peak.accuracy": "at the peak",
              "null.accuracy": "95% of peaks under permutation", "p.accuracy": "p",
              "nested.accuracy": "nested", "nested.auroc": "nested AUROC"}
    rows = []
    for (round, pooling), of in table.groupby(["round", "pooling"], sort=False):
        found = of.set_index("statistic")
        rows.append({"round": round, "pooling": pooling, "n": found.loc["peak.layer", "n"],
                     **{title: with_interval(row_value(found.loc[statistic]))
                        for statistic, title in titles.items()}})
    return pd.DataFrame(rows)


def penalties(table: pd.DataFrame) -> pd.DataFrame:
    """Probes at other strengths of regularisation: balanced accuracy with its interval."""
    shown = {"C": [f"{c:g}" for c in dict.fromkeys(table["c"])]}
    for probe, of in table.groupby("probe", sort=False):
        shown[PROBES[str(probe)]] = [
            f"{row.accuracy:.1f} % [{row.accuracy_low:.1f}, {row.accuracy_high:.1f}]"
            for row in of.itertuples()]
    return pd.DataFrame(shown)


def _rows(table: pd.DataFrame, round: str, pooling: str) -> pd.DataFrame:
    return table[(table["round"] == round) & (table["pooling"] == pooling)]


def _ends(of: pd.Series, what: str) -> np.ndarray:
    ends = np.array([[of[what] - of[f"{what}_low"]], [of[f"{what}_high"] - of[what]]])
    return ends.clip(min=0)
