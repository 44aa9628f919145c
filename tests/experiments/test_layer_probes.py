"""§18 and §19 of the smoke profile."""

import numpy as np
import pytest
from cells import run_cells

from deception_saes.analysis.probe_scores import Performance
from deception_saes.errors import UserError
from deception_saes.experiments.component_tables import Ladder, gain_table
from deception_saes.experiments.probing import Assessed
from deception_saes.experiments.reading import MAIN_ROUND

MODEL = "tinyllama-random"


@pytest.fixture(scope="module")
def runs(smoke, artifacts):
    return {n: run_cells(n, smoke, smoke.seed, artifacts) for n in (18, 19)}


def value(runs, id):
    return runs[int(id[1:3])].results.value(f"{id[:3]}.{MODEL}.{id[4:]}")


def test_every_claim_of_the_primary_model_is_answered_once(runs):
    answered = sorted(v.claim for run in runs.values() for v in run.results.values if v.claim)
    assert answered == ["B-03", "B-04", "B-05", "B-06", "B-07", "B-08", "B-09", "B-10",
                        "B-21"]


def test_activations_at_the_prompts_end_are_exactly_chance(runs):
    assert (runs[18].table("prompt_end")["auroc"] == 0.5).all()
    assert len(runs[18].table("prompt_end")) == 8


def test_near_duplicates_and_balance_are_kept_in_the_scores_that_are_reported(runs):
    table = runs[18].table("scores")
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    counts = table.groupby(["scenario", "label"]).size().unstack()
    assert (counts["honest"] == counts["deceptive"]).all()
    right = (table["score"] > 0) == (table["label"] == "deceptive")
    by_label = right.groupby(table["label"]).mean()
    assert value(runs, "s18.R3.mean.nested.accuracy").value == pytest.approx(100 * by_label.mean())


def test_the_peak_is_the_largest_of_the_layers_and_the_nested_choice_is_not_above_it_by_much(runs):
    table = runs[18].table("layers")
    for (round, pooling), of in table.groupby(["round", "pooling"]):
        assert len(of) == 8
        assert of["peak"].sum() == 1
        assert of["peak_share"].sum() == pytest.approx(1)
        peak = of.loc[of["peak"]].iloc[0]
        assert peak["accuracy"] == of["accuracy"].max()
        base = f"s18.{round}.{pooling}"
        assert value(runs, f"{base}.peak.accuracy").value == pytest.approx(peak["accuracy"])
        assert value(runs, f"{base}.peak.layer").value == peak["layer"]
        assert value(runs, f"{base}.p.accuracy").value == pytest.approx(of["p_max"].min())
        assert (of["p_max"] >= of["p"]).all()
        assert (of["null_low"] < 50).all()
        assert (of["null_high"] > 50).all()
    assert set(table["pooling"]) == {"mean", "last"}
    assert MAIN_ROUND in set(table["round"])


def test_differences_are_those_of_the_values(runs):
    words = value(runs, "s18.words.accuracy").value
    for probe, id in (("R3.mean.nested", "nested_minus_words"),
                      ("depth_of_L6", "depth_of_L6_minus_words")):
        found = value(runs, f"s18.{id}.accuracy")
        assert found.value == pytest.approx(value(runs, f"s18.{probe}.accuracy").value - words)
        assert found.unit == "pp"


def test_a_probe_at_a_depth_of_the_study_says_its_layer(runs):
    for id in ("depth_of_L6", "transfer.depth_of_L6", "depth_of_L6_minus_words"):
        assert value(runs, f"s18.{id}.auroc").layer == 3  # 6/16 of 8


def test_every_interval_holds_its_value(runs):
    with_ends = [v for run in runs.values() for v in run.results.values if v.ci_low is not None]
    assert len(with_ends) > 60
    assert all(v.ci_low <= v.value <= v.ci_high for v in with_ends if v.unit != "layer")


def test_all_dimensions_are_the_probe_of_section_18(runs):
    for what in ("accuracy", "auroc"):
        pairs = [("s19.nested.all", "s18.R3.mean.nested"),
                 ("s19.depth_of_L6.all", "s18.depth_of_L6")]
        for ours, theirs in pairs:
            first, second = (value(runs, f"{id}.{what}") for id in (ours, theirs))
            assert (first.value, first.ci_low, first.ci_high, first.n) == pytest.approx(
                (second.value, second.ci_low, second.ci_high, second.n))


def test_what_five_components_lack_is_a_claim_of_its_own(runs):
    found = value(runs, "s19.nested.pc5_minus_all")
    assert found.claim == "B-21"
    assert found.value == pytest.approx(value(runs, "s19.nested.pc5.accuracy").value
                                        - value(runs, "s19.nested.all.accuracy").value)


def test_saturation_is_given_only_where_all_dimensions_are_above_chance(runs):
    drawn = runs[19].table("saturation")
    for name, of in runs[19].table("components").groupby("layers"):
        assert drawn[drawn["layers"] == name]["share"].sum() == pytest.approx(1)
        assert of["components"].is_monotonic_increasing
        assert of["explained"].is_monotonic_increasing
        assert of["explained"].iloc[-1] == pytest.approx(1)
        every = of.loc[of["all"]].iloc[0]
        assert every["components"] == 64
        found = value(runs, f"s19.{name}.saturation").value
        assert (found is None) == (every["accuracy_low"] <= 50)


def test_a_saturation_point_is_given_with_its_interval():
    accuracy = np.array([0.55, 0.7, 0.71, 0.72])
    drawn = accuracy + np.random.default_rng(0).normal(scale=0.01, size=(500, 4))
    probes = Assessed(Performance(accuracy, accuracy), Performance(drawn, drawn), np.ones(4))
    of = Ladder(np.zeros(5), (1, 2, 5, 64), (0.1, 0.2, 0.3, 1.0), probes, null=None, n=200)
    found = gain_table({"nested": of}, components=5).set_index("statistic").loc["saturation"]
    with pytest.raises(UserError, match="10"):
        gain_table({"nested": of}, components=10)
    assert found["value"] == 5
    assert found["ci_low"] == 2
    assert found["ci_high"] in (5, 64)
