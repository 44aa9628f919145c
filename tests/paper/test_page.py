import dataclasses

import pytest

from deception_saes.paper.claims import load_claims
from deception_saes.paper.numbers import number, with_interval
from deception_saes.paper.page import Page, open_section
from deception_saes.sections.catalogue import SECTIONS
from deception_saes.sections.results import Results, Value
from deception_saes.sections.run import SectionRun

EFFECT = Value("s28.tinyllama-random.f.effect", "q", -1.26, "pp", ci_low=-2.0, ci_high=-0.5, n=50)


@pytest.fixture
def page(tmp_path, smoke):
    results = Results(28, "done", None, "smoke", 0, "abc123", {}, 12.3, [EFFECT])
    return Page(SectionRun(SECTIONS[28], results, tmp_path), smoke)


@pytest.fixture
def not_run(tmp_path, smoke):
    results = Results(28, "not run", "the model is gated", "smoke", 0, "abc123", {}, 0.0, [])
    return Page(SectionRun(SECTIONS[28], results, tmp_path), smoke)


@pytest.mark.parametrize(("reference", "text"), [
    ("[[f.effect]]", "−1.3 pp [−2.0,\N{NO-BREAK SPACE}−0.5]"),
    ("[[s28.tinyllama-random.f.effect]]", "−1.3 pp [−2.0,\N{NO-BREAK SPACE}−0.5]"),
    ("[[f.effect|value]]", "−1.3 pp"),
    ("n = [[f.effect|n]], no more", "n = 50, no more"),
    ("no reference", "no reference"),
])
def test_prose_is_filled_with_results(page, reference, text):
    assert page.say(reference).data == text


def test_an_unknown_reference_is_an_error(page):
    with pytest.raises(KeyError, match=r"§28 has no value 's28\.tinyllama-random\.f\.efect'"):
        page.say("[[f.efect]]")


def test_a_reference_in_a_caption_is_filled_and_markup_in_it_is_text(page):
    import pandas as pd

    shown = page.table(lambda run: pd.DataFrame({"a": [1]}), caption="<b> n = [[f.effect|n]]")
    assert "&lt;b&gt; n = 50" in shown.data


def test_the_opening_says_what_was_run(page):
    text = page.opening().data
    for part in ("Profile smoke", "seed 0", "random tiny Llama", "12 s", "abc123"):
        assert part in text


def test_the_opening_sets_the_sections_claims_beside_its_values(page, smoke):
    answer = dataclasses.replace(EFFECT, claim="S-07")
    results = dataclasses.replace(page.run.results, values=[answer])
    text = Page(dataclasses.replace(page.run, results=results), smoke).opening().data
    assert "13.71 pp [11.28, 16.24]" in text
    assert "−1.3 pp [−2.0,\N{NO-BREAK SPACE}−0.5] (n = 50)" in text
    assert 'href="../book/index.html#claim-s-07"' in text
    assert text.count("<tr>") == 2  # the head and the one that is answered
    assert {id for id in load_claims() if f">{id}<" in text} == {
        id for id, claim in load_claims().items() if claim.section.startswith("28")}


def test_a_section_that_was_not_run_shows_why_and_what_was_published(not_run):
    text = not_run.opening().data
    assert "the model is gated" in text
    assert "13.71" in text
    assert {id for id in load_claims() if f">{id}<" in text} == {
        id for id, claim in load_claims().items() if claim.section.startswith("28")}


def test_a_section_that_was_not_run_shows_nothing_else(not_run):
    def never(*_):
        raise AssertionError("drawn without results")

    assert not_run.say("[[f.effect]]") is None
    assert not_run.figure(never, caption="[[f.effect]]", alt="", size=(1, 1)) is None
    assert not_run.table(never, caption="[[f.effect]]") is None


@pytest.mark.parametrize(("value", "unit", "text"), [
    (0.12345, "probability", "0.123"), (-0.04, "pp", "−0.0 pp"), (41.26, "percent", "41.3 %"),
    (7.0, "count", "7"), (-1.234, "logits", "−1.23 logits"), (1.234, "ratio", "1.23"),
    (7.0, "of 9", "7 of 9"), (7.0, "layer", "L7"), (0.61234, "auroc", "0.612"),
    (None, "probability", "–"),
])
def test_numbers_have_the_decimals_of_their_unit(value, unit, text):
    assert number(Value("s23.x", "q", value, unit)) == text


def test_a_value_without_an_interval_stands_alone():
    assert with_interval(Value("s23.x", "q", 7.0, "count", ci_low=1.0)) == "7"


def test_an_unknown_profile_is_an_error():
    with pytest.raises(ValueError, match="no profile 'fast'"):
        open_section(29, "fast", 0)
