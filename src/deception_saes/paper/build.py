"""Build the book: Snakemake orders the work, the store judges what is stale."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from pathlib import Path

from deception_saes.cache import Used, calls_tree
from deception_saes.errors import UserError
from deception_saes.models.spec import ModelSpec
from deception_saes.paper.book import Book, computed_anew
from deception_saes.paper.catalogue import SECTIONS, Section
from deception_saes.paper.notebooks import run_alone
from deception_saes.paper.plan import free_memory_and_disk, shortage
from deception_saes.paper.planned import BuildFailed
from deception_saes.paper.profiles import Profile
from deception_saes.paper.record import profile_tree, results_name
from deception_saes.paper.units import book_units
from deception_saes.paper.watched import run_watched
from deception_saes.store.ensure import check_form, held
from deception_saes.store.files import checkout


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
    for filled in (tree, calls_tree()):
        check_form(filled)
    tree.mkdir(parents=True, exist_ok=True)
    with held(tree / ".build.lock", f"another build of {tree.name} is running"):
        _snakemake(profile, seed, tree, cluster)
    return tree / "html" / "index.html"


def make_section(profile: Profile, seed: int, number: int) -> Path:
    """Make one section with all it needs, and its notebook; where its results are.

    Raises BuildFailed for a section that this book does not have.
    """
    section = _section(number)
    units = book_units(profile, seed)
    notebook = units[f"notebook-{section.key}"]
    if not notebook.is_made:
        _warn(profile, number)
    for name in (*notebook.needs, notebook.name):
        units[name].make()
    return notebook.tree / results_name(section)


def run_own(profile: Profile, seed: int, number: int, own: dict[str, str]) -> str:
    """Run a section's notebook beside the book, with parameters of one's own; what was computed
    anew and where the results are. Raises UserError and NotebookFailed, see `run_alone`."""
    section = _section(number)
    check_form(calls_tree())
    values = {name: json.loads(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else value
              for name, value in own.items()}
    if "questions" in own:  # the notebook runs in its own folder
        values["questions"] = str(Path(own["questions"]).expanduser().resolve())
    settings = Book(number, profile, seed, values)
    _warn(profile, number, settings.model if "model" in own else None)
    notebook = run_alone(section, profile, seed, values, settings.folder)
    calls = json.loads((settings.folder / "results" / f"{section.key}.calls.json").read_text(
        encoding="utf-8"))
    return f"{computed_anew([Used(**call) for call in calls])}\n{notebook}"


def _warn(profile: Profile, number: int, own: ModelSpec | None = None) -> None:
    """Say on stderr if free memory or disk may not do. own: the person's own model."""
    with suppress(UserError):  # of a model whose sizes are unknown
        if line := shortage(profile, number, own, *free_memory_and_disk()):
            print(line, file=sys.stderr)


def _section(number: int) -> Section:
    if number not in SECTIONS:
        written = ", ".join(map(str, SECTIONS))
        raise BuildFailed(f"§{number} is not in this book; written: {written}")
    return SECTIONS[number]


def _broken(profile: Profile, seed: int, by_layer: bool) -> list[str]:
    """Units that have a marker but not their files: Snakemake looks for markers only. Taking the
    marker away would also make what stands behind it again, whole or not."""
    return [unit.name for unit in book_units(profile, seed, by_layer=by_layer).values()
            if unit.marker.is_file() and not unit.is_made]


def _snakemake(profile: Profile, seed: int, tree: Path, cluster: Path | None) -> None:
    by_layer = cluster is not None
    broken = _broken(profile, seed, by_layer)
    where = (["--cores", str(profile.threads * profile.jobs)] if cluster is None
             else ["--workflow-profile", str(cluster.resolve())])
    command = [
        sys.executable, "-m", "snakemake",
        "--snakefile", str(checkout() / "workflow" / "Snakefile"),
        "--directory", str(tree),
        "--config", f"profile={profile.name}", f"seed={seed}", f"by_layer={by_layer}",
        *where,
        *(["--forcerun", *broken] if broken else []),
        "--rerun-triggers", "mtime",  # the hash in a marker's name says the rest
        "--rerun-incomplete", "--nolock", "--quiet", "rules",
    ]
    if run_watched(command):
        raise BuildFailed(f"the build of {tree.name} stopped (see above); mend it and run the same "
                          "command again, what is finished is kept")
