"""§28: circuit ablation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from deception_saes.paper.page import with_interval
from deception_saes.sections.s28 import KINDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deception_saes.sections.results import Value
    from deception_saes.sections.run import SectionRun

Colours = dict[str, str]


def _value(run: SectionRun, rest: str) -> Value | None:
    return next((v for v in run.results.values if v.id.split(".", 2)[2] == rest), None)


def modes(figure: Figure, colours: Colours, run: SectionRun) -> None:
    """Effect of ablating the circuit by zeros and by means, under both conditions."""
    axes = figure.subplots()
    labels = []
    for row, (condition, mode) in enumerate((c, m) for c in ("sandbag", "genuine")
                                            for m in ("zero", "mean")):
        value = run.results.value(f"s28.{_model(run)}.effect.{condition}.{mode}")
        if value.value is None or value.ci_low is None or value.ci_high is None:
            continue
        axes.errorbar(value.value, row, xerr=[[value.value - value.ci_low],
                                              [value.ci_high - value.value]],
                      fmt="o" if mode == "zero" else "s", color=colours[condition], capsize=3)
        labels.append(f"{condition}, {mode}")
    axes.axvline(0, color=colours["muted"], linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("effect on P(correct), pp")


def subset_forest(figure: Figure, colours: Colours, run: SectionRun) -> None:
    """Restoration by every subset of the circuit."""
    table = run.table("subsets")
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


def random_heads(figure: Figure, colours: Colours, run: SectionRun) -> None:
    """Mean effect of every random set by kind, and against its damage to a neutral text."""
    table = run.table("draws")
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


def stability(figure: Figure, colours: Colours, run: SectionRun) -> None:
    """How often each head is among the suppressors of a random half of the choosing half."""
    table = run.table("stability").sort_values("share_of_splits", ascending=False).head(15)
    axes = figure.subplots()
    axes.bar(table["head"], 100 * table["share_of_splits"], color=colours["sandbag"])
    axes.tick_params(axis="x", rotation=90)
    axes.set_ylabel("chosen, % of splits")
    axes.grid(visible=False, axis="x")


def gaps(run: SectionRun) -> pd.DataFrame:
    """The random-head controls in numbers."""
    rows = []
    for kind in KINDS:
        found = {name: _value(run, f"{name}.{kind}")
                 for name in ("random", "gap", "sigma", "p", "damage")}
        if found["gap"] is None:
            continue
        shown = {name: "–" if value is None else with_interval(value)
                 for name, value in found.items()}
        rows.append({"random heads": kind.replace("_", "-"),
                     "draws": found["sigma"].n if found["sigma"] else None,
                     "mean effect": shown["random"], "specificity gap": shown["gap"],
                     "sigma": shown["sigma"], "empirical p": shown["p"],
                     "KL on text": shown["damage"]})
    return pd.DataFrame(rows)


def _model(run: SectionRun) -> str:
    return str(run.results.values[0].model)
