"""Prompts as tokens, and the tokens by which their answers are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deception_saes.store.files import read_shipped
from deception_saes.tasks.framings import CONDITIONS, Condition, Framing, Prompt, render
from deception_saes.tasks.trivia import Question

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NEUTRAL_TEXT = Path(__file__).parent / "data" / "neutral_text.txt"
"""Text without a question, on which the damage of an ablation is measured: openings of Lincoln's
Gettysburg Address (1863), Austen's Pride and Prejudice (1813) and Carroll's Alice's Adventures in
Wonderland (1865); public domain."""

_ARTICLES = ("a ", "an ", "the ")
_SHORTEST_PIECE = 3  # letters


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens by which one question's answer is read under one prompt."""

    correct: tuple[int, ...]
    """T(q), sorted."""
    foil: tuple[int, ...]
    """The same for the foil."""
    strings: tuple[tuple[int, ...], ...]
    """Token ids of each accepted answer in full; none is the beginning of another."""


@dataclass(frozen=True)
class PromptSet:
    """Questions under one framing."""

    framing: Framing
    ids: tuple[str, ...]
    """Of the questions."""
    prompts: dict[Condition, list[list[int]]]
    """Token ids of each question's prompt, by condition."""
    correct: dict[Condition, list[tuple[int, ...]]]
    """T(q) of each question, by condition."""


def encode(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of a prompt; a chat template has written its own special tokens already, and a
    tokenizer that begins every text with a BOS token does so once."""
    begins_itself = bool(tokenizer.bos_token) and text.startswith(str(tokenizer.bos_token))
    ids: list[int] = tokenizer(text, add_special_tokens=not begins_itself)["input_ids"]
    return ids


def answer_tokens(
    question: Question, prompt: Prompt, tokenizer: PreTrainedTokenizerBase
) -> AnswerTokens | str:
    """T(q) and its foil's counterpart under this prompt, or the reason why there are none.

    First token of each accepted answer, article stripped, as written and lower-cased, as the
    tokenizer makes it right behind the prompt. One of under three letters counts only if it is
    the whole answer: " jupiter" must not count as " j".
    """
    correct = _first_tokens(question.accepted, prompt, tokenizer)
    foil = _first_tokens((question.foil,), prompt, tokenizer)
    if not correct:
        return "no accepted answer has a first token of three letters"
    if not foil:
        return "the foil has no first token of three letters"
    if correct & foil:
        return "the foil begins with a token of an accepted answer"
    strings = {_continuation(text, prompt, tokenizer) for text in _variants(question.accepted)}
    disjoint = {s for s in strings if not any(s[: len(o)] == o for o in strings if o != s)}
    return AnswerTokens(tuple(sorted(correct)), tuple(sorted(foil)), tuple(sorted(disjoint)))


def scorable(
    questions: Iterable[Question], framing: Framing, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Question], dict[str, str]]:
    """The questions whose answers this tokenizer can tell from their foils under this framing,
    and of the others, by id, the reason why it cannot."""
    kept: list[Question] = []
    dropped: dict[str, str] = {}
    for question in questions:
        prompt = render(framing, "genuine", question.text, tokenizer)
        found = answer_tokens(question, prompt, tokenizer)
        if isinstance(found, str):
            dropped[question.id] = found
        else:
            kept.append(question)
    return kept, dropped


def required_tokens(
    question: Question, prompt: Prompt, tokenizer: PreTrainedTokenizerBase
) -> AnswerTokens:
    """`answer_tokens` of a question that can be scored; raises ValueError for another."""
    found = answer_tokens(question, prompt, tokenizer)
    if isinstance(found, str):
        raise ValueError(f"question {question.id!r} cannot be scored with this tokenizer: {found}; "
                         "leave it out (see `scorable`)")
    return found


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
            prompts[condition].append(encode(prompt.text, tokenizer))
            correct[condition].append(required_tokens(question, prompt, tokenizer).correct)
    return PromptSet(framing, tuple(question.id for question in questions), prompts, correct)


def neutral_passages(tokenizer: PreTrainedTokenizerBase, most_tokens: int = 64) -> list[list[int]]:
    """Token ids of each passage of NEUTRAL_TEXT, cut to `most_tokens`."""
    passages = read_shipped(NEUTRAL_TEXT).decode().strip().split("\n\n")
    return [encode(passage, tokenizer)[:most_tokens] for passage in passages]


def _variants(answers: Iterable[str]) -> list[str]:
    bare = [_without_article(answer) for answer in answers]
    return sorted({*bare, *(answer.lower() for answer in bare)})


def _without_article(answer: str) -> str:
    for article in _ARTICLES:
        if answer.lower().startswith(article):
            return answer[len(article) :]
    return answer


def _first_tokens(
    answers: Iterable[str], prompt: Prompt, tokenizer: PreTrainedTokenizerBase
) -> set[int]:
    first: set[int] = set()
    for text in _variants(answers):
        ids = _continuation(text, prompt, tokenizer)
        letters = sum(character.isalpha() for character in tokenizer.decode([ids[0]]))
        if letters >= _SHORTEST_PIECE or len(ids) == 1:
            first.add(ids[0])
    return first


def _continuation(
    text: str, prompt: Prompt, tokenizer: PreTrainedTokenizerBase
) -> tuple[int, ...]:
    """The ids that `text` gets behind the end of the prompt.

    The last line is context enough, and saves tokenizing the whole prompt for every alias.
    """
    end = prompt.text[prompt.text.rstrip("\n").rfind("\n") + 1 :]
    context = tokenizer(end, add_special_tokens=False)["input_ids"]
    joined = tokenizer(end + prompt.answer_gap + text, add_special_tokens=False)["input_ids"]
    if joined[: len(context)] != context:
        raise ValueError(f"this tokenizer merges the end of the prompt {end!r} with the answer "
                         f"{text!r}, so the answer has no position of its own")
    return tuple(joined[len(context) :])
