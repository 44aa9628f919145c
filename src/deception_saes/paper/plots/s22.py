"""§22: features and steering."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deception_saes.experiments.steered import FEATURE, MEAN
from deception_saes.paper.plots.common import Colours, legend_below, signed

_FEATURES = 12
_DIRECTIONS = {FEATURE: ("the feature", "sandbag"), MEAN: ("mean difference", "neutral")}


def rates(figure: Figure, colours: Colours, features: pd.DataFrame) -> None:
    """The features of the largest differences: how often they fire under either label."""
    of = features.head(_FEATURES)
    axes = figure.subplots()
    for shift, (label, colour) in enumerate((("honest", "genuine"), ("deceptive", "sandbag"))):
        places = np.arange(len(of)) + 0.16 * (2 * shift - 1)
        ends = [(of[label] - of[f"{label}_low"]).clip(lower=0),
                (of[f"{label}_high"] - of[label]).clip(lower=0)]
        axes.errorbar(of[label], places, xerr=ends, fmt="os"[shift], capsize=2, markersize=4,
                      color=colours[colour], label=label)
    axes.set_yticks(range(len(of)), [f"feature {feature}" for feature in of["feature"]])
    axes.invert_yaxis()
    axes.set_xlabel("percent of completions in which it fires")
    legend_below(figure, axes, columns=2)


def largest(figure: Figure, colours: Colours, of: pd.DataFrame) -> None:
    """Every SAE's largest difference, its null, and the re-measured one."""
    places = np.arange(len(of))
    axes = figure.subplots()
    axes.barh(places, of["null_95"], color=colours["muted"], alpha=0.35,
              label="permuted labels, 95% quantile")
    axes.plot(of["difference"], places, "D", color=colours["sandbag"], markersize=5,
              label="largest of all features")
    axes.errorbar(of["remeasured"], places, xerr=[of["remeasured"] - of["remeasured_low"],
                                                  of["remeasured_high"] - of["remeasured"]],
                  fmt="o", color=colours["genuine"], capsize=2, markersize=4, label="re-measured")
    axes.axvline(0, color=colours["muted"], linewidth=0.8)
    axes.set_yticks(places, [name.split("_", 1)[1] for name in of["sae"]])
    axes.invert_yaxis()
    axes.set_xlabel("rate in deceptive less rate in honest completions, pp")
    legend_below(figure, axes, columns=3)


def steering(figure: Figure, colours: Colours, replies: pd.DataFrame) -> None:
    """What strengths along each direction do to the two reference replies."""
    clean = replies[replies["direction"] == "none"].set_index("scenario")
    axes = figure.subplots(1, 2, sharex=True)
    for axis, (what, name) in zip(axes, (("favour", "deceptive over honest reply"),
                                         ("cost", "both replies")), strict=True):
        for direction in replies["direction"].unique():
            if direction == "none":
                continue
            of = replies[replies["direction"] == direction].set_index("scenario")
            moved = {label: of[label] - clean[label].loc[of.index]
                     for label in ("honest", "deceptive")}
            y = (moved["deceptive"] - moved["honest"] if what == "favour"
                 else (moved["deceptive"] + moved["honest"]) / 2)
            mean = y.groupby(of["strength"].to_numpy()).mean()
            mean.loc[0.0] = 0.0
            mean = mean.sort_index()
            label, colour = _DIRECTIONS.get(direction, ("random features", "muted"))
            axis.plot(mean.index, mean, "o-", color=colours[colour], markersize=4,
                      linewidth=1.6 if direction in _DIRECTIONS else 0.8,
                      label=label if direction in (*_DIRECTIONS, "random 1") else None)
        axis.axhline(0, color=colours["muted"], linewidth=0.8)
        axis.set_title(name)
        axis.set_xlabel("strength, share of the residual's norm")
    axes[0].set_ylabel("change in log-probability,\nnats a token")
    legend_below(figure, axes[0], columns=3)


def strongest(of: pd.DataFrame) -> pd.DataFrame:
    """The first feature's strongest completions, token by token."""
    most = of["activation"].max()
    return of.assign(token=of["token"].fillna(""),
                     share=of["activation"] / most if most > 0 else 0.0)


def saes(of: pd.DataFrame) -> pd.DataFrame:
    """Every SAE's largest difference in numbers."""
    return pd.DataFrame({
        "SAE": of["sae"], "feature": of["feature"],
        "largest difference, pp": of["difference"].map("{:.1f}".format),
        "permuted, 95%": of["null_95"].map("{:.1f}".format),
        "p": of["p"].map("{:.3f}".format),
        "re-measured, pp": [f"{signed(row.remeasured)} [{signed(row.remeasured_low)}, "
                            f"{signed(row.remeasured_high)}]" for row in of.itertuples()],
        "features that depend on the label": [f"{row.discoveries} of {row.firing}"
                                              for row in of.itertuples()]})


def samples(of: pd.DataFrame) -> pd.DataFrame:
    """What the model says under steering: judged labels and cost, by direction and sign."""
    rows = []
    for (direction, strength), group in of.groupby(["direction", "strength"], sort=False):
        shares = group["judged"].value_counts(normalize=True)
        rows.append({"direction": direction, "strength": signed(strength, 2), "n": len(group),
                     **{label: f"{100 * shares.get(label, 0):.0f} %"
                        for label in ("honest", "deceptive", "ambiguous")},
                     "P(deceptive), judge": f"{group['p_deceptive'].mean():.2f}",
                     "cross-entropy, nats": f"{group['cross_entropy'].mean():.2f}"})
    return pd.DataFrame(rows)


def examples(of: pd.DataFrame) -> pd.DataFrame:
    """The first draw of three scenarios under every vector, as quotations."""
    few = list(of["scenario"].unique()[:3])
    of = of[of["scenario"].isin(few) & (of["draw"] == 0)]
    return pd.DataFrame({
        "group": of["scenario"].str.replace("_", " "), "label": of["judged"],
        "about": [f"{row.direction} {signed(row.strength, 2)}" if row.strength else "unsteered"
                  for row in of.itertuples()],
        "before": "", "text": of["text"].fillna("")})
