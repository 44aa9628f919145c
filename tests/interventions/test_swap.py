"""Edits through small SAEs of each architecture, against arithmetic done by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from deception_saes.interventions import swap
from deception_saes.interventions.swap import (
    AddDifference,
    AddMeanDifference,
    AddRandomDirection,
    AddRelabelledDifference,
    AtNormOf,
    Draws,
    MedianResidual,
    Patch,
    RandomFeatures,
    Reconstruct,
    SwapComponents,
    SwapMatched,
    SwapRelabelled,
    SwapTo,
    SwapTop,
    Training,
    centre_of,
    relabellings,
)
from deception_saes.saes.config import SaeConfig
from deception_saes.saes.registry import ARCHITECTURES, architecture, build

WIDTH, FEATURES, TRAINING, EDITED, DRAWS = 6, 30, 14, 5, 8
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
DOSES = (0.25, 0.5, 0.75)
SINGLES = {
    "E2": Reconstruct(), "E6": SwapTo("genuine"), "E4": SwapTo("sandbag"),
    "E6Δ": AddDifference("genuine"), "E4Δ": AddDifference("sandbag"),
    **{f"E6.{dose}": SwapTo("genuine", dose=dose) for dose in DOSES},
    **{f"E6Δ.{dose}": AddDifference("genuine", dose=dose) for dose in DOSES},
    "E4.0.25": SwapTo("sandbag", dose=0.25), "E4Δ.0.25": AddDifference("sandbag", dose=0.25),
    "E6.mean": SwapTo("genuine", "mean"), "E4.mean": SwapTo("sandbag", "mean"),
    "E6Δ.mean": AddDifference("genuine", "mean"), "E4Δ.mean": AddDifference("sandbag", "mean"),
    "MD as E6Δ": AtNormOf(AddMeanDifference(), reference=AddDifference("genuine")),
}
DRAWN = {"E1": SwapRelabelled(), "E1Δ": AddRelabelledDifference(), "E3": RandomFeatures()}


def rows(count, width=WIDTH, seed=0, shift=0.0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + shift


def random_sae(name):
    config = SaeConfig(name, WIDTH, FEATURES, k=9 if name == "topk" else None)
    generator = torch.Generator().manual_seed(3)
    return build(config, {weight: torch.randn(shape, generator=generator).abs() * 0.3
                          if weight == "threshold" else torch.randn(shape, generator=generator)
                          for weight, shape in architecture(name).sae.shapes(config).items()})


def sae_of(name, encoder, decoder, **weights):
    """An SAE without biases, thresholds or gains, except those given."""
    width, features = encoder.shape
    config = SaeConfig(name, width, features, k=width if name == "topk" else None)
    every = {weight: torch.zeros(shape)
             for weight, shape in architecture(name).sae.shapes(config).items()}
    return build(config, every | {"W_enc": encoder, "W_dec": decoder} | weights)


def signed(name, width, seed=1):
    """An SAE with a feature for each sign along each axis of a random basis, without error."""
    basis = torch.linalg.qr(rows(width, width, seed)).Q
    decoder = torch.cat([basis, -basis])
    return sae_of(name, decoder.T.contiguous(), decoder), basis


def plain(name, width):
    """Features are the coordinates themselves, where these are above 0."""
    return sae_of(name, torch.eye(width), torch.eye(width))


@pytest.fixture(params=ARCHITECTURES)
def name(request):
    return request.param


@pytest.fixture
def training(name):
    return Training(random_sae(name), rows(TRAINING, seed=1, shift=0.4), rows(TRAINING, seed=2))


@pytest.fixture
def x_QD():
    return rows(EDITED, seed=4)


def singles(training, x_QD, top=()):
    """What edits without draws make of x; none reads the residuals of the other condition."""
    edits = SINGLES | {f"E5.{m}": SwapTop(m) for m in top}
    other_QD = torch.full_like(x_QD, float("nan"))
    return {edit: of(training, x_QD, other_QD) for edit, of in edits.items()}


def halves_of(count, draws=DRAWS, seed=0):
    """Of training questions that stand in one fold."""
    return relabellings(np.zeros(count), draws, seed)


def drawn(training, x_QD, draws=DRAWS, seed=0, purpose=("L4",)):
    of_draws = Draws(halves_of(len(training.genuine_TD), draws, seed), seed, purpose)
    return {edit: of(training, x_QD, of_draws) for edit, of in DRAWN.items()}


def medians(training, centre=np.median):
    return [torch.from_numpy(centre(training.sae.encode(x_TD).numpy(), axis=0))
            for x_TD in (training.genuine_TD, training.sandbag_TD)]


@pytest.fixture
def by_means(monkeypatch):
    """Medians are means: of few prompts, every one then counts."""
    monkeypatch.setattr(swap, "centre_of", lambda features_TS, _: centre_of(features_TS, "mean"))


# The centre


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 12])
@pytest.mark.parametrize("silent", [0.0, 0.4, 0.5, 0.8])
def test_the_centre_is_numpys_median_or_mean(count, silent):
    random = np.random.default_rng(count)
    features_TS = random.random((count, 50)).astype(np.float32) + 0.1
    features_TS *= random.random((count, 50)) >= silent
    for centre, by_numpy in (("median", np.median), ("mean", np.mean)):
        found = centre_of(torch.from_numpy(features_TS), centre).numpy()
        np.testing.assert_allclose(found, by_numpy(features_TS, axis=0), rtol=1e-6)


@pytest.mark.parametrize("count", [4, 5, 8, 9])
def test_features_active_on_under_half_of_the_prompts_become_zero(count):
    # feature s is active on the first s rows
    features_TS = torch.zeros(count, count + 1)
    for active in range(count + 1):
        features_TS[:active, active] = 3.0
    found = centre_of(features_TS, "median").tolist()
    for active, centre in enumerate(found):
        assert centre == (0.0 if 2 * active < count else 1.5 if 2 * active == count else 3.0)
    assert centre_of(features_TS, "mean").gt(0).sum() == count


@pytest.mark.parametrize("prompts", [10, 11])
def test_a_live_feature_is_active_on_a_twentieth_of_both_conditions_prompts(prompts):
    # feature 0 never, 1 on one genuine row, 2 on one row of each condition
    genuine_TD, sandbag_TD = torch.zeros(prompts, 3), torch.zeros(prompts, 3)
    genuine_TD[0, 1] = genuine_TD[1, 2] = sandbag_TD[2, 2] = 1.0
    found = Training(plain("jumprelu", 3), genuine_TD, sandbag_TD)
    assert found.live.tolist() == ([1, 2] if prompts == 10 else [2])
    assert set(found.by_d.tolist()) == set(found.live.tolist())


# Edits without draws


def test_single_edits_are_what_the_design_says(training, x_QD):
    sae, (m_G, m_S), found = training.sae, medians(training), singles(training, x_QD)
    decoder, bias = sae.weights["W_dec"], sae.weights["b_dec"]
    step_D = (m_G - m_S) @ decoder
    assert step_D.norm() > 0.1
    mean_G, mean_S = medians(training, np.mean)
    between_means_D = (mean_G - mean_S) @ decoder
    assert (between_means_D - step_D).norm() > 0.1
    ones_Q1 = torch.ones(EDITED, 1)
    expected = {
        "E2": sae.encode(x_QD) @ decoder + bias,
        "E6": ones_Q1 * (m_G @ decoder + bias),
        "E4": ones_Q1 * (m_S @ decoder + bias),
        "E6Δ": x_QD + step_D,
        "E4Δ": x_QD - step_D,
        **{f"E6.{dose}": ones_Q1 * (m_S @ decoder + bias + dose * step_D)
           for dose in DOSES},
        **{f"E6Δ.{dose}": x_QD + dose * step_D for dose in DOSES},
        "E4.0.25": ones_Q1 * (m_G @ decoder + bias - 0.25 * step_D),
        "E4Δ.0.25": x_QD - 0.25 * step_D,
        "E6.mean": ones_Q1 * (mean_G @ decoder + bias),
        "E4.mean": ones_Q1 * (mean_S @ decoder + bias),
        "E6Δ.mean": x_QD + between_means_D,
        "E4Δ.mean": x_QD - between_means_D,
        "MD as E6Δ": x_QD + training.mean_difference_D * step_D.norm()
                     / training.mean_difference_D.norm(),
    }
    assert found.keys() == expected.keys()
    for edit, expected_QD in expected.items():
        torch.testing.assert_close(found[edit], expected_QD, **CLOSE, msg=edit)


def test_reconstruction_only_is_decode_of_encode(training, x_QD):
    sae = training.sae
    assert torch.equal(singles(training, x_QD)["E2"], sae.decode(sae.encode(x_QD)))


def test_without_a_difference_between_the_conditions_edits_that_keep_the_error_are_exactly_x(
        training, x_QD):
    same = dataclasses.replace(training, sandbag_TD=training.genuine_TD.clone())
    found = singles(same, x_QD)
    for edit in found.keys() & {"E6Δ", "E4Δ", "E6Δ.0.25", "E6Δ.0.5", "E6Δ.0.75", "E4Δ.0.25",
                                "E6Δ.mean", "E4Δ.mean", "MD as E6Δ"}:
        assert torch.equal(found[edit], x_QD), edit
    assert torch.equal(found["E6"], found["E4"])
    assert torch.equal(drawn(same, x_QD)["E1Δ"], x_QD.expand(DRAWS, -1, -1))


@pytest.mark.parametrize("centre", ["median", "mean"])
@pytest.mark.parametrize(("side", "other"), [("genuine", "sandbag"), ("sandbag", "genuine")])
def test_doses_start_and_end_where_they_should(training, x_QD, side, other, centre):
    def swapped(to, dose=1.0):
        return SwapTo(to, centre, dose)(training, x_QD, x_QD)

    def added(dose=1.0):
        return AddDifference(side, centre, dose)(training, x_QD, x_QD)

    assert torch.equal(swapped(side, 0.0), swapped(other))
    assert torch.equal(added(0.0), x_QD)
    nearly = 1 - 1e-7
    torch.testing.assert_close(swapped(side, nearly), swapped(side), **CLOSE)
    torch.testing.assert_close(added(nearly), added(), **CLOSE)


def test_swaps_without_the_error_are_one_constant_for_all_prompts(training, x_QD):
    found = singles(training, x_QD)
    elsewhere = singles(training, x_QD + 1)
    for edit in ("E6", "E4", "E6.0.5", "E4.mean"):
        assert torch.equal(found[edit], found[edit][:1].expand_as(x_QD))
        assert torch.equal(found[edit], elsewhere[edit])
    found = drawn(training, x_QD)
    for edit in ("E1", "E3"):
        assert torch.equal(found[edit], found[edit][:, :1].expand(DRAWS, *x_QD.shape))


def test_the_edit_of_a_prompt_depends_on_no_other_edited_prompt(training, x_QD):
    others_QD = torch.cat([x_QD[:1], 9 * x_QD[1:]])
    for edits in (lambda x: singles(training, x, (2,)), lambda x: drawn(training, x)):
        for edit, edited in edits(x_QD).items():
            torch.testing.assert_close(edits(others_QD)[edit][..., 0, :], edited[..., 0, :],
                                       **CLOSE, msg=edit)


def test_what_an_edit_learns_is_of_its_training_prompts(training, x_QD):
    changed = dataclasses.replace(training, genuine_TD=training.genuine_TD + 1)
    sandbag_alone = {"E2", "E4", "E4.mean"}
    for edits in (lambda of: singles(of, x_QD, (2,)), lambda of: drawn(of, x_QD)):
        after = edits(changed)
        for edit, edited in edits(training).items():
            assert torch.allclose(after[edit], edited) == (edit in sandbag_alone), edit


# The features of largest d


def d_by_hand(training):
    genuine_TS, sandbag_TS = (training.sae.encode(x).double().numpy()
                              for x in (training.genuine_TD, training.sandbag_TD))
    live = np.flatnonzero((genuine_TS > 0).sum(0) + (sandbag_TS > 0).sum(0)
                          >= 0.05 * 2 * TRAINING)
    sd = np.sqrt((genuine_TS.var(0, ddof=1) + sandbag_TS.var(0, ddof=1)) / 2)[live]
    d = (genuine_TS.mean(0) - sandbag_TS.mean(0))[live] / np.maximum(sd, 0.05 * np.median(sd))
    return live[np.argsort(-np.abs(d), kind="stable")]


def test_features_are_ranked_by_the_size_of_cohens_d(training):
    by_hand = d_by_hand(training)
    assert len(by_hand) > 10
    assert training.by_d.tolist() == by_hand.tolist()


def test_the_floor_of_d_keeps_a_nearly_constant_feature_from_the_top():
    # feature 0 differs by a thousandth of its typical size, and varies less than that
    genuine_TD, sandbag_TD = (rows(TRAINING, 4, seed=seed).abs() + 1 for seed in (1, 2))
    genuine_TD[:, 1] += 3
    for x_TD, level in ((genuine_TD, 1.001), (sandbag_TD, 1.0)):
        x_TD[:, 0] = level + 1e-5 * torch.arange(TRAINING)
    assert Training(plain("jumprelu", 4), genuine_TD, sandbag_TD).by_d[0] == 1


@pytest.mark.parametrize("m", [1, 3, 4])
def test_the_top_m_swap_changes_only_what_those_features_write(training, x_QD, m):
    best = d_by_hand(training)[:m]
    decoder_mD = training.sae.weights["W_dec"][best]
    change_QD = singles(training, x_QD, (m,))[f"E5.{m}"] - x_QD
    weights_mQ = torch.linalg.lstsq(decoder_mD.T, change_QD.T).solution
    torch.testing.assert_close(decoder_mD.T @ weights_mQ, change_QD.T, atol=1e-4, rtol=1e-4)
    m_G, _ = medians(training)
    torch.testing.assert_close(weights_mQ.T, (m_G - training.sae.encode(x_QD))[:, best],
                               atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("m", [FEATURES, 10 * FEATURES])
def test_the_swap_of_all_live_features_gives_the_genuine_median_and_keeps_the_error(
        training, x_QD, m):
    sae, (m_G, _), live = training.sae, medians(training), d_by_hand(training)
    features_QS = sae.encode(x_QD)
    error_QD = x_QD - sae.decode(features_QS)
    features_QS[:, live] = m_G[live]
    torch.testing.assert_close(singles(training, x_QD, (m,))[f"E5.{m}"],
                               sae.decode(features_QS) + error_QD, atol=1e-4, rtol=1e-4)


# Relabelled sets


def relabelled(training, x_QD, **how):
    """Decoded centres of each draw's set and of its complement, [N, D], less the bias."""
    found = drawn(training, x_QD, **how)
    first_ND = found["E1"][:, 0] - training.sae.weights["b_dec"]
    return first_ND, first_ND - (found["E1Δ"] - x_QD)[:, 0]


@pytest.mark.parametrize("sizes", [[4] * 5, [4, 3, 3, 3, 3], [15, 15, 15, 14, 14], [1], [7]])
def test_a_relabelling_takes_half_of_every_fold_and_then_the_other_half(sizes):
    fold_Q = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    halves_NQ = relabellings(fold_Q, 6, 0).numpy()
    assert halves_NQ.shape == (6, sum(sizes))
    assert (halves_NQ[1::2] == ~halves_NQ[::2]).all()
    for fold, size in enumerate(sizes):
        assert set(halves_NQ[:, fold_Q == fold].sum(1)) <= {size // 2, (size + 1) // 2}
    assert (np.abs(2 * halves_NQ.sum(1) - len(fold_Q)) <= 1).all()


def test_relabellings_are_seeded_and_leave_no_question_on_one_side():
    fold_Q = np.arange(40) % 5
    halves_NQ = relabellings(fold_Q, 20, 0)
    torch.rand(3), np.random.default_rng().random()
    assert torch.equal(relabellings(fold_Q, 20, 0), halves_NQ)
    assert torch.equal(relabellings(fold_Q, 8, 0), halves_NQ[:8])
    assert not torch.equal(relabellings(fold_Q, 20, 1), halves_NQ)
    assert len(halves_NQ.unique(dim=0)) == 20
    assert 0 < halves_NQ[::2].sum(0).min() <= halves_NQ[::2].sum(0).max() < 10


def test_an_odd_number_of_relabellings_is_an_error():
    with pytest.raises(ValueError, match="7 draws"):
        relabellings(np.zeros(4), 7, 0)


@pytest.mark.usefixtures("by_means")
@pytest.mark.parametrize("count", [6, 7])
def test_a_relabelled_set_takes_genuine_features_of_its_half_and_sandbag_ones_of_the_rest(
        name, count):
    # a feature for each question and condition: means then say which rows are in a set
    genuine_TD, sandbag_TD = torch.eye(2 * count).split(count)
    training = Training(plain(name, 2 * count), genuine_TD, sandbag_TD)
    first_ND, second_ND = relabelled(training, torch.zeros(1, 2 * count))
    halves_NT = halves_of(count)
    assert set(halves_NT.sum(1).tolist()) == {count // 2, (count + 1) // 2}
    for found_ND, half in ((first_ND, halves_NT), (second_ND, ~halves_NT)):
        taken = found_ND > 0
        # exactly as many of either condition: one is left out of an odd number
        assert set(taken[:, :count].sum(1).tolist()) == {count // 2}
        assert set(taken[:, count:].sum(1).tolist()) == {count // 2}
        assert not (taken & ~torch.cat([half, ~half], 1)).any()


def test_the_shuffled_label_median_is_that_of_the_set(name):
    count = 2 * WIDTH
    training = Training(random_sae(name), rows(count, seed=1, shift=0.4), rows(count, seed=2))
    genuine_TS, sandbag_TS = training.genuine_TS.numpy(), training.sandbag_TS.numpy()
    first_ND, second_ND = relabelled(training, rows(1))
    decoder = training.sae.weights["W_dec"].numpy()
    for taken_T, first_D, second_D in zip(halves_of(count), first_ND, second_ND, strict=True):
        for half_T, found_D in ((taken_T, first_D), (~taken_T, second_D)):
            of_set = np.where(half_T[:, None], genuine_TS, sandbag_TS)
            np.testing.assert_allclose(found_D, np.median(of_set, axis=0) @ decoder, atol=1e-4)


@pytest.mark.usefixtures("by_means")
def test_by_means_a_set_and_its_complement_lie_around_half_the_dose(training, x_QD):
    first_ND, second_ND = relabelled(training, x_QD)
    ends = singles(training, x_QD)
    half_D = (ends["E4"] + ends["E6"])[0] / 2 - training.sae.weights["b_dec"]
    torch.testing.assert_close((first_ND + second_ND) / 2, half_D.expand_as(first_ND), **CLOSE)
    assert (first_ND - half_D).norm(dim=1).min() > 1e-3


@pytest.mark.parametrize("count", [TRAINING, TRAINING + 1])
def test_with_the_conditions_exchanged_the_shuffled_difference_is_reversed(name, x_QD, count):
    there = Training(random_sae(name), rows(count, seed=1, shift=0.4), rows(count, seed=2))
    back = dataclasses.replace(there, genuine_TD=there.sandbag_TD, sandbag_TD=there.genuine_TD)
    first_ND, second_ND = relabelled(there, torch.zeros(1, WIDTH))
    for found_ND, expected_ND in zip(relabelled(back, torch.zeros(1, WIDTH)),
                                     (second_ND, first_ND), strict=True):
        torch.testing.assert_close(found_ND, expected_ND, **CLOSE)


@pytest.mark.parametrize("count", [24, 25])
def test_the_shuffled_difference_is_zero_on_average_and_every_second_the_reverse(name, count):
    training, x_QD, _ = planted(name, count)
    steps_ND = (drawn(training, x_QD, draws=40)["E1Δ"] - x_QD)[:, 0]
    torch.testing.assert_close(steps_ND[1::2], -steps_ND[::2], **CLOSE)
    assert steps_ND.norm(dim=1).min() > 0.01
    # not by the pairs alone: which half comes first is random too, if no half is the larger one
    if count == 24:
        step_D = (singles(training, x_QD)["E6Δ"] - x_QD)[0]
        assert steps_ND[::2].mean(0).norm() < 0.1 * step_D.norm()


@pytest.mark.parametrize("count", [24, 25])
def test_the_shuffled_label_median_is_half_a_dose_on_average(name, count):
    training, x_QD, axis_D = planted(name, count)
    ends = singles(training, x_QD)
    from_D, to_D = ends["E4"][0], ends["E6"][0]
    way_N = (drawn(training, x_QD, draws=40)["E1"][:, 0] - from_D) @ axis_D
    assert float(way_N.mean() / ((to_D - from_D) @ axis_D)) == pytest.approx(0.5, abs=0.1)


# Random features


def test_random_features_go_as_far_as_the_swap_and_from_the_sandbag_median(training, x_QD):
    ends = singles(training, x_QD)
    way = (ends["E6"] - ends["E4"])[0].norm()
    steps_ND = (drawn(training, x_QD)["E3"] - ends["E4"])[:, 0]
    torch.testing.assert_close(steps_ND.norm(dim=1), way.expand(DRAWS), atol=0, rtol=1e-5)
    assert len(steps_ND.unique(dim=0)) == DRAWS


def test_random_features_are_live_and_carry_the_permuted_differences(name):
    live, width = 6, 9
    genuine_TD, sandbag_TD = (rows(TRAINING, width, seed=seed).abs() + 1 for seed in (1, 2))
    genuine_TD[:, live:] = sandbag_TD[:, live:] = -1.0
    training = Training(plain(name, width), genuine_TD, sandbag_TD)
    x_QD = rows(2, width)
    ends = singles(training, x_QD)
    difference_D = (ends["E6"] - ends["E4"])[0]
    steps_ND = (drawn(training, x_QD)["E3"] - ends["E4"])[:, 0]
    assert torch.equal(steps_ND[:, live:], torch.zeros(DRAWS, width - live))
    for step_D in steps_ND:
        torch.testing.assert_close(step_D.sort().values, difference_D.sort().values, **CLOSE)
        assert not torch.allclose(step_D, difference_D)


@pytest.mark.usefixtures("by_means")
def test_fewer_live_features_than_differences_do_not_stop_random_features():
    # features 2 and 3 differ in the mean, yet too rarely active to be live
    genuine_TD, sandbag_TD = torch.zeros(40, 4), torch.zeros(40, 4)
    genuine_TD[:, 0], genuine_TD[0, 2], sandbag_TD[0, 3] = 3.0, 40.0, 40.0
    training = Training(plain("jumprelu", 4), genuine_TD, sandbag_TD)
    assert training.live.tolist() == [0]
    steps_ND = (drawn(training, rows(1, 4))["E3"] - singles(training, rows(1, 4))["E4"])[:, 0]
    torch.testing.assert_close(steps_ND.abs(), torch.tensor([[11**0.5, 0, 0, 0]] * DRAWS))


def test_where_the_conditions_are_alike_random_features_add_nothing(training, x_QD):
    same = dataclasses.replace(training, sandbag_TD=training.genuine_TD)
    assert torch.equal(drawn(same, x_QD)["E3"],
                       singles(same, x_QD)["E4"].expand(DRAWS, -1, -1))


def dead(name):
    return Training(sae_of(name, torch.zeros(WIDTH, FEATURES), rows(FEATURES)),
                    rows(TRAINING, seed=1), rows(TRAINING, seed=2))


@pytest.mark.filterwarnings("ignore:var")
def test_where_no_feature_is_ever_active_nothing_but_the_error_changes(name, x_QD):
    training = dead(name)
    for edit, found in {**singles(training, x_QD, (4,)), **drawn(training, x_QD)}.items():
        without_error = "Δ" not in edit and not edit.startswith("E5")
        expected_QD = torch.zeros_like(x_QD) if without_error else x_QD
        assert torch.equal(found, expected_QD.expand_as(found)), edit


def test_where_no_feature_is_live_ranking_them_warns_of_nothing():
    assert len(dead("jumprelu").by_d) == 0


def test_a_decoder_that_ignores_its_features_does_nothing_beyond_its_error(training, x_QD):
    weights = training.sae.weights | {"W_dec": torch.zeros(FEATURES, WIDTH)}
    deaf = dataclasses.replace(training, sae=build(training.sae.config, weights))
    for edit, found in {**singles(deaf, x_QD, (4,)), **drawn(deaf, x_QD)}.items():
        without_error = "Δ" not in edit and not edit.startswith("E5")
        expected_QD = weights["b_dec"].expand_as(x_QD) if without_error else x_QD
        assert torch.equal(found, expected_QD.expand_as(found)), edit


# Ten features and what they are set against


def test_features_taken_out_of_the_difference_are_those_of_largest_d(training, x_QD):
    sae, (m_G, m_S) = training.sae, medians(training)
    best = training.by_d[:4]
    found = AddDifference("genuine", without_top=4)(training, x_QD, x_QD)
    step_D = (m_G - m_S) @ sae.weights["W_dec"]
    of_best_D = (m_G - m_S)[best] @ sae.weights["W_dec"][best]
    assert of_best_D.norm() > 0.1
    torch.testing.assert_close(found, x_QD + step_D - of_best_D, **CLOSE)


def active_on(counts):
    """As many features, each active on so many prompts, some of either condition."""
    genuine_TD, sandbag_TD = torch.zeros(20, len(counts)), torch.zeros(20, len(counts))
    for feature, count in enumerate(counts):
        genuine_TD[: count - 1, feature] = sandbag_TD[0, feature] = 1.0 + feature
    return Training(plain("jumprelu", len(counts)), genuine_TD, sandbag_TD)


@pytest.mark.parametrize(("counts", "chosen", "expected"), [
    ([9, 10, 4, 11, 2, 16, 12], [5, 6], [3, 1]),  # 11 is nearest to both, and taken by the first
    ([9, 10, 4, 11, 2, 16, 12], [6, 5], [3, 1]),
    ([9, 14, 3, 4, 16, 10], [5, 4], [0, 1]),
    ([12, 12, 3, 3, 16, 14], [4, 5], [0, 1]),  # of equals the first
])
def test_matched_features_are_the_unchosen_ones_of_nearest_rate_each_once(
        counts, chosen, expected, monkeypatch):
    training = active_on(counts)
    assert training.active_S.tolist() == counts
    monkeypatch.setitem(training.__dict__, "by_d", torch.tensor(chosen))
    assert training.matched(2).tolist() == expected
    x_QD = rows(3, len(counts)).abs()
    swapped_QD = SwapMatched(2)(training, x_QD, x_QD)
    changed_QD = x_QD.clone()
    changed_QD[:, expected] = training.m_G[expected]
    torch.testing.assert_close(swapped_QD, changed_QD, **CLOSE)


def test_matched_features_are_as_many_as_there_are_others(training):
    every = training.by_d
    assert len(training.matched(len(every))) == min(len(every), FEATURES - len(every))
    found = training.matched(4).tolist()
    assert len(set(found)) == 4
    assert not set(found) & set(every[:4].tolist())


def test_along_the_components_the_residual_is_set_to_the_genuine_mean(training, x_QD):
    difference_TD = (training.genuine_TD - training.sandbag_TD).numpy().astype(np.float64)
    values, vectors_DD = np.linalg.eigh(difference_TD.T @ difference_TD)  # about 0
    first_KD = vectors_DD[:, np.argsort(values)[::-1][:2]].T
    found = SwapComponents(2)(training, x_QD, x_QD).numpy()
    mean_D = training.genuine_TD.numpy().mean(0)
    np.testing.assert_allclose(found @ first_KD.T, np.tile(first_KD @ mean_D, (EDITED, 1)),
                               atol=1e-5)
    step_QD = found - x_QD.numpy()
    np.testing.assert_allclose(step_QD @ first_KD.T @ first_KD, step_QD, atol=1e-5)
    whole_QD = SwapComponents(WIDTH)(training, x_QD, x_QD)
    np.testing.assert_allclose(whole_QD, np.tile(mean_D, (EDITED, 1)), atol=1e-5)


def test_at_equal_norm_each_step_keeps_its_direction_and_takes_the_length_of_the_other_saes(
        training, x_QD):
    other = dataclasses.replace(training, sae=signed(training.sae.config.architecture, WIDTH)[0])
    of_both = dataclasses.replace(other, reference_sae=training.sae)
    own_QD, wanted_QD = (SwapTop(3)(of, x_QD, x_QD) - x_QD for of in (other, training))
    found_QD = AtNormOf(SwapTop(3), SwapTop(3))(of_both, x_QD, x_QD) - x_QD
    assert not torch.allclose(own_QD.norm(dim=1), wanted_QD.norm(dim=1), rtol=0.1)
    torch.testing.assert_close(found_QD.norm(dim=1), wanted_QD.norm(dim=1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cosine_similarity(found_QD, own_QD), torch.ones(EDITED),
                               **CLOSE)
    # without another SAE the length is that of its own
    own = AtNormOf(AddDifference("genuine"), AddDifference("genuine", dose=0.5))(other, x_QD, x_QD)
    torch.testing.assert_close(own, AddDifference("genuine", dose=0.5)(other, x_QD, x_QD), **CLOSE)


def test_no_step_stays_none_at_any_norm(x_QD):
    edit = AtNormOf(SwapTop(4), AddMeanDifference())
    assert torch.equal(edit(dead("jumprelu"), x_QD, x_QD), x_QD)


# Without an SAE


@pytest.fixture
def without_sae(training):
    return dataclasses.replace(training, sae=None)


def test_edits_without_an_sae_are_what_the_design_says(without_sae, x_QD):
    other_QD = rows(EDITED, seed=9)
    patched, median_QD, shifted_QD = (edit(without_sae, x_QD, other_QD) for edit in (
        Patch(), MedianResidual(), AddMeanDifference()))
    genuine_TD, sandbag_TD = without_sae.genuine_TD.numpy(), without_sae.sandbag_TD.numpy()
    assert torch.equal(patched, other_QD)
    np.testing.assert_allclose(median_QD, np.tile(np.median(genuine_TD, axis=0), (EDITED, 1)),
                               rtol=1e-6)
    np.testing.assert_allclose(shifted_QD - x_QD,
                               np.tile(genuine_TD.mean(0) - sandbag_TD.mean(0), (EDITED, 1)),
                               atol=1e-6)


def test_the_mean_difference_at_equal_norm_is_as_long_as_the_step_and_keeps_its_direction(
        training, x_QD):
    found = singles(training, x_QD)
    step_QD, scaled_QD = (found[edit] - x_QD for edit in ("E6Δ", "MD as E6Δ"))
    torch.testing.assert_close(scaled_QD.norm(dim=1), step_QD.norm(dim=1), rtol=1e-5, atol=1e-5)
    mean_D = training.mean_difference_D
    assert not torch.allclose(scaled_QD[0], mean_D, rtol=1e-2)
    torch.testing.assert_close(scaled_QD / scaled_QD.norm(dim=1, keepdim=True),
                               (mean_D / mean_D.norm()).expand(EDITED, -1), **CLOSE)


def test_random_directions_are_as_long_as_the_mean_difference(without_sae, x_QD):
    found = AddRandomDirection()(without_sae, x_QD, Draws(halves_of(TRAINING, 200), 0))
    steps_ND = (found - x_QD)[:, 0]
    way = (without_sae.genuine_TD.mean(0) - without_sae.sandbag_TD.mean(0)).norm()
    torch.testing.assert_close(steps_ND.norm(dim=1), way.expand(200), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found - x_QD, steps_ND[:, None].expand_as(found), **CLOSE)
    assert steps_ND.mean(0).norm() < 0.2 * way


# Seeds


def test_draws_depend_on_seed_and_purpose_and_on_nothing_else(training, x_QD):
    halves_NT = halves_of(TRAINING)

    def every(seed, *purpose):
        return {edit: of(training, x_QD, Draws(halves_NT, seed, purpose))
                for edit, of in {**DRAWN, "random direction": AddRandomDirection()}.items()}

    first = every(5, "L4")
    torch.rand(3), np.random.default_rng().random()
    again, changed = every(5, "L4"), [every(6, "L4"), every(5, "L8"), every(5, "L4", "2")]
    for edit, found in first.items():
        assert torch.equal(again[edit], found)
        for other in changed:  # relabelled sets are drawn elsewhere
            assert torch.equal(other[edit], found) == edit.startswith("E1"), edit


def test_more_draws_leave_the_first_ones_as_they_were(training, x_QD):
    few, many = (drawn(training, x_QD, draws=draws) for draws in (2, 6))
    for edit, found in few.items():  # last bits of a product depend on how many rows it has
        torch.testing.assert_close(many[edit][:2], found, rtol=1e-5, atol=1e-5)


# What each edit finds, on a model that can be written down


def planted(name, count, questions=20, width=16, seed=0):
    """Conditions that differ along one axis, low on sandbag prompts and high on genuine ones:
    training prompts, other sandbag prompts, and the axis."""
    sae, basis = signed(name, width)
    levels = {"genuine": 4.0, "sandbag": 0.5}

    def residuals(condition, count, seed):
        along = rows(count, width, seed)
        along[:, 0] = levels[condition] + 0.1 * along[:, 0]
        return along @ basis

    training = Training(sae, residuals("genuine", count, seed + 1),
                        residuals("sandbag", count, seed + 2))
    return training, residuals("sandbag", questions, seed + 3), basis[0]


def restored(p, training, x_QD, draws=100):
    """By edit, its effect on P, [N, Q], as a share of what separates the conditions."""
    of_all = float(p(training.genuine_TD).mean() - p(training.sandbag_TD).mean())
    found = {name: edit[None] for name, edit in singles(training, x_QD, (1, 4)).items()}
    found |= drawn(training, x_QD, draws=draws)
    return {name: (p(edit) - p(x_QD)) / of_all for name, edit in found.items()}


def test_a_planted_feature_is_found_by_the_swaps_and_not_by_their_controls(name):
    training, x_QD, axis_D = planted(name, 24)
    found = restored(lambda x: torch.sigmoid(2 * (x @ axis_D) - 4.5), training, x_QD)
    for edit in ("E6", "E6Δ", "E5.1", "E5.4"):
        assert float(found[edit].mean()) == pytest.approx(1.0, abs=0.05), edit
    for edit in ("E2", "E4", "E1Δ"):
        assert abs(float(found[edit].mean())) < 0.05, edit
    assert found["E1Δ"].mean(1).abs().max() < 0.2
    assert float(found["E3"].mean()) < 0.2
    # one draw in 32 hits the feature itself
    assert float((found["E3"].mean(1) >= found["E6"].mean()).float().mean()) < 0.1


def test_the_sign_of_a_planted_difference_is_kept(name):
    training, x_QD, axis_D = planted(name, 24)
    found = {edit: ((edited - x_QD) @ axis_D).mean()
             for edit, edited in singles(training, x_QD, (1,)).items() if "Δ" in edit}
    assert float(found["E6Δ"]) == pytest.approx(3.5, abs=0.1)
    assert float(found["E4Δ"]) == pytest.approx(-3.5, abs=0.1)


def test_a_disruption_of_any_kind_gives_no_gap_between_swap_and_reversed_direction(name):
    training, x_QD, _ = planted(name, 200)
    data = torch.cat([training.genuine_TD, training.sandbag_TD, x_QD])

    def p(x):
        """Falls with the distance from the nearest residual that the model ever sees."""
        return torch.exp(-torch.cdist(x, data.expand(*x.shape[:-2], *data.shape)).amin(-1) / 4)

    effect = {edit: float((p(edited) - p(x_QD)).mean())
              for edit, edited in singles(training, x_QD).items()}
    assert effect["E6"] < -0.3
    assert effect["E4"] < -0.3
    assert abs(effect["E6"] - effect["E4"]) < 0.1 * abs(effect["E4"])


@pytest.mark.parametrize("count", [60, 64, 73, 75, 79])
def test_a_draw_of_e1_delta_is_never_a_full_dose_whatever_the_size_of_the_folds(count):
    every, x_QD, axis_D = planted("jumprelu", count)
    fold = np.arange(count) % 5
    halves = relabellings(fold, 20, 0)
    for number in range(5):
        others = torch.from_numpy(fold != number)
        training = Training(every.sae, every.genuine_TD[others], every.sandbag_TD[others])
        full = float(((singles(training, x_QD)["E6Δ"] - x_QD) @ axis_D).abs().mean())
        found = AddRelabelledDifference()(training, x_QD, Draws(halves[:, others], 0)) - x_QD
        assert float((found @ axis_D).abs().mean()) < 0.1 * full
