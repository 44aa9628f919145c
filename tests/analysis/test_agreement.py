import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from deception_saes.analysis.agreement import DECIDED, agreement, kappas
from deception_saes.tasks.labels import LABELS

DRAWS = 400


def judges(table, labels=LABELS):
    """Two judges with this confusion table, by id."""
    pairs = [(labels[i], labels[j]) for i, row in enumerate(table) for j, n in enumerate(row)
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
    found = agreement(*judges(table), DRAWS, 0)
    assert found.kappa == pytest.approx(0.492, abs=5e-4)
    assert found.observed == pytest.approx(0.70)
    assert found.table_LL.tolist() == table
    assert found.low < found.kappa < found.high
    assert (found.n, found.groups) == (200, 200)


def test_by_hand_for_two_labels():
    found = agreement(*judges([[20, 5], [10, 15]], DECIDED), DRAWS, 0)
    assert found.kappa == pytest.approx((0.7 - 0.5) / 0.5)
    assert found.table_LL.tolist() == [[20, 5, 0], [10, 15, 0], [0, 0, 0]]


def test_full_agreement_and_none():
    assert agreement(*judges(np.diag([5, 6, 7])), DRAWS, 0).kappa == 1
    assert agreement(*judges([[0, 8], [8, 0]], DECIDED), DRAWS, 0).kappa == -1
    assert agreement(*judges([[4, 4], [4, 4]], DECIDED), DRAWS, 0).kappa == pytest.approx(0)


def test_the_vectorised_kappa_is_scikit_learns():
    tables = []
    for seed in range(20):
        first, second = random_judges(40, seed)
        tables.append(confusion_matrix([*first.values()], [*second.values()], labels=LABELS))
        expected = cohen_kappa_score([*first.values()], [*second.values()])
        assert kappas(tables[-1][None])[0] == pytest.approx(expected)
    assert kappas(np.stack(tables)).shape == (20,)


def test_ambiguous_counts_as_a_label_unless_it_is_left_out():
    first, second = judges([[20, 4, 10], [3, 15, 0], [6, 1, 9]])
    whole, decided = (agreement(first, second, DRAWS, 0, labels=labels)
                      for labels in (LABELS, DECIDED))
    assert (whole.n, decided.n) == (68, 42)
    assert decided.table_LL.tolist() == [[20, 4], [3, 15]]
    ones, others = [0] * 24 + [1] * 18, [0] * 20 + [1] * 4 + [0] * 3 + [1] * 15
    assert decided.kappa == pytest.approx(cohen_kappa_score(ones, others))
    assert decided.labels == DECIDED


def test_only_common_completions_count():
    first = {"a": "honest", "b": "deceptive", "c": "honest", "x": "ambiguous"}
    second = {"c": "honest", "b": "honest", "y": "honest", "z": "honest"}
    found = agreement(first, second, DRAWS, 0)
    assert (found.n, found.only_first, found.only_second) == (2, 2, 2)
    assert found.observed == 0.5


@pytest.mark.parametrize(("first", "second", "labels"), [
    ({"a": "honest"}, {"b": "honest"}, LABELS),
    ({}, {"b": "honest"}, LABELS),
    ({"a": "ambiguous"}, {"a": "honest"}, DECIDED),
])
def test_no_overlap_is_an_error(first, second, labels):
    with pytest.raises(ValueError, match="no completion in common"):
        agreement(first, second, DRAWS, 0, labels=labels)


def test_an_unknown_label_is_an_error():
    with pytest.raises(ValueError, match="'unclear' is no label"):
        agreement({"a": "honest"}, {"a": "unclear"}, DRAWS, 0)


def test_one_label_for_all_has_no_kappa():
    found = agreement(*judges([[0, 0, 0], [0, 0, 0], [0, 0, 30]]), DRAWS, 0)
    assert found.observed == 1
    assert all(map(math.isnan, (found.kappa, found.low, found.high)))


def test_one_judge_with_one_label_has_kappa_0():
    """The study's batch judge called everything ambiguous: no agreement beyond chance."""
    found = agreement(*judges([[0, 0, 20], [0, 0, 10], [0, 0, 5]]), DRAWS, 0)
    assert (found.kappa, found.low, found.high) == pytest.approx((0, 0, 0))


def test_too_few_completions_have_no_interval():
    found = agreement(*random_judges(4, 0), DRAWS, 0)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_the_interval_covers_the_true_kappa():
    """Of judges that agree by a known chance process, in at least 17 of 20 samples."""
    same, shares = 0.6, np.array([0.5, 0.3, 0.2])
    joint = same * np.diag(shares) + (1 - same) * np.outer(shares, np.ones(3) / 3)
    true = kappas(joint[None])[0]
    covered = [found.low <= true <= found.high for seed in range(20)
               for found in [agreement(*random_judges(150, seed, same), DRAWS, 0)]]
    assert sum(covered) >= 17


def test_near_duplicates_are_resampled_as_wholes():
    """Ten copies of each completion say nothing new: the interval is that of one copy each."""
    first, second = random_judges(40, 3)
    copies = [{f"{id}-{k}": label for id, label in of.items() for k in range(10)}
              for of in (first, second)]
    groups = {f"{id}-{k}": i for i, id in enumerate(first) for k in range(10)}
    once, grouped = agreement(first, second, DRAWS, 0), agreement(*copies, DRAWS, 0, groups)
    alone = agreement(*copies, DRAWS, 0)
    assert (grouped.n, grouped.groups) == (400, 40)
    assert grouped.kappa == pytest.approx(once.kappa)
    assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high))
    assert alone.high - alone.low < 0.5 * (grouped.high - grouped.low)


def test_groups_must_be_given_for_all():
    with pytest.raises(ValueError, match="'c1' has no group"):
        agreement(*random_judges(3, 0), DRAWS, 0, groups={"c0": 0})


def test_the_same_seed_gives_the_same_interval():
    one, two, other = (agreement(*random_judges(60, 1), DRAWS, seed) for seed in (5, 5, 6))
    assert (one.low, one.high) == (two.low, two.high) != (other.low, other.high)
