"""§21 of the smoke profile: what stands in its table and values is what the scores say."""

import numpy as np
import pytest
from cells import run_cells

from deception_saes.analysis.probes import activation_probe, held_out_scores
from deception_saes.experiments.on_completions import completion_features
from deception_saes.experiments.reading import MAIN_ROUND
from deception_saes.paper.profiles import PROFILES
from deception_saes.paper.settings import Settings

MODEL = "tinyllama-random"


@pytest.fixture(scope="module")
def run(smoke, artifacts):
    return run_cells(21, smoke, smoke.seed, artifacts)


@pytest.fixture(scope="module")
def table(run):
    return run.table("probes").set_index(["kind", "name"])


def value(run, id):
    return run.results.value(f"s21.{MODEL}.{id}")


def test_every_sae_has_its_probe_and_its_rivals(table, saes):
    tags = [tag.name for tag in saes.tags]
    assert len(tags) == 18
    for kind in ("trained", "untrained"):
        assert sorted(table.loc[kind].index) == sorted(tags)
    assert sorted(table.loc["prefix"].index) == sorted(
        tag.name for tag in saes.before_fix(saes.layers[1:2]).tags)
    assert len(table.loc["prefix"]) == 3
    for kind in ("raw", "components"):
        assert len(table.loc[kind]) == 3


@pytest.mark.parametrize("name", ["topk_L2_mixed", "jumprelu_L1_honest_only"])
def test_a_row_is_that_of_a_probe_fitted_here(table, saes, name):
    data = saes.reading.main
    (tag,) = [tag for tag in saes.tags if tag.name == f"{MODEL}_{name}"]
    sae, rows = saes.bank(tag.layer).sae(tag), saes.reading.tokens(MAIN_ROUND)
    x = completion_features(sae, rows, tag.layer, data.ids).mean_NS.astype(float)
    scores = held_out_scores(activation_probe, x, data.design)
    right = (scores > 0) == data.design.deceptive_N
    accuracy = 50 * sum(right[data.design.deceptive_N == label].mean() for label in (True, False))
    row = table.loc[("trained", tag.name)]
    assert row["accuracy"] == pytest.approx(accuracy)
    raw = table.loc[("raw", f"L{tag.layer}")]["accuracy"]
    assert row["minus_raw"] == pytest.approx(row["accuracy"] - raw)
    assert row["minus_raw_low"] <= row["minus_raw"] <= row["minus_raw_high"]


def test_counts_are_those_of_the_table(run, table):
    trained = table.loc["trained"]
    assert value(run, "beats_raw").value == (trained["minus_raw"] > 1e-7).sum()
    assert value(run, "beats_raw.share").value == pytest.approx(
        100 * (trained["minus_raw"] > 1e-7).mean())
    assert value(run, "beats_raw.chance").value == pytest.approx(
        run.table("exchanged")["better"].mean())
    assert value(run, "best.accuracy").value == trained["accuracy"].max()
    assert value(run, "signal").value == (trained["p_holm"] <= 0.05).sum()
    for kind in ("untrained", "components"):
        assert value(run, f"beats_{kind}").value == (trained[f"minus_{kind}"] > 1e-7).sum()
    by = trained.reset_index().pivot(index=["architecture", "layer"], columns="train_set",
                                     values="accuracy")
    assert value(run, "honest_minus_mixed").value == pytest.approx(
        (by["honest_only"] - by["mixed"]).mean())
    architectures = table.loc["trained"].pivot(index=["layer", "train_set"],
                                               columns="architecture", values="accuracy")
    assert value(run, "jumprelu_minus_topk").value == pytest.approx(
        (architectures["jumprelu"] - architectures["topk"]).mean())
    assert value(run, "honest_best").value == (
        by["honest_only"] > by[["deceptive_only", "mixed"]].max(axis=1)).sum()
    prefix = table.loc["prefix"]["accuracy"]
    assert value(run, "fix").value == pytest.approx(
        (trained["accuracy"].loc[prefix.index] - prefix).mean())


def test_correction_makes_no_p_smaller(table):
    trained = table.loc["trained"]
    for name in ("p", "p_raw"):
        assert (trained[f"{name}_holm"] >= trained[name]).all()
        assert trained[name].between(0.01, 1).all()  # of 99 draws


def test_claims_are_answered_once_each(run):
    answered = [v.claim for v in run.results.values if v.claim]
    assert sorted(answered) == ["B-14", "B-15", "B-16", "B-17", "R-16"]


def test_power_falls_with_fewer_completions(run):
    here, study = value(run, "power.here"), value(run, "power.study")
    assert study.n == 33 < here.n
    assert study.value == pytest.approx(here.value * np.sqrt(here.n / study.n))


def test_a_model_without_labels_is_not_run():
    assert "make resample" in Settings(21, PROFILES["paper"], 0).why_not_run
