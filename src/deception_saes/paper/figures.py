"""One style for every figure, and the HTML of figures, tables and quotations."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import pandas as pd
from cycler import cycler
from matplotlib.figure import Figure
from pandas.api.types import is_numeric_dtype

from deception_saes.paper.model_text import attribute, quoted, quoted_tokens, shown

Draw = Callable[[Figure, dict[str, str]], None]
"""Draws on an empty figure; the second argument names the colours of `PALETTES`."""

# Okabe and Ito's colours, safe for colour-blind readers; lightened for dark pages.
PALETTES: dict[str, dict[str, str]] = {
    "light": {"genuine": "#0072b2", "sandbag": "#d55e00", "neutral": "#007a5a",
              "ink": "#222222", "grid": "#d9d9d9", "muted": "#6b6b6b",
              "page": "#ffffff"},
    "dark": {"genuine": "#56b4e9", "sandbag": "#f28e4b", "neutral": "#2fc99e",
             "ink": "#e3e3e3", "grid": "#444444", "muted": "#a0a0a0",
             "page": "#121212"},
}
_IN_NOTEBOOK = {"ink": "currentColor",
                "grid": "color-mix(in srgb, currentColor 17%, transparent)",
                "muted": "color-mix(in srgb, currentColor 67%, transparent)"}


@dataclass(frozen=True)
class Drawing:
    """A figure's picture."""

    svg: str
    """One element, in the colours of light pages."""
    alt: str
    """What a reader who does not see it needs."""
    size: tuple[float, float]
    """Inches."""

    def coloured(self, palette: Mapping[str, str]) -> str:
        """The picture in other colours, by the names of `PALETTES`."""
        svg = self.svg
        for name, colour in palette.items():
            svg = svg.replace(PALETTES["light"][name], colour)
        return svg

    @property
    def inline(self) -> str:
        """As part of a notebook's output: lines and labels take the colour of the text around it,
        on light pages and on dark ones."""
        svg = self.coloured(_IN_NOTEBOOK).replace(">*{", ">.bookfig svg *{", 1)
        return svg.replace("<svg ", f'<svg role="img" aria-label="{attribute(self.alt)}" '
                           'style="max-width: 100%; height: auto" ', 1)


def draw_svg(draw: Draw, *, alt: str, size: tuple[float, float]) -> Drawing:
    """Have `draw` draw a picture. size: inches.

    Raises ValueError for a picture with pixels in it, which cannot take another page's colours.
    """
    colours = PALETTES["light"]
    with mpl.rc_context(_style(colours) | {"svg.hashsalt": alt}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure, colours)
        file = io.StringIO()
        # no date, so that the same numbers give the same picture
        figure.savefig(file, format="svg", metadata=dict.fromkeys(
            ("Date", "Creator", "Format", "Type")))
    svg = file.getvalue()
    if "<image" in svg:
        raise ValueError(f"the figure {alt!r} holds an image of pixels, whose colours cannot "
                         "change with the page's; draw it with pcolormesh")
    # neighbouring squares of a mesh without seams
    svg = svg.replace("</style>", "g[id^=QuadMesh]{shape-rendering: crispEdges}</style>", 1)
    return Drawing(svg[svg.index("<svg"):], alt, size)


def figure_html(picture: str, *, caption: str, min_width: int = 0) -> str:
    """An HTML figure. picture, caption: HTML. min_width: CSS pixels under which the figure scrolls
    in its own box instead of shrinking."""
    scrolls = ' tabindex="0"' if min_width else ""
    return (f'<figure class="bookfig" style="--fig-min:{min_width}px">'
            f'<div class="bookfig-scroll"{scrolls}>{picture}</div>'
            f"<figcaption>{caption}</figcaption></figure>")


def table_html(table: pd.DataFrame, *, caption: str) -> str:
    """An HTML table that scrolls in its own box. caption: HTML.

    Every cell and column name is shown as text, whatever is in it (see `model_text`).
    """
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
    }
