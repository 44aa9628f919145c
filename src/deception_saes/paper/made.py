"""On what the artifacts of a book were made, as their markers say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deception_saes.cache import Call, calls_tree
from deception_saes.paper.catalogue import SECTIONS, Section
from deception_saes.paper.profiles import Profile
from deception_saes.paper.record import commit, profile_tree
from deception_saes.paper.reference import Origin
from deception_saes.paper.results import Results
from deception_saes.paper.shared import calls_of_book
from deception_saes.paper.specs import results_spec
from deception_saes.store.ensure import marker_path


@dataclass(frozen=True)
class Made:
    """One unit."""

    unit: str
    pinned: bool
    """Whether it was made in a process pinned to one instruction set."""
    files: dict[str, Path]
    """What it wrote, by its path below the artifacts."""
    processor: str
    instruction_set: str | None
    why_not_promised: str | None
    """Why its last bits may be others elsewhere."""


def made(profile: Profile, seed: int, tree: Path) -> list[Made]:
    """Everything in the profile's tree, the profile's models and the calls that the book shares.
    """
    slugs = {model.slug for model in profile.models}
    models = _in_folder(tree.parent / "models")
    calls = [_call(name, call) for name, call in calls_of_book(profile, seed).items()
             if call.is_made]
    return [*_in_folder(tree), *(model for model in models if model.unit in slugs), *calls]


def _call(name: str, call: Call) -> Made:
    """A shared call, whose files are named by its unit: its folder's name changes with the code."""
    marker = json.loads(marker_path(calls_tree(), call.spec).read_text(encoding="utf-8"))
    files = {f"calls/{name}/{path.partition('/')[2]}": calls_tree() / path
             for path in marker["files"] if not path.endswith("seconds.json")}
    return Made(name, call.spec.pinned, files, **marker["made_on"])


def _in_folder(folder: Path) -> list[Made]:
    found = []
    for path in sorted((folder / ".done").glob("[!.]*")):
        marker = json.loads(path.read_text(encoding="utf-8"))
        if "made_on" not in marker:
            continue  # left by code from before it was noted
        files = {f"{folder.name}/{name}": folder / name for name in marker["files"]
                 if not name.endswith("seconds.json")}
        found.append(Made(marker["spec"]["unit"], marker["spec"]["instruction_set"] is not None,
                          files, **marker["made_on"]))
    return found


def computed_by(tree: Path, section: Section) -> set[str | None]:
    """Hashes of the specs whose results of the section lie in the tree."""
    return {json.loads(path.read_text(encoding="utf-8"))["spec"]["params"].get("results")
            for path in (tree / ".done").glob(f"notebook-{section.key}-*")}


def origin(
    profile: Profile, seed: int, results: Sequence[Results], units: Sequence[Made]
) -> Origin:
    """What made this run, to be kept beside a reference of its values: the present code, if all
    results are of it, else that of the commits that they name. Reads every file that was made
    pinned."""
    tree, sections = profile_tree(profile, seed), [SECTIONS[of.section] for of in results]
    specs = {section.key: results_spec(section, profile, seed).hash for section in sections}
    current = all(specs[section.key] in computed_by(tree, section) for section in sections)
    commits = {commit()} if current else {of.commit for of in results}
    processors = {unit.processor for unit in units}
    return Origin("; ".join(sorted(commits)), "; ".join(sorted(processors)), specs,
                  pinned_digests(units), why_not_promised(units))


def why_not_promised(units: Sequence[Made]) -> str:
    """Why what was made in pinned processes may have other bits elsewhere; empty if it may not."""
    return "; ".join(sorted({unit.why_not_promised for unit in units
                             if unit.pinned and unit.why_not_promised}))


def pinned_digests(units: Sequence[Made]) -> dict[str, str]:
    """SHA-256 of the content of what was made in pinned processes, by path."""
    return {name: _content_digest(path) for unit in units if unit.pinned
            for name, path in unit.files.items()}


def _content_digest(path: Path) -> str:
    """Of a safetensors file with its header in order: the library writes metadata in any."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if path.suffix == ".safetensors":
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            digest.update(json.dumps(header, sort_keys=True).encode())
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
