"""Tidy tables that say what their columns hold."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

_ABOUT, _COLUMNS = "about", "columns"

VALUE_AND_UNIT = {"value": ("", "the measure, in `unit`"),
                  "unit": ("", "unit of value and interval")}
"""For `described`: columns of a table whose rows are measures of several units."""
MEAN_AND_UNIT = {**VALUE_AND_UNIT, "value": ("", "mean over questions, in `unit`")}



def with_ends(
    name: str, unit: str, meaning: str, ends_of: str = "its 95% interval"
) -> dict[str, tuple[str, str]]:
    """For `described`: the columns of a number and of its interval's ends, name_low, name_high."""
    return {name: (unit, meaning), f"{name}_low": (unit, f"lower end of {ends_of}"),
            f"{name}_high": (unit, "upper end")}


@dataclass(frozen=True)
class Column:
    """What a column holds."""

    unit: str
    """Empty where it has none."""
    meaning: str


def described(table: pd.DataFrame, about: str, **columns: tuple[str, str]) -> pd.DataFrame:
    """The table with what it is about, and (unit, meaning) of its columns, by name.

    Columns that mean the same in every table of the book, like `layer` or `ci_low`, are described
    once for all in paper/data/columns.csv.
    Raises ValueError for a column that the table does not have.
    """
    unknown = sorted(set(columns) - set(map(str, table.columns)))
    if unknown:
        raise ValueError(f"the table has no column {unknown[0]!r}; it has "
                         f"{', '.join(map(str, table.columns))}")
    with_meanings = table.copy()
    with_meanings.attrs = {_ABOUT: about,
                           _COLUMNS: {name: list(of) for name, of in columns.items()}}
    return with_meanings


def about(table: pd.DataFrame) -> str:
    """What the table is about; "" if it does not say."""
    return str(table.attrs.get(_ABOUT, ""))


def columns_of(table: pd.DataFrame) -> dict[str, Column]:
    """What the table says of its columns, by name."""
    return {name: Column(*of) for name, of in table.attrs.get(_COLUMNS, {}).items()}
