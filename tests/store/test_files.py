"""Atomic writes, the place of the artifacts, shipped data, cells of a CSV."""

import errno
import hashlib
import os
import shutil
import subprocess

import pytest

from deception_saes.store import files
from deception_saes.store.files import (
    ShippedDataError,
    artifacts_root,
    checkout,
    edited_shipped,
    guarded,
    read_shipped,
    sha256_file,
    shipped_digests,
    unguarded,
    write_atomic,
)
from deception_saes.tasks.completions import COMPLETIONS, load_completions
from deception_saes.tasks.factors import WORDINGS_FILE
from deception_saes.tasks.framings import FRAMINGS_FILE
from deception_saes.tasks.labels import LABELS_FILE
from deception_saes.tasks.prompts import NEUTRAL_TEXT
from deception_saes.tasks.scenarios import SCENARIOS_FILE, load_scenarios
from deception_saes.tasks.trivia import (
    QUESTIONS,
    TRAINING_QUESTIONS,
    load_questions,
)

FILES = (COMPLETIONS, FRAMINGS_FILE, LABELS_FILE, NEUTRAL_TEXT, QUESTIONS, SCENARIOS_FILE,
         TRAINING_QUESTIONS, WORDINGS_FILE)
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1", "''-1", "- I am sorry"]
HARMLESS = ["", "a=1", "'tis", "''", "−1", " =1", "\n-1", "1-1"]




def test_what_is_written_can_be_read(tmp_path):
    path = tmp_path / "new" / "folder" / "file.json"
    write_atomic(path, "Δ\n")
    assert path.read_bytes() == "Δ\n".encode()


def test_a_write_replaces_the_whole_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"a long old text")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_everyone_may_read_what_is_written(tmp_path):
    write_atomic(tmp_path / "file", "x")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_text_that_cannot_be_encoded_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "new \ud800")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, "old")

    def full(_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_atomic(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"\0\xff" * 100_000)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(b"\0\xff" * 100_000).hexdigest()


def test_artifacts_go_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("DECEPTION_SAES_ARTIFACTS", str(tmp_path))
    assert artifacts_root() == tmp_path.resolve()


def test_artifacts_go_into_the_checkout_by_default(monkeypatch):
    monkeypatch.delenv("DECEPTION_SAES_ARTIFACTS", raising=False)
    assert artifacts_root() == checkout() / "artifacts"
    assert (checkout() / "_config.yml").is_file()


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the shipped files, in which they may be changed."""
    data = tmp_path / "tasks" / "data"
    shutil.copytree(COMPLETIONS.parent, data)
    monkeypatch.setattr(files, "PACKAGE_DIR", tmp_path)
    shipped_digests.cache_clear()
    yield data
    shipped_digests.cache_clear()


def convert(path):
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def test_what_is_committed_is_what_the_digests_say():
    assert edited_shipped() == []
    assert {path.resolve() for path in FILES} == set(shipped_digests())


@pytest.mark.parametrize(("file", "load"), [
    (COMPLETIONS, load_completions), (QUESTIONS, load_questions), (SCENARIOS_FILE, load_scenarios)])
def test_converted_line_ends_are_refused_with_what_to_do(copy, file, load):
    convert(copy / file.name)
    with pytest.raises(ShippedDataError, match=f"{file.name}.*autocrlf") as caught:
        load(copy / file.name)
    assert "\n" not in str(caught.value)
    assert edited_shipped() == [f"tasks/data/{file.name}"]


def test_an_edited_file_is_read_and_named(copy):
    path = copy / QUESTIONS.name
    path.write_bytes(path.read_bytes().replace(b"Paris", b"Lutetia", 1))
    assert len(load_questions(path)) == len(load_questions())
    assert edited_shipped() == [f"tasks/data/{QUESTIONS.name}"]


def test_somebodys_own_file_may_have_any_line_ends(copy, tmp_path):
    own = tmp_path / "own.csv"
    shutil.copy(QUESTIONS, own)
    convert(own)
    assert load_questions(own) == load_questions()
    assert edited_shipped() == []


def test_git_does_not_convert_what_it_checks_out(root, tmp_path):
    """As on a system where git is set to convert line ends."""
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(root / ".gitattributes", source)
    for path in (COMPLETIONS, root / "Makefile"):
        target = source / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    git = ["git", "-c", "core.autocrlf=true", "-c", "user.name=x", "-c", "user.email=x@x"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "x"]):
        subprocess.run([*git, *command], cwd=source, check=True, capture_output=True)
    subprocess.run([*git, "clone", "--quiet", "source", "clone"], cwd=tmp_path, check=True)
    for path in (COMPLETIONS, root / "Makefile"):
        name = path.relative_to(root)
        assert (tmp_path / "clone" / name).read_bytes() == path.read_bytes()
    assert b"\r\n" not in read_shipped(COMPLETIONS)


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_is_guarded(cell):
    assert guarded(cell) == "'" + cell


@pytest.mark.parametrize("cell", HARMLESS)
def test_what_is_no_formula_stays(cell):
    assert guarded(cell) == cell


@pytest.mark.parametrize("cell", FORMULAS + HARMLESS)
def test_guarding_loses_nothing(cell):
    assert unguarded(guarded(cell)) == cell


def test_nothing_that_is_written_begins_as_a_formula_does():
    once = [guarded(cell) for cell in FORMULAS + HARMLESS]
    assert not [cell for cell in once if cell[:1] in set("=+-@\t\r＝")]
