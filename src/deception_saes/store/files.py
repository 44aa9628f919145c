"""Files: atomic writes, hashes, the place of the artifacts, data that come with the package, CSV
cells. Loads no library."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

from deception_saes.errors import OneLine

PACKAGE_DIR = Path(__file__).resolve().parents[1]
ARTIFACTS_VARIABLE = "DECEPTION_SAES_ARTIFACTS"
SUMS = PACKAGE_DIR / "SHA256SUMS"
"""Lists the shipped data files; after an edit that is to stay, `sha256sum` writes it anew (see
README)."""


def checkout() -> Path:
    """The checkout this package is installed from (editable), else the working directory."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "pyproject.toml").is_file() else Path.cwd()


def artifacts_root() -> Path:
    """Where artifacts go: `$DECEPTION_SAES_ARTIFACTS`, else `artifacts/` of the checkout."""
    named = os.environ.get(ARTIFACTS_VARIABLE)
    return Path(named).resolve() if named else checkout() / "artifacts"


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file, the new one, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sha256_files(paths: Iterable[Path]) -> str:
    """Hex digest of the bytes of several files, one behind the other. In one process a file is read
    again only if its size or time is another."""
    stats = [(path, path.stat()) for path in paths]
    return _sha256(tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats))


@lru_cache
def _sha256(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ShippedDataError(OneLine, ValueError):
    """A shipped file was changed by a tool, not by a person. The message says how to get it back.
    """


def read_shipped(path: Path) -> bytes:
    """The file's bytes. An edited file is read as it is (see `edited_shipped`), one that is not
    listed too.

    Raises ShippedDataError if nothing but its line ends was changed: a line break inside a text
    would be another text then.
    """
    data = path.read_bytes()
    listed = shipped_digests().get(path.resolve())
    if listed is not None and listed != hashlib.sha256(data).hexdigest() and (
            listed == hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()):
        raise ShippedDataError(
            f"{path.name}: its line ends were changed to CRLF (git does so with core.autocrlf), "
            "and with them texts in it; run `git config core.autocrlf false`, delete the file and "
            f"`git checkout -- {path.name}` in its folder")
    return data


def edited_shipped() -> list[str]:
    """Shipped files that are not as they were shipped, by their paths in the package."""
    return [path.relative_to(PACKAGE_DIR).as_posix() for path, listed in shipped_digests().items()
            if not path.is_file() or sha256_file(path) != listed]


@cache
def shipped_digests() -> dict[Path, str]:
    """SHA-256 of every shipped data file as it was shipped."""
    lines = (line.split() for line in SUMS.read_text(encoding="utf-8").splitlines())
    return {PACKAGE_DIR / name: digest for digest, name in lines}


# What spreadsheets read as the beginning of a formula, full-width forms included, behind any
# number of apostrophes, so that what was guarded once is told from what was written so.
_FORMULA = re.compile(r"'*[=+\-@\t\r＝＋－＠]")


def guarded(cell: str) -> str:
    """The cell with an apostrophe before what would begin a formula; `unguarded` undoes it."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """The cell that `guarded` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
