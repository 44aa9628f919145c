"""The units of work of one book, in an order that Snakemake follows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import groupby
from pathlib import Path

from deception_saes.cache import calls_tree
from deception_saes.models.load import conversion_spec, converted, why_unavailable
from deception_saes.models.spec import HubModel, ModelSpec
from deception_saes.paper.catalogue import SECTIONS, Section
from deception_saes.paper.claims import CLAIMS
from deception_saes.paper.data_files import PACKAGED
from deception_saes.paper.notebooks import execute
from deception_saes.paper.planned import Unit
from deception_saes.paper.profiles import Profile
from deception_saes.paper.record import commit, profile_tree, results_name
from deception_saes.paper.reference import REFERENCES
from deception_saes.paper.results import read_results
from deception_saes.paper.settings import Settings
from deception_saes.paper.shared import shared_calls
from deception_saes.paper.source_checks import TAGS
from deception_saes.paper.specs import notebook_spec
from deception_saes.paper.stage import Built, render, stage
from deception_saes.paper.status import fuller_files, other_seeds
from deception_saes.store.ensure import ensure
from deception_saes.store.files import SUMS, artifacts_root, checkout
from deception_saes.store.spec import Spec

_BOOK_LIBRARIES = ("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme",
                   "sphinx-mathjax-offline")
_SECONDS_OF_OTHERS = 20  # models, SAEs of a depth, notebooks


def book_units(profile: Profile, seed: int, *, by_layer: bool = False) -> dict[str, Unit]:
    """All units of the book by name, each after those it needs. Loads no model.

    by_layer: each layer of a head sweep is a unit too, for a cluster. On one machine that only
    costs: with the embedded model 8 processor seconds a layer for imports, weights, prompts and the
    clean run, where a late layer itself takes 1.5.
    """
    artifacts = artifacts_root()
    tree = profile_tree(profile, seed, artifacts)
    sections = list(SECTIONS.values())
    units = {unit.name: unit for unit in (
        _model_unit(model, artifacts) for model in profile.models
        if not isinstance(model.source, HubModel) and why_unavailable(model) is None)}
    models = tuple(units)
    for section in sections:
        shared = shared_calls(section.number, profile, seed, by_layer=by_layer)
        needs = [*models]
        # neighbours that are calls of one function, like those for each layer, need not each other
        for _, calls in groupby(shared.items(), key=lambda of: of[1].name):
            alike = dict(calls)
            for name, call in alike.items():
                units.setdefault(name, Unit(name, calls_tree(), call.spec, (*needs,), call.make))
            needs += alike
        units[f"notebook-{section.key}"] = _notebook_unit(section, profile, seed, tree,
                                                          tuple(needs))
    notebooks = [unit for unit in units.values() if unit.name.startswith("notebook-")]
    units["html"] = _html_unit(profile, seed, tree, sections, notebooks)
    return units


def urgency(units: Mapping[str, Unit], profile: Profile) -> dict[str, int]:
    """Seconds of the longest chain of work that waits for each unit, its own included, by the
    seconds that the profile gives each section: who works on the most urgent unit first keeps both
    workers busy."""
    waiting: dict[str, list[str]] = {name: [] for name in units}
    for unit in units.values():
        for needed in unit.needs:
            waiting[needed].append(unit.name)
    found: dict[str, int] = {}
    for name in reversed(list(units)):  # each stands after those it needs
        number = name.removeprefix("notebook-s")
        section = int(number) if number.isdigit() else None
        own = _SECONDS_OF_OTHERS if section is None else round(profile.seconds.get(section, 0))
        found[name] = own + max((found[other] for other in waiting[name]), default=0)
    return found


def _model_unit(model: ModelSpec, artifacts: Path) -> Unit:
    return Unit(model.slug, artifacts / "models", conversion_spec(model), (),
                partial(converted, model, artifacts))


def _notebook_unit(
    section: Section, profile: Profile, seed: int, tree: Path, needs: tuple[str, ...]
) -> Unit:
    spec = notebook_spec(section, profile, seed)
    why_not_run = Settings(section.number, profile, seed).why_not_run
    make = partial(execute, section, profile, seed, tree / "failed", why_not_run)
    return Unit(spec.unit, tree, spec, needs, partial(ensure, tree, spec, make))


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
              *REFERENCES.glob("*.*"), *(path for paths in others.values() for path in paths),
              *fuller_files(profile, seed, artifacts_root())),
        inputs=tuple(unit.spec.hash for unit in notebooks),
        libraries=_BOOK_LIBRARIES,
    )

    build = partial(_build_html, profile, seed, tree, others)
    needs = tuple(unit.name for unit in notebooks)
    return Unit("html", tree, spec, needs, partial(ensure, tree, spec, build))


def _build_html(
    profile: Profile, seed: int, tree: Path, others: Mapping[int, list[Path]], out: Path
) -> None:
    sections = list(SECTIONS.values())
    results = [read_results(tree / results_name(section)) for section in sections]
    stage(checkout(), out / "site",
          Built(profile, seed, sections, results, tree, commit(), others))
    render(out / "site", out / "html")
