"""Units of work as a build writes them down, each for the process that makes it:
`python -m deception_saes.paper.planned TREE UNIT HASH`.

A build starts that for every unit, so this module loads little, and pins the process to one
instruction set, where the unit asks for that, before it loads what the unit needs.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deception_saes.errors import OneLine, exit_code
from deception_saes.store.ensure import is_made, marker_path
from deception_saes.store.files import write_atomic
from deception_saes.store.pinned import is_pinned, pin
from deception_saes.store.spec import Spec


class BuildFailed(OneLine, RuntimeError):
    """A build stopped; what failed stands above on stderr."""


@dataclass(frozen=True)
class Unit:
    """A piece of work that Snakemake may order."""

    name: str
    tree: Path
    spec: Spec
    needs: tuple[str, ...]
    """Names of the units whose artifacts it reads."""
    make: Callable[[], object]
    """Brings it about, if need be; can be pickled."""

    @property
    def marker(self) -> Path:
        return marker_path(self.tree, self.spec)

    @property
    def is_made(self) -> bool:
        return is_made(self.tree, self.spec)


def write_plan(tree: Path, units: Mapping[str, Unit]) -> None:
    """Write each unit down in the book's tree, and nothing else. The process that makes one reads
    it, and need not work out all others to find it."""
    paths = {plan_path(tree, unit.name, unit.spec.hash): unit for unit in units.values()}
    for path in (tree / ".plan").glob("[!.]*"):
        if path not in paths:
            path.unlink(missing_ok=True)
    for path, unit in paths.items():
        # anew, as artifacts may have been moved
        write_atomic(path, pickle.dumps(unit.spec.pinned) + pickle.dumps(unit))


def make_unit(tree: Path, name: str, expected: str) -> None:
    """Make one unit of a plan in this process, which is pinned if the unit is. expected: the hash
    of its spec when the build began.

    Raises BuildFailed if the spec is another by now: what would be made then is not what the build
    waits for.
    """
    planned = plan_path(tree, name, expected)
    unit = _read(planned) if planned.is_file() else None
    if unit is None or unit.spec.hash != expected:
        raise BuildFailed(f"{name}: code, pages or data that it is made from have changed since "
                          "this build began; run the same command again")
    unit.make()


def plan_path(tree: Path, name: str, hash: str) -> Path:
    """Where a unit is written down."""
    return tree / ".plan" / f"{name}-{hash}"


def _read(planned: Path) -> Unit:
    with planned.open("rb") as file:
        if pickle.load(file) and not is_pinned():
            pin()  # before the unit is read, which loads what makes it
        unit: Unit = pickle.load(file)
    return unit


def _main(tree: str, name: str, expected: str) -> int:
    make_unit(Path(tree), name, expected)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: _main(*sys.argv[1:])))
