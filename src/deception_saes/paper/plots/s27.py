"""§27: the head sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from deception_saes.paper.model_text import drawn
from deception_saes.paper.plots.common import Colours, squares, visible_token

_SHOWN = 8


def heat_map(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Effect of ablating every head alone, layer by head, under both conditions."""
    limit = table[["effect_sandbag", "effect_genuine"]].abs().to_numpy().max()
    panels = figure.subplots(1, 2, sharey=True)
    for axes, condition in zip(panels, ("sandbag", "genuine"), strict=True):
        grid = table.pivot(index="layer", columns="head", values=f"effect_{condition}")
        mesh = squares(axes, grid.to_numpy(), colours["genuine"], colours["sandbag"], limit)
        marked = table[table[f"p_{condition}"] < 0.05]
        axes.plot(marked["head"], marked["layer"], ".", color=colours["ink"], markersize=4)
        axes.set_title(f"{condition} (n = {table[f'n_{condition}'].iloc[0]})")
        axes.set_xlabel("head")
    panels[0].set_ylabel("layer")
    # matplotlib makes pixels of some 50 steps and more
    shades = ScalarMappable(mesh.norm, mesh.cmap.resampled(47))
    figure.colorbar(shades, ax=list(panels), shrink=0.8, label="effect on P(correct), pp")


def extremes(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """The strongest suppressors and promoters with their intervals, under both conditions."""
    table = table.sort_values("effect_sandbag", ascending=False, kind="stable")
    shown = pd.concat([table.head(_SHOWN), table.tail(_SHOWN)])
    axes = figure.subplots()
    rows = np.arange(len(shown))
    for shift, condition, marker in ((-0.15, "sandbag", "D"), (0.15, "genuine", "o")):
        effect = shown[f"effect_{condition}"]
        ends = [effect - shown[f"ci_low_{condition}"], shown[f"ci_high_{condition}"] - effect]
        axes.errorbar(effect, rows + shift, xerr=np.nan_to_num(ends), fmt=marker, markersize=5,
                      capsize=2, color=colours[condition], label=condition)
    axes.axvline(0, color=colours["muted"], linewidth=0.8)
    axes.set_yticks(rows, [f"L{r.layer}H{r.head}" for r in shown.itertuples()])
    axes.invert_yaxis()
    axes.set_xlabel("effect on P(correct), pp")
    axes.legend()


def attention(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """What the strongest suppressors attend to from the last position, token by token."""
    heads = list(dict.fromkeys(table["head"]))
    panels = figure.subplots(2 * len(heads), 1)
    pairs = [(head, condition) for head in heads for condition in ("sandbag", "genuine")]
    for axes, (head, condition) in zip(np.atleast_1d(panels), pairs, strict=True):
        rows = table[(table["head"] == head) & (table["condition"] == condition)]
        bars = without_worked_questions(list(zip(rows["token"], rows["attention"], strict=True)))
        axes.bar(range(len(bars)), [weight for _, weight in bars], color=colours[condition])
        axes.set_xticks(range(len(bars)), [drawn(visible_token(token)) for token, _ in bars],
                        rotation=90, fontsize=9)
        axes.set_title(f"{head}, {condition}", loc="left")
        axes.set_xlim(-0.6, len(bars) - 0.4)
        axes.grid(visible=False, axis="x")


def without_worked_questions(bars: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Bars in which the tokens of each worked example's question are summed in one.

    A worked question runs from the colon of its label to the end of its line.
    """
    kept: list[tuple[str, float]] = []
    before, inside = "", False
    for token, weight in bars:
        if inside and "\n" not in token and token != "‹question›":
            kept[-1] = ("‹shot›", kept[-1][1] + weight)
            continue
        inside = token == ":" and before.strip() in {"Question", "Q"}
        kept.append((token, weight))
        if inside:
            kept.append(("‹shot›", 0.0))
        before = token
    return [bar for bar in kept if bar != ("‹shot›", 0.0)]


def arms(table: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """How far the sweeps under each two arms agree. titles: of the arms."""
    return pd.DataFrame([
        {"arm": titles[row.arm],
         "with": "itself" if row.arm == row.other else titles[row.other],
         "rank correlation, between halves":
             f"{row.correlation:.2f} [{row.ci_low:.2f},\N{NO-BREAK SPACE}{row.ci_high:.2f}]"
             .replace("-", "−"),
         "shared": "" if row.arm == row.other else str(row.shared),
         "shared, between halves": f"{row.shared_by_halves:.1f}"}
        for row in table.itertuples()])


def strongest_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The strongest suppressors with effects, intervals and corrected p."""
    table = table.sort_values("effect_sandbag", ascending=False, kind="stable")

    def shown(row: Any, condition: str) -> str:
        low, high = (getattr(row, f"ci_{end}_{condition}") for end in ("low", "high"))
        effect = getattr(row, f"effect_{condition}")
        return f"{effect:.2f} [{low:.2f},\N{NO-BREAK SPACE}{high:.2f}]".replace("-", "−")

    return pd.DataFrame([
        {"head": f"L{row.layer}H{row.head}", "sandbag, pp": shown(row, "sandbag"),
         "corrected p": f"{row.p_sandbag:.3f}", "genuine, pp": shown(row, "genuine"),
         "corrected p, genuine": f"{row.p_genuine:.3f}"}
        for row in table.head(_SHOWN).itertuples()
    ])
