"""Run a section, or read what an earlier run of the same spec wrote."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from deception_saes.cache import read_table, write_table
from deception_saes.models.load import at_commit, weights_hash, why_unavailable
from deception_saes.sections.catalogue import SECTIONS, Section
from deception_saes.sections.results import Results, Value, read_results, write_results
from deception_saes.store.ensure import ensure
from deception_saes.store.files import PACKAGE_DIR, artifacts_at, artifacts_root, checkout
from deception_saes.store.spec import Spec

if TYPE_CHECKING:
    import pandas as pd
    from _typeshed import DataclassInstance

    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.profiles import Profile

P = TypeVar("P", bound="DataclassInstance")

EXPECTED_VARIABLE = "DECEPTION_SAES_EXPECTED"
"""Profile and seed, with a space between, that a build executes a notebook for."""

OUT_VARIABLE = "DECEPTION_SAES_OUT"
"""The folder that a build takes a notebook's results from."""

LIBRARIES = ("torch", "transformers", "numpy")
"""Distributions whose version decides every section's results."""


@dataclass(frozen=True)
class Output:
    """What a section computes: its values, and by name the tables its figures are drawn from."""

    values: list[Value]
    tables: dict[str, pd.DataFrame]


class SectionModule(Protocol):
    """What a module `sections/sNN.py` holds. Optional: LIBRARIES, distributions beside LIBRARIES
    here whose version decides its results; COLUMNS, by (table, column) the unit and the meaning of
    what its tables hold, those that stand in paper/data/columns.csv left out, the column "" being
    the table."""

    DATA: tuple[str, ...]
    """Data files below the package that decide the results."""
    NEEDS: tuple[int, ...]
    """Numbers of the sections whose results it reads."""

    def plan(
        self, profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
    ) -> Any:
        """The parameters of `compute`, a dataclass of plain data, or NotRun. `models`: those of
        the profile that can be had; `missing`: the reason for each that cannot, by slug."""

    def compute(self, params: Any, work: Work) -> Output:
        """The results, a function of `params` and of the needed sections' results alone."""


@dataclass(frozen=True)
class Work:
    """What `compute` may reach. artifacts: where models are kept. tree: the profile's own, for
    parts that are kept when a run is killed. needed: the needed sections, by number."""

    artifacts: Path
    tree: Path
    needed: Mapping[int, SectionRun]


@dataclass(frozen=True)
class NotRun:
    """Parameters of a section whose model cannot be had: the reasons, by slug."""

    reasons: dict[str, str]


def params_from(params: type[P], profile: Profile, seed: int, **given: Any) -> P:
    """A section's parameters: each field from `given`, or else from the profile's of that name."""
    named = {"seed": seed, **given}
    return params(**{name: named[name] if name in named else getattr(profile, name)
                     for name in (field.name for field in dataclasses.fields(params))})


@dataclass(frozen=True)
class SectionRun:
    """A finished section: its record and its tables, read on first use. hash: of its spec."""

    section: Section
    results: Results
    tree: Path
    _tables: dict[str, pd.DataFrame] = field(default_factory=dict, compare=False)
    hash: str = ""

    def table(self, name: str) -> pd.DataFrame:
        """The section's table of this name, from `figures/sNN_{name}.csv`."""
        if name not in self._tables:
            self._tables[name] = read_table(self.tree / csv_name(self.section, name))
        return self._tables[name]


def csv_name(section: Section, table: str) -> str:
    """Where a table lies below the profile's tree."""
    return f"figures/{section.key}_{table}.csv"


def results_name(section: Section) -> str:
    """Where the record lies below the profile's tree."""
    return f"results/{section.key}.json"


def profile_tree(profile: Profile, seed: int, artifacts: Path | None = None) -> Path:
    """`artifacts/{profile}`, or a tree of its own for a seed other than the profile's."""
    name = profile.name if seed == profile.seed else f"{profile.name}-seed{seed}"
    return (artifacts or artifacts_root()) / name


def needed_sections(section: Section) -> tuple[int, ...]:
    """Numbers of the sections whose results this one reads."""
    needs: tuple[int, ...] = _module(section).NEEDS
    return needs


def section_spec(section: Section, profile: Profile, seed: int) -> Spec:
    """What decides the section's results. Loads no model."""
    module: SectionModule = _module(section)
    profile = dataclasses.replace(profile, models=tuple(map(at_commit, profile.models)))
    reasons = {model.slug: why_unavailable(model) for model in profile.models}
    had = tuple(model for model in profile.models if reasons[model.slug] is None)
    missing = {slug: reason for slug, reason in reasons.items() if reason is not None}
    params = module.plan(profile, seed, had, missing) if had else NotRun(missing)
    return Spec(
        unit=section.key,
        params={"profile": profile.name, "seed": seed, "threads": profile.threads,
                "section": params, "released_saes": _released(profile.sae_source)},
        sources=(section.module, __name__),
        data=tuple(PACKAGE_DIR / name for name in module.DATA),
        inputs=(*(section_spec(SECTIONS[needed], profile, seed).hash for needed in module.NEEDS),
                *(hash for model in had for hash in weights_hash(model))),
        libraries=_libraries(section),
    )


def _released(source: str | None) -> str | None:
    """The content of a release that SAEs are taken from."""
    if source is None:
        return None
    from deception_saes.saes.hub import content

    return content(source)


def run_section(
    number: int, profile: Profile, seed: int, artifacts: Path | None = None
) -> SectionRun:
    """The section's results, computed unless this very spec has been; so are those it needs.

    A section whose model cannot be had gets the status "not run" and the reasons.
    """
    section = SECTIONS[number]
    artifacts = artifacts or artifacts_root()
    tree = profile_tree(profile, seed, artifacts)
    spec = section_spec(section, profile, seed)

    def make(out: Path) -> None:
        needed = {n: run_section(n, profile, seed, artifacts) for n in _module(section).NEEDS}
        _compute(section, spec.params, Work(artifacts, tree, needed), out)

    with artifacts_at(artifacts):
        ensure(tree, spec, make)
    return SectionRun(section, read_results(tree / results_name(section)), tree, hash=spec.hash)


def _compute(section: Section, params: Mapping[str, Any], work: Work, out: Path) -> None:
    started = time.perf_counter()
    reason, output = None, Output([], {})
    if isinstance(params["section"], NotRun):
        reason = "; ".join(params["section"].reasons.values())
    else:
        import torch

        torch.set_num_threads(params["threads"])
        output = _module(section).compute(params["section"], work)
    results = Results(
        section=section.number,
        status="not run" if reason else "done",
        reason=reason,
        profile=params["profile"],
        seed=params["seed"],
        commit=commit(),
        versions=versions(_libraries(section)),
        seconds=round(time.perf_counter() - started, 1),
        values=output.values,
    )
    write_results(results, out / results_name(section))
    for name, table in output.tables.items():
        write_table(table, out / csv_name(section, name))


def _module(section: Section) -> Any:
    return importlib.import_module(section.module)


def _libraries(section: Section) -> tuple[str, ...]:
    return (*LIBRARIES, *getattr(_module(section), "LIBRARIES", ()))


def versions(libraries: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """The versions of Python and of these distributions, by name."""
    return {"python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in libraries}}


def commit() -> str:
    """The checkout's commit, marked if files differ from it; "unknown" outside a git checkout."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=checkout(), capture_output=True, text=True, check=False,
    )
    return found.stdout.strip() or "unknown"
