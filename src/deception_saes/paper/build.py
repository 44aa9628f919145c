"""Build the book: Snakemake orders the work, the store judges what is stale."""

from __future__ import annotations

import sys
from pathlib import Path

from deception_saes.paper.units import book_units
from deception_saes.paper.watched import run_watched
from deception_saes.sections.profiles import Profile
from deception_saes.sections.run import profile_tree
from deception_saes.store.ensure import held
from deception_saes.store.files import checkout


class BuildFailed(RuntimeError):
    """Snakemake stopped; what failed stands above on stderr."""


def build_book(profile: Profile, seed: int, cluster: Path | None = None) -> Path:
    """Make what is missing or stale and return the path of `index.html`.

    cluster: a folder with a Snakemake profile, such as `workflow/slurm`, whose executor runs the
    units; None: they run on this machine.
    Raises BuildFailed if a unit fails; run again, it goes on where it stopped.
    """
    if cluster is not None and not (cluster / "config.yaml").is_file():
        raise BuildFailed(f"{cluster} holds no config.yaml; name the folder of a Snakemake "
                          "profile, such as workflow/slurm")
    tree = profile_tree(profile, seed)
    tree.mkdir(parents=True, exist_ok=True)
    with held(tree / ".build.lock", f"another build of {tree.name} is running"):
        _forget_broken(profile, seed)
        _snakemake(profile, seed, tree, cluster)
    return tree / "html" / "index.html"


def make_section(profile: Profile, seed: int, number: int) -> Path:
    """Make one section with all it needs, and its notebook; where its results are.

    Raises BuildFailed for a section that this book does not have.
    """
    units = book_units(profile, seed)
    name = f"s{number}"
    if name not in units:
        written = ", ".join(unit[1:] for unit in units if unit[1:].isdigit())
        raise BuildFailed(f"§{number} is not in this book; written: {written}")
    for unit in (units[name], units[f"notebook-{name}"]):
        unit.make()
    return units[name].tree / "results" / f"{name}.json"


def make_unit(profile: Profile, seed: int, name: str, expected: str | None = None) -> None:
    """Make one unit. expected: the hash of its spec when the build began.

    Raises BuildFailed if the spec is another by now: what would be made then is not what the build
    waits for.
    """
    unit = book_units(profile, seed)[name]
    if expected is not None and unit.spec.hash != expected:
        raise BuildFailed(f"{name}: code, pages or data that it is made from have changed since "
                          "this build began; run the same command again")
    unit.make()


def _forget_broken(profile: Profile, seed: int) -> None:
    """Snakemake looks for markers only; a marker whose files are damaged must not be found."""
    for unit in book_units(profile, seed).values():
        if not unit.is_made:
            unit.marker.unlink(missing_ok=True)


def _snakemake(profile: Profile, seed: int, tree: Path, cluster: Path | None) -> None:
    where = (["--cores", str(profile.threads * profile.jobs)] if cluster is None
             else ["--workflow-profile", str(cluster.resolve())])
    command = [
        sys.executable, "-m", "snakemake",
        "--snakefile", str(checkout() / "workflow" / "Snakefile"),
        "--directory", str(tree),
        "--config", f"profile={profile.name}", f"seed={seed}",
        *where,
        "--rerun-triggers", "mtime",  # the hash in a marker's name says the rest
        "--rerun-incomplete", "--nolock", "--quiet", "rules",
    ]
    if run_watched(command):
        raise BuildFailed(f"the build of {tree.name} stopped (see above); mend it and run the same "
                          "command again, what is finished is kept")
