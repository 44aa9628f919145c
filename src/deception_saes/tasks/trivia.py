"""The trivia questions, a CSV that is checked row by row, and their two halves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from deception_saes.rng import generator
from deception_saes.tasks.csv_rows import Failure, failure, read_rows

T = TypeVar("T")
Half = Literal["choosing", "evaluating"]

QUESTIONS = Path(__file__).parent / "data" / "questions.csv"
QUESTION_COLUMNS = ("id", "topic", "question", "answer", "aliases", "foil")


@dataclass(frozen=True)
class Question:
    """One trivia question."""

    id: str
    topic: str
    text: str
    accepted: tuple[str, ...]
    """The answer first, then its aliases, as one writes them on an answer line."""
    foil: str
    """One plausible wrong answer of the same kind."""


def load_questions(path: Path = QUESTIONS) -> list[Question]:
    """All questions of a CSV file, in its order.

    Columns: id, topic, question, answer, aliases (separated by `|`, may be empty), foil.
    Numbers are written in words, since most tokenizers give digits no token of their own.
    Raises UserError with the row number (the header is row 1).
    """
    fail = failure(path)
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, cells in read_rows(path, QUESTION_COLUMNS):
        question = _question(cells, number, fail)
        for kind, key in (("id", question.id), ("question", " ".join(question.text.split()))):
            first = seen.setdefault(f"{kind} {key.casefold()}", number)
            if first != number:
                raise fail(number, f"the {kind} {key!r} is in row {first} already",
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


def halves(questions: Sequence[str], seed: int) -> dict[str, Half]:
    """The half of each question id, at random by seed; of an odd count evaluation gets one more."""
    order = generator(seed, "choosing and evaluating halves").permutation(sorted(questions))
    choosing = set(order[: len(order) // 2].tolist())
    return {q: "choosing" if q in choosing else "evaluating" for q in sorted(questions)}


def _question(cell: dict[str, str], number: int, fail: Failure) -> Question:
    cell = {name: text.strip() for name, text in cell.items()}
    for name in QUESTION_COLUMNS:
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
