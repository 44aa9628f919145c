"""What a finished section leaves, and where."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deception_saes.cache import LIBRARIES, read_table
from deception_saes.paper.catalogue import Section
from deception_saes.paper.profiles import Profile
from deception_saes.paper.results import Results
from deception_saes.store.files import artifacts_root, checkout

if TYPE_CHECKING:
    import pandas as pd

EXPECTED_VARIABLE = "DECEPTION_SAES_EXPECTED"
"""Profile and seed, with a space between, that a build executes a notebook for."""

OUT_VARIABLE = "DECEPTION_SAES_OUT"
"""The folder that a build takes a notebook's results from."""


@dataclass(frozen=True)
class SectionRun:
    """A finished section: its record and its tables, read on first use."""

    section: Section
    results: Results
    tree: Path
    _tables: dict[str, pd.DataFrame] = field(default_factory=dict, compare=False)

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


def versions() -> dict[str, str]:
    """The versions of Python and of the distributions that decide every result, by name."""
    return {"python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in LIBRARIES}}


def commit() -> str:
    """The checkout's commit, marked if files differ from it; "unknown" outside a git checkout."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=checkout(), capture_output=True, text=True, check=False,
    )
    return found.stdout.strip() or "unknown"
