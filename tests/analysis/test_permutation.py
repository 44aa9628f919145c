"""Ridge on many labellings, p-values, and intervals that hold for probes that were fitted."""

import numpy as np
import pytest
from completion_sets import made_up, noise, planted
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from deception_saes.analysis.folds import design, permuted_labels, resampled_weights, splits
from deception_saes.analysis.permutation import (
    p_values,
    principal,
    ridge_scores,
    standardised,
    widening,
    word_weights,
)
from deception_saes.analysis.probe_scores import balanced_accuracies, measure_permuted
from deception_saes.analysis.probes import C, one_thread


@pytest.fixture(autouse=True)
def matrices_on_one_thread():
    with one_thread():
        yield


def test_ridge_on_every_labelling_is_scikit_learns():
    of = made_up(8, doubled=4)
    x = planted(of, 2.0)
    labels = np.concatenate([of.deceptive_N[None], permuted_labels(of, 4, 0)])
    found = ridge_scores(x, of, labels)
    for p, of_draw in enumerate(labels):
        expected = np.empty(len(x))
        for train, test in splits(of, of.fold_N):
            target = np.where(of_draw[train], 1.0, -1.0)
            for s in np.unique(of.scenario_N):
                target[of.scenario_N[train] == s] -= target[of.scenario_N[train] == s].mean()
            scaler = StandardScaler().fit(x[train])
            ridge = Ridge(alpha=4 / C, solver="cholesky").fit(scaler.transform(x[train]), target)
            expected[test] = ridge.predict(scaler.transform(x[test]))
        np.testing.assert_allclose(found[p], expected, atol=1e-8)


def test_ridge_takes_a_constant_coordinate():
    of = made_up(8)
    x = np.hstack([planted(of, 2.0), np.ones((len(of.fold_N), 1))])
    found = ridge_scores(x, of, of.deceptive_N[None])
    np.testing.assert_allclose(found, ridge_scores(x[:, :-1], of, of.deceptive_N[None]))


def test_permutations_are_chance_and_the_planted_signal_is_beyond_them():
    of = made_up()
    labels = permuted_labels(of, 200, 0)
    x = planted(of, 3.0)
    accuracy, auroc = measure_permuted(ridge_scores(x, of, labels), labels, of)
    for null in (accuracy, auroc):
        assert null.mean() == pytest.approx(0.5, abs=0.01)
    found = measure_permuted(ridge_scores(x, of, of.deceptive_N[None]), of.deceptive_N[None], of)
    assert found[0][0] > accuracy.max()
    assert found[1][0] > auroc.max()


@pytest.mark.parametrize("prepare", [standardised, principal(3)], ids=["all", "components"])
def test_permutations_are_chance_where_near_duplicates_come_in_groups_of_many_sizes(prepare):
    # labels that could not move would leave the planted signal in the null
    single = made_up(20)
    group = np.arange(240)
    for start, size in ((0, 2), (40, 3), (80, 4), (120, 5), (160, 6), (200, 7)):
        group[start : start + size] = start
    of = design(single.deceptive_N, [str(s) for s in single.scenario_N], group, 0)
    labels = permuted_labels(of, 300, 0)
    for null in measure_permuted(ridge_scores(planted(of, 6.0), of, labels, prepare), labels, of):
        assert null.mean() == pytest.approx(0.5, abs=0.012)


def test_features_come_from_what_is_trained_on():
    random = np.random.default_rng(0)
    train, test = random.normal(size=(20, 3)) * 5 + 2, random.normal(size=(4, 3))
    scaler = StandardScaler().fit(train)
    for found, of in zip(standardised(train, test), (train, test), strict=True):
        np.testing.assert_allclose(found, scaler.transform(of))
    texts = np.array(["I said so", "you said nothing", "I see"], dtype=object)
    told, unseen = word_weights(texts, np.array(["said I", "quite unheard of"], dtype=object))
    np.testing.assert_allclose(told.mean(axis=0), 0, atol=1e-12)
    assert told.shape[1] == unseen.shape[1] == 6 + 5  # words, then pairs; no word of the tested
    assert np.ptp(unseen[1] + (told[0] - told[0])) < 1  # an unseen text has the mean taken off


def test_p_counts_the_permutations_that_do_as_well_and_the_best_of_all_layers():
    null = np.array([[0.5, 0.6], [0.7, 0.4], [0.5, 0.5]])
    p, p_max = p_values(np.array([0.6, 0.6]), null)
    assert p.tolist() == [2 / 4, 2 / 4]
    assert p_max.tolist() == [3 / 4, 3 / 4]
    assert p_values(np.array([0.9, 0.1 + 0.4]), null)[0].tolist() == [1 / 4, 3 / 4]


def test_corrected_p_is_below_five_percent_in_five_percent_of_null_runs():
    # layers that share half of their noise, each run's observed labels being one more permutation
    of = made_up(6)
    labels = permuted_labels(of, 400, 0)
    shared = noise(of, 20, offsets=0)
    null = np.stack([measure_permuted(ridge_scores(shared + noise(of, 20, s, 0), of, labels),
                                      labels, of)[0] for s in range(1, 5)], axis=1)
    smallest = np.array([p_values(null[i], np.delete(null, i, axis=0))[1].min()
                         for i in range(400)])
    uncorrected = np.array([p_values(null[i], np.delete(null, i, axis=0))[0].min()
                            for i in range(400)])
    assert (smallest <= 0.05).mean() <= 0.06
    assert (uncorrected <= 0.05).mean() > 0.06


def test_widened_intervals_hold_chance_as_often_as_they_say():
    of = made_up(20)
    labels = permuted_labels(of, 2000, 0)
    scores = ridge_scores(noise(of, 200), of, labels)
    factor = widening(scores[:1000], labels[:1000], of, 0)
    found = balanced_accuracies(scores, labels, np.ones((1, 240)))[0]
    weights = resampled_weights(of, 2000, 0).astype(float)
    low, high = np.quantile(balanced_accuracies(scores, labels, weights), [0.025, 0.975], axis=0)
    held = {by: np.mean((found - by * (found - low) <= 0.5) & (found + by * (high - found) >= 0.5))
            for by in (1.0, factor)}
    assert held[1.0] < 0.9
    assert held[factor] == pytest.approx(0.95, abs=0.015)


def test_scores_that_are_not_fitted_need_no_widening():
    of = made_up(12)
    labels = permuted_labels(of, 400, 0)
    random = np.random.default_rng(0)
    assert widening(random.normal(size=labels.shape), labels, of, 0) < 1.1
    assert widening(np.ones(labels.shape), labels, of, 0) == 1
