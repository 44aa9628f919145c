"""Build the book: Snakemake orders the work, the store judges what is stale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deception_saes.paper.units import book_units
from deception_saes.sections.profiles import Profile
from deception_saes.sections.run import profile_tree
from deception_saes.store.ensure import held
from deception_saes.store.files import checkout


class BuildFailed(RuntimeError):
    """Snakemake stopped; what failed stands above on stderr."""


def build_book(profile: Profile, seed: int) -> Path:
    """Make what is missing or stale and return the path of `index.html`.

    Raises BuildFailed if a unit fails; run again, it goes on where it stopped.
    """
    tree = profile_tree(profile, seed)
    tree.mkdir(parents=True, exist_ok=True)
    with held(tree / ".build.lock", f"another build of {tree.name} is running"):
        _forget_broken(profile, seed)
        _snakemake(profile, seed, tree)
    return tree / "html" / "index.html"


def _forget_broken(profile: Profile, seed: int) -> None:
    """Snakemake looks for markers only; a marker whose files are damaged must not be found."""
    for unit in book_units(profile, seed).values():
        if not unit.is_made:
            unit.marker.unlink(missing_ok=True)


def _snakemake(profile: Profile, seed: int, tree: Path) -> None:
    command = [
        sys.executable, "-m", "snakemake",
        "--snakefile", str(checkout() / "workflow" / "Snakefile"),
        "--directory", str(tree),
        "--config", f"profile={profile.name}", f"seed={seed}",
        "--cores", str(profile.threads * profile.jobs),
        "--rerun-triggers", "mtime",  # the hash in a marker's name says the rest
        "--rerun-incomplete", "--nolock", "--quiet", "rules",
    ]
    if subprocess.run(command, check=False).returncode:
        raise BuildFailed(f"the build of {tree.name} stopped (see above); mend it and run the same "
                          "command again, what is finished is kept")
