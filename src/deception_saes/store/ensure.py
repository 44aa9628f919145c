"""Make what a spec asks for, once, whole, whoever asks first."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from deception_saes.store.files import sha256_file, write_atomic
from deception_saes.store.pinned import (
    instruction_set,
    processor,
    run_pinned,
    why_not_promised,
)

if TYPE_CHECKING:
    from deception_saes.store.spec import Spec


def marker_path(tree: Path, spec: Spec) -> Path:
    """The file whose presence says that `spec` was made in `tree`."""
    return tree / ".done" / f"{spec.unit}-{spec.hash}"


def is_made(tree: Path, spec: Spec) -> bool:
    """Whether `tree` holds every file of `spec`, byte for byte as it was written."""
    marker = marker_path(tree, spec)
    try:
        files = json.loads(marker.read_text(encoding="utf-8"))["files"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError, UnicodeDecodeError):
        return False
    return all((tree / name).is_file() and sha256_file(tree / name) == digest
               for name, digest in files.items())


class SourcesChanged(RuntimeError):
    """Code or data was edited while something was made of it. The message says what to do."""


@contextmanager
def held(lock_file: Path, busy: str) -> Iterator[None]:
    """Hold a lock between processes; say `busy` on stderr if it has to be waited for."""
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0.1)
    except Timeout:
        print(f"{busy}; waiting", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def ensure(tree: Path, spec: Spec, make: Callable[[Path], None]) -> Path:
    """Return `tree` holding what `spec` asks for, calling `make` only if it does not yet.

    `make(out)` writes files below the empty folder `out`, laid out as in `tree`. They move into
    place when all are written, the marker last; a failed or killed run leaves no marker, so
    nobody takes its files for whole. One process makes a unit, the others wait for it.
    What a pinned spec asks for is made by `run_pinned`, which needs a `make` that can be pickled.
    Raises SourcesChanged, and keeps nothing, if the spec's hash is another when all is written:
    nobody knows then which code was run.
    """
    if is_made(tree, spec):
        return tree
    hash = spec.hash
    (tree / ".done").mkdir(parents=True, exist_ok=True)
    busy = f"{spec.unit}: another process is making it"
    with held(tree / ".done" / f".{spec.unit}.lock", busy):
        if is_made(tree, spec):
            return tree
        for half_made in tree.glob(f".making-{spec.unit}-????????"):
            shutil.rmtree(half_made)  # of a killed run: we hold its lock
        out = Path(tempfile.mkdtemp(dir=tree, prefix=f".making-{spec.unit}-"))
        try:
            started, used = time.perf_counter(), _cpu_seconds()
            made_on = run_pinned(_make, make, out) if spec.pinned else _make(make, out)
            if spec.hash != hash:
                raise SourcesChanged(f"{spec.unit}: code or data that it is made from has changed "
                                     "meanwhile; run the same command again")
            _publish(out, tree, spec, {
                "seconds": round(time.perf_counter() - started, 1),
                "cpu_seconds": round(_cpu_seconds() - used, 1),
                "made_on": made_on})
        finally:
            shutil.rmtree(out, ignore_errors=True)
    return tree


def _make(make: Callable[[Path], None], out: Path) -> dict[str, str | None]:
    """Make it; on what it was made."""
    make(out)
    return {"processor": processor(), "instruction_set": instruction_set(),
            "why_not_promised": why_not_promised()}


def _cpu_seconds() -> float:
    """Of this process and of all that it has waited for."""
    return sum(os.times()[:4])


def _publish(out: Path, tree: Path, spec: Spec, how: dict[str, Any]) -> None:
    """how: what making it took, and on what it was made; for the marker."""
    written = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    if not written:
        raise RuntimeError(f"{spec.unit}: its producer wrote nothing")
    digests = {path.as_posix(): sha256_file(out / path) for path in written}
    dropped: set[str] = set()
    for old in (tree / ".done").glob(f"{spec.unit}-{'?' * len(spec.hash)}"):
        dropped |= _files_of(old) - digests.keys()
        old.unlink()
    for name in dropped:
        (tree / name).unlink(missing_ok=True)
    for path in written:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).replace(tree / path)
    marker = {"spec": json.loads(spec.describe()), "files": digests, **how}
    write_atomic(marker_path(tree, spec), json.dumps(marker, indent=1) + "\n")


def _files_of(marker: Path) -> set[str]:
    try:
        return set(json.loads(marker.read_text(encoding="utf-8"))["files"])
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError):
        return set()
