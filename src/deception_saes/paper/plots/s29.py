"""§29: the same ablation on genuine prompts."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from deception_saes.paper.plots.common import Colours


def by_question(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Effect on the genuine against effect on the sandbag prompt of every question."""
    axes = figure.subplots()
    axes.axhline(0, color=colours["muted"], linewidth=0.8)
    axes.axvline(0, color=colours["muted"], linewidth=0.8)
    axes.axline((0, 0), slope=1, color=colours["muted"], linestyle="--", linewidth=1)
    axes.plot(table["genuine"], table["sandbag"], "o", color=colours["genuine"], alpha=0.6,
              markersize=4)
    axes.plot(table["genuine"].mean(), table["sandbag"].mean(), "*", color=colours["sandbag"],
              markersize=14, label="mean")
    axes.set_xlabel("effect on the genuine prompt, pp")
    axes.set_ylabel("restoration, pp")
    axes.legend()


def headroom(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Effect on the genuine prompt against the P(correct) it starts from."""
    axes = figure.subplots()
    axes.axhline(0, color=colours["muted"], linewidth=0.8)
    axes.plot(table["p_correct_genuine"], table["genuine"], "o", color=colours["genuine"],
              alpha=0.6, markersize=4)
    axes.set_xlabel("P(correct | genuine), clean")
    axes.set_ylabel("effect on the genuine prompt, pp")


def cost(table: pd.DataFrame) -> pd.DataFrame:
    """Cross-entropy of each neutral passage, clean and with the heads ablated."""
    return pd.DataFrame({"passage": table["passage"], "tokens": table["tokens"],
                         "clean, nats": table["clean"].map("{:.3f}".format),
                         "ablated, nats": table["ablated"].map("{:.3f}".format),
                         "KL, nats": table["kl"].map("{:.3f}".format)})
