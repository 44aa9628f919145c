import dataclasses

import pytest

from deception_saes.paper import reference
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.reference import (
    Difference,
    NoReference,
    differences,
    read_reference,
    reference_file,
    seeds_with_reference,
    write_reference,
)
from deception_saes.paper.results import Results, Value

EMBEDDED = profile_named("embedded")
EFFECT = Value("s28.m.effect", "q", 1 / 3, "pp", ci_low=-0.5, ci_high=1.5, n=9)
COUNT = Value("s28.m.count", "q", None, "count")
SECONDS = Value("s25.m.timing.topk", "q", 7.0, "s")


def run(*values):
    return [Results(28, "done", None, "embedded", 0, "abc", {}, 1.0, list(values))]


def changed(**how):
    return dataclasses.replace(EFFECT, **how)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCES", tmp_path)


def test_a_reference_is_read_as_it_was_written_to_the_last_bit():
    write_reference(run(EFFECT, COUNT, SECONDS), reference_file(EMBEDDED, 3))
    (found,) = read_reference(EMBEDDED, 3)
    assert found.section == 28
    assert {value.id: (value.value, value.ci_low, value.n) for value in found.values} == {
        EFFECT.id: (1 / 3, -0.5, 9), COUNT.id: (None, None, None)}
    assert seeds_with_reference(EMBEDDED) == [3]
    assert differences(read_reference(EMBEDDED, 3), run(EFFECT, COUNT), exact=True) == []


def test_a_reference_that_is_not_there_says_how_to_make_one():
    with pytest.raises(NoReference, match=r"embedded-seed4\.csv.*verify --write"):
        read_reference(EMBEDDED, 4)


@pytest.mark.parametrize(("how", "exact", "what"), [
    ({"value": 1 / 3 + 1e-15}, True, ["value"]),
    ({"value": 1 / 3 + 0.19}, False, []),  # a tenth of the interval's width is 0.2
    ({"value": 1 / 3 + 0.21}, False, ["value"]),
    ({"ci_low": -0.75, "ci_high": 1.25}, False, ["ci_low", "ci_high"]),
    ({"value": None}, False, ["value"]),
    ({"n": 10}, False, ["n"]),
])
def test_what_is_beyond_the_tolerance_is_named(how, exact, what):
    found = differences(run(EFFECT), run(changed(**how)), exact=exact)
    assert [difference.what for difference in found] == what


def test_a_number_without_an_interval_may_differ_by_a_fiftieth():
    bare = changed(ci_low=None, ci_high=None, value=100.0)
    for value, count in ((101.9, 0), (102.1, 1)):
        assert len(differences(run(bare), run(dataclasses.replace(bare, value=value)))) == count


def test_a_value_that_one_of_them_lacks_is_named():
    missing, added = differences(run(EFFECT), run(COUNT))
    assert str(missing) == f"{COUNT.id}: not in the reference"
    assert str(added) == f"{EFFECT.id}: not in this run"


def test_seconds_are_not_compared():
    assert differences(run(EFFECT), run(EFFECT, SECONDS), exact=True) == []


def test_a_difference_says_both_numbers():
    assert str(Difference("s1.a", "value", 1.0, 2.0)) == "s1.a: value 2.0 instead of 1.0"


def test_an_effect_that_would_be_zero_may_differ_by_rounding():
    none = changed(value=4e-8, ci_low=-1e-9, ci_high=1e-7)
    for value, count in ((-1.3e-7, 0), (-2e-4, 1)):
        assert len(differences(run(none), run(dataclasses.replace(none, value=value)))) == count
