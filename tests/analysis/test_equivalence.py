import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from deception_saes.analysis.bootstrap import FEWEST, mean_interval
from deception_saes.analysis.equivalence import (
    Contrast,
    contrast,
    holm,
    questions_needed,
    verdict,
    verdict_by_share,
    widened,
)


@pytest.fixture(scope="module")
def sample():
    return np.random.default_rng(0).normal(1.0, 4.0, size=200)


def with_intervals(wide, narrow, n=50):
    return Contrast(0.0, *wide, *narrow, n, n, 1.0, 0.5, 0.4)


def verdicts(true_difference, n, margin, repeats, sd=1.0):
    rng = np.random.default_rng(3)
    return [verdict(contrast(rng.normal(true_difference, sd, size=n), 300, repeat), margin)
            for repeat in range(repeats)]


def test_a_contrast_has_the_intervals_of_the_bootstrap(sample):
    found = contrast(sample, 500, 7)
    wide, narrow = (mean_interval(sample, 500, 7, level) for level in (0.95, 0.9))
    assert (found.mean, found.low, found.high, found.n) == (
        wide.mean, wide.low, wide.high, wide.n)
    assert (found.low90, found.high90) == (narrow.low, narrow.high)
    assert found.low < found.low90 < found.mean < found.high90 < found.high


def test_a_contrast_has_the_p_of_a_paired_t_test(sample):
    before = np.random.default_rng(1).normal(size=200)
    found = contrast(sample, 100, 0)
    assert found.p == pytest.approx(stats.ttest_rel(before + sample, before).pvalue)
    assert found.p == pytest.approx(DescrStatsW(sample).ttest_mean(0.0)[1])
    assert contrast(-sample, 100, 0).p == pytest.approx(found.p)


def test_the_spread_is_that_of_a_sample(sample):
    assert contrast(sample, 100, 0).sd == pytest.approx(sample.std(ddof=1))
    assert contrast([0, 0, 0, 0, 4], 100, 0).sd == pytest.approx(math.sqrt(16 * 0.8 / 4))


def test_the_detectable_difference_is_found_with_eighty_percent_power():
    rng = np.random.default_rng(2)
    n, sd = 100, 3.0
    detectable = contrast(stats.zscore(rng.normal(size=n), ddof=1) * sd, 100, 0).detectable
    assert detectable == pytest.approx(2.8016 * 3.0 / 10, rel=1e-4)
    samples = rng.normal(detectable, sd, size=(4000, n))
    found = (stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.3, 0.0), (-0.3, 0.0)])
@pytest.mark.filterwarnings("error")
def test_differences_without_spread_have_a_p(value, p):
    found = contrast([value] * 10, 100, 0)
    assert (found.sd, found.p, found.detectable) == (0.0, p, 0.0)


@pytest.mark.filterwarnings("error")
def test_one_question_has_a_mean_and_nothing_else():
    found = contrast([2.0], 100, 0)
    assert (found.mean, found.n) == (2.0, 1)
    assert all(math.isnan(x) for x in (found.low, found.high, found.low90, found.high90, found.sd,
                                       found.p, found.detectable))


def test_what_has_no_mean_has_no_contrast():
    with pytest.raises(ValueError, match="shape"):
        contrast([], 100, 0)
    with pytest.raises(ValueError, match="1 of 2"):
        contrast([1.0, float("nan")], 100, 0)


def test_questions_of_one_cluster_count_as_one(sample):
    alone = contrast(sample, 500, 7)
    found = contrast(np.repeat(sample, 3), 500, 7, np.repeat(np.arange(len(sample)), 3).astype(str))
    assert (found.n, found.clusters) == (3 * len(sample), len(sample))
    assert found.sd == pytest.approx(alone.sd * 3**0.5)  # of as many questions by themselves
    for name in ("mean", "p", "detectable"):
        assert getattr(found, name) == pytest.approx(getattr(alone, name))
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_too_few_clusters_decide_nothing():
    clusters = [str(place % (FEWEST - 1)) for place in range(40)]
    assert verdict(contrast([5.0] * 40, 100, 0, clusters), 1.0) == "inconclusive"


@pytest.mark.parametrize(("wide", "narrow", "outcome"), [
    ((-0.8, 0.9), (-0.6, 0.7), "equivalent"),
    ((-1.2, 0.9), (-0.9, 0.7), "equivalent"),  # the 90% interval decides
    ((-1.3, 1.3), (-1.0, 1.0), "equivalent"),  # the margin itself is within
    ((0.1, 0.9), (0.2, 0.8), "equivalent"),  # there, and smaller than matters
    ((-0.9, -0.1), (-0.8, -0.2), "equivalent"),
    ((3.0, 5.0), (3.2, 4.8), "different"),
    ((-5.0, -1.1), (-4.8, -1.3), "different"),
    ((1.0, 5.0), (1.2, 4.8), "inconclusive"),  # the margin itself is not beyond it
    ((0.1, 1.4), (0.2, 1.2), "inconclusive"),  # there, but perhaps smaller than matters
    ((-1.4, -0.1), (-1.2, -0.2), "inconclusive"),
    ((-1.4, 0.1), (-1.2, -0.1), "inconclusive"),  # only the 90% interval excludes 0
    ((-0.1, 1.4), (0.1, 1.2), "inconclusive"),
    ((0.0, 1.4), (0.1, 1.2), "inconclusive"),  # 0 itself is not excluded
    ((-2.0, 2.0), (-1.5, 1.5), "inconclusive"),
])
def test_the_intervals_decide(wide, narrow, outcome):
    assert verdict(with_intervals(wide, narrow), 1.0) == outcome


@pytest.mark.parametrize("difference", [0.0, 5.0])
def test_too_few_questions_decide_nothing(difference):
    assert verdict(contrast([difference] * (FEWEST - 1), 100, 0), 1.0) == "inconclusive"
    assert verdict(contrast([difference] * FEWEST, 100, 0), 1.0) != "inconclusive"
    sure = with_intervals((difference, difference), (difference, difference), n=FEWEST - 1)
    assert verdict(sure, 1.0) == "inconclusive"


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan"), float("inf")])
def test_without_a_margin_there_is_no_equivalence(margin):
    with pytest.raises(ValueError, match="margin"):
        verdict(with_intervals((0, 0), (0, 0)), margin)
    with pytest.raises(ValueError, match="margin"):
        questions_needed(1.0, margin)


@pytest.mark.parametrize(("mean", "outcome"), [
    (3.0, "different"), (-3.0, "different"), (0.2, "equivalent"), (1.0, "inconclusive")])
def test_a_share_of_a_fall_decides_too(mean, outcome):
    differences = np.tile([-0.5, 0.5], 20)
    assert verdict_by_share(mean + differences, np.full(40, 10.0), 0.1, 500, seed=0) == outcome


def test_the_uncertainty_of_the_fall_counts():
    values = np.full(40, 1.5)
    fall = np.tile([-60.0, 80.0], 20)  # 10 on average, as above, but hardly known
    assert verdict_by_share(values, fall, 0.1, 500, seed=0) == "inconclusive"
    assert verdict_by_share(values, np.full(40, 10.0), 0.1, 500, seed=0) == "different"
    together = ("a",) * 20 + ("b",) * 20  # of two clusters nothing is said
    assert verdict_by_share(values, np.full(40, 10.0), 0.1, 500, 0, together) == "inconclusive"


def test_a_difference_of_the_margin_passes_as_equivalent_in_five_percent_of_repeats():
    for true_difference in (0.5, -0.5):
        words = verdicts(true_difference, n=60, margin=0.5, repeats=500)
        assert words.count("equivalent") / 500 == pytest.approx(0.05, abs=0.025)


@pytest.mark.parametrize(("sd", "margin"), [(1.0, 0.4), (3.0, 1.0)])
def test_the_needed_questions_find_equivalence_with_eighty_percent_power(sd, margin):
    words = verdicts(0.0, questions_needed(sd, margin), margin, repeats=600, sd=sd)
    assert words.count("equivalent") / 600 == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(("sd", "margin", "n"), [
    (1.0, 0.5, 35),  # (1.6449 + 1.2816)² / 0.25 = 34.26
    (10.0, 0.15, 38062),
    (1.0, 10.0, FEWEST),
    (0.0, 1.0, FEWEST),
])
def test_needed_questions_by_hand(sd, margin, n):
    assert questions_needed(sd, margin) == n


@pytest.mark.parametrize("sd", [-1.0, float("nan"), float("inf")])
def test_an_impossible_spread_is_an_error(sd):
    with pytest.raises(ValueError, match="sd"):
        questions_needed(sd, 1.0)


def test_adjusted_p_values_are_those_of_statsmodels():
    rng = np.random.default_rng(4)
    for size in (1, 2, 7, 40):
        p = np.round(rng.beta(0.3, 3.0, size=size), 2)  # with ties
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_adjusted_p_values_by_hand():
    assert holm([0.02, 0.01, 0.03, 0.5]) == pytest.approx([0.06, 0.04, 0.06, 0.5])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])


def test_a_test_that_was_not_made_is_not_counted():
    nan = float("nan")
    assert holm([nan, 0.02, 0.01, nan]) == pytest.approx([nan, 0.02, 0.02, nan], nan_ok=True)
    assert np.isnan(holm([nan, nan])).all()
    assert holm([]).shape == (0,)


@pytest.mark.parametrize(("bad", "message"), [
    ([0.5, 1.5], "0.5 to 1.5"), ([-0.1, 0.5], "-0.1 to 0.5"),
    ([[0.5]], "shape"), (0.5, "shape"),
])
def test_what_are_no_p_values_is_an_error(bad, message):
    with pytest.raises(ValueError, match=message):
        holm(bad)


def test_widening_adds_the_spread_of_what_was_learned_and_keeps_the_mean():
    given = contrast(np.random.default_rng(0).normal(0.3, 1.0, 50), 2000, 0)
    wide = widened(given, 0.2, 10**9)
    factor = math.sqrt(1 + 50 * 0.2**2 / given.sd**2)
    assert wide.mean == given.mean
    assert wide.high - wide.mean == pytest.approx(factor * (given.high - given.mean))
    assert wide.low90 - wide.mean == pytest.approx(factor * (given.low90 - given.mean))
    assert wide.sd == pytest.approx(factor * given.sd)
    assert wide.detectable == pytest.approx(factor * given.detectable)
    error = math.sqrt(given.sd**2 / 50 + 0.2**2)
    assert wide.p == pytest.approx(2 * stats.t.sf(abs(given.mean) / error, 49))


def test_few_draws_widen_by_t_and_none_not_at_all():
    given = contrast(np.random.default_rng(0).normal(0.3, 1.0, 50), 2000, 0)
    few, many = widened(given, 0.2, 3), widened(given, 0.2, 1000)
    assert few.high > many.high > given.high
    assert widened(given, 0.0, 1) == given
