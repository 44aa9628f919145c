"""Reference results, which come with the code, and what a run has otherwise."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deception_saes.errors import OneLine
from deception_saes.paper.profiles import Profile
from deception_saes.paper.results import Results, Value
from deception_saes.store.files import write_atomic

REFERENCES = Path(__file__).parent / "data" / "reference"

SHARE_OF_INTERVAL = 0.1
SHARE_OF_VALUE = 0.02
"""How far a number may be from its reference on another machine: this share of its interval's
width, or of itself, whichever is more. On one machine, with the profile's threads, nothing may."""
ROUNDING = 1e-6
"""That of P(correct) in float32, which is all there is of an effect that would be zero."""

_NUMBERS = ("value", "ci_low", "ci_high")
_COLUMNS = ("id", "unit", *_NUMBERS, "n")


class NoReference(OneLine, FileNotFoundError):
    """There is no reference of this profile and seed; the message says how to make one."""


@dataclass(frozen=True)
class Difference:
    """A number that is not as the reference has it."""

    id: str
    what: str
    """One of value, ci_low, ci_high and n; "presence" where one of the two lacks the value."""
    reference: float | None
    found: float | None

    def __str__(self) -> str:
        if self.what == "presence":
            lacking = "the reference" if self.reference is None else "this run"
            return f"{self.id}: not in {lacking}"
        return f"{self.id}: {self.what} {self.found} instead of {self.reference}"


def reference_file(profile: Profile, seed: int) -> Path:
    """Where the reference of a profile and a seed stands, whether there is one or not."""
    return REFERENCES / f"{profile.name}-seed{seed}.csv"


def seeds_with_reference(profile: Profile) -> list[int]:
    """Seeds of which a reference comes with the code."""
    start = f"{profile.name}-seed"
    return sorted(int(path.stem.removeprefix(start)) for path in REFERENCES.glob(f"{start}*.csv"))


def is_timing(value: Value) -> bool:
    """Whether a value is of seconds, which no two runs share."""
    return value.unit == "s" or ".timing." in value.id


@dataclass(frozen=True)
class Origin:
    """What made a reference."""

    commit: str
    """Of the code."""
    processor: str
    """Its name."""
    specs: dict[str, str]
    """Hash of each section's spec, by its key."""
    files: dict[str, str]
    """SHA-256 of the content of models, activations and SAEs, by path."""
    why_not_promised: str = ""
    """Why these files may have other bits on another processor; empty if they may not."""


def origin_file(profile: Profile, seed: int) -> Path:
    """Where the origin of a reference stands, if it is known."""
    return reference_file(profile, seed).with_suffix(".json")


def read_origin(profile: Profile, seed: int) -> Origin | None:
    """The origin of a reference; None of one that was made before origins were kept."""
    path = origin_file(profile, seed)
    return Origin(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def write_origin(origin: Origin, path: Path) -> None:
    """Write what `read_origin` reads."""
    write_atomic(path, json.dumps(dataclasses.asdict(origin), indent=1, sort_keys=True) + "\n")


def write_reference(results: Iterable[Results], path: Path) -> None:
    """Write the values of all sections, to the last bit, without those of seconds."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for of in results:
        for value in of.values:
            if not is_timing(value):
                numbers = (value.value, value.ci_low, value.ci_high)
                writer.writerow((value.id, value.unit,
                                 *("" if x is None else repr(float(x)) for x in numbers),
                                 "" if value.n is None else value.n))
    write_atomic(path, out.getvalue())


def read_reference(profile: Profile, seed: int) -> list[Results]:
    """The reference as records of its sections. Raises NoReference."""
    path = reference_file(profile, seed)
    if not path.is_file():
        raise NoReference(f"no reference {path.name} comes with this code; `python -m "
                          "deception_saes verify --write` makes one of the run at hand")
    by_section: dict[int, list[Value]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            section = int(row["id"].partition(".")[0].removeprefix("s"))
            value, low, high = (_number(row[name]) for name in _NUMBERS)
            by_section.setdefault(section, []).append(Value(
                row["id"], "", value, row["unit"], ci_low=low, ci_high=high,
                n=int(row["n"]) if row["n"] else None))
    return [Results(section, "done", None, profile.name, seed, "reference", {}, 0.0, values)
            for section, values in by_section.items()]


def with_numbers_of(reference: Iterable[Results], results: Iterable[Results]) -> list[Results]:
    """These results with the numbers that the reference, or another run, has for the same ids, and
    no value that it lacks: a reference keeps ids and numbers alone."""
    numbers = {value.id: value for of in reference for value in of.values}
    return [dataclasses.replace(of, values=[
        dataclasses.replace(value, value=there.value, unit=there.unit, ci_low=there.ci_low,
                            ci_high=there.ci_high, n=there.n)
        for value in of.values if (there := numbers.get(value.id)) is not None])
        for of in results]


def not_covered(reference: Iterable[Results], results: Iterable[Results]) -> list[str]:
    """Sections with values that the reference has nothing of: "§24"."""
    covered = {of.section for of in reference}
    return [f"§{of.section}" for of in results if of.values and of.section not in covered]


def differences(
    reference: Sequence[Results], results: Sequence[Results], *, exact: bool = False
) -> list[Difference]:
    """What a run has otherwise than the reference, by id.

    exact: to the last bit; else within the tolerance stated above. What a number rests on (n) is
    compared exactly either way.
    """
    expected, got = _by_id(reference), _by_id(results)
    found: list[Difference] = []
    for id in sorted(expected.keys() | got.keys()):
        if id in expected and id in got:
            found += _of_value(expected[id], got[id], exact)
        else:
            found.append(Difference(id, "presence", 1.0 if id in expected else None,
                                    1.0 if id in got else None))
    return found


def _by_id(results: Sequence[Results]) -> dict[str, Value]:
    return {value.id: value for of in results for value in of.values if not is_timing(value)}


def _of_value(expected: Value, got: Value, exact: bool) -> Iterator[Difference]:
    allowed = 0.0 if exact else _allowed(expected)
    for what in _NUMBERS:
        a, b = getattr(expected, what), getattr(got, what)
        if (a is None) != (b is None) or (a is not None and abs(a - b) > allowed):
            yield Difference(expected.id, what, a, b)
    if expected.n != got.n:
        yield Difference(expected.id, "n", expected.n, got.n)


def _allowed(expected: Value) -> float:
    width = 0.0
    if expected.ci_low is not None and expected.ci_high is not None:
        width = expected.ci_high - expected.ci_low
    return max(SHARE_OF_INTERVAL * width, SHARE_OF_VALUE * abs(expected.value or 0.0),
               ROUNDING * (100 if expected.unit in ("pp", "percent") else 1))


def _number(text: str) -> float | None:
    return float(text) if text else None
