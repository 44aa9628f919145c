"""Calls that are computed once. What is cached here are functions of this module."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from cells import CACHED
from places import artifacts_at

from deception_saes import cache
from deception_saes.cache import Folder, cached, cached_files, calls_tree, drop_others, trim, used
from deception_saes.loaded import SOURCES
from deception_saes.store import spec as spec_module
from deception_saes.store.ensure import OldArtifacts, SourcesChanged
from deception_saes.store.files import PACKAGE_DIR
from deception_saes.tidy import about, columns_of, described

TIMES = []


@pytest.fixture(autouse=True)
def root(tmp_path):
    """An empty place for artifacts."""
    TIMES.clear()
    with artifacts_at(tmp_path):
        yield tmp_path


def of_this_module(function, **how):
    """A cached function whose code counts as that of a module of the package."""
    decorated = cached(**how)(function)
    function.__module__ = "deception_saes.rng"
    return decorated


def once(value):
    TIMES.append(value)
    return value


def test_a_call_is_computed_once():
    double = of_this_module(lambda x: once(2 * x))
    assert [double(3), double(x=3), double(4)] == [6, 6, 8]
    assert TIMES == [6, 8]


@pytest.mark.parametrize("result", [
    np.arange(6.0).reshape(2, 3) / 7, {"sandbag": {"E6Δ": np.zeros(2)}, "few": np.array([1])},
    1 / 3, "text", None, [1, None], {"a": 1.5, "b": {"c": "x"}}])
def test_what_is_read_back_is_what_was_returned(result):
    give = of_this_module(lambda: result)
    for _ in range(2):
        np.testing.assert_equal(give(), result)


def test_tables_come_back_to_the_last_bit_with_what_they_say_of_their_columns(hostile):
    n = len(hostile)
    table = described(
        pd.DataFrame({"x": np.random.default_rng(0).normal(size=n), "text": hostile,
                      "half": [None, *["a"] * (n - 1)]}), "a table", x=("pp", "a number"))
    found = of_this_module(lambda: {"t": table})()["t"]
    pd.testing.assert_frame_equal(found, table, check_exact=True)
    assert about(found) == "a table"
    assert columns_of(found)["x"].unit == "pp"


@dataclasses.dataclass(frozen=True)
class Argument:
    x: object


@pytest.mark.parametrize(("one", "other"), [
    (1, 2), ((1, 2), (2, 1)), (Argument(1), Argument(2)), (np.zeros(3), np.ones(3)),
    (np.zeros(3), np.zeros(3, dtype=np.float32)), (pd.DataFrame({"a": [1]}),
                                                   pd.DataFrame({"a": [2]})),
    (tuple(range(99)), tuple(range(1, 100)))])
def test_another_argument_is_another_call(one, other):
    count = of_this_module(lambda x: once(len(TIMES)))
    assert [count(one), count(other), count(one)] == [0, 1, 0]


@pytest.fixture
def rng(tmp_path, monkeypatch):
    """The file of the module that calls here are of, in a package of its own."""
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(spec_module, "PACKAGE_DIR", package)
    (package / "rng.py").write_text("x = 1\n")
    return package / "rng.py"


def test_versions_stay_side_by_side_and_an_edit_taken_back_computes_nothing(rng):
    count = of_this_module(lambda: once(len(TIMES)))
    found = [count()]
    rng.write_text("x = 23\n")
    found.append(count())
    rng.write_text("x = 1  # as before\n")
    found.append(count())
    assert found == [0, 1, 0]


def test_code_that_was_edited_after_it_was_loaded_is_not_run(rng, monkeypatch):
    rng.write_text("x = 23\n")
    monkeypatch.setitem(SOURCES, rng, "x = 1\n")
    count = of_this_module(lambda: once(0))
    with pytest.raises(SourcesChanged, match=r"rng\.py"):
        count()
    monkeypatch.setitem(SOURCES, rng, "x = 23  # other comments do not matter\n")
    assert count() == 0


def test_modules_are_noted_as_they_are_loaded():
    assert SOURCES[PACKAGE_DIR / "rng.py"] == (PACKAGE_DIR / "rng.py").read_text(encoding="utf-8")
    assert (PACKAGE_DIR / "experiments" / "heads.py") in SOURCES


def test_code_that_changes_while_a_call_is_computed_keeps_nothing(rng):
    def edits():
        rng.write_text("x = 23\n")
        return 0

    with pytest.raises(SourcesChanged):
        of_this_module(edits)()
    assert not list(calls_tree().glob("edits-*"))


def test_files_that_a_call_writes_lie_in_its_folder_and_its_checkpoints_go():
    def write(to: Folder, text: str) -> None:
        to.checkpoints.mkdir(parents=True)
        (to.checkpoints / "half").write_text("half")
        (to.out / "whole.txt").write_text(text)

    written = cached_files()(write)
    write.__module__ = "deception_saes.rng"
    folder = written("a")
    assert (folder / "whole.txt").read_text() == "a"
    assert folder.parent == calls_tree()
    assert not list((calls_tree() / "checkpoints").iterdir())


def test_a_damaged_result_is_computed_again():
    count = of_this_module(lambda: once(len(TIMES)))
    count()
    (result,) = calls_tree().glob("*/result.json")
    result.write_text("{}")
    assert count() == 1


def test_calls_say_whether_they_were_computed():
    count = of_this_module(lambda: 0)
    before = len(used())
    count(), count()
    assert [call.computed for call in used()[before:]] == [True, False]


def test_beyond_its_size_the_call_that_was_not_used_for_longest_goes_first():
    give = of_this_module(lambda x: np.zeros(1000) + x)
    for x in range(3):
        give(x)
    markers = [call.marker for call in used()[-3:]]
    for age, name in zip((30, 20, 10), markers, strict=True):
        marker = calls_tree() / ".done" / name
        os.utime(marker, (marker.stat().st_mtime - age,) * 2)
    give(0)  # used again
    assert trim(calls_tree(), most=20_000, spared=0) == [markers[1]]
    assert not (calls_tree() / markers[1]).exists()
    assert trim(calls_tree(), most=0) == []  # used within the last day: a build may need them


def test_only_named_calls_are_left():
    give = of_this_module(lambda x: np.zeros(1000) + x)
    give(0), give(1)
    kept = used()[-1].marker
    assert drop_others(calls_tree(), [kept]) > 8000
    assert [path.name for path in (calls_tree() / ".done").glob("[!.]*")] == [kept]


def test_artifacts_of_an_earlier_form_are_refused_in_one_line(root):
    (root / "calls" / ".done").mkdir(parents=True)
    (root / "calls" / ".done" / "s23-0123456789abcdef").write_text("{}")
    with pytest.raises(OldArtifacts, match="calls"):
        of_this_module(lambda: 0)()


@pytest.mark.parametrize("changed", [{"x": 2}, {"y": 2}, {"draws": 2}, {"seed": 2}])
def test_each_argument_alone_makes_another_call(changed):
    def function(x, y=1, *, draws=1, seed=1):
        return once(len(TIMES))

    count, given = of_this_module(function), {"x": 1, "y": 1, "draws": 1, "seed": 1}
    assert [count(**given), count(**{**given, **changed}), count(**given)] == [0, 1, 0]


# What calls of the book depend on

REACHED = {
    "ask": "tasks/scoring.py", "contrasts": "analysis/bootstrap.py",
    "train_saes": "saes/training.py", "activations": "models/forward.py",
    "edit_effects": "interventions/swap.py", "gap_table": "experiments/gaps.py",
    "sweep": "interventions/ablation.py", "damage": "tasks/prompts.py",
}
NOT_REACHED = ("paper/catalogue.py", "paper/book.py", "experiments/sae_tables.py")


@pytest.mark.parametrize("name", REACHED)
def test_the_code_that_a_call_reaches_is_in_its_key_and_what_shows_it_is_not(
        name, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(PACKAGE_DIR, copy, ignore=shutil.ignore_patterns("data", "__pycache__"))
    monkeypatch.setattr(spec_module, "PACKAGE_DIR", copy)
    (of,) = (of for of in CACHED if of.function.__name__ == name)
    call = cache.Call(of, ())

    def key():
        return json.loads(call.spec.describe())["sources"]

    before = key()
    for file, changes in (*((file, False) for file in NOT_REACHED), (REACHED[name], True)):
        with (copy / file).open("a", encoding="utf-8") as source:
            source.write("\nEDITED = 1\n")
        assert (key() != before) == changes, file
