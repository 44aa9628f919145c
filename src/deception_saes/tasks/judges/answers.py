"""Every answer of a judge, written down durably as it arrives: a JSON line each, behind a first
line that says what was asked how. A run that died goes on from here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from deception_saes.tasks.judges.key import JudgeError


@dataclass(frozen=True)
class Answer:
    """The answer to one request.

    completions: ids of those it asked about. labels: of each, None where the reply has none.
    prompt_sha256: of the message. tokens: as the server counted them, None if it did not.
    """

    completions: list[str]
    labels: list[str | None]
    prompt_sha256: str
    reply: str
    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass
class AnswerLog:
    """An open file of answers. answers: those in it, in their order."""

    answers: list[Answer]
    file: BinaryIO

    def append(self, answer: Answer) -> None:
        """Write an answer down; when this returns, it is on the disk."""
        _write(self.file, asdict(answer))
        self.answers.append(answer)


@contextmanager
def answer_log(path: Path, asked: Mapping[str, Any]) -> Iterator[AnswerLog]:
    """The answers file at `path`, made if there is none, and locked meanwhile.

    asked: what decides the answers. A last line that a dying process left unfinished is removed.
    Raises JudgeError if the file is of other questions, is damaged, or is in use.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=0):
            path.touch()
            with path.open("r+b") as file:
                yield _opened(path, file, dict(asked))
    except Timeout:
        raise JudgeError(f"{path} is in use by another run; wait for it, or give another file "
                         "for the answers") from None


def _opened(path: Path, file: BinaryIO, asked: dict[str, Any]) -> AnswerLog:
    content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    file.truncate(len(whole))
    file.seek(len(whole))
    lines = whole.splitlines()
    if not lines:
        _write(file, asked)
        _sync_folder(path.parent)
        return AnswerLog([], file)
    first, *rest = (_parsed(path, number, line) for number, line in enumerate(lines, 1))
    if first != asked:
        raise JudgeError(f"{path} holds the answers to other questions ({first}, not {asked}); "
                         "give another file for these")
    return AnswerLog([_answer(path, number, found) for number, found in enumerate(rest, 2)], file)


def _write(file: BinaryIO, record: Mapping[str, Any]) -> None:
    file.write(json.dumps(record).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise JudgeError(f"{path}, line {number}: not a JSON object; remove the line, and its "
                         "completions are judged again")
    return found


def _answer(path: Path, number: int, found: dict[str, Any]) -> Answer:
    names = {field.name for field in fields(Answer)}
    if found.keys() != names or len(found["completions"]) != len(found["labels"]):
        raise JudgeError(f"{path}, line {number}: not an answer ({', '.join(sorted(names))}); "
                         "remove the line, and its completions are judged again")
    return Answer(**found)
