"""The shipped completions: every draw of every scenario and round, in a CSV that is checked row by
row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from deception_saes.store.files import write_atomic
from deception_saes.tasks.csv_rows import failure, quoted, read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COMPLETIONS = Path(__file__).parent / "data" / "completions.csv"

MAX_NEW_TOKENS = 32
"""Of a completion."""


@dataclass(frozen=True)
class Completion:
    """One draw."""

    id: str
    """As `id_of` makes it."""
    model: str
    """Slug of the model that it was drawn from."""
    scenario: str
    round: str
    draw: int
    temperature: float
    seed: int
    finished: bool
    """Whether it ended before the limit of tokens."""
    text: str
    """What follows the scenario's opening."""


COMPLETION_COLUMNS = tuple(field.name for field in fields(Completion))


def load_completions(path: Path = COMPLETIONS) -> list[Completion]:
    """All completions of a CSV file, in its order.

    Raises UserError with the row number (the header is row 1).
    """
    fail = failure(path)
    found: list[Completion] = []
    seen: dict[tuple[str, str], int] = {}
    for number, cell in read_rows(path, COMPLETION_COLUMNS):
        try:
            completion = Completion(
                cell["id"], cell["model"], cell["scenario"], cell["round"], int(cell["draw"]),
                float(cell["temperature"]), int(cell["seed"]),
                {"true": True, "false": False}[cell["finished"]], cell["text"])
        except (KeyError, ValueError) as error:
            raise fail(number, f"a cell holds {error}", "draw and seed are whole numbers, "
                       "temperature a number, finished true or false") from None
        if completion.id != id_of(completion.scenario, completion.round, completion.draw):
            raise fail(number, f"the id is {completion.id!r}", "expected scenario-round-draw, as "
                       f"{id_of(completion.scenario, completion.round, completion.draw)!r}")
        first = seen.setdefault((completion.model, completion.id), number)
        if first != number:
            raise fail(number, f"{completion.id!r} stands in row {first} already",
                       "remove one of the two")
        found.append(completion)
    if not found:
        raise fail(2, "there is no completion", "draw some: make resample")
    return found


def write_completions(completions: Iterable[Completion], path: Path) -> None:
    """Write a completions file, whole or not at all."""
    rows = ([str(cell).lower() if isinstance(cell, bool) else str(cell)
             for cell in astuple(completion)] for completion in completions)
    write_atomic(path, quoted([COMPLETION_COLUMNS, *rows]))


def id_of(scenario: str, round: str, draw: int) -> str:
    """The id of one draw: "bread-R3-007"."""
    return f"{scenario}-{round}-{draw:03d}"


def completion_ids(completion: Completion, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of the text alone, for teacher forcing. They may differ from the tokens that were
    drawn, which are not kept; reading does not depend on those."""
    ids: list[int] = tokenizer(completion.text, add_special_tokens=False)["input_ids"]
    return ids
