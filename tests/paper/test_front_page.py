import dataclasses
import html
import re

import pytest
from markdown_it import MarkdownIt
from mdit_py_plugins.attrs import attrs_plugin

from deception_saes.paper import section_claims
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.claims import VERDICTS, Verdict, load_claims
from deception_saes.paper.front_page import (
    ClaimRow,
    checks_table,
    claim_rows,
    claims_table,
    expected_false,
    magnitude_counts,
    reasons,
    substitutions,
)
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.results import Results, Value

NASTY = r"a|b *c* _d_ `e` <script>f</script> [g](http://h) $i$ {{ j }} {.k} \l"


def done(section, *values):
    return Results(section, "done", None, "embedded", 0, "abc", {}, 1.0, list(values))


def s07(model, value=5.0, low=2.0, high=8.0):
    return done(28, Value("s28.m.restoration", "q", value, "pp", claim="S-07", ci_low=low,
                          ci_high=high, n=50, model=model))


def s24(model, *interval, margin=None, unit="pp"):
    """§24's answer to S-04, with its margin and that of another value before it."""
    gap = Value("s24.m.gap", "q, 90% interval", sum(interval) / 2, "pp", claim="S-04",
                ci_low=interval[0], ci_high=interval[1], n=50, model=model)
    beside = Value("s24.m.other.margin", "margin of another", 100.0, "pp", model=model)
    return done(24, beside, gap, *([] if margin is None else [
        Value("s24.m.gap.margin", "margin", margin, unit, model=model)]))


def row_of(id, profile, results):
    return next(row for row in claim_rows(profile_named(profile), results) if row.claim.id == id)


def rendered(markdown):
    return attrs_on(MarkdownIt("commonmark").enable("table")).render(markdown)


def attrs_on(parser):
    return parser.use(attrs_plugin).use(lambda md: attrs_plugin(md, spans=True))


def text_of(page):
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def test_every_claim_has_a_row():
    assert [row.claim.id for row in claim_rows(profile_named("smoke"), [])] == list(load_claims())


def test_smoke_measures_and_gives_no_verdict():
    row = row_of("S-07", "smoke", [s07("tinyllama-random")])
    assert row.value.value == 5.0
    assert row.verdict.word == "not judged"
    assert row.verdict.word not in VERDICTS


@pytest.mark.parametrize(("measured", "word"), [
    ((13.0, 12.0, 14.0), "agrees"),  # within the published interval, yet another model
    ((-3.0, -4.0, -2.0), "disagrees"),
    ((1.0, -1.0, 3.0), "inconclusive"),
])
def test_the_embedded_model_agrees_or_disagrees_and_never_reproduces(measured, word):
    assert row_of("S-07", "embedded", [s07("smollm2it", *measured)]).verdict.word == word


def test_the_studys_own_model_reproduces():
    assert row_of("S-07", "paper", [s07("llama", 13.0, 12.0, 14.0)]).verdict.word == "reproduced"
    assert row_of("S-07", "paper", [s07("llama")]).verdict.word == "not reproduced"


@pytest.mark.parametrize(("margin", "word"), [(2.5, "agrees"), (0.5, "disagrees"),
                                              (None, "disagrees")])
def test_the_margin_that_stands_beside_a_value_judges_it(margin, word):
    row = row_of("S-04", "embedded", [s24("smollm2it", 1.0, 2.0, margin=margin)])
    assert row.verdict.word == word
    assert ("δ" in row.verdict.why) == (margin is not None)
    assert row.value.id == "s24.m.gap"


def test_the_margin_is_that_of_the_same_section():
    elsewhere = done(26, Value("s24.m.gap.margin", "margin", 2.5, "pp"))
    rows = [elsewhere, s24("smollm2it", 1.0, 2.0)]
    assert row_of("S-04", "embedded", rows).verdict.word == "disagrees"


def test_the_studys_own_model_is_judged_by_the_published_bound_beside_any_margin():
    row = row_of("S-04", "paper", [s24("llama", 1.0, 2.0, margin=2.5)])
    assert row.verdict.word == "not reproduced"
    assert "δ" not in row.verdict.why


def test_a_margin_that_is_not_finite_decides_nothing():
    gap = s24("smollm2it", -0.1, 0.1)
    unknown = dataclasses.replace(gap, values=[
        *gap.values, Value("s24.m.gap.margin", "margin", None, "pp")])
    assert row_of("S-04", "embedded", [gap]).verdict.word == "agrees"
    assert row_of("S-04", "embedded", [unknown]).verdict.word == "inconclusive"


@pytest.mark.parametrize(("informative", "of", "word"), [
    (0, 6, "uninformative"), (1, 6, "inconclusive"), (0, 0, "inconclusive"),
    (None, None, "inconclusive")])
def test_a_headline_without_a_value_is_uninformative_if_all_that_could_answer_is_at_a_floor(
        informative, of, word):
    gap = Value("s24.m.gap", "q, 90% interval", None, "pp", claim="S-04", model="smollm2it")
    beside = [] if of is None else [
        Value("s24.m.gap.informative", "informative gaps", informative, f"of {of}", n=of)]
    verdict = row_of("S-04", "embedded", [done(24, gap, *beside)]).verdict
    assert verdict.word == word
    assert ("floor" in verdict.why) == (word == "uninformative")
    assert ("not finite" in verdict.why) == (word == "inconclusive")


def test_of_the_studys_own_model_a_floor_is_uninformative_too():
    gap = Value("s24.m.gap", "q", None, "pp", claim="S-04", model="llama")
    floor = Value("s24.m.gap.informative", "informative gaps", 0, "of 6", n=6)
    assert row_of("S-04", "paper", [done(24, gap, floor)]).verdict.word == "uninformative"


def test_of_too_few_questions_that_is_said_and_nothing_is_called_uninformative():
    gap = Value("s24.m.gap", "q, 90% interval", None, "pp", claim="S-04", n=4, model="smollm2it")
    informative = Value("s24.m.gap.informative", "informative gaps", 6, "of 6", n=6)
    verdict = row_of("S-04", "embedded", [done(24, gap, informative)]).verdict
    assert (verdict.word, verdict.why) == ("inconclusive",
                                           "4 questions are too few for an interval")


@pytest.mark.parametrize("profile", ["embedded", "smoke"])
def test_a_margin_in_another_unit_is_an_error(profile):
    model = {"embedded": "smollm2it", "smoke": "tinyllama-random"}[profile]
    with pytest.raises(ValueError, match=r"s24\.m\.gap\.margin.*logits.*pp"):
        row_of("S-04", profile, [s24(model, 1.0, 2.0, margin=2.5, unit="logits")])


def test_a_margin_does_not_become_a_row_or_a_verdict_in_smoke():
    rows = claim_rows(profile_named("smoke"), [s24("tinyllama-random", 1.0, 2.0, margin=2.5)])
    assert len(rows) == len(load_claims())
    assert {row.verdict.word for row in rows if row.value} == {"not judged"}


def test_the_page_of_a_section_judges_by_the_same_margin():
    for margin, word in ((2.5, "agrees"), (0.5, "disagrees")):
        found = s24("smollm2it", 1.0, 2.0, margin=margin)
        rows = section_claims.tested(profile_named("embedded"), found)
        text = text_of(section_claims.claims_html(rows, note="", done=True))
        assert f"{word} " in text
        assert f"the margin δ = {margin} pp; the published bound is 0.15 pp" in text


def test_a_section_that_was_not_run_gives_its_reason():
    not_run = dataclasses.replace(done(28), status="not run", reason="the model is gated")
    verdict = row_of("S-07", "embedded", [not_run]).verdict
    assert verdict == Verdict("not run", "the model is gated")


def test_a_section_that_is_missing_says_so():
    assert row_of("S-07", "embedded", []).verdict == Verdict("not run", "section not yet written")


def test_a_claim_that_a_finished_section_does_not_answer_says_so():
    verdict = row_of("S-10", "embedded", [s07("smollm2it")]).verdict
    assert verdict.word == "not run"
    assert verdict.why.startswith("not measured")


def test_an_inconsistent_source_is_flagged_beside_the_verdict():
    table = claims_table(claim_rows(profile_named("smoke"), []), [])
    lines = {re.search(r"#claim-([a-z]-\d+)\)", line)[1]: line for line in table.splitlines()
             if "#claim-" in line}
    assert len(lines) == 65
    assert "source inconsistent" in lines["s-18"]
    assert "source inconsistent" not in lines["s-07"]


def test_a_measured_value_stands_beside_the_published_one():
    rows = claim_rows(profile_named("embedded"), [s07("smollm2it")])
    text = text_of(rendered(claims_table(rows, [])))
    assert "13.71 pp [11.28, 16.24]" in text
    assert "5.0 pp [2.0,\N{NO-BREAK SPACE}8.0] (n = 50, SmolLM2-135M-Instruct (Q4_1))" in text


def test_an_upper_bound_and_a_negative_number_read_as_published():
    text = text_of(rendered(claims_table(claim_rows(profile_named("smoke"), []), [])))
    assert "< 0.15 pp" in text
    assert "−1.14 pp" in text
    assert "<= 0 pp" in text


def test_only_written_sections_are_linked():
    table = claims_table(claim_rows(profile_named("smoke"), []), [SECTIONS[23]])
    assert "### [§23 The sandbagging task](../notebooks/s23_sandbagging_task.ipynb)" in table
    assert "### §28 Circuit ablation\n" in table


def test_signs_of_markdown_in_a_cell_stay_text():
    claim = dataclasses.replace(load_claims()["S-07"], quantity=NASTY, model=NASTY)
    row = ClaimRow(claim, None, Verdict("not run", NASTY), [])
    page = rendered(claims_table([row], []))
    assert text_of(page).count(NASTY) == 3
    assert "<script" not in page
    assert "<em>" not in page
    assert "<code>" not in page
    assert "http" not in re.sub(r">[^<]*<", "><", page)
    assert page.count("<td") == 5


def test_failing_checks_of_the_source_come_first():
    lines = checks_table().splitlines()[2:]
    failing = ["inconsistent" in line for line in lines]
    assert failing == sorted(failing, reverse=True)
    assert any(failing)
    assert not all(failing)


def test_substitutions_count_the_verdicts():
    profile = profile_named("embedded")
    results = [s07("smollm2it")]
    found = substitutions(profile, 3, results, claim_rows(profile, results))
    assert found["n_claims"] == 65
    assert found["verdict_counts"] == "**1** agrees, **64** not run"
    assert "**1** differ," in found["magnitude_counts"]
    assert found["expected_false"].startswith("By chance alone, of 1 that a 95% interval")
    assert (found["n_done"], found["n_sections"], found["seed"]) == (1, 16, 3)


def heads(model, *intervals):
    """§28's answers to R-11, R-12 and so on."""
    return done(28, *(Value(f"s28.m.single{rank}", "q", (low + high) / 2, "pp",
                            claim=f"R-{10 + rank}", ci_low=low, ci_high=high, model=model)
                      for rank, (low, high) in enumerate(intervals, start=1)))


def test_directions_and_magnitudes_are_counted_apart():
    embedded = profile_named("embedded")
    of = done(28, *heads("smollm2it", (6.0, 8.0), (20.0, 30.0), (-9.0, -8.0)).values,
              *s07("smollm2it").values)
    rows = claim_rows(embedded, [of])
    counts = substitutions(embedded, 0, [], rows)["verdict_counts"]
    assert counts == "**1** agrees, **1** disagrees, **2** uninformative, **61** not run"
    assert magnitude_counts(rows) == (
        "Of 1 effects measured on another model than the study's, **0** agree in magnitude, **1** "
        "differ, **0** are undecided.")
    assert magnitude_counts(claim_rows(embedded, [])) == ""


def test_the_magnitude_stands_beside_the_word_on_both_pages():
    found = s07("smollm2it")  # 5.0 [2.0, 8.0], published 13.71 [11.28, 16.24]
    embedded = profile_named("embedded")
    why = "same direction, on another model; magnitude differs"
    assert reasons(row_of("S-07", "embedded", [found])) == why
    rows = section_claims.tested(embedded, found)
    front = claims_table([row for row in rows if row.value is not None], [])
    assert f"agrees {why}" in text_of(rendered(front))
    assert f"agrees {why}" in text_of(section_claims.claims_html(rows, note="", done=True))


def test_verdicts_that_chance_alone_would_give_are_counted_by_what_decides_them():
    embedded = profile_named("embedded")
    two = done(28, *(Value(f"s28.m.{claim}", "q", 5.0, "pp", claim=claim, ci_low=low, ci_high=8.0,
                           model="smollm2it")
                     for claim, low in (("S-07", 2.0), ("S-08", -2.0))))  # one decides nothing
    chosen = done(27, *heads("smollm2it", (6.0, 8.0)).values)  # by a choice, hence not by chance
    found = expected_false(claim_rows(embedded, [two, chosen, s24("smollm2it", -0.1, 0.1,
                                                                  margin=2.5)]))
    assert "of 2 that a 95% interval sets against no effect, 0.05 would agree" in found
    assert "of 1 that a 90% interval sets against a margin, 0.05 would pass" in found
    assert "published value" not in found
    assert "published value, 0.05 would be outside" in expected_false(
        claim_rows(profile_named("paper"), [s07("llama", 13.0, 12.0, 14.0)]))


def test_nothing_is_expected_of_chance_where_nothing_is_judged():
    rows = claim_rows(profile_named("smoke"), [s07("tinyllama-random")])
    assert expected_false(rows) == magnitude_counts(rows) == ""


def pairs(ratio, model="smollm2it"):
    """§32's answers to S-22, which is exploratory, and to none."""
    return done(32, Value("s32.m.ratio", "q", ratio, "ratio", claim="S-22", ci_low=ratio - 0.1,
                          ci_high=ratio + 0.1, model=model))


def test_an_exploratory_claim_says_so_and_what_other_runs_say():
    embedded, found = profile_named("embedded"), [pairs(1.5), s07("smollm2it")]
    others = {"seed 1": [done(32, Value("s32.m.ratio", "", 30.0, "ratio", ci_low=29.0,
                                        ci_high=31.0))],
              "full": [done(32)]}
    by_id = {row.claim.id: row for row in claim_rows(embedded, found, others)}
    assert by_id["S-22"].elsewhere == {"seed 1": "agrees"}  # the other has no such value
    assert reasons(by_id["S-22"]).endswith(
        "; exploratory (rule of 2026-11-28, set after its result was seen, seed 1: agrees)")
    assert by_id["S-07"].elsewhere == {}
    assert "exploratory" not in reasons(by_id["S-07"])


def test_what_is_not_judged_is_not_exploratory():
    assert "exploratory" not in reasons(row_of("S-22", "embedded", []))
    found = [pairs(1.5, "tinyllama-random")]
    assert "exploratory" not in reasons(row_of("S-22", "smoke", found))


def test_every_substitution_that_a_page_asks_for_exists(root):
    profile = profile_named("smoke")
    known = {*substitutions(profile, 0, [], claim_rows(profile, [])), "data_zip_size"}
    for path in (root / "book").glob("*.md"):
        asked = set(re.findall(r"\{\{ *(\w+) *\}\}", path.read_text(encoding="utf-8")))
        assert asked <= known, path.name


def test_written_sections_are_linked_to_their_notebooks(root):
    table = claims_table(claim_rows(profile_named("smoke"), []), list(SECTIONS.values()))
    for target in re.findall(r"\.\./notebooks/(\w+)\.ipynb", table):
        assert (root / "notebooks" / f"{target}.py").is_file()
