"""Rates, their intervals and p-values against statsmodels; a planted feature is found."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import StratifiedTable
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from deception_saes.analysis.folds import design, permuted_labels
from deception_saes.analysis.rates import (
    newcombe,
    rate_differences,
    remeasured,
    wilson,
    within_scenario_p,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (74, 155), (1, 1)])
def test_wilson_is_that_of_statsmodels(hits, n):
    np.testing.assert_allclose(wilson(hits, n), proportion_confint(hits, n, method="wilson"),
                               atol=1e-12)


@pytest.mark.parametrize("counts", [(74, 100, 24, 100), (5, 10, 0, 12), (3, 40, 3, 30)])
def test_the_differences_interval_is_that_of_statsmodels(counts):
    np.testing.assert_allclose(
        newcombe(*counts), confint_proportions_2indep(*counts, method="newcomb"), atol=1e-9)


def planted(seed, rate=0.75, other=0.25, n=160, features=60):
    random = np.random.default_rng(seed)
    deceptive = np.tile([True, False], n // 2)
    scenario = np.repeat(["one", "two"], n // 2)
    fires = random.random((n, features)) < random.random(features)
    fires[:, 7] = random.random(n) < np.where(deceptive, rate, other)
    return fires, design(deceptive, list(scenario), np.arange(n), seed)


def test_p_within_scenarios_is_that_of_statsmodels():
    fires, of = planted(0)
    found = within_scenario_p(fires, of)
    for feature in (0, 3, 7):
        tables = [[[np.sum(fires[rows & d, feature] == f) for f in (1, 0)]
                   for d in (of.deceptive_N, ~of.deceptive_N)]
                  for rows in (of.scenario_N == s for s in range(2))]
        whole = StratifiedTable(np.array(tables).transpose(1, 2, 0).astype(float))
        assert found[feature] == pytest.approx(whole.test_null_odds().pvalue)


def test_a_feature_that_never_changes_has_p_of_one():
    fires, of = planted(0)
    fires[:, 1], fires[:, 2] = True, False
    assert (within_scenario_p(fires, of)[[1, 2]] == 1).all()


def test_a_feature_of_scenarios_is_not_one_of_labels():
    fires, of = planted(0)
    fires[:, 1] = of.scenario_N == 1
    assert within_scenario_p(fires, of)[1] == 1


def test_a_planted_feature_is_found_and_the_interval_covers_it():
    covered = 0
    for seed in range(40):
        fires, of = planted(seed)
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


def test_the_largest_of_many_is_explained_by_permutations_where_nothing_is_planted():
    fires, of = planted(1, rate=0.5, other=0.5)
    observed = rate_differences(fires, of.deceptive_N[None])[0].max()
    null = rate_differences(fires, permuted_labels(of, 199, 0)).max(axis=1)
    assert np.mean(null >= observed) > 0.05
    _, held_out = remeasured(fires, of)
    again = held_out[of.deceptive_N].mean() - held_out[~of.deceptive_N].mean()
    assert again < observed
