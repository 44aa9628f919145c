"""Questions about completions to a chat server, what they cost, and the file of their answers.

Each answer is on the disk before the next question is asked, so that a stopped run can be resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import openai
from filelock import FileLock, Timeout
from tqdm import tqdm

from deception_saes.errors import UserError
from deception_saes.tasks.completions import Completion
from deception_saes.tasks.judges.chat_server import ask
from deception_saes.tasks.judges.rubric import (
    batch_prompt,
    individual_prompt,
    parse_batch,
    parse_label,
)
from deception_saes.tasks.labels import LABELS
from deception_saes.tasks.scenarios import Scenario

_TOKENS_AROUND = 20  # of a chat template, around a message
_BYTES_A_TOKEN = 3  # English has about four, so the estimate is rather too high
RESUME = "what was answered is kept: run the same command again to resume"


@dataclass(frozen=True)
class Request:
    """One question to the judge."""

    completions: tuple[str, ...]
    """Ids of those it asks about, which are of one scenario."""
    message: str
    batch: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.message.encode()).hexdigest()

    def labels(self, reply: str) -> list[str | None]:
        """Of each completion, None where the reply has none."""
        return (parse_batch(reply, len(self.completions)) if self.batch else [parse_label(reply)])


@dataclass(frozen=True)
class Answer:
    """The answer to one request, as the answers file holds it."""

    completions: list[str]
    labels: list[str | None]
    """Of each completion, None where the reply has none."""
    prompt_sha256: str
    """Of the message."""
    reply: str
    prompt_tokens: int | None
    """As the server counted them, None if it did not."""
    completion_tokens: int | None

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what is no answer."""
        counts = (self.prompt_tokens, self.completion_tokens)
        if not (len(self.completions) == len(self.labels) and {*self.labels} <= {None, *LABELS}
                and all(count is None or (isinstance(count, int) and count >= 0)
                        for count in counts)):
            raise ValueError


@dataclass
class Bill:
    """What requests cost, or may cost."""

    prices: tuple[float, float] | None
    """Money for a million tokens of prompts, and of replies, in any currency; None if unknown."""
    prompt_tokens: int = 0
    reply_tokens: int = 0

    def add(self, prompt_tokens: int, reply_tokens: int) -> None:
        self.prompt_tokens += prompt_tokens
        self.reply_tokens += reply_tokens

    def add_answer(self, request: Request, answer: Answer) -> None:
        """Add the tokens that the server counted, else an estimate from the texts."""
        prompt, reply = answer.prompt_tokens, answer.completion_tokens
        self.add(tokens_of(request.message) if prompt is None else prompt,
                 tokens_of(answer.reply) if reply is None else reply)

    @property
    def cost(self) -> float:
        prompt, reply = self.prices or (0.0, 0.0)
        return (self.prompt_tokens * prompt + self.reply_tokens * reply) / 1e6

    def __str__(self) -> str:
        cost = f"{self.cost:.4f}" if self.prices else "no prices given, so no cost"
        return f"{self.prompt_tokens} tokens of prompts, {self.reply_tokens} of replies; {cost}"


def tokens_of(text: str) -> int:
    """About how many tokens a message has, rather too many."""
    return _TOKENS_AROUND + len(text.encode()) // _BYTES_A_TOKEN


def request_about(
    completions: Sequence[Completion], scenarios: Mapping[str, Scenario], batch: bool
) -> Request:
    """The question about these completions, which are of one scenario; about a single one if it is
    no batch. Raises UserError if that scenario is unknown."""
    first = completions[0]
    if first.scenario not in scenarios:
        raise UserError(f"completion {first.id!r} is of scenario {first.scenario!r}, which has no "
                        f"rubric; known: {', '.join(scenarios)}")
    texts, scenario = [of.text for of in completions], scenarios[first.scenario]
    message = batch_prompt(scenario, texts) if batch else individual_prompt(scenario, texts[0])
    return Request(tuple(of.id for of in completions), message, batch)


def requests_about(
    completions: Iterable[Completion], scenarios: Mapping[str, Scenario], per_prompt: int | None
) -> list[Request]:
    """The questions about these completions, scenario by scenario.

    scenarios: by id. per_prompt: completions in one batch prompt; None asks individually.
    Raises UserError for a completion of an unknown scenario.
    """
    of: dict[str, list[Completion]] = {}
    for completion in completions:
        of.setdefault(completion.scenario, []).append(completion)
    size = per_prompt or 1
    return [request_about(together[start : start + size], scenarios, per_prompt is not None)
            for together in of.values() for start in range(0, len(together), size)]


@dataclass
class AnswersFile:
    """An open file of answers."""

    path: Path
    answers: list[Answer]
    file: BinaryIO

    def append(self, answer: Answer) -> None:
        """Add an answer; when this returns, it is on the disk."""
        _write_line(self.file, asdict(answer))
        self.answers.append(answer)

    def unanswered(
        self, completions: Sequence[Completion], scenarios: Mapping[str, Scenario], batch: bool,
        spent: Bill,
    ) -> list[Completion]:
        """The completions that no answer is about; what the answers cost is added to `spent`.

        Raises UserError for an answer to another question than that about these completions.
        """
        left = {completion.id: completion for completion in completions}
        for answer in self.answers:
            about = [left.pop(id, None) for id in answer.completions]
            known = [completion for completion in about if completion is not None]
            request = (request_about(known, scenarios, batch)
                       if known and len(known) == len(about) else None)
            if request is None or request.sha256 != answer.prompt_sha256:
                raise UserError(f"{self.path} holds answers about other completions than these: "
                                f"other ids or another text of {', '.join(answer.completions)}, or "
                                "another rubric; give another file for the answers to these")
            spent.add_answer(request, answer)
        return [*left.values()]


@contextmanager
def answers_file(path: Path, asked: Mapping[str, Any]) -> Iterator[AnswersFile]:
    """The answers file at `path`, locked while open: a JSON line each, after a first one with
    `asked`, what decides the answers. A last line that a dying process left unfinished is removed.

    Raises UserError if the file is of other questions, is damaged, or is in use.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=0), path.open("a+b") as file:
            file.seek(0)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            file.truncate(len(whole))
            if not whole:
                _write_line(file, asked)
                folder = os.open(path.parent, os.O_RDONLY)
                os.fsync(folder)  # so that the file's name is on the disk too
                os.close(folder)
            yield AnswersFile(path, _answers(path, whole.splitlines(), asked), file)
    except Timeout:
        raise UserError(f"{path} is in use by another run; wait for it, or give another file for "
                        "the answers") from None


def ask_all(
    client: openai.OpenAI, model: str, fields: Mapping[str, Any], requests: Sequence[Request],
    file: AnswersFile, spent: Bill, max_tokens: int, max_cost: float | None,
) -> None:
    """Ask every request and write its answer down. fields: of the request to the server.

    Raises UserError if the server gives no answer, or before a request whose reply of `max_tokens`
    may pass the largest cost; `spent` counts on.
    """
    for request in tqdm(requests, desc="judging", unit="request"):
        most_they_cost([request], spent, max_tokens, max_cost)
        try:
            reply = ask(client, model, fields, request.message)
        except UserError as error:
            raise UserError(f"{error}; {RESUME}") from None
        answer = Answer([*request.completions], request.labels(reply.text), request.sha256,
                        reply.text, reply.prompt_tokens, reply.completion_tokens)
        file.append(answer)
        spent.add_answer(request, answer)


def most_they_cost(
    requests: Sequence[Request], spent: Bill, max_tokens: int, max_cost: float | None
) -> Bill:
    """The estimate for these requests. Raises UserError if it may pass the largest cost."""
    estimate = Bill(spent.prices)
    for request in requests:
        estimate.add(tokens_of(request.message), max_tokens)
    if max_cost is not None and spent.cost + estimate.cost > max_cost:
        raise UserError(f"{spent.cost:.4f} is spent, and what follows may cost {estimate.cost:.4f}"
                        f" more, which passes the largest cost, {max_cost:.4f}; raise it, or judge "
                        f"fewer completions; {RESUME}")
    return estimate


def _answers(path: Path, lines: Sequence[bytes], asked: Mapping[str, Any]) -> list[Answer]:
    answers = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if number > 1:
                answers.append(Answer(**record))
        except (ValueError, TypeError):
            remedy = ("remove the line, and its completions are judged again" if number > 1
                      else "give another file for the answers")
            raise UserError(f"{path}, line {number}: not an answer; {remedy}") from None
        if number == 1 and record != asked:
            raise UserError(f"{path} holds the answers to other questions ({record}, not "
                            f"{dict(asked)}); give another file for these")
    return answers


def _write_line(file: BinaryIO, record: Mapping[str, Any]) -> None:
    """When this returns, the line is on the disk."""
    file.write(json.dumps(record).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())
