"""§18 and §19 of the smoke profile, and what both read."""

import dataclasses

import numpy as np
import pytest

from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel
from deception_saes.sections import behaviour, s18
from deception_saes.sections.behaviour import (
    MAIN_ROUND,
    activations,
    balanced_set,
    behaviour_params,
    completions,
    labelled,
    labels,
)
from deception_saes.sections.layer_tables import answers_primary
from deception_saes.sections.profiles import PROFILES, Behaviour
from deception_saes.sections.run import NotRun, Work, run_section
from deception_saes.tasks.scenarios import load_scenarios

MODEL = "tinyllama-random"


@pytest.fixture(scope="module")
def runs(smoke, artifacts):
    return {n: run_section(n, smoke, smoke.seed, artifacts) for n in (18, 19)}


@pytest.fixture(scope="module")
def params(smoke):
    return behaviour_params(smoke, smoke.seed, smoke.models, {})


@pytest.fixture(scope="module")
def work(runs, artifacts):
    return Work(artifacts, artifacts / "smoke", {18: runs[18]})


def value(runs, id):
    return runs[int(id[1:3])].results.value(f"{id[:3]}.{MODEL}.{id[4:]}")


# what both read


def test_completions_are_the_first_of_every_scenario_and_round(params):
    kept = completions(params)
    assert {c.model for c in kept} == {"smollm2it"}
    counts = {}
    for c in kept:
        counts.setdefault((c.scenario, c.round), []).append(c.id)
    assert max(map(len, counts.values())) == params.completions_per_scenario
    every = dataclasses.replace(params, completions_per_scenario=None)
    assert len(completions(every)) > len(kept)
    for (scenario, round), ids in counts.items():
        of = [c.id for c in completions(every, round) if c.scenario == scenario]
        assert of[: len(ids)] == ids


def test_scenarios_can_be_fewer(params):
    few = {c.scenario for c in completions(dataclasses.replace(params, scenarios=2))}
    assert few == {scenario.id for scenario in load_scenarios()[:2]}


def test_the_balanced_set_has_as_many_of_either_label_in_every_scenario(params):
    given, scenario = labels(params), {c.id: c.scenario for c in completions(params)}
    ids = balanced_set(params, MAIN_ROUND)
    assert len(ids) == len(set(ids)) > 0
    for s in {scenario[id] for id in ids}:
        of = [given[id] for id in ids if scenario[id] == s]
        assert of.count("honest") == of.count("deceptive") == len(of) / 2


def test_another_judges_labels_can_be_balanced_instead(params):
    kept = completions(params, MAIN_ROUND)
    by = {c.id: "honest" if c.draw % 2 else "deceptive" for c in kept}
    ids = balanced_set(params, MAIN_ROUND, by)
    assert sum(by[id] == "honest" for id in ids) == len(ids) / 2
    assert labels(params, "nobody") == {}
    assert balanced_set(params, MAIN_ROUND, {}) == []


def test_activations_are_kept(params, work, monkeypatch):
    def never(*_):
        raise AssertionError("captured again")

    monkeypatch.setattr(behaviour, "read", never)
    found = activations(params, MAIN_ROUND, work)
    assert set(found.ids) <= {c.id for c in completions(params, MAIN_ROUND)}
    assert found.mean.shape == found.last.shape == (8, len(found.ids), 64)


def test_what_is_labelled_comes_in_one_order(params, work):
    data = labelled(params, MAIN_ROUND, work)
    text = {c.id: c for c in completions(params, MAIN_ROUND)}
    given = labels(params)
    assert data.texts.tolist() == [text[id].text for id in data.ids]
    assert data.design.deceptive_N.tolist() == [given[id] == "deceptive" for id in data.ids]
    assert [data.design.scenarios[s] for s in data.design.scenario_N] == [
        text[id].scenario for id in data.ids]
    assert labelled(params, "R9", work) is None


# sections


def test_two_computations_from_nothing_give_the_same_values(runs, smoke, tmp_path):
    for n, run in runs.items():
        again = run_section(n, smoke, smoke.seed, tmp_path)
        assert again.results.values == run.results.values


def test_every_claim_of_the_primary_model_is_answered_once(runs):
    answered = sorted(v.claim for run in runs.values() for v in run.results.values if v.claim)
    assert answered == ["B-03", "B-04", "B-05", "B-06", "B-07", "B-08", "B-09", "B-10"]


def test_a_value_of_another_model_of_the_study_answers_for_itself_alone():
    assert answers_primary(get("llama"))
    assert answers_primary(get("smollm2it"))
    assert not answers_primary(get("smollm2"))
    assert not answers_primary(get("tinyllama"))


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
    assert set(table["pooling"]) == set(s18.POOLINGS)
    assert MAIN_ROUND in set(table["round"])


def test_differences_are_those_of_the_values(runs):
    words = value(runs, "s18.words.accuracy").value
    for probe, id in (("R3.mean.nested", "nested_minus_words"),
                      ("depth_of_L6", "depth_of_L6_minus_words")):
        assert value(runs, f"s18.{id}.accuracy").value == pytest.approx(
            value(runs, f"s18.{probe}.accuracy").value - words)


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
    from deception_saes.analysis.probe_scores import Measured
    from deception_saes.sections.probing import Assessed
    from deception_saes.sections.s19 import Ladder, _saturation

    accuracy = np.array([0.55, 0.7, 0.71, 0.72])
    drawn = accuracy + np.random.default_rng(0).normal(scale=0.01, size=(500, 4))
    probes = Assessed(Measured(accuracy, accuracy), Measured(drawn, drawn), np.ones(4))
    found = _saturation(Ladder("nested", np.zeros(5), (1, 2, 5, 64), (0.1, 0.2, 0.3, 1.0), probes,
                               null=None), "s19.m.nested", 200, {}, "B-10")
    assert (found.value, found.claim) == (5, "B-10")
    assert found.ci_low == 2
    assert found.ci_high in (5, 64)


# not run


def reason(profile, *, models=None, missing=None):
    found = behaviour_params(profile, 0, profile.models if models is None else models,
                             missing or {})
    assert isinstance(found, NotRun)
    return "; ".join(found.reasons.values())


def test_without_completions_or_labels_nothing_is_run_and_it_says_what_to_do(smoke, tmp_path):
    nobodys = dataclasses.replace(smoke, behaviour=Behaviour(MODEL, "llama"))
    assert "no completions of llama" in reason(nobodys)
    assert "make resample" in reason(nobodys)
    unjudged = dataclasses.replace(smoke, behaviour=Behaviour(MODEL, "smollm2it", judge="nobody"))
    assert "no completion of smollm2it has a label of judge nobody" in reason(unjudged)
    for n in (18, 19):
        results = run_section(n, nobodys, 0, tmp_path).results
        assert (results.status, results.values) == ("not run", [])
        assert "make resample" in results.reason


def test_a_model_that_cannot_be_had_is_not_run(smoke, empty_hub_cache):
    absent = dataclasses.replace(get("pythia160m"), source=HubModel("nobody/nothing"))
    assert reason(smoke, models=(), missing={MODEL: "gone"}) == "gone"
    assert "no model pythia160m" in reason(
        dataclasses.replace(smoke, behaviour=Behaviour(absent.slug, "smollm2it")))
    assert "names no model" in reason(dataclasses.replace(smoke, behaviour=None))


def test_the_papers_profile_reads_not_run_without_labels_of_its_model():
    paper = PROFILES["paper"]
    assert "no completions of llama" in reason(paper)
    assert isinstance(s18.plan(paper, 0, paper.models, {}), NotRun)
