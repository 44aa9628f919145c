"""Units of work as a build writes them down, each for the process that makes it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deception_saes.paper.profiles import Profile
from deception_saes.paper.record import profile_tree
from deception_saes.store.ensure import is_made, marker_path
from deception_saes.store.files import write_atomic
from deception_saes.store.spec import Spec


class BuildFailed(RuntimeError):
    """A build stopped; what failed stands above on stderr."""


@dataclass(frozen=True)
class Unit:
    """A piece of work that Snakemake may order.

    needs: names of the units whose artifacts it reads. make: brings it about, if need be; can be
    pickled.
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


def write_plan(units: Mapping[str, Unit]) -> None:
    """Write each unit down, and nothing else. The process that makes one reads it, and need not
    work out all others to find it."""
    tree = units["html"].tree
    paths = {_path(tree, unit.name, unit.spec.hash): unit for unit in units.values()}
    for path in (tree / ".plan").glob("*"):
        if path not in paths:
            path.unlink()
    for path, unit in paths.items():
        write_atomic(path, pickle.dumps(unit))  # anew, as artifacts may have been moved


def make_unit(profile: Profile, seed: int, name: str, expected: str | None = None) -> None:
    """Make one unit. expected: the hash of its spec when the build began.

    Raises BuildFailed if the spec is another by now: what would be made then is not what the build
    waits for.
    """
    planned = _path(profile_tree(profile, seed), name, expected or "")
    if planned.is_file():
        unit: Unit = pickle.loads(planned.read_bytes())
    else:
        from deception_saes.paper.units import book_units  # works out all of them: slow

        unit = book_units(profile, seed)[name]
    if expected is not None and unit.spec.hash != expected:
        raise BuildFailed(f"{name}: code, pages or data that it is made from have changed since "
                          "this build began; run the same command again")
    unit.make()


def _path(tree: Path, name: str, hash: str) -> Path:
    return tree / ".plan" / f"{name}-{hash}"
