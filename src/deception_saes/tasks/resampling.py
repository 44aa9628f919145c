"""The command `resample`: draw every completion anew and compare it with the shipped ones."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deception_saes.tasks.completions import (
    COMPLETIONS,
    ROUNDS,
    Completion,
    Round,
    load_completions,
    resample,
    write_completions,
)
from deception_saes.tasks.scenarios import load_scenarios

if TYPE_CHECKING:
    from deception_saes.models.load import LanguageModel
    from deception_saes.tasks.scenarios import Scenario


class ResampleError(ValueError):
    """Completions cannot be written where they were asked for. The message names the remedy."""


def check_out(out: Path, shipped: Path = COMPLETIONS) -> None:
    """Find out before minutes of sampling whether `out` can be written.

    The shipped file is not to be overwritten: its labels belong to its texts, and other texts
    under the same ids would be read under labels that nobody gave them.
    Raises ResampleError.
    """
    if out.resolve() == shipped.resolve():
        raise ResampleError(f"{out} is the shipped file, whose labels belong to its texts; write "
                            "to another file, and judge that one")
    if out.is_dir():
        raise ResampleError(f"{out} is a folder; name a CSV file in it")
    nearest = next(folder for folder in out.resolve().parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ResampleError(f"{out} cannot be written: {nearest} is not a folder that can be "
                            "written to; name another place")


def resample_file(
    lm: LanguageModel,
    seed: int,
    batch_size: int,
    out: Path,
    scenarios: Sequence[Scenario] | None = None,
    rounds: Sequence[Round] = ROUNDS,
    shipped: Path = COMPLETIONS,
) -> str:
    """Draw all completions of `scenarios` (None: the shipped ones), write them to `out` whole or
    not at all, and say how many texts are those of the shipped file.

    Raises ResampleError as `check_out` does, before anything is drawn.
    """
    check_out(out, shipped)
    chosen = load_scenarios() if scenarios is None else scenarios
    drawn = list(resample(lm, chosen, seed, batch_size, rounds))
    write_completions(drawn, out)
    return f"{out}: {len(drawn)} completions; {compared(drawn, load_completions(shipped))}"


def compared(drawn: Iterable[Completion], shipped: Iterable[Completion]) -> str:
    """How many of `drawn` have the text, and the end, of the shipped one of the same model and
    id."""
    drawn = list(drawn)
    by_draw = {(of.model, of.id): of for of in shipped}
    pairs = [(of, by_draw[of.model, of.id]) for of in drawn if (of.model, of.id) in by_draw]
    if not pairs:
        models = ", ".join(sorted({of.model for of in drawn}))
        return f"none of {models} is shipped to compare them with"
    same = sum((new.text, new.finished) == (old.text, old.finished) for new, old in pairs)
    return f"{same} of {len(pairs)} texts are the same as the shipped ones"
