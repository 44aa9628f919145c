"""Which questions a model can answer, and which of them choose and which evaluate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from deception_saes.rng import generator
from deception_saes.tasks.scoring import Score

Half = Literal["choosing", "evaluating"]


def answerable(genuine: Iterable[Score], least_p_correct: float) -> list[str]:
    """Ids of the questions that the model answers under the genuine condition.

    Answerable: P(correct | genuine) is at least `least_p_correct`, and above P(foil | genuine).
    Nothing but genuine prompts enters, so the sandbag effect cannot choose its own questions.
    """
    return [s.question for s in genuine
            if s.p_correct >= least_p_correct and s.p_correct > s.p_foil]


def halves(questions: Sequence[str], seed: int) -> dict[str, Half]:
    """Each question's half, at random by seed; with an odd count evaluation gets the one more.
    """
    order = generator(seed, "choosing and evaluating halves").permutation(sorted(questions))
    choosing = set(order[: len(order) // 2].tolist())
    return {q: "choosing" if q in choosing else "evaluating" for q in sorted(questions)}
