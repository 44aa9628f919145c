"""The shipped completions: every draw of every scenario and round, in a CSV that is checked row by
row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from deception_saes.rng import subseed
from deception_saes.store.files import write_atomic
from deception_saes.tasks.csv_rows import failure, quoted, read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from deception_saes.models.load import LanguageModel
    from deception_saes.tasks.scenarios import Scenario

COMPLETIONS = Path(__file__).parent / "data" / "completions.csv"

MAX_NEW_TOKENS = 32


class CompletionFileError(ValueError):
    """A completions file is malformed. The message names file, row, what is wrong, the remedy."""


@dataclass(frozen=True)
class Round:
    """One collection of completions. draws: of each scenario."""

    name: str
    temperature: float
    draws: int


ROUNDS = (Round("R1", 0.7, 16), Round("R2", 1.0, 16), Round("R3", 1.0, 48))
"""R3 is the main one; R2 is another, smaller set at the same temperature."""


@dataclass(frozen=True)
class Completion:
    """One draw. id: "{scenario}-{round}-{draw:03d}". model: slug of the model that it was drawn
    from. finished: whether it ended before the limit of tokens. text: behind the opening."""

    id: str
    model: str
    scenario: str
    round: str
    draw: int
    temperature: float
    seed: int
    finished: bool
    text: str


COLUMNS = tuple(field.name for field in fields(Completion))


def load_completions(path: Path = COMPLETIONS) -> list[Completion]:
    """All completions of a CSV file, in its order.

    Raises CompletionFileError with the row number (the header is row 1).
    """
    fail = failure(path, CompletionFileError)
    found: list[Completion] = []
    seen: dict[tuple[str, str], int] = {}
    for number, cell in read_rows(path, COLUMNS, CompletionFileError):
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
    write_atomic(path, quoted(_with_header(rows)))


def id_of(scenario: str, round: str, draw: int) -> str:
    """The id of one draw."""
    return f"{scenario}-{round}-{draw:03d}"


def completion_ids(completion: Completion, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of the text alone, for teacher forcing. What tokens the draw itself was made of is
    not kept; reading does not depend on it."""
    ids: list[int] = tokenizer(completion.text, add_special_tokens=False)["input_ids"]
    return ids


def resample(
    lm: LanguageModel, scenarios: Iterable[Scenario], seed: int, batch_size: int,
    rounds: Iterable[Round] = ROUNDS,
) -> Iterator[Completion]:
    """Draw every completion of every scenario and round anew."""
    from deception_saes.tasks.sampling import sample
    from deception_saes.tasks.scenarios import prompt_ids

    rounds = tuple(rounds)
    for scenario in scenarios:
        ids = prompt_ids(scenario, lm.tokenizer)
        for of in rounds:
            drawn = sample(lm, ids, of.draws, of.temperature,
                           subseed(seed, "completions", scenario.id, of.name), MAX_NEW_TOKENS,
                           batch_size, f"{scenario.id} {of.name}")
            for draw, sampled in enumerate(drawn):
                yield Completion(id_of(scenario.id, of.name, draw), lm.spec.slug, scenario.id,
                                 of.name, draw, of.temperature, seed, sampled.finished,
                                 sampled.text)


def _with_header(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    yield list(COLUMNS)
    yield from rows
