"""§18: the layer sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from deception_saes.sections.run import SectionRun

Colours = dict[str, str]
MAIN, PRIMARY = "R3", "mean"
POOLINGS = {"mean": ("mean over the completion's tokens", "genuine"),
            "last": ("last token", "sandbag")}
ROUNDS = {"R1": ("muted", "s"), "R2": ("neutral", "D"), "R3": ("genuine", "o")}
PROBES = {
    "nested": "activations, layer chosen without the scored fold",
    "L6": "activations, depth of the study's L6",
    "L9": "activations, depth of the study's L9",
    "words": "words and pairs of words",
    "words_of_scenario": "the same, also by scenario",
    "length": "length",
}


def layers(figure: Figure, colours: Colours, run: SectionRun) -> None:
    """Balanced accuracy by layer in the main round: a panel for each pooling."""
    table = run.table("layers")
    text = run.table("baselines").set_index("probe")["accuracy"]
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
    _legend_below(figure, panels[0])


def rounds(figure: Figure, colours: Colours, run: SectionRun) -> None:
    """Balanced accuracy by layer in every round, each curve's peak marked; below, how often each
    layer is the peak in resamples."""
    table = run.table("layers")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    found = [round for round in ROUNDS if len(_rows(table, round, PRIMARY))]
    for place, round in enumerate(found):
        colour, marker = colours[ROUNDS[round][0]], ROUNDS[round][1]
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
    _legend_below(figure, above)


def baselines(figure: Figure, colours: Colours, run: SectionRun) -> None:
    """Balanced accuracy and AUROC of what reads activations, words, or the length."""
    table = run.table("baselines").set_index("probe").loc[list(PROBES)]
    panels = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(table))
    for axes, what, chance, label in zip(panels, ("accuracy", "auroc"), (50, 0.5),
                                         ("balanced accuracy, percent", "AUROC"), strict=True):
        for row, (probe, of) in enumerate(table.iterrows()):
            colour = "genuine" if probe in ("nested", "L6", "L9") else "sandbag"
            axes.errorbar(of[what], row, xerr=_ends(of, what), fmt="o", capsize=3,
                          color=colours[colour])
        axes.axvline(chance, color=colours["muted"], linewidth=0.8)
        axes.set_xlabel(label)
    panels[0].set_yticks(rows, [PROBES[probe] for probe in table.index])
    panels[0].invert_yaxis()


def transfer(figure: Figure, colours: Colours, run: SectionRun) -> None:
    """AUROC by layer: within scenarios, and in scenarios left out of training."""
    within = _rows(run.table("layers"), MAIN, PRIMARY)
    left_out = run.table("transfer")
    axes = figure.subplots()
    for of, colour, label in ((within, "genuine", "scenarios that were trained on"),
                              (left_out, "sandbag", "scenario left out of training")):
        axes.fill_between(of["layer"], of["auroc_low"], of["auroc_high"], color=colours[colour],
                          alpha=0.25, linewidth=0)
        axes.plot(of["layer"], of["auroc"], "o-", markersize=3, color=colours[colour], label=label)
    axes.axhline(0.5, color=colours["muted"], linewidth=0.8)
    axes.set_xlabel("layer")
    axes.set_ylabel("AUROC")
    _legend_below(figure, axes)


def scenarios(figure: Figure, colours: Colours, run: SectionRun) -> None:
    """AUROC of each scenario, within it and left out of training."""
    table = run.table("scenarios").sort_values("auroc", ascending=False).reset_index(drop=True)
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
    _legend_below(figure, axes)


def peaks(run: SectionRun) -> pd.DataFrame:
    """Every sweep in numbers: its highest layer, and what is left without a choice of the best."""
    rows = []
    table = run.table("layers")
    for (round, pooling), of in table.groupby(["round", "pooling"], sort=False):
        base = f"{_base(run)}.{round}.{pooling}"

        def text(rest: str, base: str = base) -> str:
            from deception_saes.paper.numbers import with_interval

            return with_interval(run.results.value(f"{base}.{rest}"))

        rows.append({"round": round, "pooling": pooling, "n": of["n"].iloc[0],
                     "peak layer": text("peak.layer"), "at the peak": text("peak.accuracy"),
                     "95% of peaks under permutation": text("null.accuracy"),
                     "p": text("p.accuracy"), "nested": text("nested.accuracy"),
                     "nested AUROC": text("nested.auroc")})
    return pd.DataFrame(rows)


def penalties(run: SectionRun) -> pd.DataFrame:
    """Probes at other strengths of regularisation: balanced accuracy with its interval."""
    table = run.table("penalties")
    shown = {"C": [f"{c:g}" for c in dict.fromkeys(table["c"])]}
    for probe, of in table.groupby("probe", sort=False):
        shown[PROBES[str(probe)]] = [
            f"{row.accuracy:.1f} % [{row.accuracy_low:.1f}, {row.accuracy_high:.1f}]"
            for row in of.itertuples()]
    return pd.DataFrame(shown)


def _base(run: SectionRun) -> str:
    return ".".join(run.results.values[0].id.split(".")[:2])


def _rows(table: pd.DataFrame, round: str, pooling: str) -> pd.DataFrame:
    return table[(table["round"] == round) & (table["pooling"] == pooling)]


def _ends(of: pd.Series, what: str) -> np.ndarray:
    ends = np.array([[of[what] - of[f"{what}_low"]], [of[f"{what}_high"] - of[what]]])
    return ends.clip(min=0)


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
