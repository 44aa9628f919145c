"""What a probe can find, and what it must not; ridge on many labellings, and intervals that hold
for probes that were fitted."""

import dataclasses

import numpy as np
import pytest
from completion_sets import made_up, noise, planted
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deception_saes.analysis.folds import (
    design,
    permuted_labels,
    resampled_weights,
    splits,
    subset,
    training_weights,
)
from deception_saes.analysis.probe_scores import (
    balanced_accuracies,
    bootstrap,
    measure,
    measure_permuted,
    p_values,
)
from deception_saes.analysis.probes import (
    C,
    activation_probe,
    at_layers,
    by_fold,
    held_out_scores,
    layer_scores,
    lengths,
    nested_layers,
    one_thread,
    principal,
    ridge_scores,
    standardised,
    widening,
    word_probe,
    word_weights,
    words_of_scenario,
)


@pytest.fixture(autouse=True)
def matrices_on_one_thread():
    with one_thread():
        yield


def interval(scores, of, what="accuracy"):
    """A 99.9% interval: the tests that ask it must not fail by chance."""
    return np.quantile(getattr(bootstrap(scores[None], of, 2000, 0), what), [0.0005, 0.9995])


def relabelled(of, labels):
    return dataclasses.replace(of, deceptive_N=labels)


def test_a_planted_signal_is_found_and_carries_over_to_other_scenarios():
    of = made_up()
    x = planted(of, 3.0)
    found = measure(held_out_scores(activation_probe, x, of)[None], of)
    assert found.accuracy[0] > 0.8
    assert found.auroc[0] > 0.9
    left_out = held_out_scores(activation_probe, x, of, of.scenario_N)
    assert measure(left_out[None], of, of.scenario_N).auroc[0] > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_a_probe_on_shuffled_labels_scores_chance(seed):
    of = made_up()
    shuffled = relabelled(of, permuted_labels(of, 1, seed)[0])
    scores = held_out_scores(activation_probe, planted(of, 3.0), shuffled)
    for what in ("accuracy", "auroc"):
        low, high = interval(scores, shuffled, what)
        assert low < 0.5 < high


def test_shuffled_labels_score_chance_on_average():
    # 40 shuffles: a bias of the folds, as of labels missing from training, would show
    of = made_up(6)
    labels = permuted_labels(of, 40, 0)
    x = noise(of)
    found = [measure(held_out_scores(activation_probe, x, relabelled(of, y))[None],
                     relabelled(of, y)) for y in labels]
    for what in ("accuracy", "auroc"):
        mean = np.array([getattr(of_one, what)[0] for of_one in found])
        assert abs(mean.mean() - 0.5) < 3 * mean.std() / np.sqrt(40)


def test_a_feature_of_near_duplicates_that_is_their_label_is_of_no_use_with_groups():
    # one coordinate a group of near-duplicates, which holds the label
    of = made_up(20, doubled=20)
    groups = np.eye(of.group_N.max() + 1)[of.group_N]
    x = np.hstack([noise(of, 10), 5 * groups * np.where(of.deceptive_N, 1, -1)[:, None]])
    low, high = interval(held_out_scores(activation_probe, x, of), of)
    assert low < 0.5 < high
    apart = made_up(20)  # the same completions, near-duplicates not kept together
    assert (apart.deceptive_N == of.deceptive_N).all()
    assert measure(held_out_scores(activation_probe, x, apart)[None], apart).accuracy[0] > 0.7


def test_words_that_near_duplicates_share_are_of_no_use_with_groups():
    of = made_up(20, doubled=20)
    texts = [f"word{group} said here" for group in of.group_N]
    low, high = interval(held_out_scores(word_probe, np.array(texts, dtype=object), of), of)
    assert low < 0.5 < high or (low, high) == (0.5, 0.5)
    apart = made_up(20)
    scores = held_out_scores(word_probe, np.array(texts, dtype=object), apart)
    assert measure(scores[None], apart).accuracy[0] > 0.7


def test_a_scenario_tells_nothing_however_unevenly_its_labels_stand_in_it():
    # labels differ in number between scenarios, and the activations tell scenarios apart
    whole = made_up(20)
    keep = np.flatnonzero(np.where(whole.deceptive_N == (whole.scenario_N % 2), True,
                                   np.arange(240) % 4 == 0))
    of = subset(whole, keep)
    shares = [of.deceptive_N[of.scenario_N == s].mean() for s in range(6)]
    assert max(shares) > 0.75
    assert min(shares) < 0.25
    identity = 5 * np.eye(6)[of.scenario_N]
    found = measure(held_out_scores(activation_probe, identity, of)[None], of)
    assert found.auroc[0] == 0.5
    assert found.accuracy[0] == pytest.approx(0.5, abs=0.06)
    plain = StandardScaler().fit_transform(identity)  # without weights a probe would use it
    assert LogisticRegression().fit(plain, of.deceptive_N).score(plain, of.deceptive_N) > 0.75


def test_activations_of_the_prompts_end_are_exactly_chance():
    of = made_up(17, doubled=4)
    x_LND = np.stack([noise(of, 30, seed)[np.unique(of.scenario_N, return_index=True)[1]][
        of.scenario_N] for seed in range(3)])
    assert measure(layer_scores(x_LND, of), of).auroc.tolist() == [0.5] * 3
    left_out = layer_scores(x_LND, of, of.scenario_N)
    assert measure(left_out, of, of.scenario_N).auroc.tolist() == [0.5] * 3
    assert measure(left_out, of, of.scenario_N).accuracy.tolist() == [0.5] * 3


@pytest.mark.parametrize("components", [None, 1, 3])
def test_scaling_components_and_weights_are_of_the_training_folds_alone(components):
    of = made_up(12, doubled=4)
    x = planted(of, 2.0)
    x[:, 0] *= 1000.0  # so that where scaling and components come from matters
    expected = np.empty(len(x))
    for train, test in splits(of, of.fold_N):
        scaler = StandardScaler().fit(x[train])
        z = {"train": scaler.transform(x[train]), "test": scaler.transform(x[test])}
        if components:
            pca = PCA(components, svd_solver="full").fit(z["train"])
            z = {name: pca.transform(of_part) for name, of_part in z.items()}
        fit = LogisticRegression(C=C, tol=1e-6, max_iter=5000).fit(
            z["train"], of.deceptive_N[train], training_weights(of, train))
        expected[test] = fit.decision_function(z["test"])
    found = held_out_scores(lambda: activation_probe(components=components), x, of)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    everywhere = StandardScaler().fit_transform(x)
    if components:
        everywhere = PCA(components, svd_solver="full").fit_transform(everywhere)
    leaky = held_out_scores(logistic_alone, everywhere, of)
    assert np.abs(leaky - expected).max() > 1e-3


def logistic_alone():
    """A pipeline without scaling or components."""
    return make_pipeline(LogisticRegression(C=C, tol=1e-6, max_iter=5000))


def test_all_components_are_all_dimensions():
    of = made_up(12)
    x = planted(of, 2.0, width=20)
    whole = held_out_scores(activation_probe, x, of)
    rotated = held_out_scores(lambda: activation_probe(components=20), x, of)
    np.testing.assert_allclose(rotated, whole, atol=1e-3)


def test_the_layer_of_a_fold_is_chosen_without_it():
    of = made_up(12)
    x_LND = np.stack([noise(of, seed=1), planted(of, 3.0, seed=2), noise(of, seed=3)])
    assert nested_layers(x_LND, of).tolist() == [1] * 5
    # a layer that holds the labels of one fold only is chosen by all the others
    held = of.fold_N == 2
    told = noise(of, seed=4)
    told[held] += 50 * np.where(of.deceptive_N, 1, -1)[held, None]
    layers = nested_layers(np.stack([planted(of, 1.5, seed=5), told]), of)
    assert layers[2] == 0


def test_the_nested_choice_is_an_explicit_loop():
    of = made_up(10)
    x_LND = np.stack([planted(of, 1.0, seed=seed) for seed in range(4)])
    for fold, chosen in enumerate(nested_layers(x_LND, of)):
        rest = np.flatnonzero(of.fold_N != fold)
        inner = subset(of, rest)
        assert chosen == measure(layer_scores(x_LND[:, rest], inner), inner).peak


def test_each_fold_is_scored_by_its_own_layer():
    of = made_up(6)
    scores = np.arange(3)[:, None] * 100 + np.arange(72)[None]
    layers = np.array([2, 0, 1, 1, 0])
    picked = by_fold(scores, of, layers)
    assert (picked // 100 == layers[of.fold_N]).all()
    assert (picked % 100 == np.arange(72)).all()
    many = at_layers(lambda x_ND: np.stack([x_ND[:, 0], -x_ND[:, 0]]), scores[:, :, None], of,
                     layers)
    assert (many == [picked, -picked]).all()


def test_words_and_lengths_are_found_where_they_tell():
    of = made_up(12)
    texts = np.array(["I hid nothing at all" if d else "yes I hid it"
                      for d in of.deceptive_N], dtype=object)
    assert measure(held_out_scores(word_probe, texts, of)[None], of).accuracy[0] == 1
    tokens = np.where(of.deceptive_N, 60, 20) + np.arange(len(texts)) % 7
    x = lengths(["x" * (4 * n) for n in tokens], tokens)
    assert x.shape == (144, 2)
    assert measure(held_out_scores(activation_probe, x, of)[None], of).accuracy[0] == 1


def test_words_that_mean_the_opposite_in_another_scenario_are_told_by_the_scenario():
    of = made_up(12)
    said = of.deceptive_N ^ (of.scenario_N % 2 == 1)
    texts = np.array(["no, nothing" if no else "yes, all of it" for no in said], dtype=object)
    plain = measure(held_out_scores(word_probe, texts, of)[None], of)
    assert plain.accuracy[0] < 0.6
    marked = words_of_scenario(texts, of)
    assert marked[0] == f"{texts[0]} " + " ".join(
        f"s0_{word}" for word in texts[0].replace(",", "").split())
    assert measure(held_out_scores(word_probe, marked, of)[None], of).accuracy[0] == 1
    # the scenario alone tells nothing
    same = words_of_scenario(np.array(["the same"] * len(texts), dtype=object), of)
    assert measure(held_out_scores(word_probe, same, of)[None], of).auroc[0] == 0.5


# Ridge


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
