"""What figures of several sections share: architectures' styles, legends, intervals, shades."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure

from deception_saes.experiments.swaps import PLAIN

Colours = dict[str, str]
"""Those that a figure is drawn in, by name; see `paper.figures.PALETTES`."""


@dataclass(frozen=True)
class ArchitectureStyle:
    """How an architecture is drawn."""

    name: str
    """In legends and tables."""
    colour: str
    """A name of the figures' colours."""
    marker: str
    """One of Matplotlib's."""


_STYLES = {
    "topk": ArchitectureStyle("TopK", "genuine", "o"),
    "jumprelu": ArchitectureStyle("JumpReLU", "sandbag", "s"),
    "gated": ArchitectureStyle("Gated", "neutral", "^"),
    PLAIN: ArchitectureStyle(PLAIN, "ink", "D"),
}


def style_of(architecture: str) -> ArchitectureStyle:
    """By the name in `saes/registry.py`; unlisted architectures use their name and the ink."""
    return _STYLES.get(architecture, ArchitectureStyle(architecture.capitalize(), "ink", "v"))


def styles_of(architectures: Iterable[str]) -> dict[str, ArchitectureStyle]:
    """The style of each of these architectures, in an order that is the same in all figures."""
    found = set(architectures)
    ordered = [*(name for name in _STYLES if name in found), *sorted(found - _STYLES.keys())]
    return {name: style_of(name) for name in ordered}


def shifts(architectures: Collection[str], width: float) -> dict[str, float]:
    """Where each is drawn around their common place, evenly from -width / 2 to width / 2."""
    steps = max(1, len(architectures) - 1)
    first = -width / 2 if len(architectures) > 1 else 0.0
    return {name: first + i * width / steps for i, name in enumerate(architectures)}


def legend_below(figure: Figure, every_axes: Axes | Iterable[Axes], columns: int | None = None
                 ) -> None:
    """One legend under the figure, each label once; by default on one line."""
    every_axes = [every_axes] if isinstance(every_axes, Axes) else every_axes
    found = {label: handle for axes in every_axes
             for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(found.values()), list(found), loc="outside lower center",
                  ncols=columns or len(found))


def ends(of: pd.DataFrame, middle: str) -> np.ndarray:
    """How far each interval reaches below and above [2, rows], as `Axes.errorbar` takes it."""
    lengths: np.ndarray = np.stack([of[middle] - of["ci_low"], of["ci_high"] - of[middle]])
    return lengths


def squares(axes: Axes, values: np.ndarray, below: str, above: str, limit: float) -> QuadMesh:
    """A matrix as squares, the first row on top: one colour below 0, another above, the stronger
    the nearer to the limit. At 0 the page shows through, in whatever colour it is."""
    shades = np.linspace(-1, 1, 257)
    rgb = np.array([to_rgb(below), to_rgb(above)])[(shades > 0).astype(int)]
    rows, columns = (np.arange(count + 1) - 0.5 for count in values.shape)
    drawn = axes.pcolormesh(columns, rows, values, vmin=-limit, vmax=limit,
                            cmap=ListedColormap(np.column_stack([rgb, np.abs(shades)])))
    axes.set(xlim=(columns[0], columns[-1]), ylim=(rows[-1], rows[0]))
    axes.grid(visible=False)
    return drawn


def signed(value: float, decimals: int = 1) -> str:
    """With a minus sign, not a hyphen."""
    return f"{value:.{decimals}f}".replace("-", "−")


def visible_token(token: str) -> str:
    """A token with its white space and control characters made visible."""
    return "".join("␣" if c == " " else c if c.isprintable() else f"\\x{ord(c):02x}"
                   for c in str(token))
