"""§21: probes on SAE features."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deception_saes.paper.plots.common import Colours, legend_below, signed

_MARKERS = {"honest_only": "o", "deceptive_only": "s", "mixed": "D"}
_KINDS = {"trained": "trained", "untrained": "its random start", "prefix": "threshold at 0",
          "raw": "raw residual", "components": "principal components"}


def differences(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Each SAE probe less the raw probe of its layer."""
    of = _trained(table)
    axes = figure.subplots()
    for place, row in enumerate(of.itertuples()):
        colour = colours["genuine" if row.architecture == "topk" else "sandbag"]
        axes.plot([row.minus_raw_low, row.minus_raw_high], [place, place], color=colour,
                  linewidth=1.2)
        axes.plot(row.minus_raw, place, _MARKERS[row.train_set], color=colour, markersize=5)
    axes.axvline(0, color=colours["muted"], linewidth=0.8)
    axes.set_yticks(range(len(of)), [_short(row) for row in of.itertuples()])
    axes.invert_yaxis()
    axes.set_xlabel("balanced accuracy less that of the raw probe, pp")


def chance(
    figure: Figure, colours: Colours, exchanged: pd.DataFrame, counts: pd.DataFrame
) -> None:
    """How many of the SAE probes are above the raw probe, and where the two are exchanged."""
    measured = counts.set_index("measure").loc["beats_raw"]
    times = np.bincount(exchanged["better"], minlength=int(measured["n"]) + 1)
    axes = figure.subplots()
    axes.bar(range(len(times)), 100 * times / times.sum(), color=colours["muted"],
             label="probes exchanged at random")
    axes.axvline(measured["value"], color=colours["sandbag"], linewidth=2, label="measured")
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("SAE probes above the raw probe")
    axes.set_ylabel("percent of exchanges")
    axes.legend()


def baselines(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Balanced accuracy of every kind of probe, by layer."""
    layers = sorted(table["layer"].unique())
    axes = figure.subplots()
    styles = {"trained": ("genuine", "o"), "untrained": ("neutral", "s"),
              "prefix": ("sandbag", "D"), "raw": ("ink", "_"), "components": ("muted", "_")}
    for shift, (kind, (colour, marker)) in enumerate(styles.items()):
        of = table[table["kind"] == kind]
        x = [layers.index(layer) + 0.14 * (shift - 2) for layer in of["layer"]]
        axes.plot(x, of["accuracy"], marker, color=colours[colour], alpha=0.8,
                  markersize=12 if marker == "_" else 4.5,
                  markeredgewidth=2.5 if marker == "_" else 1, label=_KINDS[kind])
    axes.axhline(50, color=colours["muted"], linewidth=0.8)
    axes.set_xticks(range(len(layers)), [f"L{layer}" for layer in layers])
    axes.set_ylabel("balanced accuracy, percent")
    legend_below(figure, axes, columns=3)


def probes(table: pd.DataFrame) -> pd.DataFrame:
    """The 18 probes in numbers."""
    of = _trained(table)
    return pd.DataFrame({
        "SAE": of["name"],
        "balanced accuracy": [_with_ends(row.accuracy, row.accuracy_low, row.accuracy_high, " %")
                              for row in of.itertuples()],
        "AUROC": of["auroc"].map("{:.3f}".format),
        "p": [_p(p) for p in of["p"]],
        "p, Holm": [_p(p) for p in of["p_holm"]],
        "less raw, pp": [_with_ends(row.minus_raw, row.minus_raw_low, row.minus_raw_high, "")
                         for row in of.itertuples()],
        "p of the difference": [_p(p) for p in of["p_raw"]],
        "Holm": [_p(p) for p in of["p_raw_holm"]],
        "less its random start, pp": of["minus_untrained"].map(signed),
        "less components, pp": of["minus_components"].map(signed)})


def _trained(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["kind"] == "trained"].sort_values(["layer", "architecture", "train_set"])


def _short(row: object) -> str:
    names = {"topk": "TopK", "jumprelu": "JumpReLU"}
    of = row._asdict()  # type: ignore[attr-defined]  # a row of itertuples
    return f"L{of['layer']} {names[of['architecture']]} {of['train_set']}"


def _with_ends(value: float, low: float, high: float, unit: str) -> str:
    return f"{signed(value)}{unit} [{signed(low)}, {signed(high)}]"


def _p(value: float) -> str:
    return f"{value:.3f}"
