import shutil
import subprocess

import pytest

from deception_saes.store import shipped
from deception_saes.store.shipped import ShippedDataError, edited, read_shipped
from deception_saes.tasks.completions import COMPLETIONS, load_completions
from deception_saes.tasks.framings import FRAMINGS_FILE
from deception_saes.tasks.labels import LABELS_FILE
from deception_saes.tasks.prompts import NEUTRAL_TEXT
from deception_saes.tasks.scenarios import SCENARIOS, load_scenarios
from deception_saes.tasks.trivia import QUESTIONS, load_questions

FILES = (COMPLETIONS, FRAMINGS_FILE, LABELS_FILE, NEUTRAL_TEXT, QUESTIONS, SCENARIOS)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the shipped files, in which they may be changed."""
    data = tmp_path / "tasks" / "data"
    shutil.copytree(COMPLETIONS.parent, data)
    monkeypatch.setattr(shipped, "PACKAGE_DIR", tmp_path)
    shipped._digests.cache_clear()
    yield data
    shipped._digests.cache_clear()


def convert(path):
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def test_what_is_committed_is_what_the_digests_say():
    assert edited() == []
    assert {path.resolve() for path in FILES} == set(shipped._digests())


@pytest.mark.parametrize(("file", "load"), [
    (COMPLETIONS, load_completions), (QUESTIONS, load_questions), (SCENARIOS, load_scenarios)])
def test_converted_line_ends_are_refused_with_what_to_do(copy, file, load):
    convert(copy / file.name)
    with pytest.raises(ShippedDataError, match=f"{file.name}: its line ends.*autocrlf") as caught:
        load(copy / file.name)
    assert "\n" not in str(caught.value)
    assert edited() == [f"tasks/data/{file.name}"]


def test_an_edited_file_is_read_and_named(copy):
    path = copy / QUESTIONS.name
    path.write_bytes(path.read_bytes().replace(b"Paris", b"Lutetia", 1))
    assert len(load_questions(path)) == len(load_questions())
    assert edited() == [f"tasks/data/{QUESTIONS.name}"]


def test_somebodys_own_file_may_have_any_line_ends(copy, tmp_path):
    own = tmp_path / "own.csv"
    shutil.copy(QUESTIONS, own)
    convert(own)
    assert load_questions(own) == load_questions()
    assert edited() == []


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
