"""Calls that are computed once, by their arguments, their data and the code that they can reach.

A cached function is called like any other; what it returned for the same arguments, with the same
code and data, is read from `artifacts/calls`. Versions of other code or arguments stay beside it:
an experiment evicts nothing, and taking an edit back computes nothing. `trim` bounds their size.

The code that a call can reach is that of its function's module and of all modules of this package
that it imports, without docstrings, comments and the text of errors (see `store.spec`). It is
hashed again from disk before anything is kept.
"""

from __future__ import annotations

import csv
import functools
import importlib
import inspect
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from deception_saes.store.ensure import ensure, is_made, marker_path
from deception_saes.store.files import PACKAGE_DIR, artifacts_root, guarded, unguarded
from deception_saes.store.spec import Spec

P = ParamSpec("P")
R = TypeVar("R")

LIBRARIES = ("torch", "transformers", "numpy")
"""Distributions whose version decides what any call returns."""

KEPT_BYTES = 8 * 2**30
"""What calls may take on disk: beyond it, those that were not used for longest go first."""
_SPARED_SECONDS = 24 * 3600.0
"""What was used within this time stays: a build may still need it."""

_ONE = "result"  # name of a result that is not a dictionary


@dataclass(frozen=True)
class Used:
    """A call as it was used."""

    function: str
    marker: str
    """File name of its marker."""
    seconds: float
    """Of computing it, when that was done."""
    computed: bool
    """Whether it was done now."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions of those that decided it."""


@dataclass(frozen=True)
class Folder:
    """Where a call that writes files writes them."""

    out: Path
    """Empty, for its result."""
    checkpoints: Path
    """Outlives a killed run, for what it goes on from."""


class Cached(Generic[P, R]):
    """A function whose results are kept. Made by `cached` and `cached_files`."""

    def __init__(
        self, function: Callable[..., Any], writes_files: bool, pinned: bool,
        data: tuple[str, ...], libraries: tuple[str, ...],
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.writes_files, self.pinned = writes_files, pinned
        self.data = tuple(PACKAGE_DIR / name for name in data)
        self.libraries = (*LIBRARIES, *libraries)
        signature = inspect.signature(function)
        given = list(signature.parameters.values())[1 if writes_files else 0:]
        self._signature = signature.replace(parameters=given)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = self.call(*args, **kwargs).result()
        return result

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The call with these arguments, not made yet."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return Call(self, tuple(bound.arguments.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _named, (self.function.__module__, self.function.__qualname__)


@dataclass(frozen=True)
class Call:
    """A function of this package with its arguments: what is cached."""

    function: Cached[Any, Any]
    arguments: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        return self.function.function.__name__

    @property
    def spec(self) -> Spec:
        """What decides the result."""
        return Spec(self.name, dict(self.arguments), sources=(self.function.function.__module__,),
                    data=self.function.data, libraries=self.function.libraries,
                    pinned=self.function.pinned, side_by_side=True)

    @property
    def is_made(self) -> bool:
        return is_made(calls_tree(), self.spec)

    def make(self) -> Path:
        """The folder that holds the result, computed unless it has been. Raises what `ensure`
        does."""
        tree, spec = calls_tree(), self.spec
        marker = marker_path(tree, spec)
        before = marker.stat().st_ino if marker.is_file() else None
        checkpoints = tree / "checkpoints" / marker.name
        with _threads_restored(), _inside():
            ensure(tree, spec, functools.partial(_write, self, marker.name, checkpoints))
        computed = marker.stat().st_ino != before
        if computed:
            shutil.rmtree(checkpoints, ignore_errors=True)
            trim(tree)
        os.utime(marker)  # when it was used last
        if not _running:
            made = json.loads(marker.read_text(encoding="utf-8"))
            _log.append(Used(self.name, marker.name, made["seconds"], computed,
                             made["spec"]["libraries"]))
        return tree / marker.name

    def result(self) -> Any:
        """What the function returned; of one that writes files, their folder."""
        folder = self.make()
        return folder if self.function.writes_files else _read(folder)


def cached(
    *, pinned: bool = False, data: tuple[str, ...] = (), libraries: tuple[str, ...] = ()
) -> Callable[[Callable[P, R]], Cached[P, R]]:
    """A decorator for functions of a module: their results are kept.

    Arguments are plain data, dataclasses of it, arrays or tables. The result is a table, an array,
    plain data, or a dictionary of these by name, nested or not.
    pinned: it is computed in a process pinned to one instruction set (see `store.pinned`).
    data: files below the package that it reads. libraries: distributions beside LIBRARIES whose
    version decides the result.
    """
    return lambda function: Cached(function, False, pinned, data, libraries)


def cached_files(
    *, pinned: bool = False, data: tuple[str, ...] = (), libraries: tuple[str, ...] = ()
) -> Callable[[Callable[Concatenate[Folder, P], None]], Cached[P, Path]]:
    """As `cached`, for a function that writes its result into the `Folder` that it is given first;
    a call returns the folder with the files."""
    return lambda function: Cached(function, True, pinned, data, libraries)


def calls_tree() -> Path:
    """Where results of calls lie, a folder each."""
    return artifacts_root() / "calls"


def used() -> list[Used]:
    """The calls that this process has made so far, in order, without those that calls made."""
    return list(_log)


def kept_bytes(tree: Path) -> dict[str, int]:
    """Bytes of every call that is kept, by its marker's name, that used longest ago first."""
    markers = sorted((tree / ".done").glob("[!.]*"), key=lambda path: path.stat().st_mtime)
    return {marker.name: sum(path.stat().st_size for path in (tree / marker.name).rglob("*")
                             if path.is_file()) for marker in markers}


def trim(tree: Path, most: int = KEPT_BYTES, spared: float = _SPARED_SECONDS) -> list[str]:
    """Drop calls that were not used for longest until all together have at most so many bytes;
    those used within the last `spared` seconds stay. The names of what went."""
    sizes = kept_bytes(tree)
    total, gone = sum(sizes.values()), []
    for name, size in sizes.items():
        if total <= most or time.time() - (tree / ".done" / name).stat().st_mtime < spared:
            break
        drop(tree, name)
        total -= size
        gone.append(name)
    return gone


def drop_others(tree: Path, kept: Collection[str]) -> int:
    """Drop every call whose marker is not named; bytes that this frees."""
    sizes = kept_bytes(tree)
    for name in sizes.keys() - set(kept):
        drop(tree, name)
    return sum(size for name, size in sizes.items() if name not in kept)


def drop(tree: Path, name: str) -> None:
    """Forget one call: first its marker, so that it is never half there."""
    (tree / ".done" / name).unlink(missing_ok=True)
    shutil.rmtree(tree / name, ignore_errors=True)


_log: list[Used] = []
_running: list[None] = []


@contextmanager
def _inside() -> Iterator[None]:
    _running.append(None)
    try:
        yield
    finally:
        _running.pop()


def _named(module: str, name: str) -> Any:
    """For pickling: the cached function of a module."""
    return getattr(importlib.import_module(module), name)


def _write(call: Call, name: str, checkpoints: Path, out: Path) -> None:
    folder = out / name
    folder.mkdir()
    function, arguments = call.function.function, dict(call.arguments)
    if call.function.writes_files:
        function(Folder(folder, checkpoints), **arguments)
    else:
        _store(function(**arguments), folder)


@contextmanager
def _threads_restored() -> Iterator[None]:
    """A call sets the threads that decide its last bits; its caller gets back its own."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    try:
        yield
    finally:
        if torch and before is not None:
            torch.set_num_threads(before)


def _store(result: Any, folder: Path) -> None:
    """Arrays in one npz, each table as a CSV, plain data in one JSON file with what tables say of
    their columns."""
    flat = dict(_flattened(result))
    arrays = {name: of for name, of in flat.items() if isinstance(of, np.ndarray)}
    tables = {name: of for name, of in flat.items() if isinstance(of, pd.DataFrame)}
    rest = {name: of for name, of in flat.items() if name not in arrays and name not in tables}
    if arrays:
        np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]
    for name, table in tables.items():
        write_table(table, folder / f"{name.replace('/', '.')}.csv")
    layout = {"order": list(flat), "tables": {name: of.attrs for name, of in tables.items()},
              "arrays": list(arrays), "rest": rest}
    (folder / "result.json").write_text(json.dumps(layout, ensure_ascii=False), encoding="utf-8")


def _read(folder: Path) -> Any:
    layout = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    flat: dict[str, Any] = dict(layout["rest"])
    if layout["arrays"]:
        with np.load(folder / "arrays.npz") as arrays:
            flat |= {name: arrays[name] for name in layout["arrays"]}
    for name, attrs in layout["tables"].items():
        flat[name] = read_table(folder / f"{name.replace('/', '.')}.csv")
        flat[name].attrs = attrs
    if layout["order"] == [_ONE]:
        return flat[_ONE]
    whole: dict[str, Any] = {}
    for name in layout["order"]:
        *parents, last = name.split("/")
        place = whole
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = flat[name]
    return whole


def _flattened(result: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(result, dict) and result:
        for key, item in result.items():
            yield from _flattened(item, f"{name}/{key}" if name else str(key))
    else:
        yield name or _ONE, result


def write_table(table: pd.DataFrame, path: Path) -> None:
    """A CSV in which text is always quoted, since a token may be a line break, and guarded, since
    it may begin as a spreadsheet's formula does; `read_table` gives it back as it was."""
    safe = _each_text(table, guarded)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(safe.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC),
                    encoding="utf-8")


def read_table(path: Path) -> pd.DataFrame:
    """What `write_table` wrote, to the last bit. Empty cells are missing values."""
    return _each_text(pd.read_csv(path, keep_default_na=False, na_values=[""]), unguarded)


def _each_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The table with `change` done to every cell that is text."""
    changed = {name: table[name].map(lambda cell: change(cell) if isinstance(cell, str) else cell)
               for name in table if not pd.api.types.is_numeric_dtype(table[name])}
    return table.assign(**changed)
