"""§22 of the smoke profile: rates, what is left of the largest, and steering."""

import numpy as np
import pandas as pd
import pytest
import torch
from cells import run_cells
from scipy.stats import false_discovery_control

from deception_saes.experiments.features import effects
from deception_saes.experiments.on_completions import completion_features
from deception_saes.experiments.reading import MAIN_ROUND
from deception_saes.experiments.steered import FEATURE, MEAN, Directions, random_features

MODEL = "tinyllama-random"
STUDY = f"{MODEL}_jumprelu_L2_honest_only"


@pytest.fixture(scope="module")
def run(smoke, artifacts):
    return run_cells(22, smoke, smoke.seed, artifacts)


@pytest.fixture(scope="module")
def tag(saes):
    return next(tag for tag in saes.tags if tag.name == STUDY)


@pytest.fixture(scope="module")
def fired(saes, tag):
    """Labels, and which feature of the study's SAE fires in which completion."""
    data, rows = saes.reading.main, saes.reading.tokens(MAIN_ROUND)
    found = completion_features(saes.bank(tag.layer).sae(tag), rows, tag.layer, data.ids)
    return data.design.deceptive_N, found.fires_NS


def value(run, id):
    return run.results.value(f"s22.{MODEL}.{id}")


def test_rates_are_those_of_the_completions(run, fired):
    deceptive, fires = fired
    table = run.table("features").set_index("feature")
    assert sorted(table.index) == list(np.flatnonzero(fires.any(axis=0)))
    for feature in (table.index[0], table.index[5], table.index[-1]):
        assert table["deceptive"][feature] == pytest.approx(100 * fires[deceptive, feature].mean())
        assert table["honest"][feature] == pytest.approx(100 * fires[~deceptive, feature].mean())
    assert (table["deceptive_low"] <= table["deceptive"] + 1e-9).all()
    assert (table["difference_low"] <= table["difference"] + 1e-5).all()
    assert table["difference"].is_monotonic_decreasing
    first = table.iloc[0]
    assert value(run, "difference").value == first["difference"]
    assert value(run, "rate.deceptive").value == first["deceptive"]
    assert value(run, "rate.honest").n == (~deceptive).sum()


def test_discoveries_are_corrected(run):
    q = run.table("features")["q"]
    assert (q == false_discovery_control(q, method="bh")).sum() < len(q) or (q == q.iloc[0]).all()
    assert value(run, "discoveries").value == (q <= 0.05).sum()
    assert value(run, "discoveries").n == len(q)


def test_every_sae_has_its_largest_difference_and_null(run):
    table = run.table("saes")
    assert len(table) == 18
    row = table.set_index("sae").loc[STUDY]
    assert row["difference"] == value(run, "difference").value
    assert row["remeasured"] == value(run, "remeasured").value
    assert (table["remeasured_low"] <= table["remeasured"]).all()
    assert value(run, "saes.above_null").value == (table["p"] <= 0.05).sum()
    assert table["p"].between(0.01, 1).all()


def test_directions_have_one_length_and_the_feature_is_the_decoders(run, fired, saes, tag):
    feature = int(run.table("features")["feature"].iloc[0])
    random = random_features(fired[1], feature, n=5, seed=0)
    assert len({feature, *random}) == 6
    along = Directions(saes, tag, feature, random)
    vectors = along.vectors([("none", 0.0), *((name, 0.5) for name in along.names),
                             (FEATURE, -0.25)])
    assert not vectors[0].any()
    norms = vectors.norm(dim=1)
    assert norms[1:-1].numpy() == pytest.approx(float(norms[1]), rel=1e-5)
    assert along.names[:2] == (FEATURE, MEAN)
    row = saes.bank(tag.layer).sae(tag).weights["W_dec"][feature]
    assert float(vectors[1] @ row / (row.norm() * norms[1])) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(vectors[-1], -vectors[1] / 2)
    assert all(abs(float(one @ vectors[1] / norms[1] ** 2)) < 0.999 for one in vectors[3:-1])


def test_every_direction_and_strength_is_run_on_every_scenario(run):
    replies, generated = run.table("replies"), run.table("generated")
    scenarios = replies["scenario"].nunique()
    assert scenarios == 14
    assert len(replies) == scenarios * (1 + (2 + 5) * 4)
    assert len(generated) == scenarios * 2 * (1 + 2 * (2 + 2))
    assert set(generated["judged"]) <= {"honest", "deceptive", "ambiguous"}
    assert generated["p_deceptive"].between(0, 1).all()


def test_an_effect_is_half_of_what_turning_round_changes():
    rows = [{"scenario": s, "direction": FEATURE, "strength": k,
             "deceptive": -1.0 + 2 * k * s, "honest": -1.0 + 5 * k**2}
            for s in (1, 2) for k in (-0.25, 0.25)]
    # what is the same on both sides, a mere cost, is left out
    assert effects(pd.DataFrame(rows), FEATURE, 0.25).tolist() == pytest.approx([0.5, 1.0])


def test_the_gap_is_that_of_the_table(run):
    replies = run.table("replies")
    random = np.mean([effects(replies, f"random {i}", 0.25) for i in range(1, 6)], axis=0)
    gap = value(run, "steering.gap")
    assert gap.value == pytest.approx((effects(replies, FEATURE, 0.25) - random).mean())
    assert gap.ci_low < gap.value < gap.ci_high
    assert "90%" in gap.quantity


def test_claims_are_answered_once_each(run):
    answered = [v.claim for v in run.results.values if v.claim]
    assert sorted(answered) == ["B-18", "B-19", "B-20", "R-17"]


def test_strongest_completions_are_shown_whole(run):
    table = run.table("strongest")
    peaks = table.groupby("completion", sort=False)["activation"].max()
    assert peaks.is_monotonic_decreasing
    for _, rows in table.groupby("completion"):
        assert rows["place"].tolist() == list(range(len(rows)))
