"""The source of each of this package's modules as this process loaded it.

A process that lives on, a notebook's kernel, runs the code that it has loaded and not what has been
written into the files since: what it computes must not be kept under the hash of the files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

SOURCES: dict[Path, str] = {}
"""By file, the text that was loaded last."""

_PACKAGE = __name__.partition(".")[0]


class _Recorder(MetaPathFinder):
    """Asked before every import and reload; leaves the finding to the finders behind it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.startswith(f"{_PACKAGE}."):
            found = PathFinder.find_spec(name, path)
            if found is not None and found.origin is not None:
                file = Path(found.origin)
                SOURCES[file] = file.read_text(encoding="utf-8")
        return None


def record() -> None:
    """From now on, note what is loaded."""
    if not any(isinstance(finder, _Recorder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Recorder())
