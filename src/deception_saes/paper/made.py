"""On what the artifacts of a book were made, as their markers say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deception_saes.paper.reference import Origin
from deception_saes.sections.catalogue import SECTIONS
from deception_saes.sections.profiles import Profile
from deception_saes.sections.results import Results
from deception_saes.sections.run import section_spec


@dataclass(frozen=True)
class Made:
    """One unit. pinned: whether it was made in a process pinned to one instruction set. files: what
    it wrote, by its path below the artifacts. why_not_promised: why its last bits may be others
    elsewhere."""

    unit: str
    pinned: bool
    files: dict[str, Path]
    processor: str
    instruction_set: str | None
    why_not_promised: str | None


def made(profile: Profile, tree: Path) -> list[Made]:
    """Everything in the profile's tree, and the profile's models beside it."""
    slugs = {model.slug for model in profile.models}
    models = _in_folder(tree.parent / "models")
    return [*_in_folder(tree), *(model for model in models if model.unit in slugs)]


def _in_folder(folder: Path) -> list[Made]:
    found = []
    for path in sorted((folder / ".done").glob("[!.]*")):
        marker = json.loads(path.read_text(encoding="utf-8"))
        if "made_on" not in marker:
            continue  # left by code from before it was noted
        files = {f"{folder.name}/{name}": folder / name for name in marker["files"]
                 if not name.endswith(".seconds.json")}
        found.append(Made(marker["spec"]["unit"], marker["spec"]["instruction_set"] is not None,
                          files, **marker["made_on"]))
    return found


def origin(
    profile: Profile, seed: int, results: Sequence[Results], units: Sequence[Made]
) -> Origin:
    """What made this run, to be kept beside a reference of its values. Reads every file that was
    made pinned."""
    commits = sorted({of.commit for of in results})
    processors = sorted({unit.processor for unit in units})
    specs = {SECTIONS[of.section].key: section_spec(SECTIONS[of.section], profile, seed).hash
             for of in results}
    return Origin("; ".join(commits), "; ".join(processors), specs, pinned_digests(units))


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
