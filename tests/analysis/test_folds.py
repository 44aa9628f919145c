import numpy as np
import pytest
from completion_sets import made_up

from deception_saes.analysis.folds import (
    design,
    permuted_labels,
    resampled_weights,
    splits,
    training_weights,
)


def counts(of):
    """Completions by scenario, label and fold."""
    found = np.zeros((len(of.scenarios), 2, of.fold_N.max() + 1), dtype=int)
    np.add.at(found, (of.scenario_N, of.deceptive_N.astype(int), of.fold_N), 1)
    return found


@pytest.mark.parametrize("per_label", [5, 7, 20, 23])
def test_both_labels_of_every_scenario_are_spread_evenly_over_the_folds(per_label):
    found = counts(made_up(per_label))
    assert found.sum(axis=2).tolist() == [[per_label, per_label]] * 6
    assert (found.max(axis=2) - found.min(axis=2)).max() <= 1
    sizes = found.sum(axis=(0, 1))
    assert sizes.max() - sizes.min() <= 2


def test_the_few_completions_of_a_scenario_stand_where_they_can_be_compared():
    found = counts(design([False, True] * 2 + [False, True] * 20, ["few"] * 4 + ["many"] * 40,
                          np.arange(44), 0))
    few = found[0]
    assert (few[0] == few[1]).all()
    assert few.max() == 1


@pytest.mark.parametrize("doubled", [2, 8, 20])
def test_near_duplicates_are_held_out_together(doubled):
    of = made_up(20, doubled=doubled)
    assert len(np.unique(of.group_N)) == 6 * 2 * (20 - doubled // 2)
    for group in np.unique(of.group_N):
        assert len(np.unique(of.fold_N[of.group_N == group])) == 1
    found = counts(of)
    assert (found.max(axis=2) - found.min(axis=2)).max() <= 2


def test_a_large_group_of_both_labels_stays_whole():
    group = np.where(np.arange(60) < 9, 0, np.arange(60))
    of = design(np.arange(60) % 2 == 1, ["a"] * 30 + ["b"] * 30, group, 0)
    assert len(np.unique(of.fold_N[:9])) == 1
    assert len(np.unique(of.fold_N)) == 5


def test_folds_depend_on_the_seed_alone():
    assert (made_up(seed=1).fold_N == made_up(seed=1).fold_N).all()
    assert (made_up(seed=1).fold_N != made_up(seed=2).fold_N).any()


def test_too_few_completions_are_an_error_that_names_the_label():
    with pytest.raises(ValueError, match="4 deceptive"):
        design([False] * 9 + [True] * 9, ["a"] * 18, [*range(9), 9, 9, 9, 9, 9, 9, 10, 11, 12], 0)
    with pytest.raises(ValueError, match=r"\b2\b.*\b3\b.*\b2\b"):
        design([False, True], ["a"] * 3, [0, 1], 0)


def test_what_is_tested_and_its_near_duplicates_are_not_trained_on():
    # the first completion of scenario a is also said in b
    of = design(np.arange(40) % 2 == 1, ["a"] * 20 + ["b"] * 20,
                [0, *range(1, 20), 0, *range(21, 40)], 0)
    for part_N in (of.fold_N, of.scenario_N):
        tested = []
        for train, test in splits(of, part_N):
            assert not set(part_N[train]) & set(part_N[test])
            assert not set(of.group_N[train]) & set(of.group_N[test])
            tested += test.tolist()
        assert sorted(tested) == list(range(40))
    assert [len(train) for train, _ in splits(of, of.scenario_N)] == [19, 19]


def test_both_labels_of_a_scenario_weigh_the_same_and_one_alone_weighs_nothing():
    of = made_up(20)
    rows = np.flatnonzero(((of.scenario_N != 2) | of.deceptive_N) & (np.arange(240) % 7 > 0))
    weights = training_weights(of, rows)
    for scenario in range(6):
        of_scenario = of.scenario_N[rows] == scenario
        sums = [weights[of_scenario & (of.deceptive_N[rows] == label)].sum() for label in (0, 1)]
        assert sums[0] == pytest.approx(sums[1])
        assert sum(sums) == pytest.approx(0 if scenario == 2 else of_scenario.sum())


def test_permuted_labels_move_near_duplicates_whole_and_tell_nothing_of_the_labels():
    of = made_up(20, doubled=8)
    drawn = permuted_labels(of, 200, 0)
    first = np.unique(of.group_N, return_index=True)[1]  # one completion of each group
    for scenario in range(6):
        rows = first[of.scenario_N[first] == scenario]
        assert (drawn[:, rows].sum(axis=1) == of.deceptive_N[rows].sum()).all()
    for group in np.unique(of.group_N):
        rows = of.group_N == group
        assert (drawn[:, rows] == drawn[:, rows][:, :1]).all()
    assert len(np.unique(drawn, axis=0)) == 200
    assert (permuted_labels(of, 200, 0) == drawn).all()
    # a group that could not move would keep the labels' signal in the null
    agreement = (drawn == of.deceptive_N).mean(axis=0)
    assert agreement.mean() == pytest.approx(0.5, abs=0.01)
    assert agreement.min() > 0.35
    assert agreement.max() < 0.65


def test_one_large_group_moves_too():
    # nine near-duplicates among singles: no other group is of their size
    group = np.where(np.arange(40) < 18, np.where(np.arange(40) % 2, 0, 1000 + np.arange(40)),
                     np.arange(40))
    of = design(np.arange(40) % 2 == 1, ["a"] * 40, group, 0)
    agreement = (permuted_labels(of, 400, 0) == of.deceptive_N).mean(axis=0)
    assert 0.25 < agreement[1] < 0.65
    assert (agreement[1:18:2] == agreement[1]).all()


def test_a_group_of_both_labels_exchanges_them_among_its_own():
    of = design(np.arange(40) % 2 == 1, ["a"] * 40, [0, 0, 0, *range(3, 40)], 0)
    drawn = permuted_labels(of, 100, 0)
    assert (drawn[:, :3].sum(axis=1) == 1).all()
    assert 0.2 < drawn[:, 0].mean() < 0.5


def test_a_group_across_scenarios_keeps_its_labels():
    of = design(np.arange(40) % 2 == 1, ["a"] * 20 + ["b"] * 20,
                [0, *range(1, 20), 0, *range(21, 40)], 0)
    drawn = permuted_labels(of, 50, 0)
    assert (drawn[:, [0, 20]] == of.deceptive_N[[0, 20]]).all()
    assert (drawn[:, 1] != of.deceptive_N[1]).any()


def test_resamples_draw_groups_whole_and_keep_each_scenarios_balance():
    of = made_up(20, doubled=8)
    weights = resampled_weights(of, 100, 0)
    assert weights.shape == (100, 240)
    for group in np.unique(of.group_N):
        rows = of.group_N == group
        assert (weights[:, rows] == weights[:, rows][:, :1]).all()
    first = np.unique(of.group_N, return_index=True)[1]  # one completion of each group
    for scenario in range(6):
        for label in (False, True):
            rows = first[(of.scenario_N[first] == scenario) & (of.deceptive_N[first] == label)]
            assert (weights[:, rows].sum(axis=1) == len(rows)).all()
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert weights[:, 30].std() > 0.5
