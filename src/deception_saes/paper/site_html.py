"""A notebook's figures as the site has them: drawings in files of their own, links to the data."""

from __future__ import annotations

import html
import re
from collections.abc import Collection
from itertools import count
from pathlib import Path
from typing import Any

from deception_saes.paper.figures import PALETTES, Drawing
from deception_saes.paper.model_text import attribute
from deception_saes.store.files import write_atomic

_PIXELS = 96  # of CSS, an inch


def place_figures(
    notebook: Any, static: Path, stem: str, commit: str, published: Collection[str]
) -> None:
    """Rewrite the figures and tables of an executed notebook in place.

    static: the site's folder of static files. stem: the notebook's name. commit: of the checkout
    that it is from. published: names of the CSV files in `static/data`.
    Raises ValueError for a figure whose data are not published.
    """
    numbers = count(1)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            about = output.get("metadata", {}).pop("text/html", {})
            if "tables" not in about:
                continue
            page = "".join(output["data"]["text/html"])
            if "drawing" in about:
                drawing = Drawing(**about["drawing"])
                name = f"{stem.partition('_')[0]}-{next(numbers):02d}"
                if drawing.inline not in page:
                    raise ValueError(f"{stem}: the drawing {name} is not the one in its metadata; "
                                     "run the notebook again")
                page = page.replace(drawing.inline, images(static, name, drawing))
            before, end, after = page.rpartition("</figcaption>")
            output["data"]["text/html"] = (
                before + _links(about["tables"], stem, commit, published) + end + after)


def images(static: Path, name: str, drawing: Drawing) -> str:
    """Write a drawing for every theme to `static/figures`; the images of which the page's theme
    shows one. They have their size, so that the page does not jump when they come."""
    width, height = (round(_PIXELS * of) for of in drawing.size)
    found = []
    for theme, palette in PALETTES.items():
        write_atomic(static / "figures" / f"{name}-{theme}.svg", drawing.coloured(palette))
        found.append(f'<img class="only-{theme}" alt="{attribute(drawing.alt)}" '
                     f'src="../_static/figures/{name}-{theme}.svg" loading="lazy" '
                     f'width="{width}" height="{height}">')
    return "".join(found)


def _links(tables: list[str], stem: str, commit: str, published: Collection[str]) -> str:
    missing = [name for name in tables if f"{name}.csv" not in published]
    if missing:
        raise ValueError(f"{stem}: a figure is drawn from {missing[0]}.csv, which is not among the "
                         "published data; a section publishes the tables that it reports")
    links = [f'<a href="../_static/data/{name}.csv" download>{name}.csv</a>' for name in tables]
    return (f'<span class="figlinks">Data: {", ".join(links)}. Source: '
            f'<a href="../_static/source/{stem}.py.txt">notebook at commit '
            f"{html.escape(commit)}</a>.</span>")


def for_print(page: str, front: str) -> str:
    """Sphinx's page of the whole book, made fit for the front page's folder and for a printer.

    front: where the front page stands, such as "book/index.html".

    Sphinx writes its addresses from the site's root, the figures' are from a folder below it.
    Every figure is loaded at once, since a printer scrolls nowhere.
    """
    page = re.sub(r'(href|src)="(?=_static/|_images/|searchindex|search\.html)', r'\1="../', page)
    page = page.replace('data-content_root="./"', 'data-content_root="../"')
    page = page.replace(f'href="{front}#', 'href="#')  # references, back to where they are cited
    return page.replace(' loading="lazy"', "").replace("<html ", '<html class="whole-book" ', 1)
