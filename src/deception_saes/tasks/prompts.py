"""Tokenized prompts of chosen questions, with the tokens that count as correct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deception_saes.tasks.framings import CONDITIONS, Condition, Framing, render
from deception_saes.tasks.scoring import answer_tokens, encode
from deception_saes.tasks.trivia import Question

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


def prompt_set(
    framing: Framing, questions: Sequence[Question], tokenizer: PreTrainedTokenizerBase
) -> PromptSet:
    """The prompts of these questions, in this order.

    Raises ValueError if there is none, and for a question that cannot be scored with this
    tokenizer.
    """
    if not questions:
        raise ValueError(f"no question to ask under the framing {framing.name!r}: none is "
                         "answerable; lower least_p_correct, or choose another framing or model")
    prompts: dict[Condition, list[list[int]]] = {c: [] for c in CONDITIONS}
    correct: dict[Condition, list[tuple[int, ...]]] = {c: [] for c in CONDITIONS}
    for condition in CONDITIONS:
        for question in questions:
            prompt = render(framing, condition, question.text, tokenizer)
            tokens = answer_tokens(question, prompt, tokenizer)
            if isinstance(tokens, str):
                raise ValueError(f"question {question.id!r} cannot be scored with this tokenizer: "
                                 f"{tokens}")
            prompts[condition].append(encode(prompt.text, tokenizer))
            correct[condition].append(tokens.correct)
    return PromptSet(framing, tuple(question.id for question in questions), prompts, correct)
