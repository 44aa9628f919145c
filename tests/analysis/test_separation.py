"""Cohen's d and its null against the same by loops, by really swapping and resampling rows; rates,
their intervals and p-values against statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import StratifiedTable
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from deception_saes.analysis.bootstrap import mean_interval
from deception_saes.analysis.folds import design, permuted_labels
from deception_saes.analysis.separation import (
    FLOOR,
    floor_of,
    live,
    newcombe,
    null_d_max,
    rate_differences,
    remeasured,
    resampled_d,
    separation,
    wilson,
    within_scenario_p,
)
from deception_saes.rng import generator

Q, F = 30, 12


def cohens_d(first, second, floor=0.0):
    """The textbook's, of one feature, and the SD before the floor."""
    n, m = len(first), len(second)
    pooled = ((n - 1) * np.var(first, ddof=1) + (m - 1) * np.var(second, ddof=1)) / (n + m - 2)
    sd = np.sqrt(pooled)
    return (np.mean(first) - np.mean(second)) / max(sd, floor), sd


@pytest.fixture(scope="module")
def pair():
    """Two conditions of sparse features that differ in mean and spread; the last two are dead or
    almost so."""
    random = np.random.default_rng(3)
    active = random.random((2, Q, F)) < random.uniform(0.2, 1.0, F)
    first, second = active * random.gamma(2.0, random.uniform(0.1, 5.0, F), (2, Q, F))
    first[:, 3] += 2.0
    for x in (first, second):
        x[:, -2:] = 0
    first[0, -1] = 100.0
    return first, second


def test_d_is_that_of_the_textbook(pair):
    found = separation(*pair, 0.0)
    for feature in range(F - 2):
        d, sd = cohens_d(pair[0][:, feature], pair[1][:, feature])
        assert found.d_F[feature] == pytest.approx(d, rel=1e-12)
        assert found.sd_F[feature] == pytest.approx(sd, rel=1e-12)
    assert (found.d_F < 0).any()
    assert (found.d_F > 0).any()


def test_a_large_mean_costs_no_digits(pair):
    found, moved = (separation(pair[0] + by, pair[1] + by, 0.0) for by in (0.0, 1e6))
    assert moved.d_F[:-2] == pytest.approx(found.d_F[:-2], rel=1e-8)


def test_a_feature_that_is_silent_has_a_d_of_zero(pair):
    found = separation(*pair, 0.0)
    assert (found.d_F[-2], found.sd_F[-2]) == (0.0, 0.0)


def test_the_largest_and_mean_d_are_of_live_features_alone(pair):
    found = separation(*pair, 0.0)
    assert list(found.live_F) == [True] * (F - 2) + [False] * 2
    sizes = [abs(cohens_d(pair[0][:, f], pair[1][:, f])[0]) for f in range(F - 2)]
    assert found.best == int(np.argmax(sizes))
    assert found.d_max == pytest.approx(max(sizes))
    assert found.d_mean_live == pytest.approx(np.mean(sizes))
    silent_but_once = abs(cohens_d(pair[0][:, -1], pair[1][:, -1])[0])
    assert found.d_mean_all == pytest.approx((sum(sizes) + silent_but_once) / F)


def test_a_negative_d_can_be_the_largest(pair):
    found, turned = separation(*pair, 0.0), separation(*pair[::-1], 0.0)
    assert turned.best == found.best
    assert turned.d_max == found.d_max
    assert turned.d_F[found.best] == -found.d_F[found.best]


@pytest.mark.parametrize(("first", "second", "expected"), [
    (1, 1, True), (2, 0, True), (0, 2, True), (1, 0, False), (0, 1, False), (0, 0, False),
])
def test_a_feature_is_live_from_exactly_five_percent_of_all_prompts(first, second, expected):
    features = np.zeros((2, 20, 1))  # 2 of 40 prompts are five percent
    features[0, :first] = features[1, :second] = 0.1
    assert live(*features).tolist() == [expected]


def test_a_negative_coordinate_counts_as_active():
    assert live(np.full((20, 1), -1.0), np.zeros((20, 1))).tolist() == [True]


def test_without_a_live_feature_there_is_no_d_max():
    nothing = np.zeros((10, 4))
    found = separation(nothing, nothing, 0.0)
    assert found.best is None
    assert np.isnan([found.d_max, found.d_mean_live]).all()
    assert found.d_mean_all == 0.0
    assert floor_of(nothing, nothing) == 0.0
    null = null_d_max(nothing, nothing, 0.0, 7, 0)
    assert null.shape == (7,)
    assert np.isnan(null).all()


def test_the_floor_is_a_share_of_the_median_sd_of_live_features(pair):
    sds = [cohens_d(pair[0][:, f], pair[1][:, f])[1] for f in range(F - 2)]
    assert floor_of(*pair) == pytest.approx(FLOOR * np.median(sds))
    with_dead = [np.concatenate([x, np.zeros((Q, 3 * F))], axis=1) for x in pair]
    assert floor_of(*with_dead) == floor_of(*pair)


def test_with_the_floor_a_feature_of_tiny_spread_no_longer_wins(pair):
    first, second = (np.concatenate([x, x[:, :1] * 1e-6 + 0.5], axis=1) for x in pair)
    first[:, -1] += 1e-4
    bare, floored = (separation(first, second, f) for f in (0.0, floor_of(first, second)))
    assert bare.best == F
    assert floored.best == separation(*pair, 0.0).best
    assert floored.sd_F[F] == bare.sd_F[F] < floor_of(first, second)
    assert floored.d_F[F] == pytest.approx(
        cohens_d(first[:, -1], second[:, -1], floor_of(first, second))[0], rel=1e-6)


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_draw_of_the_null_is_the_largest_d_after_swapping_questions(pair, share):
    floor = share * float(np.median(separation(*pair, 0.0).sd_F))
    found = null_d_max(*pair, floor, 20, 5)
    signs = generator(5, "swapped conditions", str(Q)).integers(0, 2, size=(20, Q)) * 2 - 1
    for draw, of_draw in enumerate(signs):
        first, second = (x.copy() for x in pair)
        first[of_draw < 0], second[of_draw < 0] = pair[1][of_draw < 0], pair[0][of_draw < 0]
        expected = max(abs(cohens_d(first[:, f], second[:, f], floor)[0]) for f in range(F - 2))
        assert found[draw] == pytest.approx(expected, rel=1e-9)
    assert len(set(found)) > 10


def test_the_null_too_keeps_its_digits_under_a_large_mean(pair):
    live_pair = [x[:, :-2] for x in pair]
    found, moved = (null_d_max(*(x + by for x in live_pair), 0.0, 20, 0) for by in (0.0, 1e6))
    assert moved == pytest.approx(found, rel=1e-7)


def test_of_exchangeable_conditions_p_is_uniform():
    random = np.random.default_rng(0)
    p = []
    for repeat in range(200):
        features = random.normal(size=(2, 16, 6))
        null = null_d_max(*features, 0.0, 99, repeat)
        p.append((1 + (null >= separation(*features, 0.0).d_max).sum()) / 100)
    for share in (0.1, 0.25, 0.5, 0.75):
        assert np.mean(np.array(p) <= share) == pytest.approx(share, abs=0.1)


def test_a_planted_difference_is_above_the_whole_null():
    features = np.random.default_rng(0).normal(size=(2, 40, 50))
    features[0, :, 7] += 2.0
    found = separation(*features, 0.0)
    assert found.best == 7
    assert found.d_max > null_d_max(*features, 0.0, 999, 0).max()


def test_resampled_d_is_that_of_the_resampled_questions(pair):
    floor = floor_of(*pair)
    (found,) = resampled_d(*pair, floor, 10, 4)
    picked = generator(4, "bootstrap", str(Q)).integers(0, Q, size=(10, Q))
    assert found.shape == (10, F)
    for draw, rows in enumerate(picked):
        for feature in range(F - 2):
            d, _ = cohens_d(pair[0][rows, feature], pair[1][rows, feature], floor)
            assert found[draw, feature] == pytest.approx(d, rel=1e-9)


def test_resamples_are_those_of_a_mean_interval(pair):
    # a feature whose SD is below the floor: d is then the difference of means, up to the floor
    (found,) = resampled_d(*pair, 1000.0, 400, 4)
    interval = mean_interval((pair[0] - pair[1])[:, 3], 400, 4)
    assert np.quantile(1000 * found[:, 3], [0.025, 0.975]) == pytest.approx(
        [interval.low, interval.high])


def test_resamples_come_in_parts_of_the_same_draws(pair):
    few, = resampled_d(*pair, 0.1, 25, 0)
    parts = list(resampled_d(*pair, 0.1, 1200, 0))
    assert sum(map(len, parts)) == 1200
    assert len(parts) > 1
    assert few.shape == (25, F)


@pytest.mark.parametrize(("first", "second"), [
    ((5, 3), (5, 4)), ((5, 3), (6, 3)), ((1, 3), (1, 3)), ((0, 3), (0, 3)), ((5,), (5,)),
])
def test_other_shapes_or_a_single_question_are_an_error(first, second):
    with pytest.raises(ValueError, match="shape"):
        separation(np.ones(first), np.ones(second), 0.0)


# Rates


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (74, 155), (1, 1)])
def test_wilson_is_that_of_statsmodels(hits, n):
    np.testing.assert_allclose(wilson(hits, n), proportion_confint(hits, n, method="wilson"),
                               atol=1e-12)


@pytest.mark.parametrize("counts", [(74, 100, 24, 100), (5, 10, 0, 12), (3, 40, 3, 30)])
def test_the_differences_interval_is_that_of_statsmodels(counts):
    np.testing.assert_allclose(
        newcombe(*counts), confint_proportions_2indep(*counts, method="newcomb"), atol=1e-9)


def planted_rates(seed, rate=0.75, other=0.25, n=160, features=60):
    random = np.random.default_rng(seed)
    deceptive = np.tile([True, False], n // 2)
    scenario = np.repeat(["one", "two"], n // 2)
    fires = random.random((n, features)) < random.random(features)
    fires[:, 7] = random.random(n) < np.where(deceptive, rate, other)
    return fires, design(deceptive, list(scenario), np.arange(n), seed)


def test_p_within_scenarios_is_that_of_statsmodels():
    fires, of = planted_rates(0)
    found = within_scenario_p(fires, of)
    for feature in (0, 3, 7):
        tables = [[[np.sum(fires[rows & d, feature] == f) for f in (1, 0)]
                   for d in (of.deceptive_N, ~of.deceptive_N)]
                  for rows in (of.scenario_N == s for s in range(2))]
        whole = StratifiedTable(np.array(tables).transpose(1, 2, 0).astype(float))
        assert found[feature] == pytest.approx(whole.test_null_odds().pvalue)


def test_a_feature_that_never_changes_has_p_of_one():
    fires, of = planted_rates(0)
    fires[:, 1], fires[:, 2] = True, False
    assert (within_scenario_p(fires, of)[[1, 2]] == 1).all()


def test_a_feature_of_scenarios_is_not_one_of_labels():
    fires, of = planted_rates(0)
    fires[:, 1] = of.scenario_N == 1
    assert within_scenario_p(fires, of)[1] == 1


def test_a_planted_feature_is_found_and_the_interval_covers_it():
    covered = 0
    for seed in range(40):
        fires, of = planted_rates(seed)
        differences = rate_differences(fires, of.deceptive_N[None])[0]
        assert differences.argmax() == 7
        assert within_scenario_p(fires, of).argmin() == 7
        yes, no = fires[of.deceptive_N, 7].sum(), fires[~of.deceptive_N, 7].sum()
        low, high = newcombe(yes, 80, no, 80)
        covered += low <= 0.5 <= high
        picked, held_out = remeasured(fires, of)
        assert set(picked) == {7}
        assert (held_out == fires[:, 7]).all()
    assert covered >= 35


def test_the_largest_rate_difference_is_explained_by_permutations_where_nothing_is_planted():
    fires, of = planted_rates(1, rate=0.5, other=0.5)
    observed = rate_differences(fires, of.deceptive_N[None])[0].max()
    null = rate_differences(fires, permuted_labels(of, 199, 0)).max(axis=1)
    assert np.mean(null >= observed) > 0.05
    _, held_out = remeasured(fires, of)
    again = held_out[of.deceptive_N].mean() - held_out[~of.deceptive_N].mean()
    assert again < observed
