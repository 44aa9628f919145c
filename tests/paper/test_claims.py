import pytest

from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.claims import (
    MAGNITUDES,
    VERDICTS,
    is_about,
    judge,
    load_claims,
    values_by_claim,
)
from deception_saes.paper.results import Results, Value

CLAIMS = load_claims()


def verdict(id, value, low=None, high=None, *, same, margin=None):
    claim = CLAIMS[id]
    return judge(claim, Value("s28.x", "q", value, claim.unit, ci_low=low, ci_high=high), same,
                 margin)


def judged(*measured, **how):
    return verdict(*measured, **how).word


def results(section, *values):
    return Results(section, "done", None, "embedded", 0, "abc", {}, 1.0, list(values))


@pytest.mark.parametrize("same", [True, False])
def test_a_maximum_without_an_interval_decides_nothing(same):
    why = verdict("S-20", 13.3, same=same).why
    assert why == "no interval to decide by; see the contrast S-25"


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("id", ["S-07", "S-14", "S-15", "S-22", "S-25", "B-21", "R-16"])
def test_no_kind_of_measured_number_counts_as_exact(id, same):
    assert verdict(id, 13.0, same=same).why.startswith("no interval to decide by")


@pytest.mark.parametrize("same", [True, False])
def test_counts_of_different_totals_are_not_compared(same):
    claim = CLAIMS["S-18"]
    assert claim.unit == "of 27"
    found = judge(claim, Value("s32.x", "q", 22.0, "of 9"), same)
    assert (found.word, found.why) == ("inconclusive", "counted of 9, by the study of 27")
    assert judge(claim, Value("s32.x", "q", 22.0, "of 27"), True).word == "reproduced"


@pytest.mark.parametrize(("id", "model", "about"), [
    ("S-07", "Llama-3.2-1B", True), ("S-07", "TinyLlama-1.1B-intermediate-step-1431k-3T", False),
    ("B-16", "Llama-3.2-1B", False), ("S-18", "Llama-3.2-1B", True), ("R-17", "Pythia-160M", True),
    ("S-20", "Llama-3.2-1B", True), ("S-05", "SmolLM2-135M", True), ("S-05", "Pythia-410M", False),
])
def test_a_claim_about_one_model_is_not_about_another(id, model, about):
    assert is_about(CLAIMS[id], model) is about


def test_there_are_sixty_claims_and_five_derived_ones_in_the_order_of_their_file():
    derived = [id for id in CLAIMS if id in ("B-21", "R-18", "S-24", "S-25", "S-26")]
    assert len(CLAIMS) == 60 + len(derived) == 65
    assert all(CLAIMS[id].note.startswith(("derived from ", "from the text")) for id in derived)
    assert all(id == claim.id for id, claim in CLAIMS.items())
    assert next(iter(CLAIMS)) == "B-01"


def test_every_claim_belongs_to_a_section():
    assert {int(claim.section.partition(".")[0]) for claim in CLAIMS.values()} <= SECTIONS.keys()


def test_a_published_interval_holds_its_value():
    claim = CLAIMS["S-07"]
    assert (claim.low, claim.number, claim.high) == (11.28, 13.71, 16.24)


@pytest.mark.parametrize(("id", "measured", "word"), [
    ("S-07", (13.0, 12.0, 14.0), "reproduced"),  # interval
    ("S-07", (9.0, 8.5, 10.0), "not reproduced"),
    ("S-07", (20.0, 18.0, 22.0), "not reproduced"),
    ("S-07", (10.0, 9.0, 12.0), "inconclusive"),
    ("S-22", (30.0, 28.0, 32.0), "reproduced"),  # range
    ("S-22", (60.0, 55.0, 65.0), "not reproduced"),
    ("S-22", (52.0, 48.0, 56.0), "inconclusive"),
    ("B-03", (72.5, 71.0, 74.0), "reproduced"),  # value
    ("B-03", (71.0, 69.0, 73.0), "reproduced"),
    ("B-03", (60.0, 58.0, 62.0), "not reproduced"),
    ("B-03", (72.5,), "inconclusive"),
    ("S-12", (39.0, 37.0, 41.0), "reproduced"),  # arithmetic
    ("S-12", (20.0, 15.0, 25.0), "not reproduced"),
    ("B-13", (46.0,), "reproduced"),  # approximate: a tenth of 50
    ("B-13", (44.0, 42.0, 46.0), "inconclusive"),
    ("B-13", (30.0, 28.0, 32.0), "not reproduced"),
    ("B-11", (18.0,), "reproduced"),  # count
    ("B-11", (17.0,), "not reproduced"),
    ("B-05", (9.0,), "reproduced"),  # layer
    ("B-05", (8.0,), "not reproduced"),
    ("B-12", (0.0,), "reproduced"),  # threshold
    ("B-12", (0.01,), "not reproduced"),
    ("B-15", (4.0,), "reproduced"),  # share
    ("B-15", (5.0,), "not reproduced"),
    ("S-03", (12.5, 12.0, 13.0), "reproduced"),  # ratio
    ("S-03", (2.0, 1.5, 2.5), "not reproduced"),
    ("S-04", (0.05, -0.10, 0.12), "reproduced"),  # upper bound, both sides of zero
    ("S-04", (0.5, 0.3, 0.7), "not reproduced"),
    ("S-04", (-0.5, -0.7, -0.3), "not reproduced"),
    ("S-04", (0.05, -0.3, 0.4), "inconclusive"),
    ("S-15", (-1.0, -2.0, -0.5), "reproduced"),  # at most
    ("S-15", (1.0, 0.5, 2.0), "not reproduced"),
    ("S-15", (-0.5, -2.0, 1.0), "inconclusive"),
    ("R-17", (0.0, 0.0, 0.0), "reproduced"),  # null
    ("R-17", (2.0, 1.0, 3.0), "not reproduced"),
    ("R-17", (0.1, -1.0, 1.0), "inconclusive"),
])
def test_on_the_studys_own_model_the_published_interval_decides(id, measured, word):
    assert judged(id, *measured, same=True) == word


@pytest.mark.parametrize(("id", "measured", "word"), [
    ("S-07", (5.0, 2.0, 8.0), "agrees"),  # far from the published interval, same direction
    ("S-07", (-5.0, -8.0, -2.0), "disagrees"),
    ("S-07", (0.5, -1.0, 2.0), "inconclusive"),
    ("S-23", (-3.0, -4.0, -2.0), "agrees"),  # published below zero
    ("S-23", (3.0, 2.0, 4.0), "disagrees"),
    ("B-04", (0.60, 0.55, 0.65), "agrees"),  # an AUROC of no effect is 0.5
    ("B-04", (0.40, 0.35, 0.45), "disagrees"),
    ("B-04", (0.52, 0.45, 0.60), "inconclusive"),
    ("B-03", (60.0, 55.0, 65.0), "agrees"),  # a balanced accuracy of no effect is 50
    ("B-03", (40.0, 35.0, 45.0), "disagrees"),
    ("B-03", (52.0, 47.0, 57.0), "inconclusive"),
    ("B-08", (60.0, 55.0, 65.0), "agrees"),
    ("B-09", (52.0, 47.0, 57.0), "inconclusive"),
    ("R-01", (60.0, 55.0, 65.0), "agrees"),
    ("R-06", (40.0, 35.0, 45.0), "disagrees"),
    ("R-07", (60.0, 55.0, 65.0), "agrees"),
    ("S-03", (1.5, 1.2, 1.8), "agrees"),  # a ratio of no effect is 1
    ("S-03", (0.8, 0.7, 0.9), "disagrees"),
    ("S-03", (1.1, 0.9, 1.3), "inconclusive"),
    ("S-22", (1.54, 1.48, 1.60), "disagrees"),  # a range: above 1 is not enough
    ("S-22", (0.5, 0.4, 0.6), "disagrees"),
    ("S-22", (30.0, 25.0, 35.0), "agrees"),
    ("S-22", (19.0, 15.0, 25.0), "inconclusive"),
    ("R-16", (60.0, 55.0, 65.0), "disagrees"),  # without a place of no effect
    ("R-16", (30.0, 25.0, 35.0), "agrees"),
    ("B-21", (-22.3, -28.8, -15.7), "disagrees"),  # contrasts of two levels
    ("B-21", (4.0, 1.0, 7.0), "agrees"),
    ("R-18", (-5.7, -9.0, -2.0), "disagrees"),
    ("R-18", (1.0, -2.0, 4.0), "inconclusive"),
    ("S-25", (-0.5, -2.0, 1.0), "inconclusive"),
    ("S-25", (-1.5, -2.0, -1.0), "disagrees"),
    ("S-24", (38.8, 30.2, 47.4), "disagrees"),  # half of the questions rise by chance
    ("S-24", (70.0, 60.0, 80.0), "agrees"),
    ("S-20", (4.0, 3.0, 5.0), "agrees"),  # Cohen's d
    ("S-04", (0.05, -0.10, 0.12), "agrees"),  # equivalence
    ("S-04", (0.5, 0.3, 0.7), "disagrees"),
    ("S-04", (0.05, -0.3, 0.4), "inconclusive"),
    ("S-15", (-1.0, -2.0, -0.5), "agrees"),
    ("S-15", (1.0, 0.5, 2.0), "disagrees"),
    ("S-15", (-0.5, -2.0, 1.0), "inconclusive"),
    ("S-07", (5.0, 0.0, 8.0), "inconclusive"),  # an end at no effect holds it
    ("S-07", (-5.0, -8.0, 0.0), "inconclusive"),
])
def test_on_another_model_the_direction_or_equivalence_decides(id, measured, word):
    assert judged(id, *measured, same=False) == word


@pytest.mark.parametrize("id", ["R-11", "R-12", "R-13", "R-14", "R-15", "S-10", "S-11", "S-12"])
def test_a_direction_that_the_choice_makes_certain_is_no_agreement(id):
    found = verdict(id, 15.0, 12.0, 18.0, same=False)
    assert (found.word, found.why, found.test) == ("uninformative", CLAIMS[id].certain, "")
    assert judged(id, -15.0, -18.0, -12.0, same=False) == "disagrees"
    assert judged(id, 5.0, -2.0, 12.0, same=False) == "inconclusive"
    published = CLAIMS[id].number  # on the study's own model the size is judged, not the direction
    assert judged(id, published, published - 0.1, published + 0.1, same=True) == "reproduced"


def test_the_gap_against_random_heads_is_made_certain_by_no_choice():
    assert judged("S-08", 15.0, 12.0, 18.0, same=False) == "agrees"


def test_a_range_in_the_same_direction_and_outside_says_both():
    assert verdict("S-22", 1.54, 1.48, 1.60, same=False).why == (
        "same direction, but the interval lies outside the published range, 20 to 50")
    assert verdict("S-22", 0.5, 0.4, 0.6, same=False).why == (
        "the interval lies outside the published range, 20 to 50")


def test_a_level_points_to_the_contrast_that_has_a_direction():
    assert verdict("S-21", 8.0, -1.0, 9.0, same=False).why.endswith("; see the contrast S-25")
    assert verdict("S-21", 8.0, 7.0, 9.0, same=False).why == "same direction, on another model"
    assert verdict("R-10", 0.4, 0.3, 0.5, same=False).why == (
        "a level on one model; another has no direction to agree with; see the contrast R-18")
    named = {claim.contrast for claim in CLAIMS.values() if claim.contrast}
    assert named <= {id for id, claim in CLAIMS.items() if claim.no_effect is not None}


@pytest.mark.parametrize(("id", "measured", "magnitude"), [
    ("S-07", (13.0, 12.0, 14.0), "agrees"),
    ("S-07", (19.0, 15.2, 22.9), "undecided"),  # meets the published interval, not its value
    ("S-07", (13.0, 7.0, 19.0), "undecided"),  # holds it, and is wider than it is far from 0
    ("S-07", (5.0, 2.0, 8.0), "differs"),  # in direction it agrees
    ("S-07", (20.0, 17.0, 23.0), "differs"),
    ("B-03", (73.0, 70.0, 76.0), "agrees"),
    ("B-03", (82.6, 77.6, 87.4), "differs"),
    ("B-03", (70.0, 58.0, 82.0), "undecided"),  # 24 wide, 22.5 above chance
    ("B-20", (9.0, -2.0, 19.8), "differs"),  # in direction nothing is decided
    ("S-13", (-5.6, -8.9, -2.4), "differs"),
    ("S-22", (30.0, 25.0, 35.0), "agrees"),
    ("S-22", (19.0, 15.0, 25.0), "undecided"),
    ("S-22", (1.54, 1.48, 1.60), "differs"),
    ("R-15", (4.5, 3.0, 6.0), ""),  # picked for being large
])
def test_the_magnitude_is_judged_beside_the_direction(id, measured, magnitude):
    assert magnitude in ("", *MAGNITUDES)
    assert verdict(id, *measured, same=False).magnitude == magnitude
    assert verdict(id, *measured, same=True).magnitude == ""


@pytest.mark.parametrize(("id", "measured"), [
    ("S-04", (0.05, -0.1, 0.12)), ("R-17", (0.0, -0.1, 0.1)), ("S-15", (-1.0, -2.0, -0.5)),
    ("R-08", (0.5, 0.4, 0.6)), ("B-05", (9.0, 8.0, 10.0)), ("S-18", (22.0,)), ("S-20", (8.8,)),
    ("B-02", (244.0,)), ("S-07", (None,)),
])
def test_what_is_no_effect_or_has_no_interval_has_no_magnitude(id, measured):
    assert verdict(id, *measured, same=False).magnitude == ""


@pytest.mark.parametrize(("id", "measured", "same", "test"), [
    ("S-07", (5.0, 2.0, 8.0), False, "direction"),
    ("S-07", (5.0, -2.0, 8.0), False, "direction"),  # one that decided nothing was one too
    ("S-15", (-1.0, -2.0, -0.5), False, "direction"),
    ("S-04", (0.05, -0.1, 0.12), False, "equivalence"),
    ("S-04", (0.05, -0.1, 0.12), True, "equivalence"),
    ("S-22", (1.5, 1.4, 1.6), False, "published value"),
    ("S-07", (13.0, 12.0, 14.0), True, "published value"),
    ("S-07", (13.0, 2.0, 24.0), True, ""),  # too wide to decide anything
    ("B-11", (18.0,), True, ""),
    ("B-11", (18.0,), False, ""),
    ("S-20", (8.8,), False, ""),
])
def test_a_verdict_says_what_its_interval_is_set_against(id, measured, same, test):
    assert verdict(id, *measured, same=same).test == test


@pytest.mark.parametrize("id", ["S-04", "S-05", "S-06", "R-17"])
@pytest.mark.parametrize(("interval", "margin", "word"), [
    ((1.0, 2.0), 2.5, "agrees"),  # beyond the published bound, yet within the margin
    ((-2.0, -1.0), 2.5, "agrees"),
    ((-2.5, 2.5), 2.5, "agrees"),
    ((1.0, 2.0), 0.5, "disagrees"),
    ((-2.0, -1.0), 0.5, "disagrees"),
    ((1.0, 2.0), 1.5, "inconclusive"),  # across the margin, wholly beyond the published bound
    ((-2.0, -1.0), 1.5, "inconclusive"),
    ((-1.0, 4.0), 2.5, "inconclusive"),
    ((-4.0, 1.0), 2.5, "inconclusive"),
    ((-4.0, 4.0), 2.5, "inconclusive"),
    ((-0.02, 0.1), 0.05, "inconclusive"),  # within the published bound, across a smaller margin
    ((-0.1, 0.02), 0.05, "inconclusive"),
    ((0.0, 4.0), 2.5, "inconclusive"),
])
def test_a_null_claim_on_another_model_is_judged_by_the_margin(id, interval, margin, word):
    assert judged(id, sum(interval) / 2, *interval, same=False, margin=margin) == word


def test_a_null_claim_is_contradicted_beyond_both_margin_and_published_bound():
    assert judged("S-04", 1.0, 0.1, 2.0, same=False, margin=0.5) == "inconclusive"
    assert judged("S-04", -1.0, -2.0, -0.1, same=False, margin=0.5) == "inconclusive"
    assert judged("S-04", 1.0, 0.15, 2.0, same=False, margin=0.5) == "inconclusive"
    assert judged("R-17", 1.0, 0.6, 2.0, same=False, margin=0.5) == "disagrees"
    assert judged("S-04", 1.0, 0.11, 2.0, same=False, margin=0.1) == "inconclusive"


@pytest.mark.parametrize(("interval", "why"), [
    ((1.0, 2.0), "equivalent within the margin δ = 2.46 pp; the published bound is 0.15 pp"),
    ((3.0, 4.0), "larger than the study allows, and beyond the margin δ = 2.46 pp; "
                 "the published bound is 0.15 pp"),
    ((-1.0, 4.0), "the interval reaches across the margin δ = 2.46 pp; the published bound is "
                  "0.15 pp"),
])
def test_the_reason_names_margin_and_published_bound(interval, why):
    assert verdict("S-04", 1.0, *interval, same=False, margin=2.456).why == why


def test_a_study_that_reports_no_effect_has_no_bound_to_name():
    why = verdict("R-17", 0.0, -1.0, 1.0, same=False, margin=2.0).why
    assert why == "equivalent within the margin δ = 2 effect; the study reports no effect"


@pytest.mark.parametrize("interval", [(-0.1, 0.1), (0.3, 0.7), (-0.3, 0.4)])
def test_the_studys_own_model_has_no_use_for_a_margin(interval):
    for margin in (2.5, 0.01, float("nan")):
        assert verdict("S-04", 0.05, *interval, same=True, margin=margin) == verdict(
            "S-04", 0.05, *interval, same=True)


@pytest.mark.parametrize("id", ["S-07", "S-15", "S-12", "S-22"])
def test_a_claim_of_an_effect_has_no_use_for_a_margin(id):
    for interval in ((-2.0, -1.0), (0.5, 2.0), (-1.0, 1.0)):
        assert verdict(id, 0.0, *interval, same=False, margin=5.0) == verdict(
            id, 0.0, *interval, same=False)


@pytest.mark.parametrize("margin", [0.0, -2.5, float("nan"), float("inf")])
@pytest.mark.parametrize("interval", [(-0.1, 0.1), (0.0, 0.0), (3.0, 4.0)])
def test_a_model_that_leaves_no_margin_decides_nothing(interval, margin):
    found = verdict("S-04", 0.0, *interval, same=False, margin=margin)
    assert found.word == "inconclusive"
    assert "no margin above 0" in found.why


@pytest.mark.parametrize("ends", [(None, None), (float("nan"), float("nan")), (-0.1, None),
                                  (None, 0.1)])
def test_equivalence_needs_an_interval(ends):
    found = verdict("S-04", 0.0, *ends, same=False, margin=2.5)
    assert found.word == "inconclusive"
    assert "no interval" in found.why


@pytest.mark.parametrize("id", ["S-18", "S-19", "B-15", "B-16", "R-05"])
def test_a_count_of_dependent_comparisons_decides_nothing_on_another_model(id):
    for value, *interval in ((22.0, 20.0, 24.0), (4.0,), (0.0,)):
        found = verdict(id, value, *interval, same=False)
        assert found.word == "inconclusive"
        assert "count" in found.why


@pytest.mark.parametrize("id", ["B-02", "B-05", "B-10", "S-01", "R-08"])
def test_a_level_keeps_its_own_reason(id):
    assert verdict(id, 5.0, 4.0, 6.0, same=False).why.startswith("a level on one model")


@pytest.mark.parametrize("same", [True, False])
def test_a_value_that_is_not_finite_decides_nothing(same):
    assert judged("S-07", None, same=same) == "inconclusive"


@pytest.mark.parametrize("id", ["B-14", "B-02", "B-05", "S-18", "S-02", "S-09", "R-08"])
def test_a_unit_without_direction_decides_nothing_on_another_model(id):
    assert judged(id, 50.0, 40.0, 60.0, same=False) == "inconclusive"


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: claim.id)
def test_every_claim_can_be_judged(claim, same):
    assert judged(claim.id, 5.0, 4.0, 6.0, same=same) in VERDICTS


def test_no_measurement_on_another_model_reproduces_anything():
    words = set()
    for claim in CLAIMS.values():
        for value in (-20.0, 0.0, 0.6, 13.0, 30.0):
            words.add(judged(claim.id, value, value - 0.1, value + 0.1, same=False))
    assert words == {"agrees", "disagrees", "inconclusive", "uninformative"}
    assert words <= set(VERDICTS)


def test_values_are_found_by_the_claim_they_answer():
    value = Value("s28.a", "q", 1.0, "pp", claim="S-07")
    of = results(28, Value("s28.b", "q", 2.0, "pp"), value)
    assert values_by_claim([of, results(23, Value("s23.a", "q", 2.0, "pp"))]) == {
        "S-07": (of, value)}


def test_two_answers_to_one_claim_are_an_error_that_names_both():
    first, second = (Value(f"s{n}.a", "q", 1.0, "pp", claim="S-07") for n in (27, 28))
    with pytest.raises(ValueError, match=r"S-07.*s27\.a.*s28\.a"):
        values_by_claim([results(27, first), results(28, second)])


def test_published_bounds_are_in_order():
    bounded = [claim for claim in CLAIMS.values() if claim.low is not None]
    assert bounded
    assert all(claim.low < claim.high for claim in bounded)


@pytest.mark.parametrize(("id", "measured"), [
    ("S-13", (-40.0, -200.0, 200.0)),  # seen: it holds the published 5.99, and everything else
    ("S-13", (6.0, 2.0, 10.0)),
    ("S-07", (13.0, 7.0, 19.0)),  # of a published interval the end nearer to no effect counts
    ("B-03", (70.0, 58.0, 82.0)),  # a balanced accuracy: chance is 50
    ("B-04", (0.7, 0.5, 0.9)),
    ("R-08", (0.5, 0.2, 0.8)),  # a level: from 0
    ("S-13", (300.0, 200.0, 400.0)),  # nor is a wide one enough to say no
])
def test_an_interval_wider_than_the_claim_needs_decides_nothing(id, measured):
    found = verdict(id, *measured, same=True)
    assert found.word == "inconclusive"
    assert "wide, the published value" in found.why


def test_an_interval_as_narrow_as_that_and_on_the_published_value_excludes_no_effect():
    assert judged("S-13", 6.0, 3.1, 8.9, same=True) == "reproduced"


def test_the_width_is_not_asked_of_another_model():
    assert judged("S-13", 300.0, 200.0, 400.0, same=False) == "agrees"
