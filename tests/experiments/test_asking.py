"""§23's experiment under the smoke profile: what is asked, and what becomes of it."""

import dataclasses

import numpy as np
import pytest
from cells import run_cells
from places import artifacts_at

from deception_saes.errors import UserError
from deception_saes.experiments import task as module
from deception_saes.experiments.asking import ask_all
from deception_saes.experiments.heads import sweep
from deception_saes.experiments.task import in_halves
from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel
from deception_saes.paper.subjects import asked_under, subject_of
from deception_saes.rng import generator
from deception_saes.tasks.framings import FRAMINGS

ABSENT = dataclasses.replace(get("llama"), slug="absent", source=HubModel("nobody/nothing"))
MODEL = "tinyllama-random"


def figures(experiment):
    """The published tables as they lie there, by name."""
    return {path.name: path.read_bytes()
            for path in (experiment.folder / "figures").glob("s23_*.csv")}


def mean_of(experiment, framing, condition, answerable):
    table = experiment.table("questions")
    rows = table[(table["model"] == MODEL) & (table["framing"] == framing)]
    if answerable:
        rows = rows[rows["half"].notna()]
    return rows[f"p_correct_{condition}"].mean()


def test_the_smoke_section_is_done_and_says_what_made_it(asked_in_smoke, smoke):
    results = asked_in_smoke.results
    assert (results.section, results.status, results.profile, results.seed) == (
        23, "done", "smoke", smoke.seed)
    assert {"python", "torch", "transformers", "numpy"} <= results.versions.keys()
    assert {value.model for value in results.values} == {model.slug for model in smoke.models}
    assert {value.framing for value in results.values} == {
        *smoke.framings, "no_examples"}


def test_every_interval_holds_its_value(asked_in_smoke):
    with_ends = [value for value in asked_in_smoke.results.values if value.ci_low is not None]
    assert len(with_ends) > 100
    assert all(value.ci_low <= value.value <= value.ci_high for value in with_ends)


@pytest.mark.parametrize("condition", ["genuine", "neutral", "sandbag"])
@pytest.mark.parametrize("subset", ["all", "answerable"])
def test_means_are_those_of_the_table_of_questions(asked_in_smoke, condition, subset):
    framing = "two_shot_same_prefix"
    base = f"s23.{MODEL}.{framing}.{subset}.p_correct"
    mean = mean_of(asked_in_smoke, framing, condition, subset == "answerable")
    assert asked_in_smoke.results.value(f"{base}.{condition}").value == pytest.approx(mean)


def test_a_contrast_is_genuine_less_the_condition_in_percentage_points(asked_in_smoke):
    framing = "two_shot_labelled"
    found = asked_in_smoke.results.value(
        f"s23.{MODEL}.{framing}.answerable.p_correct.genuine_minus_sandbag")
    means = [mean_of(asked_in_smoke, framing, c, True) for c in ("genuine", "sandbag")]
    assert found.unit == "pp"
    assert found.value == pytest.approx(100 * (means[0] - means[1]))


def test_answerable_questions_are_halved(asked_in_smoke):
    table = asked_in_smoke.table("questions")
    for _, group in table.groupby(["model", "framing"]):
        counts = group["half"].value_counts()
        assert 0 <= counts.get("evaluating", 0) - counts.get("choosing", 0) <= 1
    assert (table["half"].notna() == (table["p_correct_genuine"] > table["p_foil_genuine"])).all()


def test_the_halves_of_a_task_are_those_of_the_table_of_questions(asked_in_smoke, smoke_task):
    table = asked_in_smoke.table("questions")
    table = table[(table["model"] == MODEL) & (table["framing"] == smoke_task.framing.name)]
    for half in (smoke_task.choosing, smoke_task.evaluating):
        expected = list(table[table["half"] == half.half]["question"])
        assert [question.id for question in half.questions] == expected
        assert list(half.prompts.ids) == expected
        assert len(half.spread(3).questions) == 3


def test_too_low_a_p_correct_is_not_answerable(asked_in_smoke):
    table = asked_in_smoke.table("questions").drop(columns="half")
    table = table[(table["model"] == MODEL) & (table["framing"] == "two_shot_labelled")]
    least = table["p_correct_genuine"].median()
    marked = in_halves(table, least_p_correct=least, seed=0)
    answerable = (marked["p_correct_genuine"] >= least) & (
        marked["p_correct_genuine"] > marked["p_foil_genuine"])
    assert 0 < answerable.sum() < len(marked)
    assert (marked["half"].notna() == answerable).all()


def test_two_computations_give_the_same_values_and_tables(asked_in_smoke, smoke, tmp_path):
    again = run_cells(23, smoke, smoke.seed, tmp_path)
    assert all(call.computed for call in again.book.used)
    assert again.results.values == asked_in_smoke.results.values
    tables = figures(asked_in_smoke)
    assert tables.keys() == {f"s23_{name}.csv" for name in (
        "questions", "dropped", "models", "topics", "answerable", "contrasts",
        "cells", "factors", "wordings", "wording_effects")}
    assert figures(again) == tables


def test_a_second_run_computes_nothing(asked_in_smoke, smoke, artifacts):
    again = run_cells(23, smoke, smoke.seed, artifacts)
    assert again.book.used
    assert not [call for call in again.book.used if call.computed]
    assert again.results.values == asked_in_smoke.results.values


@pytest.mark.parametrize(("change", "computed"), [
    ({"bootstrap_draws": 201}, {"contrasts": 1, "by_topic": 1}),
    ({"secondary_questions": 12}, {"ask": 4, "contrasts": 1, "by_topic": 1}),
    ({"framings": ("two_shot_labelled", "two_shot_same_prefix")}, {"contrasts": 1, "by_topic": 1}),
])
def test_of_a_changed_profile_that_is_computed_which_the_change_decides(
        asked_in_smoke, smoke, artifacts, change, computed):
    again = run_cells(23, dataclasses.replace(smoke, **change), smoke.seed, artifacts)
    anew = [call.function for call in again.book.used if call.computed]
    assert {name: anew.count(name) for name in anew} == computed


def test_intervals_of_the_section_use_the_profiles_draws(asked_in_smoke, smoke):
    framing = "two_shot_same_prefix"
    table = asked_in_smoke.table("questions")
    rows = table[(table["model"] == MODEL) & (table["framing"] == framing)]
    of_cluster = rows.groupby("cluster")["p_correct_genuine"]
    sums, sizes = of_cluster.sum().to_numpy(), of_cluster.size().to_numpy()
    n = len(sizes)
    assert n < len(rows)
    picked = generator(smoke.seed, "bootstrap", str(n)).integers(
        0, n, size=(smoke.bootstrap_draws, n))
    low = np.quantile(sums[picked].sum(axis=1) / sizes[picked].sum(axis=1), 0.025)
    found = asked_in_smoke.results.value(f"s23.{MODEL}.{framing}.all.p_correct.genuine")
    assert found.ci_low == pytest.approx(low)


def test_a_model_that_cannot_be_had_is_told_beside_those_that_can(
        smoke, asked_in_smoke, artifacts, empty_hub_cache):
    profile = dataclasses.replace(smoke, models=(smoke.models[0], ABSENT))
    found = run_cells(23, profile, smoke.seed, artifacts)
    assert found.results.status == "done"
    assert found.results.values == [value for value in asked_in_smoke.results.values
                                    if value.model == smoke.models[0].slug]
    models = found.table("models").set_index("model")
    assert models.loc["absent", "status"] == "not run"
    assert "nobody/nothing" in models.loc["absent", "reason"]


def test_a_framing_without_a_scorable_question_is_left_out_with_its_reason(
        smoke, artifacts, tmp_path, monkeypatch):
    scorable = module.scorable

    def only_labelled(questions, framing, tokenizer):
        if framing.name == "zero_shot":
            return [], {question.id: "both begin alike" for question in questions}
        return scorable(questions, framing, tokenizer)

    monkeypatch.setattr(module, "scorable", only_labelled)
    few = dataclasses.replace(smoke, questions=4, secondary_questions=4)
    asked = {FRAMINGS[name]: asked_under(few, name) for name in ("two_shot_labelled", "zero_shot")}
    with artifacts_at(tmp_path):  # what is kept of it is wrong
        found = ask_all([subject_of(smoke, smoke.models[0])], asked, least_p_correct=0.0, seed=0)
    (left_out,) = found.subjects["framings_left_out"]
    assert left_out.startswith("zero_shot: ")
    assert "both begin alike" in left_out
    assert set(found.questions["framing"]) == {"two_shot_labelled"}
    assert list(found.dropped["framing"]).count("zero_shot") == 4


def test_a_model_without_a_chat_template_is_not_asked_in_a_chat(smoke, tmp_path, monkeypatch):
    few = dataclasses.replace(smoke, questions=4, secondary_questions=4)
    asked = {FRAMINGS[name]: asked_under(few, name) for name in ("two_shot_labelled", "chat")}
    with artifacts_at(tmp_path):
        subject = subject_of(smoke, smoke.models[0])
        monkeypatch.setattr(subject.load().tokenizer, "chat_template", None)
        found = ask_all([subject], asked, least_p_correct=0.0, seed=0)
    assert found.subjects["framings_left_out"][0].startswith("chat: ")
    assert set(found.questions["framing"]) == {"two_shot_labelled"}
    assert "chat" not in set(found.dropped["framing"])


def test_a_model_that_answers_nothing_is_one_line_with_what_it_came_to(smoke, artifacts):
    few = dataclasses.replace(smoke, questions=4, secondary_questions=4)
    asked = {FRAMINGS["zero_shot"]: asked_under(few, "zero_shot")}
    with pytest.raises(UserError, match=r"0\.\d{3}.* 0\.9 "):
        ask_all([subject_of(smoke, smoke.models[0])], asked, least_p_correct=0.9, seed=0)


def test_an_empty_half_is_an_error_that_names_the_framing(smoke_task):
    none = dataclasses.replace(smoke_task, least_p_correct=1.1)
    with pytest.raises(ValueError, match="two_shot_labelled"):
        _ = none.choosing.prompts
    assert module.why_not_asked([smoke_task.evaluating, smoke_task.choosing]) is None
    assert "two_shot_labelled" in module.why_not_asked([smoke_task.choosing, none.evaluating])


def test_a_sweep_of_an_empty_half_has_no_column_of_a_question(smoke_task):
    none = dataclasses.replace(smoke_task, least_p_correct=1.1)
    assert list(sweep(none.choosing, "sandbag")) == ["head"]
