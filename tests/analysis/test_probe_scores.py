import numpy as np
import pytest
from completion_sets import made_up
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from deception_saes.analysis.folds import design, permuted_labels, resampled_weights
from deception_saes.analysis.probe_scores import (
    Performance,
    bootstrap,
    least_detectable,
    measure,
    measure_permuted,
    p_values,
    paired,
    saturation,
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
    assert Performance(accuracy, np.array([0.9, 0.6, 0.7, 0.7, 0.9])).peak == 2
    assert Performance(np.stack([accuracy, accuracy[::-1]]),
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


def test_p_counts_the_permutations_that_do_as_well_and_the_best_of_all_layers():
    null = np.array([[0.5, 0.6], [0.7, 0.4], [0.5, 0.5]])
    p, p_max = p_values(np.array([0.6, 0.6]), null)
    assert p.tolist() == [2 / 4, 2 / 4]
    assert p_max.tolist() == [3 / 4, 3 / 4]
    assert p_values(np.array([0.9, 0.1 + 0.4]), null)[0].tolist() == [1 / 4, 3 / 4]


# Pairs of probes


@pytest.fixture(scope="module")
def many():
    random = np.random.default_rng(0)
    deceptive = random.random(200) < 0.4
    scenario = np.where(np.arange(200) % 2, "one", "two")
    return design(deceptive, list(scenario), np.arange(200), 0)


def right_on(of, share, seed):
    """Right on this share of the completions."""
    random = np.random.default_rng(seed)
    toward = np.where(random.random(200) < share, 1.0, -1.0)
    return np.where(of.deceptive_N, toward, -toward)


def test_the_difference_is_that_of_balanced_accuracies(many):
    first = np.stack([right_on(many, 0.8, 1), right_on(many, 0.6, 2)])
    rival = np.stack([right_on(many, 0.7, 3), right_on(many, 0.7, 3)])
    expected = [balanced_accuracy_score(many.deceptive_N, a > 0)
                - balanced_accuracy_score(many.deceptive_N, b > 0)
                for a, b in zip(first, rival, strict=True)]
    found = paired(first, rival, many, 99, 0)
    np.testing.assert_allclose(found.difference_L, expected)
    assert found.better == sum(gain > 0 for gain in expected)


def test_alike_probes_are_seldom_told_apart_and_different_ones_are(many):
    alike = [paired(*(right_on(many, 0.7, by + i)[None] for by in (10, 200)), many, 199, i)
             for i in range(100)]
    assert sum(found.p_L[0] <= 0.05 for found in alike) <= 12
    different = paired(right_on(many, 0.9, 1)[None], right_on(many, 0.6, 2)[None], many, 999, 0)
    assert different.p_L[0] < 0.01
    worse = paired(right_on(many, 0.6, 2)[None], right_on(many, 0.9, 1)[None], many, 999, 0)
    assert worse.p_L[0] < 0.01
    assert worse.better == 0


def test_near_duplicates_are_exchanged_together():
    half = np.repeat([True, False], 20)
    of = design(half, ["one"] * 40, np.repeat(np.arange(10), 4), 0)
    right = np.where(half, 1.0, -1.0)
    found = paired(right[None], -right[None], of, 500, 0)
    assert found.difference_L[0] == 1
    sizes = {round(float(abs(x)), 6) for x in found.exchanged_PL[:, 0]}
    assert sizes == {0.0, 0.2, 0.4, 0.6, 0.8, 1.0}  # ten groups of four, of twenty each


def test_a_probe_is_no_better_than_itself(many):
    same = right_on(many, 0.7, 1)[None]
    found = paired(same, same, many, 99, 0)
    assert found.better == 0
    assert found.p_L[0] == 1
    assert not found.better_P.any()


def test_fewer_completions_detect_larger_differences_only():
    assert least_detectable(0.03, 300, 300) == pytest.approx(2.8016 * 0.03, rel=1e-3)
    assert least_detectable(0.03, 300, 33) == pytest.approx(
        least_detectable(0.03, 300, 300) * (300 / 33) ** 0.5)


def test_rivals_must_be_as_many(many):
    with pytest.raises(ValueError, match="rivals"):
        paired(np.zeros((2, 200)), np.zeros((1, 200)), many, 9, 0)


# Saturation

COUNTS = (1, 2, 5, 10, 64)


@pytest.mark.parametrize(("accuracy", "components"), [
    ([0.5, 0.6, 0.7, 0.7, 0.7], 5),
    ([0.5, 0.6, 0.69, 0.7, 0.7], 5),  # exactly 95% of the gain
    ([0.5, 0.6, 0.689, 0.7, 0.7], 10),
    ([0.5, 0.6, 0.65, 0.66, 0.7], 64),
    ([0.8, 0.6, 0.65, 0.66, 0.7], 1),  # fewer may be better than all
    ([0.4, 0.3, 0.3, 0.3, 0.4], 1),
    ([0.39, 0.3, 0.3, 0.3, 0.4], 64),
])
def test_saturation_is_the_first_number_with_95_percent_of_the_gain(accuracy, components):
    assert saturation(COUNTS, np.array(accuracy)) == components


def test_resamples_are_saturated_each_for_itself():
    drawn = np.array([[0.5, 0.6, 0.7, 0.7, 0.7], [0.5, 0.6, 0.6, 0.6, 0.7]])
    assert saturation(COUNTS, drawn).tolist() == [5, 64]


@pytest.mark.parametrize("counts", [(1, 2), (2, 1, 5, 10, 64)])
def test_counts_that_do_not_fit_are_an_error(counts):
    with pytest.raises(ValueError, match="ascending"):
        saturation(counts, np.full(5, 0.5))
