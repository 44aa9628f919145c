"""§32: TopK against JumpReLU."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deception_saes.experiments.sae_tables import BASELINES, compared
from deception_saes.paper.plots.common import Colours, shifts, style_of, styles_of
from deception_saes.paper.plots.s25 import TRAIN_SET_STYLES


def pairs(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """d_max of each matched pair beside its null, its untrained start and the picked feature."""
    shown = compared(table)
    keys = list(shown.groupby(["layer", "train_set"]).groups)
    axes = figure.subplots()
    for architecture, shift in (("topk", -0.18), ("jumprelu", 0.18)):
        style = style_of(architecture)
        name, colour = style.name, style.colour
        of = shown[shown["architecture"] == architecture]
        at = np.array([keys.index(key) for key in zip(of["layer"], of["train_set"], strict=True)])
        at = at + shift
        axes.plot(of["d_max"], at, "o", color=colours[colour], label=f"{name}: d_max")
        ends = np.stack([of["d_picked"] - of["d_picked_low"],
                         of["d_picked_high"] - of["d_picked"]]).clip(min=0)
        axes.errorbar(of["d_picked"], at, xerr=ends, fmt="D", markersize=4, capsize=2, alpha=0.6,
                      color=colours[colour], label=f"{name}: feature picked on the choosing half")
        axes.plot(of["untrained_d_max"], at, "x", color=colours[colour],
                  label=f"{name}: untrained")
        axes.plot(of["null_95"], at, "|", color=colours["muted"], markersize=11,
                  label="95% of nulls" if architecture == "topk" else None)
    axes.set_yticks(range(len(keys)), [f"L{layer} {TRAIN_SET_STYLES[of][0]}" for layer, of in keys])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("|Cohen's d|, sandbag against genuine")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)


def dictionaries(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """d_max of every SAE, by layer, beside the residual's own coordinates and components."""
    layers = sorted(table["layer"].unique())
    axes = figure.subplots()
    for name, marker in zip(BASELINES, ("s", "^"), strict=True):
        of = table[table["dictionary"] == name]
        axes.plot([layers.index(layer) - 0.3 for layer in of["layer"]], of["d_max"], marker,
                  color=colours["ink"], label=BASELINES[name])
    styles = styles_of(table["architecture"].dropna())
    shift_of = shifts(styles, 0.4)
    for architecture, style in styles.items():
        of = table[table["architecture"] == architecture]
        place = [layers.index(layer) + 0.1 + shift_of[architecture] for layer in of["layer"]]
        shift = np.linspace(-0.06, 0.06, len(of))
        axes.plot(np.array(place) + shift, of["d_max"], "o", color=colours[style.colour],
                  alpha=0.75, markersize=5, label=style.name)
    axes.set_xticks(range(len(layers)), [f"L{layer}" for layer in layers])
    axes.grid(visible=False, axis="x")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("d_max")
    figure.legend(loc="outside lower center", ncols=5)


def matched(table: pd.DataFrame) -> pd.DataFrame:
    """The matched pairs in numbers."""
    rows = []
    for of in compared(table).sort_values(["layer", "train_set", "architecture"]).itertuples():
        rows.append({
            "layer": f"L{of.layer}", "trained on": TRAIN_SET_STYLES[of.train_set][0],
            "architecture": style_of(of.architecture).name, "live": f"{of.n_live:.0f}",
            "d_max": _d(of.d_max), "95% of nulls": _d(of.null_95), "p": f"{of.p:.3f}",
            "picked": f"{_d(of.d_picked)} [{_d(of.d_picked_low)}, {_d(of.d_picked_high)}]",
            "untrained": _d(of.untrained_d_max), "no floor": _d(of.d_max_no_floor),
            "d_mean live": _d(of.d_mean_live), "d_mean all": _d(of.d_mean_all),
        })
    return pd.DataFrame(rows)


def _d(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"
