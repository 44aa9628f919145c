"""Notebooks executed by papermill, as a re-runner would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deception_saes.errors import OneLine
from deception_saes.paper.catalogue import Section
from deception_saes.paper.profiles import Profile
from deception_saes.paper.record import EXPECTED_VARIABLE, OUT_VARIABLE
from deception_saes.store.files import checkout


class NotebookFailed(OneLine, RuntimeError):
    """A notebook's cell raised. The message names the partly executed notebook."""


def source_of(section: Section) -> Path:
    """The notebook's py:percent file."""
    return checkout() / "notebooks" / f"{section.stem}.py"


def execute(
    section: Section, profile: Profile, seed: int, failed: Path, why_not_run: str | None, out: Path
) -> None:
    """Run `jupytext | papermill`, as a re-runner would, in a build.

    failed: a folder for a notebook that stopped. why_not_run: of a section that is not run; its
    experiment is left out. out: takes the executed notebook, and the results if it writes any.
    Raises NotebookFailed.
    """
    source = source_of(section)
    notebook = _as_ipynb(source)
    _check_parameters_cell(source.name, notebook)
    if why_not_run:
        notebook["cells"] = [cell for cell in notebook["cells"] if _opens_or_closes(cell)]
    target = out / "notebooks" / f"{source.stem}.ipynb"
    environment = {EXPECTED_VARIABLE: f"{profile.name} {seed}", OUT_VARIABLE: str(out)}
    _papermill(source, notebook, target, {"profile": profile.name, "seed": seed}, environment,
               failed)


def run_alone(
    section: Section, profile: Profile, seed: int, own: Mapping[str, Any], folder: Path
) -> Path:
    """Run the notebook beside the book, with one's own parameters; the executed notebook, in
    `folder`. Raises NotebookFailed."""
    source = source_of(section)
    target = folder / f"{source.stem}.ipynb"
    _papermill(source, _as_ipynb(source), target,
               {"profile": profile.name, "seed": seed, **own}, {}, folder / "failed")
    return target


def _as_ipynb(source: Path) -> dict[str, Any]:
    converted = subprocess.run(
        [sys.executable, "-m", "jupytext", "--quiet", "--to", "ipynb", str(source), "-o", "-"],
        capture_output=True, check=False,
    )
    if converted.returncode:
        raise NotebookFailed(f"{converted.stderr.decode()}\n{source.name} is not a notebook that "
                             "jupytext can read (above); mend its cells' marks")
    notebook: dict[str, Any] = json.loads(converted.stdout)
    return notebook


def _papermill(
    source: Path, notebook: Mapping[str, Any], target: Path, parameters: Mapping[str, Any],
    environment: Mapping[str, str], failed: Path,
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    given = [part for name, value in parameters.items() for part in ("-p", name, str(value))]
    run = subprocess.run(
        [sys.executable, "-m", "papermill", "-", str(target), *given, "--kernel", "python3",
         "--no-progress-bar"],
        input=json.dumps(notebook).encode(), capture_output=True, cwd=source.parent, check=False,
        env={**os.environ, **environment},
    )
    if run.returncode:
        partly = failed / target.name
        partly.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            shutil.move(target, partly)
        raise NotebookFailed(f"{run.stderr.decode()}\n{source.name} failed (above); partly "
                             f"executed: {partly}")


def _opens_or_closes(cell: Mapping[str, Any]) -> bool:
    if cell["cell_type"] != "code" or "parameters" in cell["metadata"].get("tags", []):
        return True
    code = "".join(cell["source"])
    return any(call in code for call in ("open_section(", ".opening()", ".close()"))


def _check_parameters_cell(name: str, notebook: Mapping[str, Any]) -> None:
    """Without the tag papermill puts the build's parameters where the notebook's own overwrite
    them, and the page shows another profile's numbers. Raises NotebookFailed."""
    tagged = [cell for cell in notebook["cells"]
              if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise NotebookFailed(f"{name} has {len(tagged)} cells tagged \"parameters\"; expected one, "
                             "`# %% tags=[\"parameters\"]` over profile and seed")
