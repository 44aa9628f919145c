"""A server's key: read from the environment, and kept out of everything that is written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

_HIDDEN = "[key]"


class JudgeError(RuntimeError):
    """A judge cannot go on. The message says why and what to do; it never holds the key."""


@dataclass(frozen=True)
class Key:
    """A key, or none: the empty value."""

    value: str = field(default="", repr=False)

    def scrub(self, text: str) -> str:
        """The text with the key, as it stands or percent-encoded, replaced."""
        if not self.value:
            return text
        for shown in (self.value, quote(self.value, safe="")):
            text = text.replace(shown, _HIDDEN)
        return text


def key_from_environment(variable: str | None) -> Key:
    """The key that an environment variable holds; none if no variable is named.

    Raises JudgeError if it holds none, or what is no key. The message repeats neither the value
    nor the name: somebody may have given the key itself for the name.
    """
    if variable is None:
        return Key()
    value = os.environ.get(variable, "")
    if not value:
        raise JudgeError("the environment variable that is to hold the key is not set, or empty; "
                         "export it, and give its name, not the key")
    # An HTTP library that meets a line break in a header quotes the header in its error.
    if not re.fullmatch(r"[!-~]{8,}", value):
        raise JudgeError("the environment variable that is to hold the key holds what is no key: "
                         "expected at least 8 visible ASCII characters and no space or line break")
    return Key(value)


def checked_url(base_url: str, key: Key) -> str:
    """The base URL without a slash at its end.

    Raises JudgeError if it is none, if it holds a secret, or if the key would go unencrypted to
    another machine.
    """
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise JudgeError("the base URL has no scheme, no host, or a port that is none; expected "
                         "one like http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment or (
        key.value and key.scrub(base_url) != base_url
    ):
        raise JudgeError("the base URL holds a user, a query or a key; put the key into an "
                         "environment variable and give that variable's name")
    if key.value and parts.scheme == "http" and not loopback(base_url):
        raise JudgeError("the base URL's host would get the key unencrypted; use https")
    return base_url.rstrip("/")


def loopback(url: str) -> bool:
    """Whether the URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
