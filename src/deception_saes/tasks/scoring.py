"""P(correct), P(foil) and the full-string probability of each question under one prompt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from deception_saes.models.forward import (
    SuffixBatch,
    continuation_states,
    log_probabilities,
    suffix_batches,
)
from deception_saes.tasks.framings import Condition, Framing, Prompt, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from deception_saes.models.load import LanguageModel
    from deception_saes.tasks.trivia import Question

_ARTICLES = ("a ", "an ", "the ")
_SHORTEST_PIECE = 3  # letters


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens by which one question's answer is read under one prompt.

    correct: T(q), sorted. foil: the same for the foil.
    strings: token ids of each accepted answer in full; none is the beginning of another.
    """

    correct: tuple[int, ...]
    foil: tuple[int, ...]
    strings: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Score:
    """What a model makes of one question under one framing and condition; probabilities."""

    question: str
    topic: str
    p_correct: float
    p_foil: float
    p_string: float
    top_token: str

    @property
    def foil_measure(self) -> float:
        """P(correct) / (P(correct) + P(foil)): the second measure."""
        return self.p_correct / (self.p_correct + self.p_foil)


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


def score(
    lm: LanguageModel,
    framing: Framing,
    condition: Condition,
    questions: Sequence[Question],
    batch_size: int,
) -> list[Score]:
    """Ask every question once and read the next-token distribution at the answer position.

    Raises ValueError for a question that is not `scorable`.
    """
    prompts = [render(framing, condition, q.text, lm.tokenizer) for q in questions]
    tokens = [_tokens_or_raise(q, p, lm.tokenizer)
              for q, p in zip(questions, prompts, strict=True)]
    ids = [encode(prompt.text, lm.tokenizer) for prompt in prompts]
    scores: dict[int, Score] = {}
    with tqdm(total=len(ids), desc=f"{framing.name} {condition}", unit="prompt") as bar:
        for batch in suffix_batches(lm.model, ids, batch_size):
            log_p_BV = log_probabilities(lm.model, batch.hidden_BTD[:, -1])
            strings = [tokens[row].strings for row in batch.rows]
            p_string = _string_probabilities(lm, batch, log_p_BV, strings)
            for place, row in enumerate(batch.rows):
                p_V = log_p_BV[place].exp()
                scores[row] = Score(
                    question=questions[row].id,
                    topic=questions[row].topic,
                    p_correct=float(p_V[list(tokens[row].correct)].sum()),
                    p_foil=float(p_V[list(tokens[row].foil)].sum()),
                    p_string=p_string[place],
                    top_token=str(lm.tokenizer.decode([int(p_V.argmax())])),
                )
            bar.update(len(batch.rows))
    return [scores[row] for row in range(len(questions))]


def encode(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of a prompt; a chat template has written its own special tokens already, and a
    tokenizer that begins every text with a BOS token does so once."""
    begins_itself = bool(tokenizer.bos_token) and text.startswith(str(tokenizer.bos_token))
    ids: list[int] = tokenizer(text, add_special_tokens=not begins_itself)["input_ids"]
    return ids


def logit(probability: float) -> float:
    """log(p / (1 - p)), of a probability kept 1e-12 away from 0 and 1."""
    probability = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(probability) - math.log1p(-probability)


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


def _tokens_or_raise(
    question: Question, prompt: Prompt, tokenizer: PreTrainedTokenizerBase
) -> AnswerTokens:
    found = answer_tokens(question, prompt, tokenizer)
    if isinstance(found, str):
        raise ValueError(f"question {question.id!r} cannot be scored with this tokenizer: {found}; "
                         "leave it out (see `scorable`)")
    return found


def _string_probabilities(
    lm: LanguageModel,
    batch: SuffixBatch,
    log_p_BV: torch.Tensor,
    strings: Sequence[tuple[tuple[int, ...], ...]],
) -> list[float]:
    """For each prompt of the batch, the probability that one of its strings follows.

    log_p_BV: at the answer position. The strings of one prompt exclude each other, so their
    probabilities add up.
    """
    beginnings = sorted({(place, string[:-1]) for place, of_prompt in enumerate(strings)
                         for string in of_prompt if len(string) > 1})
    states = continuation_states(lm.model, batch.cache, beginnings)
    log_p = {}
    if states:
        log_p_NV = log_probabilities(lm.model, torch.cat(states))
        log_p = dict(zip(beginnings, log_p_NV.split([len(s) for s in states]), strict=True))
    totals = []
    for place, of_prompt in enumerate(strings):
        total = 0.0
        for string in of_prompt:
            whole = log_p_BV[place, string[0]]
            if len(string) > 1:
                after_TV = log_p[place, string[:-1]]
                whole = whole + after_TV[range(len(string) - 1), string[1:]].sum()
            total += float(whole.exp())
        totals.append(total)
    return totals
