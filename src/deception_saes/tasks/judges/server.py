"""One question to an OpenAI-compatible chat server, asked until it is answered.

With httpx2 and tenacity, which the book's packages bring along (huggingface_hub, papermill),
where the `openai` client would be one more; its own retries cannot be paced nor be told apart.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from deception_saes.tasks.judges.key import (
    JudgeError,
    checked_url,
    key_from_environment,
    loopback,
)

if TYPE_CHECKING:
    import httpx2
    from tenacity import RetryCallState

_LARGEST_BODY = 2**22
_LONGEST_EXCERPT = 300
_TRANSIENT = (408, 409, 425, 429)
"""And every 5xx."""


@dataclass(frozen=True)
class ServerSpec:
    """How a server is asked.

    base_url: up to "/chat/completions". key_variable: name of the environment variable that holds
        the key, or None.
    timeout: seconds for one answer. attempts: at one question. rpm: requests a minute at most, or
        None. longest_wait: seconds that a server may ask to be left alone for.
    max_tokens: of a reply. extra: fields of the request, None to leave one out.
    """

    base_url: str
    model: str
    max_tokens: int
    key_variable: str | None = None
    timeout: float = 60
    attempts: int = 6
    rpm: float | None = None
    longest_wait: float = 300
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """What the server said; tokens as it counted them, None if it did not."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None


class _TransientError(Exception):
    """Worth another attempt, `after` seconds if the server named them."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class ChatServer:
    """A connection to a server; use it in a `with` statement.

    Raises JudgeError if the spec cannot be used.
    """

    def __init__(
        self,
        spec: ServerSpec,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        import httpx2

        for name in ("max_tokens", "timeout", "attempts", "longest_wait"):
            if not getattr(spec, name) > 0:
                raise JudgeError(f"{name} is {getattr(spec, name)}; expected a positive number")
        if spec.rpm is not None and not spec.rpm > 0:
            raise JudgeError(f"rpm is {spec.rpm}; expected a positive number of requests a minute")
        self._spec, self._clock, self._sleep = spec, clock, sleep
        self._key = key_from_environment(spec.key_variable)
        options = json.dumps([spec.model, dict(spec.extra)], ensure_ascii=False)
        if self._key.scrub(options) != options:
            raise JudgeError("the key stands in the model's name or the extra fields; it belongs "
                             "into an environment variable only")
        self._url = checked_url(spec.base_url, self._key) + "/chat/completions"
        headers = {"Authorization": f"Bearer {self._key.value}"} if self._key.value else {}
        # It would log the headers of answers, and a server may tell the key back in one.
        logging.getLogger("httpcore2").setLevel(logging.WARNING)
        # No redirect is followed, so the key goes to no other host; no proxy on the way to this
        # machine itself.
        self._client = httpx2.Client(headers=headers, timeout=spec.timeout,
                                     trust_env=not loopback(spec.base_url))
        self._next_start = clock()

    def __enter__(self) -> ChatServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def ask(self, message: str) -> Reply:
        """The server's reply to one user message.

        Raises JudgeError if the server refuses it, or has not answered after all attempts.
        """
        import tenacity

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TransientError),
            stop=tenacity.stop_after_attempt(self._spec.attempts), wait=self._wait,
            sleep=self._sleep, reraise=True,
        )
        try:
            reply: Reply = retrying(self._attempt, message)
        except _TransientError as error:
            raise JudgeError(
                f"{self._key.scrub(self._url)} gave no answer in {self._spec.attempts} attempts, "
                f"last: {error}; what was answered is kept: run the same command again to go on"
            ) from None
        return reply

    def _wait(self, state: RetryCallState) -> float:
        import tenacity

        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _TransientError) and error.after is not None:
            return error.after
        return tenacity.wait_exponential_jitter(initial=1, max=60)(state)

    def _attempt(self, message: str) -> Reply:
        import httpx2

        self._keep_pace()
        body = {"model": self._spec.model, "temperature": 0, "max_tokens": self._spec.max_tokens,
                "messages": [{"role": "user", "content": message}], **self._spec.extra}
        body = {name: value for name, value in body.items() if value is not None}
        try:
            with self._client.stream("POST", self._url, json=body) as response:
                content = self._read(response)
        except httpx2.RequestError as error:
            raise _TransientError(self._key.scrub(f"{type(error).__name__}: {error}")) from None
        excerpt = self._key.scrub(content.decode("utf-8", "replace"))[:_LONGEST_EXCERPT]
        status = response.status_code
        if status in _TRANSIENT or status >= 500:
            raise _TransientError(f"HTTP {status}: {excerpt}", self._retry_after(response))
        if status != 200:
            raise JudgeError(f"{self._key.scrub(self._url)} refused the request, HTTP {status}: "
                             f"{excerpt}; see to model name, key and options, then run the same "
                             "command again to go on")
        reply = _reply(content)
        if reply is None:
            raise _TransientError(f"a body that is no chat completion: {excerpt}")
        return Reply(self._key.scrub(reply.text), reply.prompt_tokens, reply.completion_tokens)

    def _keep_pace(self) -> None:
        if self._spec.rpm is None:
            return
        now = self._clock()
        if now < self._next_start:
            self._sleep(self._next_start - now)
        self._next_start = max(now, self._next_start) + 60 / self._spec.rpm

    def _read(self, response: httpx2.Response) -> bytes:
        """The body. A server that goes on sending drop by drop is stopped in time."""
        deadline = self._clock() + self._spec.timeout
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if self._clock() > deadline:
                raise _TransientError(f"the answer was not complete after {self._spec.timeout} s")
            if len(content) > _LARGEST_BODY:
                raise _TransientError(f"the answer is longer than {_LARGEST_BODY} bytes")
        return bytes(content)

    def _retry_after(self, response: httpx2.Response) -> float | None:
        """Seconds, from the header's number or date; None without a readable one."""
        named = response.headers.get("retry-after", "")
        try:
            seconds = float(named)
        except ValueError:
            try:
                seconds = (parsedate_to_datetime(named) - datetime.now(UTC)).total_seconds()
            except (TypeError, ValueError):
                return None
        if not seconds <= self._spec.longest_wait:
            raise JudgeError(f"{self._key.scrub(self._url)} asks to wait {seconds:.0f} s, longer "
                             f"than {self._spec.longest_wait:.0f} s; what was answered is kept: "
                             "run the same command later to go on")
        return max(0.0, seconds)


def _reply(content: bytes) -> Reply | None:
    """The first choice of a chat completion; a message without content is an empty reply. None if
    the body is no chat completion."""
    try:
        body = json.loads(content)
        text = body["choices"][0]["message"].get("content") or ""
        usage = body.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(text, str):
        return None
    prompt, completion = (n if isinstance(n, int) and n >= 0 else None for n in counts)
    return Reply(text, prompt, completion)
