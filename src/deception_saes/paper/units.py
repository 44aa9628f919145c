"""The units of work of one book, in an order that Snakemake follows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deception_saes.models.load import conversion_spec, converted, why_unavailable
from deception_saes.models.spec import HubModel, ModelSpec
from deception_saes.paper.claims import CLAIMS
from deception_saes.paper.data_files import PACKAGED
from deception_saes.paper.reference import REFERENCES
from deception_saes.paper.source_checks import TAGS
from deception_saes.paper.status import other_seeds
from deception_saes.sections import behaviour
from deception_saes.sections.behaviour import BehaviourParams
from deception_saes.sections.behaviour_saes import (
    BehaviourSaeParams,
    behaviour_bank,
    behaviour_bank_spec,
)
from deception_saes.sections.catalogue import SECTIONS, Section, written_sections
from deception_saes.sections.profiles import Profile
from deception_saes.sections.results import read_results
from deception_saes.sections.run import (
    EXPECTED_VARIABLE,
    Work,
    commit,
    needed_sections,
    profile_tree,
    results_name,
    run_section,
    section_spec,
)
from deception_saes.sections.trained import DEPTHS, Source, bank, bank_spec
from deception_saes.store.ensure import ensure, is_made, marker_path
from deception_saes.store.files import artifacts_root, checkout
from deception_saes.store.shipped import SUMS
from deception_saes.store.spec import Spec

_BOOK_LIBRARIES = ("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme",
                   "sphinx-mathjax-offline")
_SECONDS_OF_OTHERS = 20  # models, SAEs of a depth, notebooks
_NOTEBOOK_LIBRARIES = ("papermill", "matplotlib", "pandas")


class NotebookFailed(RuntimeError):
    """A notebook's cell raised. The message names the partly executed notebook."""


@dataclass(frozen=True)
class Unit:
    """A piece of work that Snakemake may order.

    needs: names of the units whose artifacts it reads. make: brings it about, if need be.
    """

    name: str
    tree: Path
    spec: Spec
    needs: tuple[str, ...]
    make: Callable[[], object]

    @property
    def marker(self) -> Path:
        return marker_path(self.tree, self.spec)

    @property
    def is_made(self) -> bool:
        return is_made(self.tree, self.spec)


def book_units(profile: Profile, seed: int) -> dict[str, Unit]:
    """All units of the book by name, each after those it needs. Loads no model."""
    artifacts = artifacts_root()
    tree = profile_tree(profile, seed, artifacts)
    sections = written_sections()
    units = [_model_unit(model, artifacts) for model in profile.models
             if not isinstance(model.source, HubModel) and why_unavailable(model) is None]
    models = tuple(unit.name for unit in units)
    for section in sections:
        needs = (*models, *(f"s{needed}" for needed in needed_sections(section)))
        spec = section_spec(section, profile, seed)
        shared = _shared_units(spec, profile, seed, needs)
        units += [unit for unit in shared if unit.name not in {known.name for known in units}]
        computed = Unit(section.key, tree, spec, (*needs, *(unit.name for unit in shared)),
                        partial(run_section, section.number, profile, seed, artifacts))
        shown = _notebook_unit(section, profile, seed, tree, computed.spec)
        units += [computed, shown]
    notebooks = [unit for unit in units if unit.name.startswith("notebook-")]
    units.append(_html_unit(profile, seed, tree, sections, notebooks))
    return {unit.name: unit for unit in units}


def urgency(units: Mapping[str, Unit], profile: Profile) -> dict[str, int]:
    """Seconds of the longest chain of work that waits for each unit, its own included, by the
    seconds that the profile gives each section: who works on the most urgent unit first keeps two
    hands busy to the end."""
    waiting: dict[str, list[str]] = {name: [] for name in units}
    for unit in units.values():
        for needed in unit.needs:
            waiting[needed].append(unit.name)
    found: dict[str, int] = {}
    for name in reversed(list(units)):  # each stands after those it needs
        section = int(name[1:]) if name[1:].isdigit() else None
        own = _SECONDS_OF_OTHERS if section is None else round(profile.seconds.get(section, 0))
        found[name] = own + max((found[other] for other in waiting[name]), default=0)
    return found


def _model_unit(model: ModelSpec, artifacts: Path) -> Unit:
    return Unit(model.slug, artifacts / "models", conversion_spec(model), (),
                partial(converted, model, artifacts))


def _shared_units(
    spec: Spec, profile: Profile, seed: int, needs: tuple[str, ...]
) -> list[Unit]:
    """What a section shares with others and several hands can make beside each other: activations
    on completions, by round, and the SAEs that it is about, by depth."""
    artifacts = artifacts_root()
    tree = profile_tree(profile, seed, artifacts)
    of, work = spec.params["section"], Work(artifacts, tree, {})
    behavioural = getattr(of, "behaviour_saes", None)
    read = behavioural.behaviour if behavioural else getattr(of, "behaviour", None)
    units = [] if read is None else _capture_units(read, work, needs)
    if behavioural is not None:
        captured = tuple(unit.name for unit in units)
        units += _behaviour_bank_units(behavioural, work, (*needs, *captured))
    saes = getattr(of, "saes", None)
    if saes is None or saes.sae_source:
        return units
    task = section_spec(SECTIONS[23], profile, seed).hash

    def make(depth: int) -> None:
        bank(saes, depth, Source(artifacts, tree, run_section(23, profile, seed, artifacts)))

    specs = {depth: bank_spec(saes, depth, task) for depth in DEPTHS}
    return [*units, *(Unit(of.unit, tree, of, needs, partial(make, depth))
                      for depth, of in specs.items())]


def _capture_units(
    params: BehaviourParams, work: Work, needs: tuple[str, ...]
) -> list[Unit]:
    specs = {round: behaviour.capture_spec(params, round) for round in behaviour.ROUNDS}
    return [Unit(spec.unit, work.tree, spec, needs,
                 partial(behaviour.captured, params, round, work))
            for round, spec in specs.items()]


def _behaviour_bank_units(
    saes: BehaviourSaeParams, work: Work, needs: tuple[str, ...]
) -> list[Unit]:
    """The behavioural SAEs, and those with thresholds at 0."""
    return [Unit(spec.unit, work.tree, spec, needs,
                 partial(behaviour_bank, saes, depth, work, fixed))
            for depth in behaviour.DEPTHS for fixed in (True, False)
            for spec in [behaviour_bank_spec(saes, depth, fixed)]]


def _notebook_unit(
    section: Section, profile: Profile, seed: int, tree: Path, computed: Spec
) -> Unit:
    source = checkout() / "notebooks" / f"{section.stem}.py"
    plots = f"deception_saes.paper.plots.{section.key}"
    spec = Spec(
        unit=f"notebook-{section.key}",
        params={"profile": profile.name, "seed": seed},
        sources=("deception_saes.paper.page", *([plots] if find_spec(plots) else [])),
        data=(source, CLAIMS, TAGS),
        inputs=(computed.hash,),
        libraries=_NOTEBOOK_LIBRARIES,
    )
    execute = partial(_execute, source, profile.name, seed, tree)
    return Unit(spec.unit, tree, spec, (section.key,), partial(ensure, tree, spec, execute))


def _execute(source: Path, profile: str, seed: int, tree: Path, out: Path) -> None:
    """Run `jupytext | papermill`, as a re-runner would."""
    target = out / "notebooks" / f"{source.stem}.ipynb"
    target.parent.mkdir(parents=True)
    converted = subprocess.run(
        [sys.executable, "-m", "jupytext", "--quiet", "--to", "ipynb", str(source), "-o", "-"],
        capture_output=True, check=False,
    )
    if converted.returncode:
        raise NotebookFailed(f"{converted.stderr.decode()}\n{source.name} is not a notebook that "
                             "jupytext can read (above); mend its cells' marks")
    _check_parameters_cell(source.name, json.loads(converted.stdout))
    run = subprocess.run(
        [sys.executable, "-m", "papermill", "-", str(target), "-p", "profile", profile,
         "-p", "seed", str(seed), "--kernel", "python3", "--no-progress-bar"],
        input=converted.stdout, capture_output=True, cwd=source.parent, check=False,
        env={**os.environ, EXPECTED_VARIABLE: f"{profile} {seed}"},
    )
    if run.returncode:
        partly = tree / "failed" / target.name
        partly.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            shutil.move(target, partly)
        raise NotebookFailed(f"{run.stderr.decode()}\n{source.name} failed (above); partly "
                             f"executed: {partly}")


def _check_parameters_cell(name: str, notebook: Mapping[str, Any]) -> None:
    """Without the tag papermill puts the build's parameters where the notebook's own overwrite
    them, and the page shows another profile's numbers. Raises NotebookFailed."""
    tagged = [cell for cell in notebook["cells"]
              if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise NotebookFailed(f"{name} has {len(tagged)} cells tagged \"parameters\"; expected one, "
                             "`# %% tags=[\"parameters\"]` over profile and seed")


def _html_unit(
    profile: Profile, seed: int, tree: Path, sections: list[Section], notebooks: list[Unit]
) -> Unit:
    root = checkout()
    pages = [path for path in (root / "book").rglob("*") if path.is_file()]
    others = other_seeds(profile, seed, artifacts_root())
    spec = Spec(
        unit="html",
        params={"profile": profile.name, "seed": seed},
        sources=("deception_saes.paper.stage",),
        data=(root / "_config.yml", root / "_toc.yml", CLAIMS, TAGS, SUMS, *pages,
              *PACKAGED,
              *REFERENCES.glob("*.*"), *(path for paths in others.values() for path in paths)),
        inputs=tuple(unit.spec.hash for unit in notebooks),
        libraries=_BOOK_LIBRARIES,
    )

    def build(out: Path) -> None:
        from deception_saes.paper.stage import Built, render, stage

        results = [read_results(tree / results_name(section)) for section in sections]
        stage(root, out / "site",
              Built(profile, seed, sections, results, tree, commit(), others))
        render(out / "site", out / "html")

    needs = tuple(unit.name for unit in notebooks)
    return Unit("html", tree, spec, needs, partial(ensure, tree, spec, build))
