"""The trivia questions: a CSV that is checked row by row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

QUESTIONS = Path(__file__).parent / "data" / "questions.csv"
COLUMNS = ("id", "topic", "question", "answer", "aliases", "foil")


class QuestionFileError(ValueError):
    """A questions file is malformed. The message names file, row, what is wrong and the remedy."""


@dataclass(frozen=True)
class Question:
    """One trivia question.

    accepted: the answer first, then its aliases, as one writes them on an answer line.
    foil: one plausible wrong answer of the same kind.
    """

    id: str
    topic: str
    text: str
    accepted: tuple[str, ...]
    foil: str


def load_questions(path: Path = QUESTIONS) -> list[Question]:
    """All questions of a CSV file, in its order.

    Columns: id, topic, question, answer, aliases (separated by `|`, may be empty), foil.
    Numbers are written in words, since most tokenizers give digits no token of their own.
    Raises QuestionFileError with the row number (the header is row 1).
    """
    reader = csv.reader(io.StringIO(_decode(path), newline=""), strict=True)
    rows = _rows(reader, path)
    _, header = next(rows, (1, []))
    missing = [name for name in COLUMNS if name not in header]
    if missing or len(header) != len(COLUMNS):
        raise _error(path, 1, f"the columns are {header}", f"expected {list(COLUMNS)}")
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, cells in rows:
        if len(cells) != len(COLUMNS):
            raise _error(path, number, f"{len(cells)} cells", f"expected {len(COLUMNS)}; quote "
                         "a cell that holds a comma")
        question = _question(dict(zip(header, cells, strict=True)), path, number)
        for kind, key in (("id", question.id), ("question", " ".join(question.text.split()))):
            first = seen.setdefault(f"{kind} {key.casefold()}", number)
            if first != number:
                raise _error(path, number, f"the {kind} {key!r} stands in row {first} already",
                             "remove one of the two")
        questions.append(question)
    if not questions:
        raise _error(path, 2, "there is no question", "write at least one")
    return questions


def spread(items: Sequence[T], count: int | None) -> list[T]:
    """`count` items evenly spread over a sequence (questions are ordered by topic); all if None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def _question(cell: dict[str, str], path: Path, number: int) -> Question:
    cell = {name: text.strip() for name, text in cell.items()}
    for name in COLUMNS:
        if not cell[name] and name != "aliases":
            raise _error(path, number, f"the {name} is empty", "fill it in")
    accepted = (cell["answer"], *(a.strip() for a in cell["aliases"].split("|") if a.strip()))
    for answer in (*accepted, cell["foil"]):
        if any(character.isdigit() for character in answer):
            raise _error(path, number, f"{answer!r} has a digit", "write numbers in words")
    if cell["foil"].casefold() in {answer.casefold() for answer in accepted}:
        raise _error(path, number, f"the foil {cell['foil']!r} is an accepted answer",
                     "choose a wrong one")
    return Question(cell["id"], cell["topic"], cell["question"], accepted, cell["foil"])


def _decode(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise _error(path, row, f"byte {data[error.start]:#04x} is not UTF-8",
                     "save the file as UTF-8") from None


def _rows(reader: Iterator[list[str]], path: Path) -> Iterator[tuple[int, list[str]]]:
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _error(path, number, str(error), "mend the quoting") from None
        if cells:
            yield number, cells


def _error(path: Path, row: int, wrong: str, remedy: str) -> QuestionFileError:
    return QuestionFileError(f"{path.name}, row {row}: {wrong}; {remedy}")
