"""The statistics of head ablation."""

from collections import Counter

import numpy as np
import pytest

from deception_saes.analysis.circuit import (
    damage_matched_sets,
    layer_matched_sets,
    max_t_p_values,
    redundancy,
    selection_frequency,
    split_half_correlation,
    split_half_overlap,
    subsets,
    top_heads,
    top_heads_when_swapped,
    uniform_sets,
)
from deception_saes.models.anatomy import Head

HEADS = [Head(layer, head) for layer in range(6) for head in range(4)]
CHOSEN = [Head(0, 1), Head(0, 3), Head(4, 2)]


def noise(heads, questions, seed=0):
    return np.random.default_rng(seed).normal(size=(heads, questions))


def test_max_t_finds_a_planted_head_and_no_other():
    effects = noise(50, 40)
    effects[7] += 2.0
    p = max_t_p_values(effects, 999, seed=0)
    assert p[7] == 1 / 1000
    assert (np.delete(p, 7) > 0.05).all()


def test_max_t_rarely_finds_anything_in_noise():
    found = [max_t_p_values(noise(30, 25, seed), 99, seed=seed).min() <= 0.05 for seed in range(60)]
    assert 0 <= np.mean(found) <= 0.15


def test_a_head_that_changes_nothing_is_never_significant():
    effects = np.zeros((3, 10))
    effects[1] = noise(1, 10) + 3
    p = max_t_p_values(effects, 99, seed=0)
    assert p[0] == 1.0
    assert p[1] < 0.05


def test_split_halves_correlate_when_heads_differ_and_not_when_they_do_not():
    signal = np.arange(40.0)[:, None] + noise(40, 30)
    assert split_half_correlation(signal, 50, seed=0).mean() > 0.95
    assert abs(split_half_correlation(noise(40, 30), 200, seed=0).mean()) < 0.3


def test_two_arms_correlate_as_far_as_their_rankings_agree():
    one, same = (np.arange(40.0)[:, None] + noise(40, 30, seed) for seed in (0, 1))
    assert split_half_correlation(one, 50, 0, same).mean() > 0.95
    assert split_half_correlation(one, 50, 0, -same).mean() < -0.95
    assert abs(split_half_correlation(one, 200, 0, noise(40, 30, 2)).mean()) < 0.3
    assert np.array_equal(split_half_correlation(one, 9, 0, one), split_half_correlation(one, 9, 0))


def test_halves_share_the_heads_that_stand_out_in_both():
    one, other = noise(40, 30), noise(40, 30, 1)
    one[[3, 8]] += 9.0
    other[[8, 21]] += 9.0
    assert set(split_half_overlap(one, 2, 20, seed=0)) == {2}
    assert set(split_half_overlap(one, 2, 20, 0, other)) == {1}


def test_a_swap_turns_the_portions_of_all_heads_on_a_cluster_of_questions():
    portions = np.array([[4.0, 4.0, 4.0], [1.0, 1.0, 1.0], [-4.0, -4.0, -4.0], [3.0, -3.0, 0.0]])
    together = top_heads_when_swapped(portions, 1, 40, seed=0, clusters=("a", "a", "a"))
    assert Counter(map(tuple, together)).keys() == {(0,), (2,)}  # all kept, or all turned
    singly = top_heads_when_swapped(portions, 1, 200, seed=0)
    # the fourth where the second question alone of the first two is turned, 2 of 8 coins: its sum
    # is then 6, that of the first or third 4
    chosen = Counter(of for of, in singly)
    assert chosen.keys() == {0, 2, 3}
    assert 30 < chosen[3] < 70


def test_top_heads_and_how_often_they_come_again():
    effects = noise(20, 40, seed=3)
    effects[[4, 11]] += 5.0
    assert set(top_heads(effects, 2)) == {4, 11}
    frequency = selection_frequency(effects, 2, 50, seed=0)
    assert frequency[[4, 11]].tolist() == [1.0, 1.0]
    assert frequency.sum() == pytest.approx(2.0)


def test_redundancy_of_heads_that_do_the_same_and_of_heads_that_add_up():
    one = np.abs(noise(1, 60))[0] + 1
    singles = np.stack([one, one])
    same = redundancy(one, singles, 500, seed=0)
    assert same.share.mean == pytest.approx(0.5)
    assert same.share.low == pytest.approx(0.5)
    assert redundancy(2 * one, singles, 500, seed=0).share.mean == pytest.approx(0.0)


def test_no_redundancy_is_given_where_the_sum_may_be_zero():
    assert redundancy(noise(1, 60)[0], noise(2, 60), 500, seed=0).share is None


def test_five_heads_have_31_subsets_and_the_last_is_all():
    found = subsets(HEADS[:5])
    assert len(set(found)) == 31
    assert found[-1] == tuple(HEADS[:5])


def test_uniform_sets_are_disjoint_from_the_chosen_and_seeded():
    sets = uniform_sets(HEADS, CHOSEN, 200, seed=1)
    assert all(len(set(heads)) == 3 and not set(heads) & set(CHOSEN) for heads in sets)
    assert {head for heads in sets for head in heads} == set(HEADS) - set(CHOSEN)
    assert sets == uniform_sets(HEADS, CHOSEN, 200, seed=1)
    assert sets != uniform_sets(HEADS, CHOSEN, 200, seed=2)
    with pytest.raises(ValueError, match="too few"):
        uniform_sets(HEADS[:3], HEADS[:2], 1, seed=0)


def test_layer_matched_sets_are_enumerated_when_few():
    sets = layer_matched_sets(HEADS, CHOSEN, 100, seed=0)  # 1 pair in layer 0, 3 heads in layer 4
    assert sorted(sets) == sorted({(Head(0, 0), Head(0, 2), Head(4, h)) for h in (0, 1, 3)})


def test_layer_matched_sets_keep_the_multiset_of_layers():
    wide = [Head(layer, head) for layer in range(6) for head in range(20)]
    sets = layer_matched_sets(wide, CHOSEN, 100, seed=0)
    assert len(sets) == 100
    assert all(Counter(h.layer for h in heads) == {0: 2, 4: 1} for heads in sets)
    assert all(len(set(heads)) == 3 and not set(heads) & set(CHOSEN) for heads in sets)


def test_where_a_layer_has_too_few_others_the_nearest_layers_stand_in():
    chosen = [Head(0, 0), Head(0, 1), Head(0, 2)]  # of four in each layer
    sets = layer_matched_sets(HEADS, chosen, 50, seed=0)
    assert len(sets) == 50
    assert all(Counter(h.layer for h in heads) == {0: 1, 1: 2} for heads in sets)
    assert all(len(set(heads)) == 3 and not set(heads) & set(chosen) for heads in sets)
    assert len(set(sets)) == 6


def test_damage_matched_sets_stand_in_with_the_nearest_heads():
    damage = {head: float(10 ** i) for i, head in enumerate(HEADS)}
    chosen = [HEADS[10]]
    sets = damage_matched_sets(damage, chosen, 100, seed=0, nearest=4)
    assert {heads[0] for heads in sets} == {HEADS[8], HEADS[9], HEADS[11], HEADS[12]}
    several = damage_matched_sets(damage, HEADS[10:13], 50, seed=0, nearest=3)
    assert all(len(set(heads)) == 3 and not set(heads) & set(HEADS[10:13]) for heads in several)
