"""Probes against rivals: what the exchange test says of alike and of different ones."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from deception_saes.analysis.folds import design
from deception_saes.analysis.paired_probes import least_detectable, paired


@pytest.fixture(scope="module")
def of():
    random = np.random.default_rng(0)
    deceptive = random.random(200) < 0.4
    scenario = np.where(np.arange(200) % 2, "one", "two")
    return design(deceptive, list(scenario), np.arange(200), 0)


def scores(of, share, seed):
    """Right on this share of the completions."""
    random = np.random.default_rng(seed)
    toward = np.where(random.random(200) < share, 1.0, -1.0)
    return np.where(of.deceptive_N, toward, -toward)


def test_the_difference_is_that_of_balanced_accuracies(of):
    first = np.stack([scores(of, 0.8, 1), scores(of, 0.6, 2)])
    rival = np.stack([scores(of, 0.7, 3), scores(of, 0.7, 3)])
    expected = [balanced_accuracy_score(of.deceptive_N, a > 0)
                - balanced_accuracy_score(of.deceptive_N, b > 0)
                for a, b in zip(first, rival, strict=True)]
    found = paired(first, rival, of, 99, 0)
    np.testing.assert_allclose(found.difference_L, expected)
    assert found.better == sum(gain > 0 for gain in expected)


def test_alike_probes_are_seldom_told_apart_and_different_ones_are(of):
    alike = [paired(scores(of, 0.7, 10 + i)[None], scores(of, 0.7, 200 + i)[None], of, 199, i)
             for i in range(100)]
    assert sum(found.p_L[0] <= 0.05 for found in alike) <= 12
    different = paired(scores(of, 0.9, 1)[None], scores(of, 0.6, 2)[None], of, 999, 0)
    assert different.p_L[0] < 0.01
    worse = paired(scores(of, 0.6, 2)[None], scores(of, 0.9, 1)[None], of, 999, 0)
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


def test_a_probe_is_no_better_than_itself(of):
    same = scores(of, 0.7, 1)[None]
    found = paired(same, same, of, 99, 0)
    assert found.better == 0
    assert found.p_L[0] == 1
    assert not found.better_P.any()


def test_fewer_completions_detect_larger_differences_only():
    assert least_detectable(0.03, 300, 300) == pytest.approx(2.8016 * 0.03, rel=1e-3)
    assert least_detectable(0.03, 300, 33) == pytest.approx(
        least_detectable(0.03, 300, 300) * (300 / 33) ** 0.5)


def test_rivals_must_be_as_many(of):
    with pytest.raises(ValueError, match="one rival for each"):
        paired(np.zeros((2, 200)), np.zeros((1, 200)), of, 9, 0)
