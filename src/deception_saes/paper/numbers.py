"""How a value stands in prose and tables."""

from __future__ import annotations

import re

import pandas as pd

from deception_saes.paper.results import Value

REFERENCE = re.compile(r"\[\[([^\]|]+)(?:\|(n|value))?\]\]")
"""To a value in prose: its id, and which part of it; see `part_of`."""

_DECIMALS = {"probability": 3, "pp": 1, "percent": 1, "logits": 2, "count": 0, "p": 3, "share": 3,
             "features": 0, "s": 1, "layer": 0, "auroc": 3}
_BARE = ("probability", "count", "p", "correlation", "share", "features", "Cohen's d", "ratio",
         "auroc", "kappa", "layer", "effect")
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
