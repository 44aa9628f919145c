"""What may import what, and what must stay light."""

import ast
import subprocess
import sys

import pytest

from deception_saes.store.files import PACKAGE_DIR

# Each imports only from itself and from those before it.
ORDER = ("store", "models", "tasks", "activations", "saes", "interventions", "analysis",
         "experiments", "paper")
EVERYBODYS = ("rng", "loaded", "tidy", "errors")  # lie beside the folders, import nothing of them
KEPT = "cache"  # lies there too: for what computes experiments, and what shows them


def folder_of(path):
    return path.relative_to(PACKAGE_DIR).parts[0].removesuffix(".py")


def imported_folders(path):
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "deception_saes":
            names += [f"deception_saes.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("deception_saes.")}


@pytest.mark.parametrize("folder", ORDER)
def test_a_folder_imports_only_from_those_above_it(folder):
    place = ORDER.index(folder)
    allowed = {*ORDER[: place + 1], *EVERYBODYS}
    if place >= ORDER.index("experiments"):
        allowed.add(KEPT)
    for path in (PACKAGE_DIR / folder).rglob("*.py"):
        below = imported_folders(path) - allowed
        assert not below, f"{path} imports from {below}"


def test_every_folder_has_a_place_in_the_order():
    folders = {folder_of(path) for path in PACKAGE_DIR.rglob("*.py")}
    assert folders == {*ORDER, *EVERYBODYS, KEPT, "__init__", "__main__"}


@pytest.mark.parametrize("name", EVERYBODYS)
def test_what_everybody_may_import_imports_nothing_of_this_package(name):
    assert imported_folders(PACKAGE_DIR / f"{name}.py") == set()


def test_the_cache_imports_of_this_package_what_keeps_files():
    assert imported_folders(PACKAGE_DIR / f"{KEPT}.py") == {"store"}


@pytest.mark.parametrize(("code", "found"), [
    ("import deception_saes.paper.book", {"paper"}),
    ("from deception_saes import cache, rng", {"cache", "rng"}),
    ("def f():\n    from deception_saes.paper.record import commit", {"paper"}),
    ("import json", set()),
])
def test_an_import_is_found_wherever_it_stands(tmp_path, code, found):
    path = tmp_path / "module.py"
    path.write_text(code)
    assert imported_folders(path) == found


def test_a_units_process_has_loaded_no_library_when_it_is_pinned():
    code = ("import sys, deception_saes.paper.planned\n"
            "print({'numpy', 'torch', 'pandas', 'matplotlib'} & set(sys.modules))")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
