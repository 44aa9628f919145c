import numpy as np
import pytest

from deception_saes.analysis.crossed import wordings_interval


def drawn(rng, questions, wordings, sd_of_wordings):
    """Two conditions that differ by nothing but their wordings, [Q, W] each."""
    level_Q = rng.normal(0, 10, questions)[:, None]
    return [level_Q + rng.normal(0, 3, questions)[:, None]
            + rng.normal(0, sd_of_wordings, wordings) + rng.normal(0, 4, (questions, wordings))
            for _ in range(2)]


@pytest.mark.parametrize("sd_of_wordings", [0.0, 1.0, 5.0])
def test_the_interval_holds_the_true_difference_as_often_as_it_says(sd_of_wordings):
    rng = np.random.default_rng(0)
    found = [wordings_interval(*drawn(rng, 32, 8, sd_of_wordings)) for _ in range(2000)]
    covered = np.mean([of.low <= 0 <= of.high for of in found])
    assert 0.935 < covered < 0.975


def test_an_interval_over_questions_alone_would_not():
    rng = np.random.default_rng(0)
    outside = 0
    for _ in range(500):
        one, other = drawn(rng, 32, 8, 5.0)
        differences = (one - other).mean(1)
        outside += abs(differences.mean()) > 2.04 * differences.std(ddof=1) / 32**0.5
    assert outside > 200


def test_the_difference_is_that_of_the_means():
    one, other = np.arange(40.0).reshape(8, 5), np.ones((8, 6))
    assert wordings_interval(one, other).mean == pytest.approx(18.5)


def test_too_few_wordings_have_no_interval():
    found = wordings_interval(np.ones((8, 4)), np.ones((8, 6)))
    assert np.isnan(found.low)
    assert found.n == 8


def test_conditions_are_asked_the_same_questions():
    with pytest.raises(ValueError, match="8 and 7 questions"):
        wordings_interval(np.ones((8, 5)), np.ones((7, 5)))
