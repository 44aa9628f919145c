"""Data files that come with the package, checked when they are read.

`SHA256SUMS` lists them; after an edit that is to stay, `sha256sum` writes it anew (see README).
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from deception_saes.store.files import PACKAGE_DIR

SUMS = PACKAGE_DIR / "SHA256SUMS"


class ShippedDataError(ValueError):
    """A shipped file was changed by a tool, not by a person. The message says how to get it back.
    """


def read_shipped(path: Path) -> bytes:
    """The file's bytes. An edited file is read as it is, see `edited`; one that is not listed too.

    Raises ShippedDataError if nothing but its line ends was changed: a line break inside a text
    would be another text then.
    """
    data = path.read_bytes()
    listed = _digests().get(path.resolve())
    if listed is not None and _digest(data) != listed and _digest(
            data.replace(b"\r\n", b"\n")) == listed:
        raise ShippedDataError(
            f"{path.name}: its line ends were changed to CRLF (git does so with core.autocrlf), "
            "and with them texts in it; run `git config core.autocrlf false`, delete the file and "
            f"`git checkout -- {path.name}` in its folder")
    return data


def edited() -> list[str]:
    """Shipped files that are not as they were shipped, by their paths in the package."""
    return [path.relative_to(PACKAGE_DIR).as_posix() for path, listed in _digests().items()
            if not path.is_file() or _digest(path.read_bytes()) != listed]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def _digests() -> dict[Path, str]:
    lines = (line.split() for line in SUMS.read_text(encoding="utf-8").splitlines())
    return {PACKAGE_DIR / name: digest for digest, name in lines}
