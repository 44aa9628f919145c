import pytest

from deception_saes.experiments.swaps import PLAIN
from deception_saes.paper.plots.architectures import look, present, shifts


def test_known_ones_come_first_and_in_one_order():
    assert list(present(["gated", PLAIN, "relu", "topk", "gated", "absurd"])) == [
        "topk", "gated", PLAIN, "absurd", "relu"]


def test_one_that_nobody_gave_a_look_has_its_own_name():
    assert look("relu").name == "Relu"
    assert look("relu").marker not in {look(known).marker for known in ("topk", "gated", PLAIN)}


@pytest.mark.parametrize(("names", "expected"), [
    (["a"], [0.0]), (["a", "b"], [-0.2, 0.2]), (["a", "b", "c"], [-0.2, 0.0, 0.2])])
def test_neighbours_stand_evenly_around_their_place(names, expected):
    assert list(shifts(names, 0.4).values()) == pytest.approx(expected)
