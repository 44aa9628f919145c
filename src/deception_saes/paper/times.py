"""`make times`: where a build's time went, from what the markers of its units and calls say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from deception_saes.cache import KEPT_BYTES, Used, calls_tree, kept_bytes
from deception_saes.paper.planned import Unit
from deception_saes.paper.profiles import Profile
from deception_saes.paper.record import profile_tree
from deception_saes.paper.units import book_units

_KINDS = {
    "activations": r"activations-.*", "SAEs": r"(saes|seeds)-.*",
    "sweeps and answers": r"(sweep|ask)-.*", "SAEs measured": r"(quality|separation)-.*",
    "probes": r"layers-.*",
    "notebooks": r"notebook-.*", "pages": r"html", "models": r".*",
}


@dataclass(frozen=True)
class UnitTime:
    """The making of a unit."""

    unit: str
    seconds: float
    """By the clock."""
    cpu_seconds: float
    """Of the processors. Without the start and the end of its process, and with whatever it waited
    for."""

    def __sub__(self, other: UnitTime) -> UnitTime:
        return UnitTime(self.unit, self.seconds - other.seconds,
                        self.cpu_seconds - other.cpu_seconds)


def times(profile: Profile, seed: int) -> list[UnitTime]:
    """The time of each finished unit of the book, what others need before them."""
    return [_time_of(unit) for unit in book_units(profile, seed).values() if unit.is_made]


def times_text(profile: Profile, seed: int) -> str:
    """A table of all units, the longest first, those of notebooks by the calls that they made; and
    one of their kinds.

    Says so if no unit is finished.
    """
    measured = times(profile, seed)
    if not measured:
        return f"no unit of {profile.name} is finished: nothing to count"
    lines = [f"{'unit':48}{'seconds':>10}{'CPU':>10}"]
    lines += [f"{of.unit:48}{of.seconds:10.1f}{of.cpu_seconds:10.1f}"
              for of in sorted(by_call(measured, profile_tree(profile, seed)),
                               key=lambda of: -of.seconds)]
    lines.append("")
    for kind in _KINDS:
        of_kind = [of for of in measured if _kind(of.unit) == kind]
        lines.append(f"{f'{len(of_kind)} {kind}':48}{sum(of.seconds for of in of_kind):10.1f}"
                     f"{sum(of.cpu_seconds for of in of_kind):10.1f}")
    lines.append(f"{'all':48}{sum(of.seconds for of in measured):10.1f}"
                 f"{sum(of.cpu_seconds for of in measured):10.1f}")
    kept = kept_bytes(calls_tree())
    lines += ["", f"{len(kept)} calls are kept, {sum(kept.values()) / 1e6:.0f} MB, of "
                  f"{KEPT_BYTES / 1e6:.0f} MB at most; `make clean-old` drops what nothing uses"]
    return "\n".join(lines)


def by_call(measured: list[UnitTime], tree: Path) -> Iterator[UnitTime]:
    """The same, that of a notebook split into what it called, by function, and the rest: its
    kernel's start, figures, what is not worth keeping. tree: the profile's."""
    for of in measured:
        record = tree / "results" / f"{of.unit.removeprefix('notebook-')}.calls.json"
        calls = _called(record) if of.unit.startswith("notebook-") and record.is_file() else []
        rest = of
        for function, group in groupby(calls, key=lambda call: call.function):
            times = [_read(calls_tree() / ".done" / call.marker, "") for call in group]
            total = UnitTime(f"{of.unit}: {function} ({len(times)})",
                             sum(call.seconds for call in times),
                             sum(call.cpu_seconds for call in times))
            rest -= total
            yield total
        yield rest


def _called(record: Path) -> list[Used]:
    """The calls that the notebook computed itself and that are still kept, by function."""
    calls = [Used(**call) for call in json.loads(record.read_text(encoding="utf-8"))]
    return sorted((call for call in calls if call.computed
                   and (calls_tree() / ".done" / call.marker).is_file()),
                  key=lambda call: call.function)


def _time_of(unit: Unit) -> UnitTime:
    return _read(unit.marker, unit.name)


def _read(marker: Path, name: str) -> UnitTime:
    made = json.loads(marker.read_text(encoding="utf-8"))
    return UnitTime(name, made["seconds"], made["cpu_seconds"])


def _kind(unit: str) -> str:
    return next(kind for kind, form in _KINDS.items() if re.fullmatch(form, unit))
