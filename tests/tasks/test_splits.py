import pytest

from deception_saes.tasks.scoring import Score
from deception_saes.tasks.splits import answerable, halves

IDS = [f"q{i}" for i in range(41)]


def score(id, p_correct, p_foil, p_string=0.5, top_token=" x"):
    return Score(id, "topic", p_correct, p_foil, p_string, top_token)


@pytest.mark.parametrize(("p_correct", "p_foil", "taken"), [
    (0.5, 0.1, True),
    (0.1, 0.0, True),  # the threshold itself
    (0.099, 0.0, False),
    (0.4, 0.4, False),  # no more probable than the foil
    (0.4, 0.5, False),
])
def test_an_answerable_question_is_above_threshold_and_foil(p_correct, p_foil, taken):
    assert answerable([score("q", p_correct, p_foil)], 0.1) == ["q"] * taken


def test_other_measures_do_not_make_a_question_answerable():
    scores = [score("a", 0.5, 0.1, p_string=0.0, top_token=" wrong"),
              score("b", 0.05, 0.01, p_string=0.9, top_token=" right")]
    assert answerable(scores, 0.1) == ["a"]


def test_halves_part_the_questions_with_one_more_to_evaluate():
    found = list(halves(IDS, 0).values())
    assert (found.count("choosing"), found.count("evaluating")) == (20, 21)
    assert list(halves(IDS[:40], 0).values()).count("choosing") == 20
    assert halves(IDS, 0).keys() == set(IDS)


def test_halves_do_not_depend_on_the_order_of_the_questions():
    assert halves(IDS, 0) == halves(IDS[::-1], 0)


def test_halves_depend_on_the_seed():
    assert halves(IDS, 0) == halves(IDS, 0)
    assert halves(IDS, 0) != halves(IDS, 1)


def test_each_question_can_fall_in_either_half():
    times = [sum(halves(IDS[:10], seed)[q] == "choosing" for seed in range(200)) for q in IDS[:10]]
    assert all(60 < count < 140 for count in times)  # five SDs about 100


@pytest.mark.parametrize("ids", [[], ["only"]])
def test_too_few_questions_leave_nothing_to_choose_on(ids):
    assert list(halves(ids, 0).values()) == ["evaluating"] * len(ids)
