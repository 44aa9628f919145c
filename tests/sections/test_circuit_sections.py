"""§27 to §30 of the smoke profile: one story, told by numbers that agree with each other."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from deception_saes.models.anatomy import Head
from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel
from deception_saes.sections import s30
from deception_saes.sections.head_subsets import best_of_size
from deception_saes.sections.run import run_section

MODEL = "tinyllama-random"
ABSENT = dataclasses.replace(get("pythia160m"), source=HubModel("nobody/nothing"))


@pytest.fixture(scope="module")
def runs(smoke, artifacts):
    return {n: run_section(n, smoke, smoke.seed, artifacts) for n in (27, 28, 29, 30)}


def value(runs, id):
    return runs[int(id[1:3])].results.value(id).value


def test_two_computations_from_nothing_give_the_same_values(runs, smoke, tmp_path):
    for n, run in runs.items():
        again = run_section(n, smoke, smoke.seed, tmp_path)
        assert again.results.values == run.results.values


def test_restoration_is_the_difference_of_the_two_levels(runs):
    base = f"s28.{MODEL}."
    levels = [value(runs, f"{base}p_correct.sandbag.{mode}") for mode in ("clean", "zero")]
    assert value(runs, f"{base}effect.sandbag.zero") == pytest.approx(100 * (levels[1] - levels[0]))


def test_the_last_subset_is_the_whole_circuit(runs):
    table = runs[28].table("subsets")
    assert len(table) == 31
    assert table["restoration"].iloc[-1] == pytest.approx(
        value(runs, f"s28.{MODEL}.effect.sandbag.zero"), abs=1e-4)
    assert table["best_of_size"].sum() == 5


def test_what_claims_are_about_is_measured_on_every_question(smoke, runs):
    table = runs[28].table("subsets")
    reported = table["best_of_size"] | table["size"].isin([1, 5])
    every = runs[28].results.value(f"s28.{MODEL}.effect.sandbag.zero").n
    assert set(table["n"][reported]) == {every}
    assert set(table["n"][~reported]) == {smoke.draw_questions} != {every}


def test_the_best_of_a_size_is_the_one_that_restores_most_on_the_choosing_half():
    a, b, c = Head(0, 0), Head(0, 1), Head(1, 0)
    sets = [(a,), (b,), (c,), (a, b), (a, c), (a, b, c)]
    assert best_of_size(sets, np.array([1.0, 3.0, 2.0, -2.0, -1.0, 0.0])) == {1, 4, 5}


def test_redundancy_is_given_only_where_the_sum_is_above_zero(runs):
    base = f"s28.{MODEL}."
    total = runs[28].results.value(f"{base}sum_of_singles")
    assert (value(runs, f"{base}redundancy") is None) == (total.ci_low <= 0)


def test_a_gap_is_the_circuit_less_the_mean_of_the_draws(runs):
    draws = runs[28].table("draws")
    circuit = draws[draws["kind"] == "circuit"]["effect"].iloc[0]
    for kind in ("uniform", "layer_matched", "damage_matched"):
        of_kind = draws[draws["kind"] == kind]["effect"]
        base = f"s28.{MODEL}."
        assert value(runs, f"{base}random.{kind}") == pytest.approx(of_kind.mean())
        assert value(runs, f"{base}gap.{kind}") == pytest.approx(circuit - of_kind.mean())
        assert value(runs, f"{base}sigma.{kind}") == pytest.approx(of_kind.std(ddof=1))


def test_the_portion_is_the_same_in_29_and_30(runs):
    portion = value(runs, f"s29.{MODEL}.portion")
    assert portion == pytest.approx(value(runs, f"s28.{MODEL}.effect.sandbag.zero")
                                    - value(runs, f"s28.{MODEL}.effect.genuine.zero"))
    assert portion == pytest.approx(value(runs, f"s30.{MODEL}.two_shot_labelled.portion"), abs=1e-4)


def test_attention_sums_to_one_over_the_drawn_tokens(runs):
    table = runs[27].table("attention")
    assert len(table["head"].unique()) == 3
    sums = table.groupby(["head", "condition"])["attention"].sum()
    assert sums.to_numpy() == pytest.approx(1.0, abs=1e-4)


def test_every_model_of_the_profile_is_measured_under_both_framings(runs, smoke):
    table = runs[30].table("models")
    assert len(table) == 2 * len(smoke.models)
    assert set(table["status"]) == {"done"}


def test_a_model_that_cannot_be_had_is_a_row_that_says_why(smoke, artifacts, tmp_path,
                                                           empty_hub_cache):
    profile = dataclasses.replace(smoke, models=(smoke.models[0], ABSENT))
    row = run_section(30, profile, 0, tmp_path).table("models").iloc[-1]
    assert (row["model"], row["status"]) == ("pythia160m", "not run")
    assert "nobody/nothing" in row["reason"]


def test_a_model_that_answers_no_question_is_a_row_that_says_why(smoke, artifacts):
    questions = run_section(23, smoke, smoke.seed, artifacts).table("questions").copy()
    unanswered = (questions["model"] == "tinyneox-random") & (
        questions["framing"] == "two_shot_same_prefix")
    questions.loc[unanswered, "half"] = None
    task = SimpleNamespace(table=lambda name: questions)
    params = s30.plan(smoke, smoke.seed, smoke.models, {})
    assert s30.unanswered(params, task) == {
        "tinyneox-random": "none of its questions is answerable under the framing "
        "two_shot_same_prefix"}


def test_without_the_primary_model_the_section_is_not_run(smoke, tmp_path, empty_hub_cache):
    profile = dataclasses.replace(smoke, models=(ABSENT, smoke.models[0]))
    results = run_section(28, profile, 0, tmp_path).results
    assert (results.status, results.values) == ("not run", [])
    assert "nobody/nothing" in results.reason
