"""The smoke book, built once for all that look at it."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from filelock import FileLock


def build(artifacts, checkout=None):
    """Build; `checkout`: a copy of the project to build from, in place of the installed one."""
    environment = {**os.environ, "DECEPTION_SAES_ARTIFACTS": str(artifacts)}
    if checkout is not None:
        environment["PYTHONPATH"] = str(checkout / "src")
    return subprocess.run(
        [sys.executable, "-m", "deception_saes", "book", "--profile", "smoke"],
        env=environment, cwd=checkout, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def build_smoke():
    return build


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """The book, built from nothing into a folder with a space in its name; once for all of xdist's
    processes."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    artifacts, said = shared / "book" / "my artifacts", shared / "book.stdout"
    with FileLock(shared / "book.lock"):
        if not said.is_file():
            ran = build(artifacts)
            assert ran.returncode == 0, ran.stdout + ran.stderr
            said.write_text(ran.stdout, encoding="utf-8")
    tree = artifacts / "smoke"
    pages = {path.relative_to(tree / "html").as_posix(): path.read_text(encoding="utf-8")
             for path in (tree / "html").rglob("*.html") if "_static" not in path.parts}
    return SimpleNamespace(artifacts=artifacts, tree=tree, pages=pages,
                           stdout=said.read_text(encoding="utf-8"))
