"""The sandbagging task: which questions a model can answer, and what a sandbag prompt does to them.

The words: a *subject* is a model as it is run; a *task* is a subject, a framing and questions; its
*choosing half* trains and ranks, its *evaluating half* is what figures are about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pandas as pd
import torch

from deception_saes.cache import cached
from deception_saes.models.load import LanguageModel, load, weights_hash
from deception_saes.models.spec import ModelSpec
from deception_saes.store.files import artifacts_root
from deception_saes.tasks.framings import CONDITIONS, Condition, Framing
from deception_saes.tasks.prompts import PromptSet, prompt_set, scorable
from deception_saes.tasks.scoring import Score, answerable, logit, score
from deception_saes.tasks.trivia import Half, Question, halves, spread


@dataclass(frozen=True)
class Subject:
    """A model and how it is run, which decides the last bits of what it gives."""

    model: ModelSpec
    device: str
    threads: int
    """Of torch."""
    batch_size: int
    """Prompts a forward pass."""
    weights: tuple[str, ...]
    """What decides the weights beside the model's name, see `models.load.weights_hash`; `subject`
    fills it in."""

    def load(self) -> LanguageModel:
        """The loaded model, with this many threads from here on. Raises ModelUnavailable."""
        torch.set_num_threads(self.threads)
        return load(self.model, artifacts_root(), self.device)


def subject(model: ModelSpec, *, device: str, threads: int, batch_size: int) -> Subject:
    """The subject that this model is, run so."""
    return Subject(model, device, threads, batch_size, weights_hash(model))


@dataclass(frozen=True)
class Task:
    """A subject asked questions under a framing."""

    subject: Subject
    framing: Framing
    questions: tuple[Question, ...]
    least_p_correct: float
    """Least P(correct | genuine) of an answerable question."""
    seed: int
    """Of the halves."""

    @property
    def model(self) -> str:
        """Slug of the subject's model."""
        return self.subject.model.slug

    @property
    def choosing(self) -> AskedHalf:
        """The half that trains SAEs, fixes scales and ranks heads."""
        return AskedHalf(self, "choosing")

    @property
    def evaluating(self) -> AskedHalf:
        """The half that figures are about."""
        return AskedHalf(self, "evaluating")


@dataclass(frozen=True)
class AskedHalf:
    """A half of a task's answerable questions, or `count` of it, evenly spread."""

    task: Task
    half: Half
    count: int | None = None
    put_as: Framing | None = None
    """How its questions are put; None: under the task's framing."""

    def under(self, framing: Framing) -> AskedHalf:
        """The same questions under another framing; answerable they are under the task's."""
        return replace(self, put_as=framing)

    def spread(self, count: int | None) -> AskedHalf:
        """`count` questions evenly spread over the half, which is ordered by topic; all if None."""
        return replace(self, count=count)

    @property
    def framing(self) -> Framing:
        """The one that its questions are put under."""
        return self.put_as or self.task.framing

    @property
    def questions(self) -> tuple[Question, ...]:
        """The questions; the whole task is asked first, unless it has been."""
        return _questions(self)

    @property
    def clusters(self) -> tuple[str, ...]:
        """The cluster of each question, by which intervals are drawn, see `Question.cluster`."""
        return tuple(question.cluster for question in self.questions)

    @property
    def prompts(self) -> PromptSet:
        """Their prompts, as token ids. Raises ValueError if there is none."""
        return _prompts(self)


@lru_cache(maxsize=16)
def _questions(of: AskedHalf) -> tuple[Question, ...]:
    task = of.task
    scores = ask(task.subject, task.framing, task.questions)["questions"]
    marked = in_halves(scores, least_p_correct=task.least_p_correct, seed=task.seed)
    chosen = set(marked[marked["half"] == of.half]["question"])
    return tuple(spread([q for q in task.questions if q.id in chosen], of.count))


@lru_cache(maxsize=16)
def _prompts(of: AskedHalf) -> PromptSet:
    return prompt_set(of.framing, of.questions, of.task.subject.load().tokenizer)


@cached()
def ask(
    subject: Subject, framing: Framing, questions: tuple[Question, ...]
) -> dict[str, pd.DataFrame]:
    """Ask a subject every question under a framing's three conditions.

    Tables `questions`, a row a question that can be scored, and `dropped`, a row a question that
    cannot, with the reason; no rows in the first if the subject cannot be asked this way.
    """
    lm = subject.load()
    if framing.chat and not lm.tokenizer.chat_template:
        return _asked([], [("", "the tokenizer has no chat template")])
    kept, dropped = scorable(questions, framing, lm.tokenizer)
    if not kept:
        return _asked([], list(dropped.items()))
    scores = {c: score(lm, framing, c, kept) for c in CONDITIONS}
    rows = [_row(subject.model.slug, framing.name, question,
                 {condition: scores[condition][i] for condition in CONDITIONS})
            for i, question in enumerate(kept)]
    return _asked(rows, list(dropped.items()))


def _asked(
    rows: list[dict[str, Any]], dropped: Sequence[tuple[str, str]]
) -> dict[str, pd.DataFrame]:
    return {"questions": pd.DataFrame(rows, columns=None if rows else ["question"]),
            "dropped": pd.DataFrame(dropped, columns=["question", "reason"])}


def _row(
    model: str, framing: str, question: Question, scores: Mapping[Condition, Score]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "model": model, "framing": framing, "question": question.id, "topic": question.topic,
        "cluster": question.cluster, "text": question.text, "answer": question.accepted[0],
        "foil": question.foil,
    }
    for condition, s in scores.items():
        row |= {f"p_correct_{condition}": s.p_correct, f"p_foil_{condition}": s.p_foil,
                f"foil_measure_{condition}": s.foil_measure, f"p_string_{condition}": s.p_string,
                f"logit_{condition}": logit(s.p_correct), f"top_token_{condition}": s.top_token}
    return row


def in_halves(scores: pd.DataFrame, *, least_p_correct: float, seed: int) -> pd.DataFrame:
    """The table of `ask` with a column `half`: choosing or evaluating, at random by seed; missing
    where the question is not answerable.

    Answerable: P(correct | genuine) is at least `least_p_correct`, and above P(foil | genuine).
    """
    if scores.empty:
        return scores.assign(half=pd.Series(dtype=object))
    genuine = [Score(row.question, row.topic, row.p_correct_genuine, row.p_foil_genuine, 0.0, "",
                     False)
               for row in scores.itertuples()]
    cluster_of = dict(zip(scores["question"], scores["cluster"], strict=True))
    half = halves({question: cluster_of[question]
                   for question in answerable(genuine, least_p_correct)}, seed)
    place = list(scores.columns).index("foil") + 1
    marked = scores.copy()
    marked.insert(place, "half", [half.get(question) for question in scores["question"]])
    return marked


def why_not_asked(halves: Iterable[AskedHalf]) -> str | None:
    """Why a subject answers none of a half's questions; None if it answers some of each half."""
    return next((f"none of its questions is answerable under the framing {half.task.framing.name}"
                 for half in halves if not half.questions), None)
