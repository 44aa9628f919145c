"""What a computation depends on, and the hash that names it."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from deception_saes.loaded import SOURCES
from deception_saes.store.files import PACKAGE_DIR
from deception_saes.store.pinned import INSTRUCTION_SET

PACKAGE = "deception_saes"
_FOR_TYPES = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
_LONGEST = 50


@dataclass(frozen=True)
class Spec:
    """Everything that decides the bytes one unit of work writes."""

    unit: str
    """Name of the work, unique in its tree of artifacts ("s23", "notebook-s23")."""
    params: Any
    """Plain data or dataclasses; what the producer is given, and all it may use."""
    sources: tuple[str, ...]
    """Modules of this package whose code decides the result. What they import of this package
    counts too, so edited code never serves old numbers. Comments, docstrings and the text of errors
    do not count."""
    data: tuple[Path, ...] = ()
    """Further files that decide the result."""
    inputs: tuple[str, ...] = ()
    """Hashes of the specs whose artifacts are read."""
    libraries: tuple[str, ...] = ("torch", "transformers")
    """Distributions whose version decides the result."""
    pinned: bool = False
    """Whether it is made in a process pinned to one instruction set (see `store.pinned`)."""
    side_by_side: bool = False
    """Whether what other specs of this unit asked for stays beside it."""

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of all of the above."""
        return hashlib.sha256(self.describe().encode()).hexdigest()[:16]

    def describe(self) -> str:
        """JSON of the spec; kept in the marker, for a person who asks what changed. The order of
        mappings counts: what a call makes of them may follow it."""
        described = {
            "unit": self.unit,
            "params": _condensed(plain(self.params)),
            "sources": {str(p.relative_to(PACKAGE_DIR)): _source(p).code_hash
                        for p in imported_files(self.sources)},
            "data": [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()]
                     for path in sorted(self.data)],
            "inputs": list(self.inputs),
            "libraries": {name: _version(name) for name in self.libraries},
            "instruction_set": INSTRUCTION_SET if self.pinned else None,
        }
        return json.dumps(described, indent=1)


def plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as JSON data, arrays and tables as the hash of their
    content; a dataclass keeps its name.

    Raises TypeError for anything else that JSON has no word for.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = type(value).__name__  # asked by name, so that no library is loaded for it
    if kind == "ndarray":
        return {"type": f"{value.dtype} {list(value.shape)}", "sha256": _sha256(value.tobytes())}
    if kind == "DataFrame":
        return {"type": kind, "sha256": _sha256(value.to_csv(index=False).encode())}
    raise TypeError(f"a spec cannot hold {value!r} of type {type(value).__name__}: "
                    "use numbers, text, tuples, dicts or dataclasses")


def _condensed(value: Any) -> Any:
    """Plain data with what is long by its hash alone: a marker need not hold every question."""
    if isinstance(value, list | dict) and len(value) > _LONGEST:
        return {"length": len(value), "sha256": _sha256(json.dumps(value).encode())}
    if isinstance(value, dict):
        return {key: _condensed(item) for key, item in value.items()}
    return [_condensed(item) for item in value] if isinstance(value, list) else value


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def edited_since_loaded(spec: Spec) -> list[str]:
    """Modules of the spec's sources that this process has loaded and whose code is another by now,
    by their paths in the package."""
    return [str(path.relative_to(PACKAGE_DIR)) for path in imported_files(spec.sources)
            if path in SOURCES and SOURCES[path] != path.read_text(encoding="utf-8")
            and _code_hash(ast.parse(SOURCES[path])) != _source(path).code_hash]


def imported_files(modules: Iterable[str]) -> list[Path]:
    """The files of `modules` and of all modules of this package that they import, sorted.

    Imports inside functions count; imports under `if TYPE_CHECKING:` do not (they run no code).
    """
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _module_file(name, PACKAGE_DIR)
        if path is None:
            raise ModuleNotFoundError(f"{name} is not a module of {PACKAGE}")
        if path not in found:
            found.add(path)
            waiting.extend(_source(path).imports)
    return sorted(found)


def imported_modules(path: Path) -> tuple[str, ...]:
    """The modules of this package that a file imports itself, sorted."""
    return _source(path).imports


# A process asks for some sixty specs of much the same modules.
_version = cache(importlib.metadata.version)


@dataclass(frozen=True)
class _Source:
    """What a module's file holds."""

    code_hash: str
    """Of its syntax tree, without what changes no result."""
    imports: tuple[str, ...]
    """The modules of this package that it imports."""


def _source(path: Path) -> _Source:
    """What the module holds now: an edit under a running process is seen."""
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


@cache
def _read(path: Path, _modified: int, _size: int) -> _Source:
    parsed = ast.parse(path.read_text(encoding="utf-8"))
    return _Source(_code_hash(parsed), _imports(path, parsed))


def _code_hash(parsed: ast.Module) -> str:
    parts: list[str] = []
    _write_code(parsed, parts, with_texts=True)
    return _sha256("\n".join(parts).encode())


def _write_code(node: ast.AST, parts: list[str], *, with_texts: bool) -> None:
    """The syntax tree in a line a node or leaf, which has no comments and no layout, without
    docstrings and the text of raised errors."""
    parts.append(type(node).__name__)
    with_texts = with_texts and not isinstance(node, ast.Raise)
    for name in node._fields:
        value = getattr(node, name, None)
        for item in value if isinstance(value, list) else (value,):
            if not isinstance(item, ast.AST):
                is_text = isinstance(item, str) and isinstance(node, ast.Constant)
                parts.append(repr(item) if with_texts or not is_text else "text")
            elif not _is_docstring(item):
                _write_code(item, parts, with_texts=with_texts)
        parts.append(name)


def _is_docstring(node: ast.AST) -> bool:
    return (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str))


@cache
def _module_file(name: str, package_dir: Path) -> Path | None:
    if name.split(".", maxsplit=1)[0] != PACKAGE:
        return None
    path = package_dir.joinpath(*name.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imports(path: Path, parsed: ast.Module) -> tuple[str, ...]:
    names: set[str] = set()
    waiting: list[ast.AST] = [parsed]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in _FOR_TYPES:
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ImportError(f"{path}:{node.lineno}: write the import from the package's "
                                  "root; a spec hash does not follow relative ones")
            names.add(str(node.module))
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        waiting.extend(ast.iter_child_nodes(node))
    parents = {".".join(name.split(".")[:depth])
               for name in names for depth in range(1, name.count(".") + 1)}
    return tuple(sorted(name for name in names | parents if _module_file(name, PACKAGE_DIR)))
