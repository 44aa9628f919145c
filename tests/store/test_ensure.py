import json
import signal
import subprocess
import sys
import time

import pytest

from deception_saes.store.ensure import (
    OldArtifacts,
    SourcesChanged,
    check_form,
    ensure,
    is_made,
    marker_path,
)
from deception_saes.store.spec import Spec

SCRIPT = """
import sys, time
from pathlib import Path
from deception_saes.store.ensure import ensure
from deception_saes.store.spec import Spec

tree, seconds = Path(sys.argv[1]), float(sys.argv[2])

def make(out):
    with (tree.parent / "calls").open("a") as calls:
        calls.write("made\\n")
    (out / "file").write_text("half")
    time.sleep(seconds)
    (out / "file").write_text("whole")

ensure(tree, Spec("unit", 1, ("deception_saes.rng",), libraries=()), make)
"""


def spec_of(params, unit="unit", **how):
    return Spec(unit, params, ("deception_saes.rng",), libraries=(), **how)


def writes(**files):
    """A producer that writes these files and counts its calls."""
    def make(out):
        make.calls += 1
        for name, text in files.items():
            path = out / name.replace("_", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    make.calls = 0
    return make


def leftovers(tree):
    return list(tree.glob(".making-*"))


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "tree"


def test_it_makes_once(tree):
    make = writes(results_a="1")
    for _ in range(2):
        assert ensure(tree, spec_of(1), make) == tree
    assert make.calls == 1
    assert (tree / "results" / "a").read_text() == "1"
    assert not leftovers(tree)


def test_a_made_unit_is_known_as_made(tree):
    assert not is_made(tree, spec_of(1))
    ensure(tree, spec_of(1), writes(a="1"))
    assert is_made(tree, spec_of(1))
    assert not is_made(tree, spec_of(2))


def test_a_failed_producer_leaves_nothing_and_the_next_one_succeeds(tree):
    def fails(out):
        (out / "a").write_text("half")
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        ensure(tree, spec_of(1), fails)
    assert not marker_path(tree, spec_of(1)).exists()
    assert not leftovers(tree)
    assert not (tree / "a").exists()
    ensure(tree, spec_of(1), writes(a="whole"))
    assert (tree / "a").read_text() == "whole"


def test_a_failed_producer_of_a_new_spec_leaves_the_old_files(tree):
    ensure(tree, spec_of(1), writes(a="old"))

    def fails(out):
        (out / "a").write_text("new")
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        ensure(tree, spec_of(2), fails)
    assert is_made(tree, spec_of(1))
    assert (tree / "a").read_text() == "old"


def test_a_deleted_file_is_remade(tree):
    make = writes(a="1", b="2")
    ensure(tree, spec_of(1), make)
    (tree / "b").unlink()
    ensure(tree, spec_of(1), make)
    assert make.calls == 2
    assert (tree / "b").read_text() == "2"


def test_a_changed_file_is_remade(tree):
    make = writes(a="1")
    ensure(tree, spec_of(1), make)
    (tree / "a").write_text("2")
    ensure(tree, spec_of(1), make)
    assert (tree / "a").read_text() == "1"


def test_a_truncated_marker_is_remade(tree):
    make = writes(a="1")
    ensure(tree, spec_of(1), make)
    marker = marker_path(tree, spec_of(1))
    marker.write_text(marker.read_text()[:20])
    ensure(tree, spec_of(1), make)
    assert make.calls == 2
    assert is_made(tree, spec_of(1))


def test_a_new_spec_drops_the_files_that_only_the_old_one_had(tree):
    ensure(tree, spec_of(1), writes(a="1", b="1"))
    ensure(tree, spec_of(2), writes(b="2", c="2"))
    assert not (tree / "a").exists()
    assert (tree / "b").read_text() == (tree / "c").read_text() == "2"
    assert not marker_path(tree, spec_of(1)).exists()


def test_a_unit_leaves_the_files_of_others_alone(tree):
    ensure(tree, spec_of(1, "s2"), writes(a="1"))
    ensure(tree, spec_of(1, "s23"), writes(b="1"))
    ensure(tree, spec_of(2, "s2"), writes(c="2"))
    assert is_made(tree, spec_of(1, "s23"))
    assert (tree / "b").read_text() == "1"


def test_specs_that_stay_side_by_side_keep_each_others_files(tree):
    one, two = (spec_of(number, side_by_side=True) for number in (1, 2))
    for spec, name in ((one, "a"), (two, "b")):
        make = writes(**{name: name})
        ensure(tree, spec, make)
    assert is_made(tree, one)
    assert is_made(tree, two)
    again = writes(a="made again")
    ensure(tree, one, again)
    assert again.calls == 0
    assert (tree / "a").read_text() == "a"


def test_a_tree_of_an_earlier_form_is_refused_and_left_as_it_is(tree):
    ensure(tree, spec_of(1), writes(a="1"))
    check_form(tree)
    (tree / ".done" / ".form").unlink()  # as code from before forms were noted left it
    make = writes(a="2")
    with pytest.raises(OldArtifacts, match="make clean"):
        ensure(tree, spec_of(2), make)
    assert make.calls == 0
    assert (tree / "a").read_text() == "1"
    assert not leftovers(tree)


def test_an_empty_tree_has_every_form(tree):
    check_form(tree)
    (tree / ".done").mkdir(parents=True)
    (tree / ".done" / ".unit.lock").touch()
    check_form(tree)
    ensure(tree, spec_of(1), writes(a="1"))
    assert is_made(tree, spec_of(1))


def test_what_was_made_while_its_data_changed_is_not_kept(tree, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("1")
    spec = Spec("unit", 1, ("deception_saes.rng",), data=(data,), libraries=())

    def edited_meanwhile(out):
        data.write_text("2")
        (out / "a").write_text("of which?")

    with pytest.raises(SourcesChanged, match="unit"):
        ensure(tree, spec, edited_meanwhile)
    for content in ("2", "1"):
        data.write_text(content)
        assert not is_made(tree, spec)
    assert not (tree / "a").exists()


def test_a_producer_that_writes_nothing_is_an_error(tree):
    with pytest.raises(RuntimeError, match="unit"):
        ensure(tree, spec_of(1), lambda out: None)
    assert not is_made(tree, spec_of(1))
    assert not leftovers(tree)


def start(tree, seconds):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(tree), str(seconds)],
                            stderr=subprocess.PIPE, text=True)


def test_processes_that_want_the_same_unit_make_it_once(tree):
    tree.mkdir()
    running = [start(tree, 1) for _ in range(3)]
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert (tree.parent / "calls").read_text() == "made\n"
    assert (tree / "file").read_text() == "whole"
    assert any("unit: " in error for error in errors)  # who waits says for what


def test_a_killed_run_is_taken_for_nothing_and_cleared_away(tree):
    tree.mkdir()
    killed = start(tree, 60)
    deadline = time.monotonic() + 30
    while not list(tree.glob(".making-unit-*/file")):
        assert time.monotonic() < deadline, "the producer did not start"
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    assert leftovers(tree)
    assert not is_made(tree, spec_of(1))
    assert not (tree / "file").exists()
    ensure(tree, spec_of(1), writes(file="whole"))
    assert (tree / "file").read_text() == "whole"
    assert not leftovers(tree)


def test_a_marker_says_what_the_making_took(tree):
    def make(out):
        time.sleep(0.3)
        (out / "file").write_text("whole")

    ensure(tree, spec_of(1), make)
    marker = json.loads(marker_path(tree, spec_of(1)).read_text())
    assert 0.3 <= marker["seconds"] < 30
    assert 0 <= marker["cpu_seconds"] < marker["seconds"]
