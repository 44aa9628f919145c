"""Atomic writes, hashes and the place of the artifacts."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

PACKAGE_DIR = Path(__file__).resolve().parents[1]
ARTIFACTS_VARIABLE = "DECEPTION_SAES_ARTIFACTS"


def checkout() -> Path:
    """The checkout this package is installed from (editable), else the working directory."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "pyproject.toml").is_file() else Path.cwd()


def artifacts_root() -> Path:
    """Where artifacts go: `$DECEPTION_SAES_ARTIFACTS`, else `artifacts/` of the checkout."""
    named = os.environ.get(ARTIFACTS_VARIABLE)
    return Path(named).resolve() if named else checkout() / "artifacts"


@contextmanager
def artifacts_at(folder: Path) -> Iterator[None]:
    """While open, artifacts go there, those of processes that are started too."""
    before = os.environ.get(ARTIFACTS_VARIABLE)
    os.environ[ARTIFACTS_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[ARTIFACTS_VARIABLE]
        else:
            os.environ[ARTIFACTS_VARIABLE] = before


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
