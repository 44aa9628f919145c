"""§25: the SAE zoo."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deception_saes.paper.plots.common import Colours, legend_below, style_of, styles_of

TRAIN_SET_STYLES = {"genuine_only": ("genuine only", "genuine"), "mixed": ("mixed", "neutral"),
              "sandbagging_only": ("sandbagging only", "sandbag")}
_MARKERS = "os^DvP*X"  # by layer, shallow to deep, then from the start
_L0_TICKS = [16, 32, 64, 128, 256]


def front(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """L0 against explained variance, at question tokens, and against KL recovered."""
    left, right = figure.subplots(1, 2)
    markers = _markers(table)
    for axes, l0, measure, label in (
        (left, "l0", "explained_variance", "explained variance, question tokens"),
        (right, "l0_last", "kl_recovered", "KL recovered, last position"),
    ):
        for (architecture, layer), of in table.groupby(["architecture", "layer"]):
            colour = style_of(architecture).colour
            for large, some in of.groupby(of["expansion"] > of["expansion"].min()):
                axes.scatter(some[l0], some[measure], marker=markers[layer], s=34,
                             facecolors="none" if large else colours[colour],
                             edgecolors=colours[colour], alpha=0.85)
        _powers_of_two(axes, _L0_TICKS)
        axes.set_xlabel("L0, active features of a row")
        axes.set_ylabel(label)
    _legend(figure, colours, table, "8x (hollow)" if table["expansion"].nunique() > 1 else None)


def _markers(table: pd.DataFrame) -> dict[int, str]:
    return dict(zip(sorted(table["layer"].unique()), cycle(_MARKERS), strict=False))


def _legend(figure: Figure, colours: Colours, table: pd.DataFrame, hollow: str | None) -> None:
    def mark(marker: str, colour: str, label: str, fill: str | None = None) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, color=colour, label=label,
                      markerfacecolor=fill or colour)

    handles = [mark("D", colours[of.colour], of.name)
               for of in styles_of(table["architecture"]).values()]
    handles += [mark(marker, colours["ink"], f"L{layer}")
                for layer, marker in _markers(table).items()]
    if hollow:
        handles.append(mark("D", colours["ink"], hollow, "none"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)


def swaps(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """L0 at the last position against the effect of E2 and the gap of E6 against E4."""
    markers = _markers(table)
    panels = (("E2", "effect of E2, pp"), ("E6", "effect of E6, pp"), ("E6-E4", "gap E6 − E4, pp"),
              ("E6Δ-E4Δ", "gap E6Δ − E4Δ, pp"))
    for axes, (name, label) in zip(figure.subplots(2, 2, sharex=True).flat, panels, strict=True):
        for (architecture, layer), of in table.groupby(["architecture", "layer"]):
            for alone, some in of.groupby(of["train_set"] != "mixed"):
                colour = colours[style_of(architecture).colour]
                axes.scatter(some["l0_last"], some[name], marker=markers[layer],
                             s=30, facecolors="none" if alone else colour, edgecolors=colour,
                             alpha=0.85)
        axes.axhline(0, color=colours["muted"], linewidth=0.8)
        _powers_of_two(axes, _L0_TICKS)
        axes.set_ylabel(label)
        if axes.get_subplotspec().is_last_row():
            axes.set_xlabel("L0 at the last position")
    _legend(figure, colours, table, "trained on one condition (hollow)")


def k_sweep(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Explained variance and KL recovered against k, at the layer that has every k."""
    topk = table[(table["architecture"] == "topk")
                 & (table["expansion"] == table["expansion"].min())]
    of_layer = topk[topk["layer"] == topk.groupby("layer")["k"].nunique().idxmax()]
    for axes, (measure, label) in zip(figure.subplots(1, 2), (
        ("explained_variance_own", "explained variance,\ntokens of its training condition"),
        ("kl_recovered", "KL recovered, last position"),
    ), strict=True):
        for train_set, (name, colour) in TRAIN_SET_STYLES.items():
            of = of_layer[of_layer["train_set"] == train_set].sort_values("k")
            axes.plot(of["k"], of[measure], "o-", color=colours[colour], label=name)
        _powers_of_two(axes, sorted(of_layer["k"].astype(int).unique()))
        axes.set_xlabel("k")
        axes.set_ylabel(label)
    legend_below(figure, axes, columns=3)


def _powers_of_two(axes: Axes, ks: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.minorticks_off()


def cost(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Seconds to train each SAE, by architecture and size of the training set."""
    axes = figure.subplots()
    styles = styles_of(table["architecture"])
    for row, (architecture, style) in enumerate(styles.items()):
        of = table[table["architecture"] == architecture]
        for shift, (train_sets, filled) in enumerate(((["mixed"], True),
                                                      (["genuine_only", "sandbagging_only"],
                                                       False))):
            some = of[of["train_set"].isin(train_sets)]
            spread = np.linspace(-0.12, 0.12, len(some)) if len(some) > 1 else np.zeros(len(some))
            axes.plot(some["seconds"], row - 0.15 + 0.3 * shift + spread, "o",
                      color=colours[style.colour],
                      markerfacecolor=colours[style.colour] if filled else "none")
    axes.set_yticks(range(len(styles)), [style.name for style in styles.values()])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds of training, one thread an SAE")


def every_sae(table: pd.DataFrame) -> pd.DataFrame:
    """All SAEs in numbers."""
    return pd.DataFrame({
        "tag": table["tag"], "L0": table["l0"].map("{:.0f}".format),
        "EV": table["explained_variance"].map("{:.3f}".format),
        "EV own": table["explained_variance_own"].map("{:.3f}".format),
        "EV last": table["explained_variance_last"].map("{:.3f}".format),
        "KL rec.": table["kl_recovered"].map("{:.3f}".format),
        "MSE": table["mse"].map("{:.3g}".format),
        "dead": (100 * table["dead_share"]).map("{:.0f} %".format),
        "s": table["seconds"].map("{:.1f}".format),
    }).replace("-", "−", regex=True).assign(tag=table["tag"])
