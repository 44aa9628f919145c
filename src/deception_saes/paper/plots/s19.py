"""§19: PCA robustness."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deception_saes.paper.plots.common import Colours, legend_below

CHOICES = {"nested": ("each fold's own layer", "genuine", "o"),
           "depth_of_L6": ("depth of the study's L6", "neutral", "s"),
           "depth_of_L9": ("depth of the study's L9", "sandbag", "D")}


def ladder(
    figure: Figure, colours: Colours, table: pd.DataFrame, drawn: pd.DataFrame
) -> None:
    """Balanced accuracy on ever more components, and how often each number saturates it."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for place, (choice, (name, colour, marker)) in enumerate(CHOICES.items()):
        of = table[table["layers"] == choice]
        steps = np.arange(len(of)) + 0.12 * (place - 1)
        if choice == "nested":
            above.fill_between(steps, of["null_low"], of["null_high"], color=colours["muted"],
                               alpha=0.25, linewidth=0, label="permuted labels")
        ends = [(of["accuracy"] - of["accuracy_low"]).clip(lower=0),
                (of["accuracy_high"] - of["accuracy"]).clip(lower=0)]
        above.errorbar(steps, of["accuracy"], yerr=ends, fmt=marker, linestyle="-", linewidth=0.8,
                       capsize=3, markersize=5, color=colours[colour], label=name)
        share = 100 * drawn[drawn["layers"] == choice]["share"]
        below.bar(np.arange(len(of)) + 0.27 * (place - 1), share, 0.25, color=colours[colour])
    above.axhline(50, color=colours["muted"], linewidth=0.8)
    above.set_ylabel("balanced accuracy,\npercent")
    of = table[table["layers"] == "nested"]
    below.set_xticks(range(len(of)), [f"all {k}" if every else str(k) for k, every in
                                      zip(of["components"], of["all"], strict=True)])
    below.set_xlabel("principal components")
    below.set_ylabel("saturated,\npercent")
    legend_below(figure, above, columns=2)


def components(table: pd.DataFrame) -> pd.DataFrame:
    """The ladder in numbers, at the layers of the nested choice."""
    of = table[table["layers"] == "nested"]
    return pd.DataFrame({
        "components": [f"all {k}" if every else str(k) for k, every in
                       zip(of["components"], of["all"], strict=True)],
        "variance explained": (100 * of["explained"]).map("{:.0f} %".format),
        "balanced accuracy": [f"{row.accuracy:.1f} % [{row.accuracy_low:.1f}, "
                              f"{row.accuracy_high:.1f}]" for row in of.itertuples()],
        "AUROC": [f"{row.auroc:.3f} [{row.auroc_low:.3f}, {row.auroc_high:.3f}]"
                  for row in of.itertuples()]})
