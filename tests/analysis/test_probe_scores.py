import numpy as np
import pytest
from completion_sets import made_up
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from deception_saes.analysis.folds import permuted_labels, resampled_weights
from deception_saes.analysis.probe_scores import (
    Measured,
    bootstrap,
    measure,
    measure_permuted,
    scenario_auroc,
)


@pytest.fixture(scope="module")
def of():
    return made_up(11, doubled=4)


@pytest.fixture(scope="module")
def scores(of):
    """Three probes: of some use, of none, and perfect."""
    random = np.random.default_rng(0)
    label = np.where(of.deceptive_N, 1.0, -1.0)
    drawn = random.normal(size=(3, len(label))).round(1)  # some ties
    return np.stack([(drawn[0] + 0.5 * label).round(1), drawn[1], label])


def plain_auroc(scores, deceptive, scenario, cell):
    """By scikit-learn: cells of a scenario weighted by their pairs, then scenarios alike."""
    of_scenario = []
    for s in np.unique(scenario):
        aurocs, pairs = [], []
        for c in np.unique(cell[scenario == s]):
            rows = cell == c
            if len(np.unique(deceptive[rows])) == 2:
                aurocs.append(roc_auc_score(deceptive[rows], scores[rows]))
                pairs.append(deceptive[rows].sum() * (~deceptive[rows]).sum())
        if pairs:
            of_scenario.append(np.average(aurocs, weights=pairs))
    return np.mean(of_scenario)


@pytest.mark.parametrize("by_scenario", [False, True])
def test_both_measures_are_scikit_learns(of, scores, by_scenario):
    cell = of.scenario_N if by_scenario else of.cell_N
    found = measure(scores, of, cell)
    for layer, of_probe in enumerate(scores):
        off_zero = np.where(of_probe == 0, 1.0, of_probe)  # scikit-learn has no half right
        assert measure(off_zero[None], of).accuracy == pytest.approx(
            balanced_accuracy_score(of.deceptive_N, off_zero > 0))
        expected = plain_auroc(of_probe, of.deceptive_N, of.scenario_N, cell)
        assert found.auroc[layer] == pytest.approx(expected)
    assert (found.accuracy[2], found.auroc[2]) == (1, 1)


def test_a_scenarios_auroc_enters_the_mean(of, scores):
    each = scenario_auroc(scores[0], of)
    assert len(each) == 6
    assert len(set(each)) > 1
    assert each.mean() == pytest.approx(measure(scores, of).auroc[0])


def test_a_score_that_is_the_same_for_all_is_exactly_chance(of):
    # what differs by rounding is the same
    constant = np.stack([np.zeros(132), np.arange(132) * 1e-13])
    found = measure(constant, of)
    assert found.accuracy.tolist() == [0.5, 0.5]
    assert found.auroc.tolist() == [0.5, 0.5]


def test_an_offset_between_probes_of_different_folds_is_not_ranked(of):
    found = measure(of.fold_N[None] - 2.0, of)
    assert found.auroc.tolist() == [0.5]


def test_a_resample_is_what_repeated_completions_give(of, scores):
    weights = resampled_weights(of, 20, 3)
    found = bootstrap(scores, of, 20, 3)
    for draw in range(20):
        rows = np.repeat(np.arange(132), weights[draw].astype(int))
        right = (scores[0, rows] > 0) + 0.5 * (scores[0, rows] == 0)
        right = np.where(of.deceptive_N[rows], right, 1 - right)
        expected = np.mean([right[of.deceptive_N[rows] == label].mean() for label in (0, 1)])
        assert found.accuracy[draw, 0] == pytest.approx(expected)
        assert found.auroc[draw, 0] == pytest.approx(plain_auroc(
            scores[0, rows], of.deceptive_N[rows], of.scenario_N[rows], of.cell_N[rows]))


def test_resamples_beyond_one_part_go_on(of, scores):
    found = bootstrap(scores, of, 1500, 3)
    assert found.accuracy.shape == (1500, 3)
    assert len(np.unique(found.accuracy[:, 0])) > 20
    assert np.isfinite(found.auroc).all()


def test_permuted_labels_are_measured_as_labels_are(of, scores):
    labels = permuted_labels(of, 9, 0)
    many = np.random.default_rng(1).normal(size=(9, 132)).round(1)
    accuracy, auroc = measure_permuted(many, labels, of)
    for p in range(9):
        relabelled = type(of)(labels[p], of.scenario_N, of.group_N, of.fold_N, of.scenarios)
        one = measure(many[p][None], relabelled)
        assert (accuracy[p], auroc[p]) == (pytest.approx(one.accuracy[0]),
                                           pytest.approx(one.auroc[0]))


def test_the_peak_is_the_most_accurate_then_the_best_ranking_then_the_first():
    accuracy = np.array([0.6, 0.7, 0.7, 0.7, 0.5])
    assert Measured(accuracy, np.array([0.9, 0.6, 0.7, 0.7, 0.9])).peak == 2
    assert Measured(np.stack([accuracy, accuracy[::-1]]),
                    np.array([[0.5] * 5, [0.5, 0.5, 0.5, 0.6, 0.5]])).peak.tolist() == [1, 3]


def test_the_bootstrapped_peak_is_where_a_clear_peak_was_planted(of):
    random = np.random.default_rng(0)
    label = np.where(of.deceptive_N, 1.0, -1.0)
    useful = np.array([0.2, 0.3, 1.5, 0.3, 0.2])
    layers = useful[:, None] * label + random.normal(size=(5, len(label)))
    peaks = bootstrap(layers, of, 500, 0).peak
    assert (peaks == 2).mean() > 0.99
    # without a signal the peak is anywhere
    nothing = bootstrap(random.normal(size=(5, len(label))), of, 500, 0).peak
    assert np.bincount(nothing, minlength=5).max() < 0.95 * 500
