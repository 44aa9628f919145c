"""§22 of the smoke profile: rates, what is left of the largest, and steering."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from deception_saes.analysis.completion_features import completion_features
from deception_saes.sections.behaviour import MAIN_ROUND, labelled
from deception_saes.sections.behaviour_saes import behaviour_bank, token_rows
from deception_saes.sections.run import run_section
from deception_saes.sections.steered import (
    DRAWS,
    FEATURE,
    MEAN,
    RANDOM,
    SAID_AT,
    SAID_RANDOM,
    STRENGTHS,
    directions,
    effects,
)

MODEL = "tinyllama-random"
STUDY = f"{MODEL}_jumprelu_L2_honest_only"


@pytest.fixture(scope="module")
def run(smoke, artifacts):
    return run_section(22, smoke, smoke.seed, artifacts)


@pytest.fixture(scope="module")
def params(behavioural_saes):
    return behavioural_saes


@pytest.fixture(scope="module")
def work(run, smoke_work):
    return smoke_work


@pytest.fixture(scope="module")
def fired(params, work):
    """Labels, and which feature of the study's SAE fires in which completion."""
    data = labelled(params.behaviour, MAIN_ROUND, work)
    bank = behaviour_bank(params, 4, work)
    tag = next(tag for tag in bank.tags if tag.name == STUDY)
    rows = token_rows(params, (MAIN_ROUND,), work)
    found = completion_features(bank.sae(tag), rows, tag.layer, data.ids)
    return data.design.deceptive_N, found.fires_NS, bank.sae(tag), tag


def value(run, id):
    return run.results.value(f"s22.{MODEL}.{id}")


def test_rates_are_those_of_the_completions(run, fired):
    deceptive, fires, *_ = fired
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


def test_directions_have_unit_length_and_the_feature_is_the_decoders(run, fired, params, work):
    _, fires, sae, tag = fired
    feature = int(run.table("features")["feature"].iloc[0])
    along = directions(params, sae, tag.layer, feature, fires.any(axis=0), work)
    assert list(along.unit) == [FEATURE, MEAN, *(f"random {i}" for i in range(1, RANDOM + 1))]
    for vector in along.unit.values():
        assert float(vector.norm()) == pytest.approx(1, abs=1e-5)
    row = sae.weights["W_dec"][feature]
    assert float(along.unit[FEATURE] @ row / row.norm()) == pytest.approx(1, abs=1e-5)
    drawn = [along.unit[f"random {i}"] for i in range(1, RANDOM + 1)]
    assert all(abs(float(one @ along.unit[FEATURE])) < 0.999 for one in drawn)
    assert float(along.vector(MEAN, 0.5).norm()) == pytest.approx(0.5 * along.norm, rel=1e-5)


def test_every_direction_and_strength_is_run_on_every_scenario(run):
    replies, generated = run.table("replies"), run.table("generated")
    scenarios = replies["scenario"].nunique()
    assert scenarios == 14
    assert len(replies) == scenarios * (1 + (2 + RANDOM) * len(STRENGTHS))
    assert len(generated) == scenarios * DRAWS * (1 + 2 * (2 + SAID_RANDOM))
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
    random = np.mean([effects(replies, f"random {i}", SAID_AT) for i in range(1, RANDOM + 1)],
                     axis=0)
    gap = value(run, "steering.gap")
    assert gap.value == pytest.approx((effects(replies, FEATURE, SAID_AT) - random).mean())
    assert gap.ci_low < gap.value < gap.ci_high
    assert "90%" in gap.quantity


def test_claims_are_answered_once_each(run):
    answered = [v.claim for v in run.results.values if v.claim]
    assert sorted(answered) == ["B-18", "B-19", "B-20", "R-17"]


def test_strongest_completions_are_shown_whole(run, params):
    table = run.table("strongest")
    peaks = table.groupby("completion", sort=False)["activation"].max()
    assert peaks.is_monotonic_decreasing
    for _, rows in table.groupby("completion"):
        assert rows["place"].tolist() == list(range(len(rows)))
