"""§20: the grid of behavioural SAEs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from deception_saes.paper.plots.common import Colours, legend_below

_KINDS = (("topk", True, "TopK", "genuine", "o"),
          ("jumprelu", True, "JumpReLU, learned thresholds", "sandbag", "D"),
          ("jumprelu", False, "JumpReLU, thresholds at 0", "muted", "s"))


def grid(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """L0 against explained variance and against KL recovered."""
    axes = figure.subplots(1, 2, sharex=True)
    for axis, (column, name) in zip(axes, (("explained_variance", "explained variance"),
                                           ("kl_recovered", "KL recovered")), strict=True):
        for architecture, learned_threshold, label, colour, marker in _KINDS:
            of = table[(table["architecture"] == architecture)
                       & (table["fixed"] == learned_threshold)]
            axis.plot(of["l0"], of[column], marker, color=colours[colour], label=label,
                      markersize=5, alpha=0.85)
        axis.set_xscale("log")
        axis.set_xlabel("L0, active features of a token")
        axis.set_ylabel(name)
    legend_below(figure, axes[0], columns=3)


def thresholds(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Learned thresholds of each layer beside those at 0."""
    layers = sorted(table["layer"].unique())
    axes = figure.subplots(1, len(layers), sharey=True)
    for axis, layer in zip(axes, layers, strict=True):
        for learned_threshold, colour, label in ((True, "sandbag", "learned"),
                                                 (False, "muted", "at 0")):
            of = table[(table["layer"] == layer) & (table["fixed"] == learned_threshold)]
            if of.empty:
                continue
            axis.bar(of["low"], 100 * of["share"], of["high"] - of["low"], align="edge",
                     color=colours[colour], alpha=0.7, label=label)
        axis.set_title(f"L{layer}")
        axis.set_xlabel("threshold")
    axes[0].set_ylabel("percent of features")
    legend_below(figure, axes, columns=2)


def saes(table: pd.DataFrame) -> pd.DataFrame:
    """All of them in numbers."""
    return pd.DataFrame({
        "SAE": table["sae"],
        "thresholds": [{True: "learned", False: "at 0"}[row.fixed]
                       if row.architecture == "jumprelu" else "–" for row in table.itertuples()],
        "training rows": table["rows"], "L0": table["l0"].map("{:.1f}".format),
        "of d_sae": (100 * table["l0"] / table["d_sae"]).map("{:.1f} %".format),
        "explained variance": table["explained_variance"].map("{:.3f}".format),
        "MSE": table["mse"].map("{:.2f}".format),
        "dead": (100 * table["dead_share"]).map("{:.1f} %".format),
        "KL recovered": table["kl_recovered"].map("{:.3f}".format),
        "seconds": table["seconds"].map("{:.1f}".format)})
