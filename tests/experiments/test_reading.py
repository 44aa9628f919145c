"""What a subject reads, whose labels it has, and why there may be nothing to read."""

import dataclasses

import pytest

from deception_saes.errors import UserError
from deception_saes.experiments import reading as module
from deception_saes.experiments.reading import MAIN_ROUND
from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel
from deception_saes.paper.book import open_section
from deception_saes.paper.profiles import Behaviour, profile_named
from deception_saes.paper.settings import Settings
from deception_saes.paper.subjects import reading_of
from deception_saes.tasks.scenarios import load_scenarios

MODEL = "tinyllama-random"


def read(profile, **of):
    behaviour = dataclasses.replace(profile.behaviour, **of)
    return reading_of(dataclasses.replace(profile, behaviour=behaviour), 0, profile.models[0],
                      behaviour.judge)


@pytest.fixture(scope="module")
def reading(smoke, artifacts):
    return read(smoke)


def test_completions_are_the_first_of_every_scenario_and_round(smoke, reading):
    assert {c.model for c in reading.completions} == {"smollm2it"}
    counts = {}
    for c in reading.completions:
        counts.setdefault((c.scenario, c.round), []).append(c.id)
    assert max(map(len, counts.values())) == smoke.behaviour.completions_per_scenario
    every = read(smoke, completions_per_scenario=None)
    assert len(every.completions) > len(reading.completions)
    for (scenario, round), ids in counts.items():
        of = [c.id for c in every.of_round(round) if c.scenario == scenario]
        assert of[: len(ids)] == ids


def test_scenarios_can_be_fewer(smoke):
    few = read(smoke, scenarios=2)
    first = load_scenarios()[:2]
    assert {c.scenario for c in few.completions} == {scenario.id for scenario in first}
    assert few.scenarios == first


def test_the_balanced_set_has_as_many_of_either_label_in_every_scenario(reading):
    scenario = {c.id: c.scenario for c in reading.completions}
    ids = reading.balanced_set(MAIN_ROUND)
    assert len(ids) == len(set(ids)) > 0
    for s in {scenario[id] for id in ids}:
        of = [reading.labels[id] for id in ids if scenario[id] == s]
        assert of.count("honest") == of.count("deceptive") == len(of) / 2


def test_another_judges_labels_can_be_balanced_instead(reading):
    by = {c.id: "honest" if c.draw % 2 else "deceptive" for c in reading.of_round(MAIN_ROUND)}
    ids = dataclasses.replace(reading, labels=by).balanced_set(MAIN_ROUND)
    assert sum(by[id] == "honest" for id in ids) == len(ids) / 2
    assert dataclasses.replace(reading, labels={}).balanced_set(MAIN_ROUND) == []


def test_activations_are_kept(reading, monkeypatch):
    def never(*_):
        raise AssertionError("captured again")

    reading.activations(MAIN_ROUND)
    monkeypatch.setattr(module, "readable", never)
    found = reading.activations(MAIN_ROUND)
    assert set(found.ids) <= {c.id for c in reading.of_round(MAIN_ROUND)}
    assert found.mean.shape == found.last.shape == (8, len(found.ids), 64)
    tokens = reading.tokens(MAIN_ROUND)
    assert set(tokens.x_by_layer) == set(reading.layers)
    assert len(tokens.position) == found.n_tokens.sum()


def test_folds_need_no_activations(reading, monkeypatch):
    monkeypatch.setattr(module, "read_completions", lambda _: pytest.fail("activations were read"))
    assert len(reading.main.design.fold_N) == len(reading.balanced_set(MAIN_ROUND))


def test_what_is_labelled_comes_in_one_order(reading):
    data, text = reading.main, {c.id: c for c in reading.of_round(MAIN_ROUND)}
    assert data.texts.tolist() == [text[id].text for id in data.ids]
    assert data.design.deceptive_N.tolist() == [reading.labels[id] == "deceptive"
                                                for id in data.ids]
    assert [data.design.scenarios[s] for s in data.design.scenario_N] == [
        text[id].scenario for id in data.ids]


def test_what_nobody_labelled_is_no_balanced_set(reading):
    unlabelled = dataclasses.replace(reading, labels={})
    with pytest.raises(UserError, match="R3"):
        _ = unlabelled.main


def test_a_judge_of_ones_own_is_one_of_the_file(smoke, artifacts):
    settings = Settings(18, smoke, 0, {"judge": "claude-2"})
    assert settings.reading.judge == "claude-2"
    assert settings.reading.labels != Settings(18, smoke, 0).reading.labels
    with pytest.raises(UserError, match="nobody"):
        open_section(18, smoke, 0, judge="nobody")


@pytest.mark.parametrize(("slug", "answers"), [
    ("llama", True), ("smollm2it", True), ("smollm2", False), ("tinyllama", False)])
def test_a_model_of_the_study_answers_for_itself_alone(smoke, slug, answers):
    profile = dataclasses.replace(smoke, models=(get(slug),),
                                  behaviour=Behaviour(slug, "smollm2it"))
    assert Settings(18, profile, 0).stands_in == answers


@pytest.mark.parametrize("section", [17, 18, 19])
def test_without_completions_or_labels_nothing_is_run_and_it_says_what_to_do(smoke, section):
    def results(behaviour):
        return open_section(section, dataclasses.replace(smoke, behaviour=behaviour), 0).results

    nobodys = results(Behaviour(MODEL, "llama"))
    assert (nobodys.status, nobodys.values) == ("not run", [])
    assert "no completions of llama" in nobodys.reason
    assert "make resample" in nobodys.reason
    unjudged = results(Behaviour(MODEL, "smollm2it", judge="nobody"))
    assert "no completion of smollm2it has a label of judge nobody" in unjudged.reason
    assert "names no model" in results(None).reason
    assert "make resample" in open_section(section, profile_named("paper"), 0).results.reason


def test_a_model_that_is_unavailable_reads_nothing(smoke, empty_hub_cache):
    absent = dataclasses.replace(get("pythia160m"), source=HubModel("nobody/nothing"))
    profile = dataclasses.replace(smoke, models=(absent,),
                                  behaviour=Behaviour(absent.slug, "smollm2it"))
    assert "nobody/nothing" in open_section(18, profile, 0).results.reason
    other = dataclasses.replace(smoke, behaviour=Behaviour(absent.slug, "smollm2it"))
    assert "has no model for §18" in open_section(18, other, 0).results.reason
