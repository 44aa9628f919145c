"""Rows of a CSV file with fixed columns, each with its number for error messages."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from deception_saes.errors import UserError
from deception_saes.store.files import read_shipped

Failure = Callable[[int, str, str], UserError]
"""Makes the error for a row's number, what is wrong with it and the remedy."""


def failure(path: Path) -> Failure:
    """Makes the errors of this file."""
    return lambda row, wrong, remedy: UserError(f"{path.name}, row {row}: {wrong}; {remedy}")


def read_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of each row (the header is row 1) and its cells by column, unchanged; the columns
    `optional` may be missing.

    Raises UserError for another set of columns, a row of another width, broken quoting, or bytes
    that are not UTF-8; FileNotFoundError if there is no file.
    """
    fail = failure(path)
    reader = csv.reader(io.StringIO(_decode(path, fail), newline=""), strict=True)
    numbered = _numbered(reader, fail)
    _, header = next(numbered, (1, []))
    if sorted(header) not in (sorted(columns), sorted([*columns, *optional])):
        also = f", and {list(optional)} if you have it" if optional else ""
        raise fail(1, f"the columns are {header}", f"expected {list(columns)}{also}")
    for number, cells in numbered:
        if len(cells) != len(header):
            raise fail(number, f"{len(cells)} cells", f"expected {len(header)}; quote a cell that "
                                                      "holds a comma or a line break")
        yield number, dict(zip(header, cells, strict=True))


def quoted(rows: Iterable[Sequence[str]]) -> str:
    """CSV text of rows of cells, every cell quoted."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _decode(path: Path, fail: Failure) -> str:
    data = read_shipped(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise fail(row, f"byte {data[error.start]:#04x} is not UTF-8",
                   "save the file as UTF-8") from None


def _numbered(reader: Iterator[list[str]], fail: Failure) -> Iterator[tuple[int, list[str]]]:
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise fail(number, str(error), "correct the quoting") from None
        if cells:
            yield number, cells
