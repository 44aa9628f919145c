"""Judge completions with a chat server, each once, however often the run is broken off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tqdm import tqdm

from deception_saes.tasks.judges.answers import Answer, AnswerLog
from deception_saes.tasks.judges.cost import Prices, spent, tokens_of
from deception_saes.tasks.judges.key import JudgeError
from deception_saes.tasks.judges.rubric import (
    batch_prompt,
    individual_prompt,
    parse_batch,
    parse_label,
)

if TYPE_CHECKING:
    from deception_saes.tasks.completions import Completion
    from deception_saes.tasks.judges.server import ChatServer
    from deception_saes.tasks.scenarios import Scenario


@dataclass(frozen=True)
class Request:
    """One question to the judge, about one or several completions of one scenario."""

    completions: tuple[str, ...]
    message: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.message.encode()).hexdigest()


@dataclass(frozen=True)
class Judging:
    """What is to be judged, and how.

    per_prompt: completions in one batch prompt; None asks individually.
    """

    scenarios: Mapping[str, Scenario]
    completions: Mapping[str, Completion]
    per_prompt: int | None

    def request(self, ids: Sequence[str]) -> Request:
        """The request about these completions, which are of one scenario."""
        scenario = self.scenarios[self.completions[ids[0]].scenario]
        texts = [self.completions[id].text for id in ids]
        message = (individual_prompt(scenario, *texts) if self.per_prompt is None
                   else batch_prompt(scenario, texts))
        return Request(tuple(ids), message)

    def open(self, answers: Sequence[Answer]) -> list[Request]:
        """The requests for what has no answer yet, scenario by scenario."""
        answered = {id for answer in answers for id in answer.completions}
        left: dict[str, list[str]] = {}
        for id, completion in self.completions.items():
            if id not in answered:
                left.setdefault(completion.scenario, []).append(id)
        size = self.per_prompt or 1
        return [self.request(ids[start : start + size])
                for ids in left.values() for start in range(0, len(ids), size)]

    def answered(self, answers: Sequence[Answer]) -> list[Request]:
        """The requests that were answered, in the order of the answers.

        Raises JudgeError if one of them was about something else than it is now.
        """
        found = []
        for answer in answers:
            unknown = [id for id in answer.completions if id not in self.completions]
            request = None if unknown else self.request(answer.completions)
            if request is None or request.sha256 != answer.prompt_sha256:
                raise JudgeError(f"the answers are about another text of {answer.completions[0]!r} "
                                 "or another rubric; give another file for the answers to these")
            found.append(request)
        return found


def judging(
    scenarios: Sequence[Scenario], completions: Sequence[Completion], per_prompt: int | None
) -> Judging:
    """Raises JudgeError for a completion of an unknown scenario, two of one id, none at all, or a
    batch of none."""
    by_id = {completion.id: completion for completion in completions}
    rubrics = {scenario.id: scenario for scenario in scenarios}
    if not by_id:
        raise JudgeError("there is no completion to judge")
    if len(by_id) < len(completions):
        raise JudgeError("two completions have one id; judge those of one model at a time")
    if per_prompt is not None and per_prompt < 1:
        raise JudgeError(f"a prompt of {per_prompt} completions; expected at least 1")
    for completion in completions:
        if completion.scenario not in rubrics:
            raise JudgeError(f"completion {completion.id!r} is of scenario "
                             f"{completion.scenario!r}, which has no rubric; known: "
                             f"{', '.join(rubrics)}")
    return Judging(rubrics, by_id, per_prompt)


def ask_all(
    server: ChatServer,
    of: Judging,
    log: AnswerLog,
    max_tokens: int,
    prices: Prices | None = None,
    max_cost: float | None = None,
) -> None:
    """Ask for every completion that has no answer yet; each answer is written down as it comes.

    max_tokens: of a reply; with prices and a largest cost, no request is sent that may pass it,
        what was spent in earlier runs included.
    Raises JudgeError if the server cannot go on or the largest cost is reached.
    """
    prompt_tokens, reply_tokens = spent(log.answers, [r.message for r in of.answered(log.answers)])
    requests = of.open(log.answers)
    done = sum(len(answer.completions) for answer in log.answers)
    with tqdm(total=len(of.completions), initial=done, desc="judging", unit="completion") as bar:
        for request in requests:
            if prices and max_cost is not None:
                so_far = prices.of(prompt_tokens, reply_tokens)
                next_most = prices.of(tokens_of(request.message), max_tokens)
                if so_far + next_most > max_cost:
                    raise JudgeError(f"{so_far:.4f} is spent, and the next request may pass the "
                                     f"largest cost, {max_cost:.4f}; raise it and run the same "
                                     "command again to go on")
            answer = _ask(server, of, request)
            log.append(answer)
            more = spent([answer], [request.message])
            prompt_tokens, reply_tokens = prompt_tokens + more[0], reply_tokens + more[1]
            bar.update(len(request.completions))


def labels(answers: Sequence[Answer]) -> Iterator[tuple[str, str | None]]:
    """Each completion id that was answered about, with its label, None if the reply had none."""
    for answer in answers:
        yield from zip(answer.completions, answer.labels, strict=True)


def _ask(server: ChatServer, of: Judging, request: Request) -> Answer:
    reply = server.ask(request.message)
    found = ([parse_label(reply.text)] if of.per_prompt is None
             else parse_batch(reply.text, len(request.completions)))
    return Answer(list(request.completions), found, request.sha256, reply.text,
                  reply.prompt_tokens, reply.completion_tokens)
