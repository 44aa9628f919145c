"""One style for every figure, drawn once for light pages and once for dark ones."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from cycler import cycler

from deception_saes.paper.model_text import attribute, quoted, quoted_tokens, shown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Draw = Callable[["Figure", dict[str, str]], None]
"""Draws on an empty figure; the second argument names the colours of `PALETTES`."""

# Okabe and Ito's colours, safe for colour-blind readers; lightened for dark pages.
PALETTES: dict[str, dict[str, str]] = {
    "light": {"genuine": "#0072B2", "sandbag": "#D55E00", "neutral": "#007A5A",
              "ink": "#222222", "grid": "#D9D9D9", "muted": "#6B6B6B",
              "page": "#FFFFFF"},
    "dark": {"genuine": "#56B4E9", "sandbag": "#F28E4B", "neutral": "#2FC99E",
             "ink": "#E3E3E3", "grid": "#444444", "muted": "#A0A0A0",
             "page": "#121212"},
}


def figure_html(
    draw: Draw, *, alt: str, caption: str, size: tuple[float, float], min_width: int = 0,
) -> str:
    """An HTML figure with both drawings, of which the page's theme shows one.

    alt: what a reader who does not see it needs. caption: HTML. size: inches.
    min_width: CSS pixels under which the figure scrolls in its own box instead of shrinking.
    """
    images = "".join(
        f'<img class="only-{mode}" alt="{attribute(alt)}" '
        f'src="data:image/svg+xml;base64,{base64.b64encode(svg(draw, mode, size)).decode()}">'
        for mode in PALETTES
    )
    scrolls = ' tabindex="0"' if min_width else ""
    return (f'<figure class="bookfig" style="--fig-min:{min_width}px">'
            f'<div class="bookfig-scroll"{scrolls}>{images}</div>'
            f"<figcaption>{caption}</figcaption></figure>")


def linked(html: str, section: str, tables: Iterable[str]) -> str:
    """A figure marked with the tables that it was drawn from, and the section's values: the site
    links to them. section: its key."""
    names = " ".join(f"{section}_{name}" for name in (*tables, "values"))
    return html.replace("<figure ", f'<figure data-tables="{names}" ', 1)


def table_html(table: pd.DataFrame, *, caption: str) -> str:
    """An HTML table that scrolls in its own box. caption: HTML.

    Every cell and column name is shown as text, whatever is in it (see `model_text`).
    """
    from pandas.api.types import is_numeric_dtype

    safe = table.copy()
    safe.columns = [shown(str(name), lines=False) for name in table.columns]
    for i in range(safe.shape[1]):
        cells = table.iloc[:, i]
        if not is_numeric_dtype(cells):
            safe.isetitem(i, [shown(cell, lines=False) if isinstance(cell, str) else cell
                              for cell in cells.astype(object).where(cells.notna(), "–")])
    body = safe.to_html(index=False, border=0, escape=False, na_rep="–", classes="sortable")
    return (f'<figure class="bookfig"><div class="tablewrap" tabindex="0">{body}</div>'
            f"<figcaption>{caption}</figcaption></figure>")


def quotes_html(quotes: pd.DataFrame, *, caption: str) -> str:
    """Texts as quotations, folded by group with the first group open. caption: HTML.

    quotes: columns group (its heading), label (a word, coloured if it is honest, deceptive or
    ambiguous), about (what stands beside it), before (what the text goes on from, set apart) and
    text. None of them can be mark-up.
    """
    parts = ['<figure class="bookfig quotes">']
    for i, (group, rows) in enumerate(quotes.groupby("group", sort=False)):
        parts.append(f"<details{' open' if i == 0 else ''}><summary>{shown(str(group))}</summary>")
        parts += [f'<div class="quote"><div class="quote-head"><span class="badge-v '
                  f'l-{attribute(row.label)}">{shown(row.label)}</span> {shown(row.about)}</div>'
                  f"<blockquote>{quoted(row.text, row.before)}</blockquote></div>"
                  for row in rows.itertuples()]
        parts.append("</details>")
    return "".join([*parts, f"<figcaption>{caption}</figcaption></figure>"])


def tokens_html(tokens: pd.DataFrame, *, caption: str) -> str:
    """Texts with their tokens shaded by how strongly a feature fires on each. caption: HTML.

    tokens: rows in order, columns completion (its id), label, token and share (0 to 1). None of
    them can be mark-up.
    """
    parts = ['<figure class="bookfig quotes">']
    for completion, rows in tokens.groupby("completion", sort=False):
        label = str(rows["label"].iloc[0])
        marked = quoted_tokens([str(token) for token in rows["token"]], list(rows["share"]))
        parts.append(f'<div class="quote"><div class="quote-head"><span class="badge-v '
                     f'l-{attribute(label)}">{shown(label)}</span> {shown(str(completion))}</div>'
                     f"<blockquote>{marked}</blockquote></div>")
    return "".join([*parts, f"<figcaption>{caption}</figcaption></figure>"])


def svg(draw: Draw, mode: str, size: tuple[float, float]) -> bytes:
    """One drawing as an SVG file, in the colours of `mode`. size: inches."""
    colours = PALETTES[mode]
    with matplotlib.rc_context(_style(colours)):
        figure = plt.figure(figsize=size, layout="constrained")
        draw(figure, colours)
        drawn = io.BytesIO()
        # no date, so that the same numbers give the same file
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return drawn.getvalue()


def _style(colours: dict[str, str]) -> Any:
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor",
             "xtick.color", "ytick.color", "legend.labelcolor")
    return {
        **dict.fromkeys(inked, colours["ink"]),
        "axes.prop_cycle": cycler(color=[colours[c] for c in ("genuine", "sandbag", "neutral")]),
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": "medium",
        "figure.facecolor": "none",
        "font.size": 11,
        "grid.color": colours["grid"],
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "savefig.facecolor": "none",
        "svg.fonttype": "path",
        "svg.hashsalt": "deception-saes",
    }
