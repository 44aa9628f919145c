"""A notebook's experiment, run cell by cell in this process."""

import shutil
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import jupytext
from places import artifacts_at

from deception_saes import experiments
from deception_saes.cache import Cached
from deception_saes.paper.book import Book
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.notebooks import source_of
from deception_saes.paper.record import SectionRun
from deception_saes.paper.results import Results

CACHED = [of for module in iter_modules(experiments.__path__)
          for of in vars(import_module(f"{experiments.__name__}.{module.name}")).values()
          if isinstance(of, Cached) and of.function.__module__.endswith(f".{module.name}")]
"""Every cached function of the experiments."""

SHOWN = (".figure(", ".table(", ".quotations(", ".tokens(", ".say(", ".opening(")


@dataclass(frozen=True)
class Experiment:
    """A notebook's run."""

    namespace: dict
    """What the cells left."""
    artifacts: Path
    folder: Path
    """A copy of its results: another run of the section writes into the same place."""

    @property
    def book(self) -> Book:
        return self.namespace["book"]

    @property
    def results(self) -> Results:
        return self.book.results

    def table(self, name):
        """The published table of this name, as readers get it."""
        return SectionRun(self.book.section, self.results, self.folder).table(name)

    def tables(self):
        """All published tables."""
        key = f"{self.book.section.key}_"
        return [self.table(path.stem.removeprefix(key))
                for path in (self.folder / "figures").glob(f"{key}*.csv")]


def run_cells(number, profile, seed, artifacts, *, shown=(), **own):
    """Run a notebook with a profile, or one's name, and artifacts in this folder; `own`: parameters
    of its parameters cell. shown: which of the cells that only show something are run, by SHOWN."""
    namespace = {}
    with artifacts_at(artifacts):
        for cell in jupytext.read(source_of(SECTIONS[number])).cells:
            if cell.cell_type != "code":
                continue
            if any(call in cell.source for call in SHOWN if call not in shown):
                continue
            exec(compile(cell.source, f"s{number}", "exec"), namespace)
            if "parameters" in cell.metadata.get("tags", []):
                namespace.update(profile=profile, seed=seed, **own)
        copy = Path(tempfile.mkdtemp(dir=artifacts, prefix=f"s{number}-"))
        shutil.copytree(namespace["book"].folder, copy, dirs_exist_ok=True)
    return Experiment(namespace, artifacts, copy)
