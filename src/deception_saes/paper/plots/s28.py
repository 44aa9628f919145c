"""§28: circuit ablation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deception_saes.experiments.circuits import BESIDE
from deception_saes.experiments.heads import KINDS
from deception_saes.paper.numbers import row_value, with_interval
from deception_saes.paper.plots.common import Colours


def modes(figure: Figure, colours: Colours, levels: pd.DataFrame) -> None:
    """Effect of ablating the circuit by zeros and by means, under both conditions."""
    of = levels[(levels["measure"] == "effect") & levels["mode"].isin(["zero", "mean"])]
    axes = figure.subplots()
    for place, row in enumerate(of.itertuples()):
        axes.errorbar(row.value, place, xerr=[[row.value - row.ci_low], [row.ci_high - row.value]],
                      fmt="o" if row.mode == "zero" else "s", color=colours[row.condition],
                      capsize=3)
    axes.axvline(0, color=colours["muted"], linewidth=0.8)
    axes.set_yticks(range(len(of)), [f"{row.condition}, {row.mode}" for row in of.itertuples()])
    axes.invert_yaxis()
    axes.set_xlabel("effect on P(correct), pp")


def subset_forest(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Restoration by every subset of the circuit."""
    axes = figure.subplots()
    rows = np.arange(len(table))
    for best, colour in ((False, "muted"), (True, "sandbag")):
        some = (table["best_of_size"] == best).to_numpy()
        of = table[some]
        ends = [of["restoration"] - of["ci_low"], of["ci_high"] - of["restoration"]]
        axes.errorbar(of["restoration"], rows[some], xerr=ends, fmt="o", markersize=4, capsize=2,
                      color=colours[colour],
                      label="best of its size on the choosing half" if best else "other subsets")
    axes.axvline(0, color=colours["muted"], linewidth=0.8)
    axes.set_yticks(rows, table["heads"], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("restoration, pp")
    axes.legend(fontsize=9)


def random_heads(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Mean effect of every random set by kind, and against its damage to a neutral text."""
    left, right = figure.subplots(1, 2)
    circuit = table[table["kind"] == "circuit"].iloc[0]
    for row, (kind, colour, marker) in enumerate(
        zip(KINDS, ("genuine", "neutral", "muted"), "osD", strict=True)
    ):
        of = table[table["kind"] == kind]
        spread = np.linspace(-0.3, 0.3, len(of)) if len(of) > 1 else np.zeros(len(of))
        left.plot(of["effect"], row + spread, marker, color=colours[colour], markersize=3,
                  alpha=0.7)
        right.plot(of["kl"], of["effect"], marker, color=colours[colour], markersize=3, alpha=0.7,
                   label=kind.replace("_", "-"))
    left.axvline(circuit["effect"], color=colours["sandbag"], linewidth=2)
    left.axvline(0, color=colours["muted"], linewidth=0.8)
    left.set_yticks(range(len(KINDS)), [kind.replace("_", "-") for kind in KINDS])
    left.set_xlabel("effect on sandbag prompts, pp")
    right.plot(circuit["kl"], circuit["effect"], "*", color=colours["sandbag"], markersize=12,
               label="suppressor heads")
    right.set_xscale("log")
    right.set_xlabel("KL on a neutral text, nats")
    right.set_ylabel("effect on sandbag prompts, pp")
    figure.legend(loc="outside lower center", ncols=4)


def stability(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """How often each head is among the suppressors of a random half of the choosing half."""
    table = table.sort_values("share_of_splits", ascending=False).head(15)
    axes = figure.subplots()
    axes.bar(table["head"], 100 * table["share_of_splits"], color=colours["sandbag"])
    axes.tick_params(axis="x", rotation=90)
    axes.set_ylabel("chosen, % of splits")
    axes.grid(visible=False, axis="x")


def against_random(table: pd.DataFrame) -> pd.DataFrame:
    """The random-head controls in numbers."""
    rows = []
    for kind in KINDS:
        of = table[table["kind"] == kind].set_index("measure")
        if of.empty:
            continue
        shown = {measure: with_interval(row_value(of.loc[measure])) for measure in of.index}
        rows.append({"random heads": kind.replace("_", "-"), "draws": int(of["sets"].iloc[0]),
                     "mean effect": shown["random"], "specificity gap": shown["gap"],
                     "sigma": shown["sigma"], "empirical p": shown["p"],
                     "KL on text": shown["damage"]})
    return pd.DataFrame(rows)


def beside(table: pd.DataFrame) -> pd.DataFrame:
    """Levels and gains of every state, in every measure."""
    names = {"sandbag": "sandbag", "ablated": "sandbag, heads ablated",
             "sharpened": "sandbag, half the temperature", "genuine": "genuine"}
    by_place = table.set_index(["state", "measure"])
    return pd.DataFrame([
        {"prompt": name, **{title: _level(by_place.loc[(state, measure)], state != "sandbag")
                            for measure, title in BESIDE.items()}}
        for state, name in names.items()])


def _level(row: pd.Series, with_gain: bool) -> str:
    gain = f"; gain {with_interval(row_value(row))}" if with_gain else ""
    return f"{row['level']:.3f}{gain}"
