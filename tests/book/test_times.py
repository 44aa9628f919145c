import json

import pytest

from deception_saes.paper.profiles import profile_named
from deception_saes.paper.times import by_call, times, times_text
from deception_saes.paper.units import book_units


@pytest.fixture
def smoke(book, monkeypatch):
    monkeypatch.setenv("DECEPTION_SAES_ARTIFACTS", str(book.artifacts))
    return profile_named("smoke")


def test_every_unit_of_a_built_book_says_what_it_took(smoke, book):
    took = {of.unit: of for of in times(smoke, smoke.seed)}
    assert took.keys() == book_units(smoke, smoke.seed).keys()
    sweep = took["sweep-tinyllama-random-two_shot_labelled-sandbag"]
    calls = json.loads((book.tree / "results" / "s27.calls.json").read_text())
    assert sweep.seconds in {call["seconds"] for call in calls if call["function"] == "sweep"}
    assert took["notebook-s23"].cpu_seconds > 0.5  # the kernel's, a process below this one's


def test_a_notebook_is_split_into_what_it_called_and_the_rest(smoke, book):
    took = times(smoke, smoke.seed)
    split = [of for of in by_call(took, book.tree) if of.unit.startswith("notebook-s28")]
    calls = json.loads((book.tree / "results" / "s28.calls.json").read_text())
    here = [call["seconds"] for call in calls
            if call["computed"] and call["function"] == "p_correct"]
    (p_correct,) = [of for of in split if of.unit == f"notebook-s28: p_correct ({len(here)})"]
    assert p_correct.seconds == pytest.approx(sum(here))
    (whole,) = [of for of in took if of.unit == "notebook-s28"]
    assert sum(of.seconds for of in split) == pytest.approx(whole.seconds)
    assert len(split) > 2


def test_the_table_sums_each_kind(smoke):
    took, lines = times(smoke, smoke.seed), times_text(smoke, smoke.seed).splitlines()
    (notebooks,) = [line for line in lines if line.startswith("16 notebooks")]
    expected = sum(of.seconds for of in took if of.unit.startswith("notebook-"))
    assert float(notebooks.split()[2]) == pytest.approx(expected, abs=0.1)
    (whole,) = [line for line in lines if line.startswith("all ")]
    assert float(whole.split()[1]) == pytest.approx(sum(of.seconds for of in took), abs=0.1)
    assert "calls are kept" in lines[-1]


def test_a_book_that_is_not_built_has_nothing_to_count(monkeypatch, tmp_path):
    monkeypatch.setenv("DECEPTION_SAES_ARTIFACTS", str(tmp_path))
    assert times_text(profile_named("smoke"), 0) == (
        "no unit of smoke is finished: nothing to count")
