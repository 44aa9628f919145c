"""Lay out the site that Jupyter Book builds: pages, executed notebooks, MathJax, configuration."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import yaml

from deception_saes.paper.front_page import (
    checks_table,
    claim_rows,
    claims_table,
    substitutions,
)
from deception_saes.sections.catalogue import Section
from deception_saes.sections.profiles import Profile
from deception_saes.sections.results import Results
from deception_saes.store.files import write_atomic

# What tex-chtml.js may ask for: 2 MB of the package's 15.
_MATHJAX_PARTS = ("output/chtml/fonts/woff-v2", "input/tex/extensions")


class UnfinishedNotebook(RuntimeError):
    """A code cell of a notebook has not run, so its outputs cannot be trusted."""


def stage(
    checkout: Path,
    site: Path,
    profile: Profile,
    seed: int,
    sections: Sequence[Section],
    results: Sequence[Results],
    notebooks: Path,
) -> None:
    """Write the site. notebooks: the folder of the executed ones.

    Raises UnfinishedNotebook if one of them has a code cell that has not run.
    """
    shutil.copytree(checkout / "book", site / "book")
    shutil.copy(checkout / "_toc.yml", site / "_toc.yml")
    _mathjax(site / "book" / "_static" / "mathjax")
    rows = claim_rows(profile, results)
    write_atomic(site / "book" / "_claims.md", claims_table(rows, sections))
    write_atomic(site / "book" / "_source_checks.md", checks_table())
    config = yaml.safe_load((checkout / "_config.yml").read_text(encoding="utf-8"))
    config["parse"]["myst_substitutions"] = substitutions(profile, seed, results, rows)
    write_atomic(site / "_config.yml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    for section in sections:
        name = f"{section.stem}.ipynb"
        notebook = cleaned(nbformat.read(notebooks / name, as_version=4), name)
        write_atomic(site / "notebooks" / name, nbformat.writes(notebook) + "\n")


def render(site: Path, html: Path) -> None:
    """Build a staged site into the folder `html`, which must not be there.

    Raises subprocess.CalledProcessError if Jupyter Book stops or warns.
    """
    built = html.with_name("built")
    subprocess.run(
        [str(Path(sys.executable).with_name("jupyter-book")), "build", "-W", "-n", "--keep-going",
         "--quiet", "--quiet", str(site), "--path-output", str(built)],
        check=True,
    )
    (built / "_build" / "html").rename(html)
    shutil.rmtree(built)


def cleaned(notebook: Any, name: str) -> Any:
    """The notebook as readers get it: code folded, no injected cell, no times, no stderr.

    Raises UnfinishedNotebook if a code cell has not run.
    """
    notebook.metadata.pop("papermill", None)
    notebook.cells = [cell for cell in notebook.cells
                      if "injected-parameters" not in cell.metadata.get("tags", [])]
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i:03d}"  # jupytext's are random
        for written_by_papermill in ("papermill", "execution"):
            cell.metadata.pop(written_by_papermill, None)
        if cell.cell_type != "code":
            continue
        if cell.execution_count is None and cell.source.strip():
            raise UnfinishedNotebook(f"{name}: cell {i} has not run: {cell.source[:80]!r}; delete "
                                     "the notebook's artifact and build again")
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags:
            tags = [*tags, "remove-cell"]
        elif "remove-input" not in tags:
            tags = [*tags, "hide-input"]
        cell.metadata["tags"] = tags
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def _mathjax(folder: Path) -> None:
    found = importlib.util.find_spec("sphinx-mathjax-offline")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("sphinx-mathjax-offline is not installed; `make book` does it")
    source = Path(found.origin).parent / "static" / "mathjax"
    for part in _MATHJAX_PARTS:
        shutil.copytree(source / part, folder / part)
    shutil.copy(source / "tex-chtml.js", folder / "tex-chtml.js")
