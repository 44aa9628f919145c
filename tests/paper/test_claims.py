import pytest

from deception_saes.paper.claims import VERDICTS, judge, load_claims, values_by_claim
from deception_saes.sections.catalogue import SECTIONS
from deception_saes.sections.results import Results, Value

CLAIMS = load_claims()


def judged(id, value, low=None, high=None, *, same):
    claim = CLAIMS[id]
    return judge(claim, Value("s28.x", "q", value, claim.unit, ci_low=low, ci_high=high), same).word


def results(section, *values):
    return Results(section, "done", None, "embedded", 0, "abc", {}, 1.0, list(values))


def test_there_are_sixty_claims_in_the_order_of_their_file():
    assert len(CLAIMS) == 60
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
    ("B-03", (72.5,), "reproduced"),  # value
    ("B-03", (71.0, 69.0, 73.0), "reproduced"),
    ("B-03", (60.0, 58.0, 62.0), "not reproduced"),
    ("B-03", (72.4,), "not reproduced"),
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
    ("S-03", (1.5, 1.2, 1.8), "agrees"),  # a ratio of no effect is 1
    ("S-03", (0.8, 0.7, 0.9), "disagrees"),
    ("S-03", (1.1, 0.9, 1.3), "inconclusive"),
    ("S-22", (3.0, 2.0, 4.0), "agrees"),  # a range of ratios
    ("S-20", (4.0, 3.0, 5.0), "agrees"),  # Cohen's d
    ("S-04", (0.05, -0.10, 0.12), "agrees"),  # equivalence
    ("S-04", (0.5, 0.3, 0.7), "disagrees"),
    ("S-04", (0.05, -0.3, 0.4), "inconclusive"),
    ("S-15", (-1.0, -2.0, -0.5), "agrees"),
    ("S-15", (1.0, 0.5, 2.0), "disagrees"),
    ("S-15", (-0.5, -2.0, 1.0), "inconclusive"),
])
def test_on_another_model_the_direction_or_equivalence_decides(id, measured, word):
    assert judged(id, *measured, same=False) == word


@pytest.mark.parametrize("same", [True, False])
def test_a_value_that_is_not_finite_decides_nothing(same):
    assert judged("S-07", None, same=same) == "inconclusive"


@pytest.mark.parametrize("id", ["B-03", "B-02", "B-05", "S-18", "S-02", "S-09", "R-08"])
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
    assert words == {"agrees", "disagrees", "inconclusive"}
    assert words <= set(VERDICTS)


def test_values_are_found_by_the_claim_they_answer():
    value = Value("s28.a", "q", 1.0, "pp", claim="S-07")
    of = results(28, Value("s28.b", "q", 2.0, "pp"), value)
    assert values_by_claim([of, results(23, Value("s23.a", "q", 2.0, "pp"))]) == {
        "S-07": (of, value)}


def test_two_answers_to_one_claim_are_an_error_that_names_both():
    first, second = (Value(f"s{n}.a", "q", 1.0, "pp", claim="S-07") for n in (27, 28))
    with pytest.raises(ValueError, match=r"S-07 is answered by s27\.a and by s28\.a"):
        values_by_claim([results(27, first), results(28, second)])


def test_published_bounds_are_in_order():
    bounded = [claim for claim in CLAIMS.values() if claim.low is not None]
    assert bounded
    assert all(claim.low < claim.high for claim in bounded)
