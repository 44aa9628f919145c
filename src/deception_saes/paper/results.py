"""The record that every section writes: `results/s{NN}.json`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from jsonschema import Draft202012Validator

from deception_saes.errors import OneLine
from deception_saes.store.files import write_atomic

SCHEMA = Path(__file__).with_name("results.schema.json")


class ResultsError(OneLine, ValueError):
    """A results file does not follow the schema. The message names file, place and remedy."""


@dataclass(frozen=True)
class Value:
    """One measured number. What does not apply, and what is not finite, is None."""

    id: str
    """Unique in the book."""
    quantity: str
    value: float | None
    unit: str
    claim: str | None = None
    """Id of the published claim it answers."""
    ci_low: float | None = None
    ci_high: float | None = None
    """In `unit`; the interval is a 95% one, or a 90% one where a claim of no effect is tested,
    which the quantity then says."""
    n: int | None = None
    """Questions, prompts or draws behind it."""
    model: str | None = None
    framing: str | None = None
    layer: int | None = None
    tag: str | None = None
    train_set: str | None = None
    """An SAE's training condition."""
    condition: str | None = None
    """Genuine, neutral, sandbag or an intervention."""


@dataclass(frozen=True)
class Results:
    """A section's outcome. status "not run" comes with a reason and no values."""

    section: int
    status: Literal["done", "not run"]
    reason: str | None
    profile: str
    seed: int
    commit: str
    versions: dict[str, str]
    """Of what computed it."""
    seconds: float
    """Wall time of the computation."""
    values: Sequence[Value]

    def value(self, id: str) -> Value:
        """The value of this id; KeyError naming its nearest ids if there is none."""
        for value in self.values:
            if value.id == id:
                return value
        near = [v.id for v in self.values if v.id.split(".")[-1] == id.rsplit(".", maxsplit=1)[-1]]
        raise KeyError(f"§{self.section} has no value {id!r}; near it: {near[:5]}")


def write_results(results: Results, path: Path) -> None:
    """Validate and write. Raises ResultsError; nothing is written then."""
    record = dataclasses.asdict(results)
    for value in record["values"]:
        for name in ("value", "ci_low", "ci_high"):
            if value[name] is not None and not math.isfinite(value[name]):
                value[name] = None
    _validate(record, path)
    write_atomic(path, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_results(path: Path) -> Results:
    """Read and validate. Raises ResultsError."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path}: not JSON ({error}); delete it and run the section") from None
    _validate(record, path)
    values = [Value(**value) for value in record.pop("values")]
    return Results(**record, values=values)


def _validate(record: Any, path: Path) -> None:
    error = next(_validator().iter_errors(record), None)
    if error is not None:
        raise ResultsError(f"{path}: {error.json_path}: {error.message}; expected what "
                           f"{SCHEMA.name} says")
    ids = [value["id"] for value in record["values"]]
    doubled = sorted({id for id in ids if ids.count(id) > 1})
    if doubled:
        raise ResultsError(f"{path}: the id {doubled[0]!r} stands twice; ids are unique")


@lru_cache(maxsize=1)
def _validator() -> Any:
    return Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
