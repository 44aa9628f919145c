"""Questions to a chat server that speaks OpenAI's interface, by the `openai` client.

The client asks again after a lost connection, a timeout, HTTP 408, 409, 429 or 5xx: when the server
says in `Retry-After`, two minutes at most, else after growing pauses of up to eight seconds.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

import openai

from deception_saes.errors import UserError

_LONGEST_EXCERPT = 300  # of what a server says, in an error
_NO_KEY = "no-key-given"  # the client insists on one; no server gets it


@dataclass(frozen=True)
class Reply:
    """What the server replied; tokens as it counted them, None if it did not."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None


def connect(
    base_url: str,
    key_variable: str | None = None,
    timeout: float = 60,
    attempts: int = 10,
    rpm: float | None = None,
) -> openai.OpenAI:
    """A client of a server; use it in a `with` statement.

    base_url: up to "/chat/completions". key_variable: name of the environment variable that holds
        the key. timeout: seconds without a byte of the answer. attempts: at one question. rpm:
        requests a minute at most, repeated ones included.
    Removes the other variables of the environment that the client would read.
    Raises UserError for a URL or a key that cannot be used.
    """
    key = _key(key_variable)
    try:
        url = urlsplit(base_url)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        usable = False
    if not usable or url.username or url.password or url.query or url.fragment or (
        _without(key, base_url) != base_url
    ):
        raise UserError("the base URL cannot be used; expected one like http://127.0.0.1:8000/v1, "
                        "without user, query or key; a key belongs into an environment variable")
    here = _is_loopback(url.hostname or "")
    if key != _NO_KEY and url.scheme == "http" and not here:
        raise UserError("the base URL's host would get the key unencrypted; use https")
    # They may hold another key, and headers that are meant for another server.
    for name in [name for name in os.environ if name.startswith("OPENAI_")]:
        if name != key_variable:
            del os.environ[name]
    # No redirect is followed, so the key goes to no other host; no proxy on the way to this
    # machine itself.
    http = openai.DefaultHttpxClient(
        timeout=timeout, follow_redirects=False, trust_env=not here,
        event_hooks={"request": [_Pace(60 / rpm)] if rpm else []})
    return openai.OpenAI(api_key=key, base_url=base_url, timeout=timeout, max_retries=attempts - 1,
                         http_client=http)


def ask(client: openai.OpenAI, model: str, fields: Mapping[str, Any], message: str) -> Reply:
    """The reply to one user message. fields: of the request, None to leave one out.

    Raises UserError if the server refuses, or has not answered after all attempts.
    """
    body = {name: openai.omit if value is None else value for name, value in fields.items()}
    headers = {"Authorization": openai.Omit()} if client.api_key == _NO_KEY else {}
    try:
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": message}], extra_headers=headers,
            extra_body=body)
        text = answer.choices[0].message.content or ""
        if not isinstance(text, str):
            raise TypeError
        prompt, completion = (getattr(answer.usage, name, None)
                              for name in ("prompt_tokens", "completion_tokens"))
        return Reply(scrubbed(client, text), *(n if isinstance(n, int) and n >= 0 else None
                                               for n in (prompt, completion)))
    except openai.APIStatusError as error:
        trouble = f"HTTP {error.status_code}: {error.response.text}"
    except openai.APIConnectionError as error:
        trouble = f"{error} {error.__cause__!r}"
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        trouble = "a reply that is no chat completion"  # the client does not check it
    raise UserError(f"{client.base_url} gave no answer in {client.max_retries + 1} attempts at "
                    f"most, last: {scrubbed(client, trouble)[:_LONGEST_EXCERPT]}")


def scrubbed(client: openai.OpenAI, text: str) -> str:
    """The text without the client's key: a server may tell it back."""
    return _without(client.api_key, text)


def _key(variable: str | None) -> str:
    """The key that an environment variable holds. The error repeats neither the value nor the
    name: somebody may have given the key itself for the name."""
    if variable is None:
        return _NO_KEY
    key = os.environ.get(variable, "")
    # An HTTP library that meets a line break in a header quotes the header in its error.
    if not re.fullmatch(r"[!-~]{8,}", key):
        raise UserError("the environment variable that is to hold the key is not set, or holds "
                        "no key: expected at least 8 visible ASCII characters without a space; "
                        "export it, and give its name, not the key")
    return key


def _without(key: str, text: str) -> str:
    for shown in () if key == _NO_KEY else (key, quote(key, safe="")):
        text = text.replace(shown, "[key]")
    return text


@dataclass
class _Pace:
    """An event hook of the HTTP client: requests start at least `interval` seconds apart."""

    interval: float
    next: float = 0.0

    def __call__(self, request: object) -> None:
        time.sleep(max(0.0, self.next - time.monotonic()))
        self.next = time.monotonic() + self.interval


def _is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
