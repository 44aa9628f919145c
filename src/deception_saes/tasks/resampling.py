"""The command `resample`: draw every completion anew and compare it with the shipped ones."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deception_saes.errors import UserError
from deception_saes.rng import subseed
from deception_saes.tasks.completions import (
    COMPLETIONS,
    MAX_NEW_TOKENS,
    Completion,
    id_of,
    load_completions,
    write_completions,
)
from deception_saes.tasks.sampling import sample
from deception_saes.tasks.scenarios import Scenario, load_scenarios, prompt_ids

if TYPE_CHECKING:
    from deception_saes.models.load import LanguageModel


@dataclass(frozen=True)
class Round:
    """One collection of completions."""

    name: str
    temperature: float
    draws: int
    """Of each scenario."""


SAMPLING_ROUNDS = (Round("R1", 0.7, 16), Round("R2", 1.0, 16), Round("R3", 1.0, 48))
"""R3 is the main one; R2 is another, smaller set at the same temperature."""


def check_out(out: Path, shipped: Path = COMPLETIONS) -> None:
    """Check before minutes of sampling whether `out` can be written.

    The shipped file is not to be overwritten: its labels belong to its texts, and other texts
    under the same ids would be read under labels that nobody gave them.
    Raises UserError.
    """
    if out.resolve() == shipped.resolve():
        raise UserError(f"{out} is the shipped file, whose labels belong to its texts; write to "
                        "another file, and judge that one")
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a CSV file in it")
    nearest = next(folder for folder in out.resolve().parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(f"{out} cannot be written: {nearest} is not a writable folder; name "
                        "another place")


def resample_file(
    lm: LanguageModel,
    seed: int,
    batch_size: int,
    out: Path,
    scenarios: Sequence[Scenario] | None = None,
    rounds: Sequence[Round] = SAMPLING_ROUNDS,
    shipped: Path = COMPLETIONS,
) -> str:
    """Draw all completions of `scenarios` (None: the shipped ones), write them to `out` whole or
    not at all, and say how many texts are those of the shipped file.

    Raises UserError as `check_out` does, before anything is drawn.
    """
    check_out(out, shipped)
    chosen = load_scenarios() if scenarios is None else scenarios
    drawn = list(resample(lm, chosen, seed, batch_size, rounds))
    write_completions(drawn, out)
    return f"{out}: {len(drawn)} completions; {compared(drawn, load_completions(shipped))}"


def resample(
    lm: LanguageModel, scenarios: Iterable[Scenario], seed: int, batch_size: int,
    rounds: Sequence[Round] = SAMPLING_ROUNDS,
) -> Iterator[Completion]:
    """Draw every completion of every scenario and round anew."""
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


def compared(drawn: Iterable[Completion], shipped: Iterable[Completion]) -> str:
    """How many of `drawn` have the text, and the end, of the shipped completion of the same model
    and id."""
    drawn = list(drawn)
    by_draw = {(of.model, of.id): of for of in shipped}
    pairs = [(of, by_draw[of.model, of.id]) for of in drawn if (of.model, of.id) in by_draw]
    if not pairs:
        models = ", ".join(sorted({of.model for of in drawn}))
        return f"none of {models} is shipped to compare them with"
    same = sum((new.text, new.finished) == (old.text, old.finished) for new, old in pairs)
    return f"{same} of {len(pairs)} texts are the same as the shipped ones"
