"""A notebook's figures as the site has them: drawings in files of their own, links to the data."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deception_saes.store.files import write_atomic

_DRAWING = re.compile(r'src="data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)"')
_TABLES = re.compile(r'<figure data-tables="([^"]*)" ')
_SIZE = re.compile(rb'<svg [^>]*?height="([\d.]+)pt"[^>]*?width="([\d.]+)pt"|'
                   rb'<svg [^>]*?width="([\d.]+)pt"[^>]*?height="([\d.]+)pt"')
_PT = 4 / 3  # CSS pixels


@dataclass
class Figures:
    """Where the drawings and sources of one notebook go.

    static: the site's folder of static files. stem: the notebook's name. commit: of the checkout
    that the notebook is from. published: names of the CSV files in `static/data`.
    """

    static: Path
    stem: str
    commit: str
    published: Collection[str]
    _count: int = field(default=0, init=False)

    def placed(self, notebook: Any) -> None:
        """Rewrite the HTML outputs of an executed notebook in place.

        Raises ValueError for a figure whose data are not published.
        """
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if "text/html" in data:
                    data["text/html"] = self._placed("".join(data["text/html"]))

    def _placed(self, page: str) -> str:
        found = _TABLES.search(page)
        if found is None:
            return page
        page = _TABLES.sub("<figure ", page, count=1)
        before, end, after = page.rpartition("</figcaption>")
        return _DRAWING.sub(self._filed, before) + self._links(found[1].split()) + end + after

    def _filed(self, drawing: re.Match[str]) -> str:
        self._count += 1
        name = f"{self.stem.partition('_')[0]}-{self._count:02d}.svg"
        return image_source(self.static, name, base64.b64decode(drawing[1]))

    def _links(self, tables: list[str]) -> str:
        missing = [name for name in tables if f"{name}.csv" not in self.published]
        if missing:
            raise ValueError(f"{self.stem}: a figure is drawn from {missing[0]}.csv, which is not "
                             "among the published data; a section publishes the tables of its "
                             "Output")
        links = [f'<a href="../_static/data/{name}.csv" download>{name}.csv</a>'
                 for name in tables]
        return (f'<span class="figlinks">Data: {", ".join(links)}. Source: '
                f'<a href="../_static/source/{self.stem}.py.txt">notebook at commit '
                f"{html.escape(self.commit)}</a>.</span>")


def image_source(static: Path, name: str, drawing: bytes) -> str:
    """Write a drawing to `static/figures/{name}`; attributes of the img that shows it."""
    target = static / "figures" / name
    write_atomic(target, drawing.decode())
    return f'src="../_static/figures/{name}" loading="lazy"{_dimensions(drawing)}'


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


def _dimensions(drawing: bytes) -> str:
    """The drawing's size in CSS pixels, so that the page does not jump when it comes."""
    found = _SIZE.search(drawing)
    if found is None:
        raise ValueError("a drawing names no width and height in points")
    height, width = (found[1], found[2]) if found[1] else (found[4], found[3])
    return f' width="{float(width) * _PT:.0f}" height="{float(height) * _PT:.0f}"'
