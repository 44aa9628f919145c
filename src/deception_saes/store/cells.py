"""Cells of a CSV that a spreadsheet would take for a formula, and back without loss."""

from __future__ import annotations

import re

# What spreadsheets read as the beginning of a formula, full-width forms included, behind any
# number of apostrophes, so that what was guarded once is told from what was written so.
_FORMULA = re.compile(r"'*[=+\-@\t\r＝＋－＠]")


def guarded(cell: str) -> str:
    """The cell with an apostrophe before what would begin a formula; `unguarded` undoes it."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """The cell that `guarded` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
