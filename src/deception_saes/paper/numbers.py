"""How values are written in prose and tables, and the numbers that the book's answer rests on:
named once, for the front page and for the table of what another seed gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from deception_saes.paper.profiles import Profile
from deception_saes.paper.results import Results, Value

REFERENCE = re.compile(r"\[\[([^\]|]+)(?:\|(n|value))?\]\]")
"""To a value in prose: its id, and which part of it; see `part_of`."""

_DECIMALS = {"probability": 3, "pp": 1, "percent": 1, "logits": 2, "count": 0, "p": 3, "share": 3,
             "features": 0, "s": 1, "layer": 0, "auroc": 3}
_BARE = ("probability", "count", "p", "correlation", "share", "features", "Cohen's d", "ratio",
         "auroc", "kappa", "layer", "effect", "cosine")
_SYMBOL = {"pp": " pp", "percent": " %", **dict.fromkeys(_BARE, "")}


def number(value: Value) -> str:
    """A value with its unit, "–" if there is none."""
    if value.value is None:
        return "–"
    return _signed(value.value, value.unit) + (_SYMBOL.get(value.unit, f" {value.unit}"))


def part_of(value: Value, part: str | None) -> str:
    """What a reference asks for: the n, the value alone, or by default both ends beside it."""
    if part == "n":
        return "–" if value.n is None else str(value.n)
    return with_interval(value) if part is None else number(value)


def with_interval(value: Value) -> str:
    """A value with its unit and 95% interval."""
    if value.ci_low is None or value.ci_high is None:
        return number(value)
    low, high = (_signed(end, value.unit) for end in (value.ci_low, value.ci_high))
    return f"{number(value)} [{low},\N{NO-BREAK SPACE}{high}]"


def _signed(x: float, unit: str) -> str:
    decimals = 0 if unit.startswith("of ") else _DECIMALS.get(unit, 2)
    sign = "L" if unit == "layer" else ""
    return sign + f"{x:.{decimals}f}".replace("-", "−")


def row_value(row: pd.Series) -> Value:
    """A row with columns value, unit, ci_low and ci_high, to be shown as a value is."""
    low, high = (None if pd.isna(row[end]) else row[end] for end in ("ci_low", "ci_high"))
    return Value("", "", row["value"], row["unit"], ci_low=low, ci_high=high)


@dataclass(frozen=True)
class Headline:
    """A number that the status page compares between seeds."""

    section: int
    rest: str
    """The value's id behind "sNN.{primary model}."."""
    title: str


HEADLINES = (
    Headline(18, "R3.mean.nested.accuracy", "probe on activations, balanced accuracy"),
    Headline(18, "nested_minus_words.accuracy", "the same less a probe on the words"),
    Headline(21, "beats_raw", "SAE probes above the raw probe"),
    Headline(22, "remeasured", "re-measured difference of the top feature's rates"),
    Headline(22, "steering.gap", "steering along it less random features"),
    Headline(23, "two_shot_labelled.answerable.p_correct.genuine_minus_sandbag",
             "fall of P(correct), labelled framing"),
    Headline(23, "two_shot_same_prefix.answerable.p_correct.genuine_minus_sandbag",
             "fall of P(correct), same-prefix framing"),
    Headline(23, "factors.two_shot_labelled.instruction.alone",
             "of it by the instruction alone, labelled framing"),
    Headline(23, "wordings.wrong.mean", "by the instruction, no examples, all wordings"),
    Headline(24, "headline.jumprelu", "farthest gap of the full-SAE-swap, JumpReLU"),
    Headline(28, "effect.sandbag.zero", "restoration by the suppressor heads"),
    Headline(28, "gap.layer_matched", "the same less random heads of the same layers"),
    Headline(29, "portion", "portion: restoration less the effect on genuine prompts"),
    Headline(29, "portion.pp.gap", "the same less that of random heads of the same layers"),
    Headline(30, "two_shot_same_prefix.portion", "portion, same-prefix framing"),
    Headline(30, "instruction_alone.portion", "portion where the instruction alone differs"),
    Headline(32, "wins.jumprelu", "pairs in which JumpReLU wins on d_max"),
)


class Numbers:
    """The values of one run, by section and by their ids behind "sNN.{primary model}."."""

    def __init__(self, profile: Profile, results: Sequence[Results]) -> None:
        self._profile = profile
        self._of = {of.section: of for of in results}

    def was_run(self, section: int) -> bool:
        """Whether the section has values."""
        of = self._of.get(section)
        return of is not None and of.status == "done"

    def __call__(self, section: int, rest: str) -> Value:
        """The value. Raises KeyError if the section was not run, or has no such value."""
        if not self.was_run(section):
            raise KeyError(f"§{section} was not run; it has no {rest}")
        return self._of[section].value(self._id(section, rest))

    def find(self, section: int, rest: str) -> Value | None:
        """The value; None if the section was not run, or other code ran it, without this value."""
        values = self._of[section].values if self.was_run(section) else []
        return next((of for of in values if of.id == self._id(section, rest)), None)

    def _id(self, section: int, rest: str) -> str:
        swap = self._profile.swaps.get(section)
        slug = swap[0] if swap else self._profile.models[0].slug
        return f"s{section}.{slug}.{rest}"
