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
from deception_saes.tasks.framings import Condition, Framing, render
from deception_saes.tasks.prompts import encode, required_tokens
from deception_saes.tasks.trivia import Question

if TYPE_CHECKING:
    from deception_saes.models.load import LanguageModel


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
    tokens = [required_tokens(q, p, lm.tokenizer)
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


def answerable(genuine: Iterable[Score], least_p_correct: float) -> list[str]:
    """Ids of the questions that the model answers under the genuine condition.

    Answerable: P(correct | genuine) is at least `least_p_correct`, and above P(foil | genuine).
    Only genuine prompts enter, so the sandbag effect cannot choose its own questions.
    """
    return [s.question for s in genuine
            if s.p_correct >= least_p_correct and s.p_correct > s.p_foil]


def logit(probability: float) -> float:
    """log(p / (1 - p)), of a probability kept 1e-12 away from 0 and 1."""
    probability = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(probability) - math.log1p(-probability)


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
