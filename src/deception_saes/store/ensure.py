"""Make what a spec asks for, once, whole, whoever asks first."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from deception_saes.errors import OneLine
from deception_saes.store.files import sha256_file, write_atomic
from deception_saes.store.pinned import (
    instruction_set,
    is_pinned,
    processor,
    run_pinned,
    why_not_promised,
)
from deception_saes.store.spec import Spec, edited_since_loaded

FORM = "calls"
"""How artifacts are laid out; of another form they are refused, as nothing in them is found."""


class OldArtifacts(OneLine, RuntimeError):
    """Artifacts of an earlier form lie where new ones would go. The message says what to do."""


def marker_path(tree: Path, spec: Spec) -> Path:
    """The file whose presence says that `spec` was made in `tree`."""
    return tree / ".done" / f"{spec.unit}-{spec.hash}"


def is_made(tree: Path, spec: Spec) -> bool:
    """Whether `tree` holds every file of `spec`, byte for byte as it was written."""
    return _is_whole(tree, marker_path(tree, spec))


def check_form(tree: Path) -> None:
    """Raises OldArtifacts if `tree` was filled by code that laid artifacts out otherwise."""
    done = tree / ".done"
    if done.is_dir() and not (done / ".form").is_file() and any(done.glob("[!.]*")):
        raise OldArtifacts(f"{tree} was filled by an earlier version of this code, whose artifacts "
                           "this one cannot read; delete it (`make clean`), or name another "
                           "folder in DECEPTION_SAES_ARTIFACTS")


def _is_whole(tree: Path, marker: Path) -> bool:
    try:
        files = json.loads(marker.read_text(encoding="utf-8"))["files"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError, UnicodeDecodeError):
        return False
    return all((tree / name).is_file() and sha256_file(tree / name) == digest
               for name, digest in files.items())


class SourcesChanged(OneLine, RuntimeError):
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
    Raises SourcesChanged, and keeps nothing, if the spec's hash is another when all is written, or
    if this process has loaded other code than the files now hold: nobody knows then which code was
    run. Raises OldArtifacts for a tree of another form.
    """
    hash = spec.hash
    marker = tree / ".done" / f"{spec.unit}-{hash}"
    if _is_whole(tree, marker):
        return tree
    check_form(tree)
    marker.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(marker.with_name(".form"), FORM)
    name = marker.name if spec.side_by_side else spec.unit
    with held(marker.with_name(f".{name}.lock"), f"{spec.unit}: another process is making it"):
        if _is_whole(tree, marker):
            return tree
        for half_made in tree.glob(f".making-{name}-????????"):
            shutil.rmtree(half_made)  # of a killed run: we hold its lock
        in_this_process = not spec.pinned or is_pinned()
        if in_this_process and (edited := edited_since_loaded(spec)):
            raise SourcesChanged(f"{spec.unit}: {', '.join(edited)} was edited after this process "
                                 "had loaded it; restart the kernel and run the same again")
        out = Path(tempfile.mkdtemp(dir=tree, prefix=f".making-{name}-"))
        try:
            started, used = time.perf_counter(), _cpu_seconds()
            made_on = run_pinned(_make, make, out) if spec.pinned else _make(make, out)
            if spec.hash != hash:
                raise SourcesChanged(f"{spec.unit}: code or data that it is made from has changed "
                                     "meanwhile; run the same command again")
            _publish(out, marker, spec, {
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


def _publish(out: Path, marker: Path, spec: Spec, how: dict[str, Any]) -> None:
    """how: what making it took, and on what it was made; for the marker."""
    tree = marker.parents[1]
    written = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    if not written:
        raise RuntimeError(f"{spec.unit}: its producer wrote nothing")
    digests = {path.as_posix(): sha256_file(out / path) for path in written}
    if not spec.side_by_side:
        _drop_others(marker, spec, digests)
    for path in written:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).replace(tree / path)
    written_down = {"spec": json.loads(spec.describe()), "files": digests, **how}
    write_atomic(marker, json.dumps(written_down, indent=1) + "\n")


def _drop_others(marker: Path, spec: Spec, digests: Collection[str]) -> None:
    """What other specs of this unit have written and this one has not."""
    dropped: set[str] = set()
    for old in marker.parent.glob(f"{spec.unit}-{'?' * len(spec.hash)}"):
        dropped |= _files_of(old) - set(digests)
        old.unlink()
    for name in dropped:
        (marker.parents[1] / name).unlink(missing_ok=True)


def _files_of(marker: Path) -> set[str]:
    try:
        return set(json.loads(marker.read_text(encoding="utf-8"))["files"])
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError):
        return set()
