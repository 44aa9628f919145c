import dataclasses
import re

import pytest

from deception_saes.paper import source_checks as module
from deception_saes.paper.claims import load_claims
from deception_saes.paper.source_checks import release_tags, source_checks

ARITHMETIC = ("S-12", "S-14", "S-23", "B-15", "B-20", "S-03", "B-21", "S-24", "S-25", "R-18")


def about(*ids):
    return [check for check in source_checks() if set(ids) <= set(check.claims)]


@pytest.fixture
def misprint(monkeypatch):
    """Call it with a claim and another published text: the checks then read that."""
    def publish(id, published):
        claims = load_claims()
        changed = {**claims, id: dataclasses.replace(claims[id], published=published)}
        monkeypatch.setattr(module, "load_claims", lambda: changed)

    return publish


@pytest.mark.parametrize("id", ARITHMETIC)
def test_derived_numbers_follow_from_those_they_derive_from(id):
    derived = [check for check in about(id) if check.claims == (id,)]
    assert derived
    assert all(check.holds for check in derived)


@pytest.mark.parametrize(("id", "published"), [
    ("S-12", "45"), ("S-14", "7.82"), ("S-23", "1.14"), ("B-20", "51.5"), ("S-03", "13.5"),
    ("S-07", "14.71"), ("S-11", "21.55"), ("S-08", "15.85"), ("B-18", "75.0"),
    ("B-21", "5.6"), ("S-24", "80"), ("S-25", "5.17"), ("R-18", "2.5"), ("B-08", "83.7"),
])
def test_a_wrong_number_would_be_caught(misprint, id, published):
    failing = {check.text for check in source_checks() if not check.holds}
    misprint(id, published)
    assert {check.text for check in source_checks() if not check.holds} - failing


@pytest.mark.parametrize(("ids", "count"), [
    (("S-01",), 2),  # 42 = 9 + 27, "TopK (k=64)" and "all 4x"
    (("S-18", "S-19"), 1),  # 22 + 4 of 27
    (("B-03", "B-09"), 1),  # all dimensions above the peak
    (("B-05", "B-06", "B-07"), 1),  # two depth conventions
    (("R-03",), 1),
    (("B-12",), 1),
    (("B-01",), 1),
    (("S-13", "S-14"), 1),
    (("R-06", "B-04"), 1),
])
def test_the_known_inconsistencies_are_found(ids, count):
    assert sum(not check.holds for check in about(*ids)) == count


def test_counting_wins_is_at_peace_once_they_add_up(misprint):
    misprint("S-19", "5")
    assert all(check.holds for check in about("S-18", "S-19"))


def test_four_of_five_heads_lie_early():
    assert [check.holds for check in about("S-09")] == [True]


def test_every_check_is_about_claims_and_says_something():
    for check in source_checks():
        assert check.claims
        assert set(check.claims) <= load_claims().keys()
        assert check.text


def test_the_release_has_42_tags_of_one_form():
    tags = release_tags()
    assert len(tags) == len(set(tags)) == 42
    form = (r"v4_llama_(jumprelu|topk(_k\d+)?|gated|x8_(k\d+|gated))_L(4|8|12)_"
            r"(mixed|genuine_only|sandbagging_only)")
    assert all(re.fullmatch(form, tag) for tag in tags)
    assert sum("jumprelu" in tag for tag in tags) == 9
