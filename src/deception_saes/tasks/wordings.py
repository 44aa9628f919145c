"""The wordings of the book: its four framings."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from deception_saes.store.files import read_shipped
from deception_saes.tasks.framings import Framing

FRAMINGS_FILE = Path(__file__).parent / "data" / "framings.toml"


def _framing(entry: dict[str, Any]) -> Framing:
    """Lists become tuples, so that a framing can be a key."""
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                              for name, value in entry.items()}
    fields["shots"] = tuple(map(tuple, entry.get("shots", ())))
    return Framing(**fields)


FRAMINGS: dict[str, Framing] = {
    framing.name: framing for framing in map(
        _framing, tomllib.loads(read_shipped(FRAMINGS_FILE).decode())["framing"])}


def reworded(framing: Framing, sandbag: str | None) -> Framing:
    """The framing with another instruction to answer wrongly; as it is for None."""
    if sandbag is None:
        return framing
    genuine, neutral, _ = framing.instructions
    return dataclasses.replace(framing, instructions=(genuine, neutral, sandbag))
