"""Tokenized prompts of chosen questions, with the tokens that count as correct."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deception_saes.tasks.framings import CONDITIONS, Condition, Framing, render
from deception_saes.tasks.scoring import answer_tokens, encode
from deception_saes.tasks.trivia import load_questions, spread

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PromptSet:
    """Questions under one framing.

    ids: of the questions. prompts, correct: by condition, in that order, token ids of the prompt
    and T(q).
    """

    framing: Framing
    ids: tuple[str, ...]
    prompts: dict[Condition, list[list[int]]]
    correct: dict[Condition, list[tuple[int, ...]]]

    def spread(self, count: int | None) -> PromptSet:
        """`count` questions evenly spread over the set, which is ordered by topic; all if None."""
        rows = spread(range(len(self.ids)), count)
        return PromptSet(self.framing, tuple(self.ids[row] for row in rows),
                         {c: [of[row] for row in rows] for c, of in self.prompts.items()},
                         {c: [of[row] for row in rows] for c, of in self.correct.items()})


def prompt_set(
    framing: Framing, ids: Iterable[str], tokenizer: PreTrainedTokenizerBase
) -> PromptSet:
    """The prompts of the questions with these ids, in this order.

    Raises ValueError if there is none, KeyError for an unknown id, and ValueError for a question
    that cannot be scored with this tokenizer.
    """
    ids = tuple(ids)
    if not ids:
        raise ValueError(f"no question to ask under the framing {framing.name!r}: none is "
                         "answerable; see §23, lower answerable_min_p or choose another framing")
    by_id = {question.id: question for question in load_questions()}
    prompts: dict[Condition, list[list[int]]] = {c: [] for c in CONDITIONS}
    correct: dict[Condition, list[tuple[int, ...]]] = {c: [] for c in CONDITIONS}
    for condition in CONDITIONS:
        for id in ids:
            prompt = render(framing, condition, by_id[id].text, tokenizer)
            tokens = answer_tokens(by_id[id], prompt, tokenizer)
            if isinstance(tokens, str):
                raise ValueError(f"question {id!r} cannot be scored with this tokenizer: {tokens}")
            prompts[condition].append(encode(prompt.text, tokenizer))
            correct[condition].append(tokens.correct)
    return PromptSet(framing, ids, prompts, correct)
