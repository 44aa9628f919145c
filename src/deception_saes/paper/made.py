"""On what the artifacts of a book were made, as their markers say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deception_saes.paper.reference import Origin
from deception_saes.sections.catalogue import SECTIONS
from deception_saes.sections.profiles import Profile
from deception_saes.sections.results import Results
from deception_saes.sections.run import commit, profile_tree, section_spec


@dataclass(frozen=True)
class Made:
    """One unit. pinned: whether it was made in a process pinned to one instruction set. files:
    SHA-256 by path. why_not_promised: why its last bits may be others elsewhere."""

    unit: str
    pinned: bool
    files: dict[str, str]
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
        files = {f"{folder.name}/{file}": digest for file, digest in marker["files"].items()
                 if not file.endswith(".seconds.json")}
        found.append(Made(marker["spec"]["unit"], marker["spec"]["instruction_set"] is not None,
                          files, **marker["made_on"]))
    return found


def origin(profile: Profile, seed: int, results: Sequence[Results]) -> Origin:
    """What made this run, to be kept beside a reference of its values."""
    units = made(profile, profile_tree(profile, seed))
    processors = sorted({unit.processor for unit in units})
    files = {name: digest for unit in units if unit.pinned for name, digest in unit.files.items()}
    specs = {SECTIONS[of.section].key: section_spec(SECTIONS[of.section], profile, seed).hash
             for of in results}
    return Origin(commit(), "; ".join(processors), specs, files)
