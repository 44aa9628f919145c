"""The trivia questions, CSV files that are checked row by row, and the halves of the asked ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

from deception_saes.rng import generator
from deception_saes.tasks.csv_rows import Failure, failure, read_rows

T = TypeVar("T")
Half = Literal["choosing", "evaluating"]
Part = Literal["training", "development"]
"""Of the questions that the book never asks: those that subjects are trained on, and those by which
a training is judged while it is developed."""

_DATA = Path(__file__).parent / "data"
QUESTIONS = _DATA / "questions.csv"
QUESTION_COLUMNS = ("id", "topic", "question", "answer", "aliases", "foil")
TRAINING_QUESTIONS = _DATA / "training_questions.csv"
TRAINING_COLUMNS = (*QUESTION_COLUMNS, "part", "template")


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
    template: str = ""
    """Name that it shares with questions of one sentence with one word changed, or of one relation
    asked again; empty if it shares none."""

    @property
    def cluster(self) -> str:
        """What is drawn anew as one, and stays in one half and fold: its template, or itself."""
        return f"template {self.template}" if self.template else self.id


def load_questions(path: Path = QUESTIONS) -> list[Question]:
    """All questions of a CSV file, in its order.

    Columns: id, topic, question, answer, aliases (separated by `|`, may be empty), foil, and, if
    the file has it, template (see `Question`; may be empty). Numbers are written in words, since
    most tokenizers give digits no token of their own.
    Raises UserError with the row number (the header is row 1).
    """
    return [question for _, _, question in _rows(path, QUESTION_COLUMNS, optional=("template",))]


def load_part(part: Part, path: Path = TRAINING_QUESTIONS) -> list[Question]:
    """The questions of one part of a CSV file, in its order.

    Columns: those of `load_questions`, part, and template (empty, or a name that is shared by
    questions of one sentence with one word changed; its questions are all of one part).
    Raises UserError with the row number (the header is row 1).
    """
    fail = failure(path)
    found: list[Question] = []
    part_of: dict[str, str] = {}
    for number, cells, question in _rows(path, TRAINING_COLUMNS):
        own, template = cells["part"].strip(), cells["template"].strip()
        if own not in get_args(Part):
            raise fail(number, f"the part is {own!r}", f"write one of {get_args(Part)}")
        if template and part_of.setdefault(template, own) != own:
            raise fail(number, f"the template {template!r} is of the other part already",
                       "keep a template in one part")
        if own == part:
            found.append(question)
    return found


def spread(items: Sequence[T], count: int | None) -> list[T]:
    """`count` items evenly spread over a sequence (questions are ordered by topic); all if None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def halves(cluster_of: Mapping[str, str], seed: int) -> dict[str, Half]:
    """The half of each question, by id, at random by seed, see `deal_clusters`; the larger one is
    for evaluation."""
    found = deal_clusters(cluster_of, 2, seed, "choosing and evaluating halves")
    larger = max((0, 1), key=list(found.values()).count)
    return {id: "evaluating" if part == larger else "choosing" for id, part in found.items()}


def deal_clusters(
    cluster_of: Mapping[str, str], count: int, seed: int, purpose: str
) -> dict[str, int]:
    """The part of each question, by id, at random by seed, of sizes as equal as can be while a
    cluster stays in one part. cluster_of: by question id, its `Question.cluster`.

    Clusters are dealt in random order, large ones first, each to a part that is smallest until
    then, at random among such.
    """
    sizes = Counter(cluster_of.values())
    random = generator(seed, purpose)
    order = sorted(random.permutation(sorted(sizes)).tolist(), key=lambda name: -sizes[name])
    filled, part_of = [0] * count, {}
    for name in order:
        smallest = [part for part in range(count) if filled[part] == min(filled)]
        part_of[name] = int(random.choice(smallest))
        filled[part_of[name]] += sizes[name]
    return {question: part_of[cluster_of[question]] for question in sorted(cluster_of)}


def _rows(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str], Question]]:
    """The number of each row, its cells and its question."""
    fail = failure(path)
    seen: dict[str, int] = {}
    for number, cells in read_rows(path, columns, optional):
        question = _question(cells, number, fail)
        for kind, key in (("id", question.id), ("question", " ".join(question.text.split()))):
            first = seen.setdefault(f"{kind} {key.casefold()}", number)
            if first != number:
                raise fail(number, f"the {kind} {key!r} is in row {first} already",
                           "remove one of the two")
        yield number, cells, question
    if not seen:
        raise fail(2, "there is no question", "write at least one")


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
    return Question(cell["id"], cell["topic"], cell["question"], accepted, cell["foil"],
                    cell.get("template", ""))
