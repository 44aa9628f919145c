import math

import numpy as np
import pytest

from deception_saes.analysis.bootstrap import (
    FEWEST,
    empirical_p,
    mean_interval,
    percentiles,
    ratio_interval,
    standard_error,
)
from deception_saes.tasks.trivia import halves, load_questions


@pytest.fixture(scope="module")
def sample():
    return np.random.default_rng(0).normal(3.0, 2.0, size=400)


def test_the_interval_is_the_one_of_normal_theory(sample):
    found = mean_interval(sample, draws=10_000, seed=0)
    half = 1.96 * sample.std(ddof=1) / math.sqrt(len(sample))
    assert found.mean == pytest.approx(sample.mean())
    assert found.n == 400
    assert found.mean - found.low == pytest.approx(half, rel=0.05)
    assert found.high - found.mean == pytest.approx(half, rel=0.05)


def test_percentiles_leave_out_as_much_at_both_ends():
    assert percentiles(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


def test_a_lower_level_gives_a_narrower_interval(sample):
    found = mean_interval(sample, draws=10_000, seed=0, level=0.9)
    half = 1.645 * sample.std(ddof=1) / math.sqrt(len(sample))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)


def test_a_95_percent_interval_covers_the_truth_in_95_percent_of_repeats():
    rng = np.random.default_rng(1)
    covered = 0
    for repeat in range(300):
        found = mean_interval(rng.normal(1.0, 1.0, size=50), draws=500, seed=repeat)
        covered += found.low <= 1.0 <= found.high
    assert 0.90 <= covered / 300 <= 0.98


def test_one_seed_gives_one_interval(sample):
    assert mean_interval(sample, 200, 7) == mean_interval(list(sample), 200, 7)
    assert mean_interval(sample, 200, 7) != mean_interval(sample, 200, 8)


def test_quantities_of_the_same_questions_share_their_resamples(sample):
    found, moved = (mean_interval(x, 200, 0) for x in (sample, sample + 1))
    assert moved.low - found.low == pytest.approx(1.0)
    assert moved.high - found.high == pytest.approx(1.0)


@pytest.mark.parametrize("n", range(1, FEWEST))
def test_too_few_questions_have_a_mean_and_no_interval(n):
    for found in (mean_interval([2.0] * n, 200, 0), ratio_interval([8.0] * n, [4.0] * n, 200, 0)):
        assert (found.mean, found.n) == (2.0, n)
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def test_just_enough_questions_have_an_interval():
    found = mean_interval(np.arange(FEWEST), 200, 0)
    assert found.low < found.mean < found.high


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_an_error(bad):
    with pytest.raises(ValueError, match="1 of 6"):
        mean_interval([1.0, 2.0, bad, 4.0, 5.0, 6.0], 200, 0)


@pytest.mark.parametrize("shape", [(0,), (2, 3), ()])
def test_what_is_no_list_of_numbers_is_an_error(shape):
    with pytest.raises(ValueError, match="shape"):
        mean_interval(np.ones(shape), 200, 0)


@pytest.fixture(scope="module")
def parts():
    """Numerators and denominators that go together, as a question's errors and spread do."""
    random = np.random.default_rng(2)
    below = random.gamma(4.0, 1.0, size=60)
    return below * random.uniform(0.2, 0.8, size=60), below


def test_a_ratio_is_that_of_the_sums(parts):
    above, below = parts
    found = ratio_interval(above, below, 200, 0)
    assert found.mean == pytest.approx(above.sum() / below.sum())
    assert found.mean != pytest.approx((above / below).mean())
    assert found.n == 60
    assert found.low < found.mean < found.high


def test_a_ratio_resamples_numerator_and_denominator_together(parts):
    found = ratio_interval(parts[1] * 0.25, parts[1], 200, 0)
    assert [found.mean, found.low, found.high] == pytest.approx([0.25] * 3)


def test_the_interval_of_a_ratio_is_that_of_the_delta_method(parts):
    above, below = parts
    found = ratio_interval(above, below, 10_000, 0)
    residual = above - found.mean * below
    half = 1.96 * residual.std(ddof=1) / math.sqrt(60) / below.mean()
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)


@pytest.mark.parametrize("level", [0.95, 0.5])
def test_a_ratio_to_ones_is_a_mean(sample, level):
    ratio = ratio_interval(sample, np.ones(400), 300, 3, level)
    mean = mean_interval(sample, 300, 3, level)
    assert (ratio.mean, ratio.low, ratio.high, ratio.n) == pytest.approx(
        (mean.mean, mean.low, mean.high, mean.n), rel=1e-12)


@pytest.mark.parametrize(("above", "below"), [
    ((6,), (7,)), ((0,), (0,)), ((6, 1), (6, 1)), ((6,), (1,)), ((), ()),
])
def test_lists_of_two_lengths_or_none_have_no_ratio(above, below):
    with pytest.raises(ValueError, match="shapes"):
        ratio_interval(np.ones(above), np.ones(below), 200, 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_ratio_of_what_is_not_finite_is_an_error(bad):
    values = [1.0, 2.0, bad, 4.0, 5.0, 6.0]
    for above, below in ((values, [1.0] * 6), ([1.0] * 6, values)):
        with pytest.raises(ValueError, match="not finite"):
            ratio_interval(above, below, 200, 0)


def test_empirical_p_counts_draws_at_least_as_large():
    assert empirical_p(2.0, np.array([1.0, 2.0, 3.0])) == pytest.approx(3 / 4)
    assert empirical_p(9.0, np.zeros(99)) == pytest.approx(1 / 100)


# Clusters


def test_clusters_of_one_change_nothing(sample):
    alone = [str(place) for place in range(len(sample))]
    found, other = mean_interval(sample, 200, 0), mean_interval(sample, 200, 0, clusters=alone)
    assert other.mean == found.mean
    assert (other.high - other.low) == pytest.approx(found.high - found.low, rel=0.15)
    assert standard_error(sample, alone) == pytest.approx(standard_error(sample))
    assert standard_error(sample) == pytest.approx(sample.std(ddof=1) / math.sqrt(len(sample)))


def test_questions_of_one_cluster_are_drawn_together():
    values, clusters = np.repeat(np.arange(6.0), 4), np.repeat(list("abcdef"), 4)
    found = mean_interval(values, 2000, 0, clusters=clusters)
    assert found.n == 24
    alone = mean_interval(np.arange(6.0), 2000, 0)
    assert (found.mean, found.low, found.high) == (alone.mean, alone.low, alone.high)


def test_a_ratio_draws_clusters_in_both_parts():
    above, below = np.array([1.0, 2, 3, 4, 5, 6, 7]), np.array([2.0, 2, 4, 4, 6, 6, 8])
    clusters = ["a", "a", "b", "c", "d", "e", "e"]
    summed = [np.bincount([0, 0, 1, 2, 3, 4, 4], weights=of) for of in (above, below)]
    assert (ratio_interval(above, below, 300, 1, clusters=clusters).low
            == ratio_interval(*summed, 300, 1).low)


def test_fewer_clusters_than_the_fewest_have_no_interval():
    assert math.isnan(mean_interval(np.arange(40.0), 200, 0, clusters=["a", "b"] * 20).low)


def test_every_question_needs_a_label():
    with pytest.raises(ValueError, match="2 cluster labels for 3 questions"):
        mean_interval(np.ones(3), 200, 0, clusters=["a", "b"])


@pytest.mark.parametrize(("shared", "by_question"), [(0.1, 0.91), (0.3, 0.8)])
def test_intervals_by_template_cover_the_truth_where_those_by_question_do_not(shared, by_question):
    asked = load_questions()
    half = halves({question.id: question.cluster for question in asked}, 0)
    clusters = [question.cluster for question in asked if half[question.id] == "evaluating"]
    place_Q = np.unique(clusters, return_inverse=True)[1]
    rng = np.random.default_rng(0)
    covered = {"templates": 0, "questions": 0}
    for repeat in range(300):
        values = (rng.normal(0, shared**0.5, place_Q.max() + 1)[place_Q]
                  + rng.normal(0, (1 - shared) ** 0.5, len(clusters)))
        for name, labels in (("templates", clusters), ("questions", None)):
            found = mean_interval(values, 300, repeat, clusters=labels)
            covered[name] += found.low <= 0 <= found.high
    print({name: count / 300 for name, count in covered.items()})
    assert covered["templates"] / 300 > 0.9
    assert covered["questions"] / 300 < by_question
