"""Markdown tables of the book's own pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A sortable table. Cells are Markdown: pass texts through `cell`."""
    lines = ["{.sortable}", f"| {' | '.join(head)} |", "|---" * len(head) + "|",
             *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Text that means nothing to Markdown, and does not end a table's cell."""
    for sign in ("\\", "|", "[", "]", "*", "_", "`", "<", "$", "{"):
        text = text.replace(sign, f"\\{sign}")
    return f"−{text[1:]}" if text.startswith("-") else text
