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

from deception_saes.store.files import PACKAGE_DIR
from deception_saes.store.pinned import INSTRUCTION_SET

PACKAGE = "deception_saes"
_FOR_TYPES = ("TYPE_CHECKING", "typing.TYPE_CHECKING")


@dataclass(frozen=True)
class Spec:
    """Everything that decides the bytes one unit of work writes.

    unit: name of the work, unique in its tree of artifacts ("s23", "notebook-s23").
    params: plain data or dataclasses; what the producer is given, and all it may use.
    sources: modules of this package whose code decides the result. What they import of this
        package counts too, so edited code never serves old numbers. Comments, docstrings and the
        text of errors do not count.
    data: further files that decide the result.
    inputs: hashes of the specs whose artifacts are read.
    libraries: distributions whose version decides the result.
    pinned: whether it is made in a process pinned to one instruction set (see `store.pinned`).
    """

    unit: str
    params: Any
    sources: tuple[str, ...]
    data: tuple[Path, ...] = ()
    inputs: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ("torch", "transformers")
    pinned: bool = False

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of all of the above."""
        return hashlib.sha256(self.describe().encode()).hexdigest()[:16]

    def describe(self) -> str:
        """Canonical JSON of the spec; kept in the marker, for a person who asks what changed."""
        described = {
            "unit": self.unit,
            "params": plain(self.params),
            "sources": {str(p.relative_to(PACKAGE_DIR)): _source(p).code_hash
                        for p in imported_files(self.sources)},
            "data": [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()]
                     for path in sorted(self.data)],
            "inputs": list(self.inputs),
            "libraries": {name: _version(name) for name in self.libraries},
            "instruction_set": INSTRUCTION_SET if self.pinned else None,
        }
        return json.dumps(described, sort_keys=True, indent=1)


def plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as JSON data; a dataclass keeps its name.

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
    raise TypeError(f"a spec cannot hold {value!r} of type {type(value).__name__}: "
                    "use numbers, text, tuples, dicts or dataclasses")


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


# A process asks for some sixty specs of much the same modules.
_version = cache(importlib.metadata.version)


@dataclass(frozen=True)
class _Source:
    """code_hash: of the module's syntax tree, without what changes no result. imports: the modules
    of this package that it imports."""

    code_hash: str
    imports: tuple[str, ...]


def _source(path: Path) -> _Source:
    """What the module holds now: an edit under a running process is seen."""
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


@cache
def _read(path: Path, _modified: int, _size: int) -> _Source:
    parsed = ast.parse(path.read_text(encoding="utf-8"))
    imports = _imports(path, parsed)
    code = ast.dump(_WithoutProse().visit(parsed))
    return _Source(hashlib.sha256(code.encode()).hexdigest(), imports)


class _WithoutProse(ast.NodeTransformer):
    """Takes docstrings and the text of raised errors out of a syntax tree, which has no comments
    and no layout."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return ast.Pass()
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        for text in ast.walk(node):
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                text.value = ""
        return node


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
