"""Kappa against Cohen's own example and scikit-learn; probes under the labels of several judges."""

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from deception_saes.analysis.agreement import (
    DECEPTIVE,
    HONEST,
    NEITHER,
    Scored,
    agreement,
    codes,
    common_folds,
    held_out_under,
    kappas,
    scored,
    widening_under,
)
from deception_saes.analysis.probes import activation_probe
from deception_saes.rng import generator
from deception_saes.tasks.labels import LABELS


def agree(first, second, seed=0, groups=None):
    """Each completion in a group of its own, unless groups are given."""
    groups = groups or {id: place for place, id in enumerate([*first, *second])}
    return agreement(first, second, groups, 400, seed)


def judges(table):
    """Two judges with this confusion table, by id."""
    pairs = [(LABELS[i], LABELS[j]) for i, row in enumerate(table) for j, n in enumerate(row)
             for _ in range(n)]
    return tuple({f"c{n}": pair[judge] for n, pair in enumerate(pairs)} for judge in (0, 1))


def random_judges(n, seed, same=0.6):
    rng = np.random.default_rng(seed)
    first = rng.choice(LABELS, n, p=[0.5, 0.3, 0.2])
    second = np.where(rng.random(n) < same, first, rng.choice(LABELS, n))
    return tuple({f"c{i}": str(label) for i, label in enumerate(of)} for of in (first, second))


def test_cohens_own_example():
    """Cohen 1960, table 1, as counts of 200: kappa .492."""
    table = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
    found = agree(*judges(table))
    assert found.kappa == pytest.approx(0.492, abs=5e-4)
    assert found.observed == pytest.approx(0.70)
    assert found.table_LL.tolist() == table
    assert found.low < found.kappa < found.high
    assert found.n == 200


@pytest.mark.parametrize(("table", "kappa"), [
    ([[20, 5], [10, 15]], (0.7 - 0.5) / 0.5), (np.diag([5, 6, 7]), 1), ([[0, 8], [8, 0]], -1),
    ([[4, 4], [4, 4]], 0)])
def test_by_hand(table, kappa):
    assert agree(*judges(table)).kappa == pytest.approx(kappa)


def test_the_vectorised_kappa_is_scikit_learns():
    tables = []
    for seed in range(20):
        first, second = random_judges(40, seed)
        tables.append(confusion_matrix([*first.values()], [*second.values()], labels=LABELS))
        expected = cohen_kappa_score([*first.values()], [*second.values()])
        assert kappas(tables[-1][None])[0] == pytest.approx(expected)
    assert kappas(np.stack(tables)).shape == (20,)


def test_only_common_completions_count():
    first = {"a": "honest", "b": "deceptive", "c": "honest", "x": "ambiguous"}
    second = {"c": "honest", "b": "honest", "y": "honest", "z": "honest"}
    found = agree(first, second)
    assert (found.n, found.observed) == (2, 0.5)


@pytest.mark.parametrize("first", [{"a": "honest"}, {}])
def test_no_overlap_is_an_error(first):
    with pytest.raises(ValueError, match="in common"):
        agree(first, {"b": "honest"})


def test_an_unknown_label_is_an_error():
    with pytest.raises(ValueError, match="unclear"):
        agree({"a": "honest"}, {"a": "unclear"})


def test_one_label_for_all_has_no_kappa():
    found = agree(*judges([[0, 0, 0], [0, 0, 0], [0, 0, 30]]))
    assert found.observed == 1
    assert all(map(math.isnan, (found.kappa, found.low, found.high)))


def test_one_judge_with_one_label_has_kappa_0():
    """The study's batch judge called everything ambiguous: no agreement beyond chance."""
    found = agree(*judges([[0, 0, 20], [0, 0, 10], [0, 0, 5]]))
    assert (found.kappa, found.low, found.high) == pytest.approx((0, 0, 0))


def test_too_few_completions_have_no_interval():
    found = agree(*random_judges(4, 0))
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_the_interval_covers_the_true_kappa():
    """Of judges that agree by a known chance process, in at least 17 of 20 samples."""
    same, shares = 0.6, np.array([0.5, 0.3, 0.2])
    joint = same * np.diag(shares) + (1 - same) * np.outer(shares, np.ones(3) / 3)
    true = kappas(joint[None])[0]
    covered = [found.low <= true <= found.high for seed in range(20)
               for found in [agree(*random_judges(150, seed, same))]]
    assert sum(covered) >= 17


def test_near_duplicates_are_resampled_as_wholes():
    """Ten copies of each completion say nothing new: the interval is that of one copy each."""
    first, second = random_judges(40, 3)
    copies = [{f"{id}-{k}": label for id, label in of.items() for k in range(10)}
              for of in (first, second)]
    groups = {f"{id}-{k}": i for i, id in enumerate(first) for k in range(10)}
    once, grouped, alone = agree(first, second), agree(*copies, groups=groups), agree(*copies)
    assert grouped.n == 400
    assert grouped.kappa == pytest.approx(once.kappa)
    assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high))
    assert alone.high - alone.low < 0.5 * (grouped.high - grouped.low)


def test_the_same_seed_gives_the_same_interval():
    one, two, other = (agree(*random_judges(60, 1), seed) for seed in (5, 5, 6))
    assert (one.low, one.high) == (two.low, two.high) != (other.low, other.high)


# Probes under each judge's labels

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
    assert auroc(x_ND, of, truth, truth).low > 0.9


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
    found = Scored(0.7, 0.6, 0.8)
    assert found.widened(1.0) == found
    wide = found.widened(2.0)
    assert (wide.auroc, wide.low, wide.high) == pytest.approx((0.7, 0.5, 0.9))
    assert (Scored(0.95, 0.9, 1.0).widened(3.0)).high == 1.0


def test_intervals_are_widened_for_the_fit(x_ND, of, truth):
    assert 1.0 <= widening_under(x_ND, of, truth, 50, 0) < 3.0
