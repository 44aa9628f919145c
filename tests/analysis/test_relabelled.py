import numpy as np
import pytest

from deception_saes.analysis.probes import activation_probe
from deception_saes.analysis.relabelled import (
    DECEPTIVE,
    HONEST,
    NEITHER,
    Scored,
    codes,
    common_folds,
    held_out_under,
    scored,
    widening_under,
)
from deception_saes.rng import generator

N, SCENARIOS = 240, ("a", "b", "c")
TRUE, LENGTH = 0, 1


@pytest.fixture
def x_ND():
    """Coordinate 0 tells the truth of a completion, coordinate 1 its length; six are noise."""
    return generator(0, "relabelled").normal(size=(N, 8))


@pytest.fixture
def truth(x_ND):
    code_N = np.where(x_ND[:, TRUE] > 0, DECEPTIVE, HONEST)
    code_N[::10] = NEITHER
    return code_N


@pytest.fixture
def scenario():
    return [SCENARIOS[i % 3] for i in range(N)]


@pytest.fixture
def of(truth, scenario):
    return common_folds(truth, scenario, np.arange(N), 0)


def auroc(x_ND, of, learned, against):
    scores_N = held_out_under(activation_probe, x_ND, of, learned)
    return scored(scores_N, of, against, 200, 0)


def test_labels_have_codes():
    assert list(codes(["honest", "deceptive", "ambiguous", None])) == [
        HONEST, DECEPTIVE, NEITHER, NEITHER]


def test_every_completion_has_a_fold_and_labels_are_spread_over_them(of, truth):
    counts = np.array([[((of.fold_N == fold) & (truth == code)).sum() for fold in range(5)]
                       for code in (HONEST, DECEPTIVE, NEITHER)])
    assert counts.sum() == N
    assert (counts.max(axis=1) - counts.min(axis=1) <= 4).all()
    assert of.scenarios == SCENARIOS


def test_a_probe_of_true_labels_finds_them_again(x_ND, of, truth):
    found = auroc(x_ND, of, truth, truth)
    assert found.low > 0.9
    assert (found.honest, found.deceptive) == ((truth == HONEST).sum(), (truth == DECEPTIVE).sum())


def test_labels_that_follow_something_else_are_learned_and_tell_nothing(x_ND, of, truth):
    by_length = np.where(x_ND[:, LENGTH] > 0, DECEPTIVE, HONEST)
    assert auroc(x_ND, of, by_length, by_length).low > 0.9
    crossed = auroc(x_ND, of, by_length, truth)
    assert crossed.low < 0.5 < crossed.high


def test_shuffled_labels_cannot_be_learned(x_ND, of, truth):
    shuffled = generator(1, "shuffled").permutation(truth)
    found = auroc(x_ND, of, shuffled, shuffled)
    assert found.low < 0.5 < found.high


def test_noise_in_the_labels_lowers_the_score_against_the_true_ones(x_ND, of, truth):
    wrong = generator(2, "noise").random(N) < 0.45
    noisy = np.where(wrong & (truth != NEITHER), 1 - truth, truth)
    assert auroc(x_ND, of, noisy, truth).auroc < auroc(x_ND, of, truth, truth).auroc


def test_scores_do_not_see_the_label_of_their_own_completion(x_ND, of, truth):
    """Whoever's label of a completion is turned, its own score stays."""
    before = held_out_under(activation_probe, x_ND, of, truth)
    turned = truth.copy()
    held = of.fold_N == 2
    turned[held] = np.where(truth[held] == NEITHER, HONEST, 1 - truth[held])
    after = held_out_under(activation_probe, x_ND, of, turned)
    assert np.array_equal(before[held], after[held])
    assert not np.array_equal(before[~held], after[~held])


def test_a_near_duplicate_in_another_fold_is_not_learned_from(truth, scenario):
    """Noise with a planted coordinate that only copies share."""
    random = generator(3, "duplicates")
    x_ND = random.normal(size=(N, 8))
    group = np.arange(N) // 2
    x_ND[1::2] = x_ND[::2]
    labels = np.repeat(random.integers(0, 2, N // 2), 2)
    names = np.repeat([SCENARIOS[i % 3] for i in range(N // 2)], 2).tolist()
    of = common_folds(labels, names, group, 0)
    found = auroc(x_ND, of, labels, labels)
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize("code", [NEITHER, HONEST, DECEPTIVE])
def test_one_label_for_everything_leaves_nothing_to_probe(x_ND, of, code):
    assert held_out_under(activation_probe, x_ND, of, np.full(N, code)) is None


@pytest.mark.parametrize("code", [NEITHER, HONEST])
def test_scores_cannot_be_measured_against_one_label(of, code):
    assert scored(np.zeros(N), of, np.full(N, code), 50, 0) is None


def test_a_scenario_in_which_a_judge_sees_one_label_only_is_no_contrast(x_ND, of, truth, scenario):
    of_a = np.array(scenario) == "a"
    judged = np.where(of_a, DECEPTIVE, truth)
    moved = x_ND.copy()
    moved[of_a, TRUE] -= 100.0  # would turn the probe around if it were learned from
    found = auroc(moved, of, judged, np.where(of_a, NEITHER, truth))
    assert found.low > 0.9


def test_an_interval_is_widened_about_its_middle_and_stays_within_one():
    found = Scored(0.7, 0.6, 0.8, 10, 10)
    assert found.widened(1.0) == found
    wide = found.widened(2.0)
    assert (wide.auroc, wide.low, wide.high) == pytest.approx((0.7, 0.5, 0.9))
    assert (Scored(0.95, 0.9, 1.0, 10, 10).widened(3.0)).high == 1.0


def test_intervals_are_widened_for_the_fit(x_ND, of, truth):
    assert 1.0 <= widening_under(x_ND, of, truth, 50, 0) < 3.0
