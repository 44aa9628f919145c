"""Lay out the site that Jupyter Book builds: pages, executed notebooks, MathJax, configuration."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml

from deception_saes.paper.catalogue import Section
from deception_saes.paper.data_files import data_page, publish_data, size_of_zip
from deception_saes.paper.findings import findings
from deception_saes.paper.front_page import (
    checks_table,
    claim_rows,
    claims_table,
    findings_list,
    substitutions,
)
from deception_saes.paper.made import made
from deception_saes.paper.numbers import Numbers
from deception_saes.paper.profiles import Profile
from deception_saes.paper.results import Results
from deception_saes.paper.site_html import for_print, place_figures
from deception_saes.paper.status import (
    computed_by_other_code,
    data_note,
    fuller,
    fuller_note,
    machines_table,
    not_run_list,
    other_runs,
    results_by_seed,
    sections_table,
    seeds_table,
    versions_table,
)
from deception_saes.store.files import write_atomic

# What tex-chtml.js may ask for: 2 MB of the package's 15.
_MATHJAX_PARTS = ("output/chtml/fonts/woff-v2", "input/tex/extensions")


_EXPERIMENT = "## The experiment\n\nWhat computed the above; in the notebook it stands before it."


class UnfinishedNotebook(RuntimeError):
    """A code cell of a notebook has not run, so its outputs cannot be trusted."""


@dataclass(frozen=True)
class Built:
    """What a book is made of."""

    profile: Profile
    seed: int
    sections: Sequence[Section]
    results: Sequence[Results]
    """One record a section, in the sections' order."""
    tree: Path
    """The profile's, where tables and executed notebooks lie."""
    commit: str
    other_seeds: Mapping[int, Sequence[Path]]
    """Results files by seed."""


def stage(checkout: Path, site: Path, of: Built) -> None:
    """Write the site.

    Raises UnfinishedNotebook if a notebook has a code cell that has not run.
    """
    shutil.copytree(checkout / "book", site / "book")
    toc = yaml.safe_load((checkout / "_toc.yml").read_text(encoding="utf-8"))
    write_atomic(site / "_toc.yml", yaml.safe_dump(with_sections(toc, of.sections)))
    static = site / "book" / "_static"
    _mathjax(static / "mathjax")
    files = publish_data(static, of.tree, of.sections, of.results)
    by_seed = results_by_seed(of.profile, of.seed, of.results, of.other_seeds)
    more = fuller(of.profile, of.seed, of.tree.parent)
    rows = claim_rows(of.profile, of.results, other_runs(of.seed, by_seed, more))
    other_code = computed_by_other_code(of.profile, by_seed.keys() - {of.seed}, of.other_seeds,
                                        of.tree.parent)
    for name, page in {
        "_findings": findings_list(findings(Numbers(of.profile, of.results)), static),
        "_claims": claims_table(rows, of.sections),
        "_source_checks": checks_table(),
        "_not_run": not_run_list(of.results),
        "_sections": sections_table(of.profile, of.results, of.tree),
        "_seeds": seeds_table(of.profile, by_seed, other_code),
        "_fuller": fuller_note(of.profile, of.results, more),
        "_versions": versions_table(of.results),
        "_machines": machines_table(made(of.profile, of.seed, of.tree)),
        "_edited": data_note(),
        "_data": data_page(files),
    }.items():
        write_atomic(site / "book" / f"{name}.md", page)
    config = yaml.safe_load((checkout / "_config.yml").read_text(encoding="utf-8"))
    config["parse"]["myst_substitutions"] = {
        **substitutions(of.profile, of.seed, of.results, rows),
        "data_zip_size": size_of_zip(static)}
    write_atomic(site / "_config.yml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    published = {file.name for file in files}
    for section in of.sections:
        _notebook(checkout, site, section, of, published)


def with_sections(toc: Mapping[str, Any], sections: Sequence[Section]) -> dict[str, Any]:
    """A table of contents with the parts of these sections before its own, each in its order."""
    listed = [section for section in sections if f"notebooks/{section.stem}" != toc["root"]]
    parts = [{"caption": part, "chapters": [{"file": f"notebooks/{section.stem}"}
                                            for section in listed if section.part == part]}
             for part in dict.fromkeys(section.part for section in listed)]
    parts += toc.get("parts", [])
    return {**toc, **({"parts": parts} if parts else {})}


def _notebook(
    checkout: Path, site: Path, section: Section, of: Built, published: Collection[str]
) -> None:
    """The executed notebook with its figures in place, and its source."""
    name = f"{section.stem}.ipynb"
    static = site / "book" / "_static"
    done = any(record.section == section.number and record.status == "done"
               for record in of.results)
    notebook = cleaned(nbformat.read(of.tree / "notebooks" / name, as_version=4), name, done)
    if done:
        answer_first(notebook)
    place_figures(notebook, static, section.stem, of.commit, published)
    write_atomic(site / "notebooks" / name, nbformat.writes(notebook) + "\n")
    source = (checkout / "notebooks" / f"{section.stem}.py").read_text(encoding="utf-8")
    write_atomic(static / "source" / f"{section.stem}.py.txt", source)


def render(site: Path, html: Path) -> None:
    """Build a staged site into the folder `html`, which must not be there, and beside its front
    page the whole book on one page, `print.html`.

    Raises subprocess.CalledProcessError if Jupyter Book stops or warns.
    """
    built = html.with_name("built")
    for builder in ("html", "singlehtml"):  # the second reads what the first has parsed
        subprocess.run(
            [str(Path(sys.executable).with_name("jupyter-book")), "build", "-W", "-n",
             "--keep-going", "--quiet", "--quiet", "--builder", builder, str(site),
             "--path-output", str(built)],
            check=True,
        )
    front = yaml.safe_load((site / "_toc.yml").read_text(encoding="utf-8"))["root"] + ".html"
    whole = (built / "_build" / "singlehtml" / front).read_text(encoding="utf-8")
    write_atomic((built / "_build" / "html" / front).with_name("print.html"),
                 for_print(whole, front))
    _lighten(built / "_build" / "html")
    (built / "_build" / "html").rename(html)
    shutil.rmtree(built)


def _lighten(html: Path) -> None:
    """Drop scripts that pages have no use for: the theme's, of 1.5 MB, which draws the icons that
    its style sheet has too, and MathJax, of 1.2 MB, where there is no equation (Sphinx gives it to
    a page whose table of contents leads to one)."""
    for page in html.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        unused = ["fontawesome"] if 'class="math' in text else ["fontawesome", "tex-chtml"]
        for name in unused:
            text = re.sub(rf"<script[^>]*/{name}\.js[^>]*></script>", "", text)
        write_atomic(page, text)
    for script in html.glob("_static/scripts/fontawesome.js*"):
        script.unlink()


def cleaned(notebook: Any, name: str, done: bool = True) -> Any:
    """The notebook as readers get it: code folded, no injected cell, no times, no stderr; of a
    section that was not run (not `done`), no code without output and no heading over nothing.

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
    if not done:
        notebook.cells = [cell for cell in notebook.cells if not _shows_nothing(cell)]
    return notebook


def answer_first(notebook: Any) -> None:
    """Put what an experiment found before it: the claims, the figure that decides and what it shows
    come first, then the cells that had to run before them, all but the imports unfolded."""
    cells = notebook.cells
    first, opening = (next(i for i, cell in enumerate(cells)
                           if cell.cell_type == "code" and call in cell.source)
                      for call in ("open_section(", ".opening()"))
    summary = next(i for i, cell in enumerate(cells) if i > opening
                and "remove-input" in cell.metadata.get("tags", []))
    ran = cells[first:opening]
    for cell in ran[1:]:
        if cell.cell_type == "code":
            cell.metadata["tags"].remove("hide-input")
    heading = nbformat.v4.new_markdown_cell(_EXPERIMENT, id="cell-experiment")
    notebook.cells = [*cells[:first], *cells[opening : summary + 1], heading, *ran,
                      *cells[summary + 1 :]]


def _shows_nothing(cell: Any) -> bool:
    if cell.cell_type == "code":
        return not cell.outputs
    return bool(cell.source.startswith("## "))


def _mathjax(folder: Path) -> None:
    found = importlib.util.find_spec("sphinx-mathjax-offline")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("sphinx-mathjax-offline is not installed; `make book` does it")
    source = Path(found.origin).parent / "static" / "mathjax"
    for part in _MATHJAX_PARTS:
        shutil.copytree(source / part, folder / part)
    shutil.copy(source / "tex-chtml.js", folder / "tex-chtml.js")
