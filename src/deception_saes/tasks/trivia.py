"""The trivia questions: a CSV that is checked row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deception_saes.tasks.csv_rows import failure, read_rows

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
    fail = failure(path, QuestionFileError)
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, cells in read_rows(path, COLUMNS, QuestionFileError):
        question = _question(cells, number, fail)
        for kind, key in (("id", question.id), ("question", " ".join(question.text.split()))):
            first = seen.setdefault(f"{kind} {key.casefold()}", number)
            if first != number:
                raise fail(number, f"the {kind} {key!r} stands in row {first} already",
                           "remove one of the two")
        questions.append(question)
    if not questions:
        raise fail(2, "there is no question", "write at least one")
    return questions


def spread(items: Sequence[T], count: int | None) -> list[T]:
    """`count` items evenly spread over a sequence (questions are ordered by topic); all if None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def _question(
    cell: dict[str, str], number: int, fail: Callable[[int, str, str], ValueError]
) -> Question:
    cell = {name: text.strip() for name, text in cell.items()}
    for name in COLUMNS:
        if not cell[name] and name != "aliases":
            raise fail(number, f"the {name} is empty", "fill it in")
    accepted = (cell["answer"], *(a.strip() for a in cell["aliases"].split("|") if a.strip()))
    for answer in (*accepted, cell["foil"]):
        if any(character.isdigit() for character in answer):
            raise fail(number, f"{answer!r} has a digit", "write numbers in words")
    if cell["foil"].casefold() in {answer.casefold() for answer in accepted}:
        raise fail(number, f"the foil {cell['foil']!r} is an accepted answer",
                   "choose a wrong one")
    return Question(cell["id"], cell["topic"], cell["question"], accepted, cell["foil"])

