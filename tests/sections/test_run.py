import csv
import dataclasses

import numpy as np
import pandas as pd
import pytest

from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel
from deception_saes.rng import generator
from deception_saes.sections import s23
from deception_saes.sections.catalogue import SECTIONS
from deception_saes.sections.run import (
    SectionRun,
    _csv,
    csv_name,
    profile_tree,
    run_section,
    section_spec,
)
from deception_saes.store.files import write_atomic

ABSENT = dataclasses.replace(get("llama"), slug="absent", source=HubModel("nobody/nothing"))


@pytest.fixture
def nothing_computes(monkeypatch):
    def compute(params, artifacts):
        raise AssertionError("computed again")

    monkeypatch.setattr(s23, "compute", compute)


def test_a_profile_that_a_section_would_stop_at_is_refused_at_once(smoke):
    with pytest.raises(ValueError, match="profile smoke: swap_draws is 7; give an even number"):
        dataclasses.replace(smoke, swap_draws=7)


def mean_of(run, framing, condition, answerable):
    table = run.table("questions")
    rows = table[(table["model"] == "tinyllama-random") & (table["framing"] == framing)]
    if answerable:
        rows = rows[rows["half"].notna()]
    return rows[f"p_correct_{condition}"].mean()


def test_the_smoke_section_is_done_and_says_what_made_it(smoke_run, smoke):
    results = smoke_run.results
    assert (results.section, results.status, results.profile, results.seed) == (
        23, "done", "smoke", smoke.seed)
    assert {"python", "torch", "transformers", "numpy"} <= results.versions.keys()
    assert {value.model for value in results.values} == {model.slug for model in smoke.models}
    assert {value.framing for value in results.values} == set(smoke.framings)


def test_every_interval_holds_its_value(smoke_run):
    with_ends = [value for value in smoke_run.results.values if value.ci_low is not None]
    assert len(with_ends) > 100
    assert all(value.ci_low <= value.value <= value.ci_high for value in with_ends)


@pytest.mark.parametrize("condition", ["genuine", "neutral", "sandbag"])
@pytest.mark.parametrize("subset", ["all", "answerable"])
def test_means_are_those_of_the_table_of_questions(smoke_run, condition, subset):
    framing = "two_shot_same_prefix"
    base = f"s23.tinyllama-random.{framing}.{subset}.p_correct"
    mean = mean_of(smoke_run, framing, condition, subset == "answerable")
    assert smoke_run.results.value(f"{base}.{condition}").value == pytest.approx(mean)


def test_a_contrast_is_genuine_less_the_condition_in_percentage_points(smoke_run):
    framing = "two_shot_labelled"
    found = smoke_run.results.value(
        f"s23.tinyllama-random.{framing}.answerable.p_correct.genuine_minus_sandbag")
    means = [mean_of(smoke_run, framing, c, True) for c in ("genuine", "sandbag")]
    assert found.unit == "pp"
    assert found.value == pytest.approx(100 * (means[0] - means[1]))


def test_answerable_questions_are_halved(smoke_run):
    table = smoke_run.table("questions")
    for _, group in table.groupby(["model", "framing"]):
        counts = group["half"].value_counts()
        assert 0 <= counts.get("evaluating", 0) - counts.get("choosing", 0) <= 1
    assert (table["half"].notna() == (table["p_correct_genuine"] > table["p_foil_genuine"])).all()


def test_two_computations_give_the_same_values_and_tables(smoke_run, smoke, tmp_path):
    again = run_section(23, smoke, smoke.seed, tmp_path)
    assert again.results.values == smoke_run.results.values
    tables = sorted((smoke_run.tree / "figures").glob("s23_*.csv"))
    assert len(tables) == 4
    for path in tables:
        assert (again.tree / "figures" / path.name).read_bytes() == path.read_bytes()


def test_a_second_call_computes_nothing(smoke_run, smoke, artifacts, nothing_computes):
    again = run_section(23, smoke, smoke.seed, artifacts)
    assert again.results == smoke_run.results


@pytest.mark.parametrize("change", [{"bootstrap_draws": 201}, {"batch_size": 8}, {"threads": 7},
                                    {"framings": ("two_shot_labelled", "two_shot_same_prefix")}])
def test_a_changed_profile_is_computed_again(smoke, tmp_path, change, nothing_computes):
    with pytest.raises(AssertionError, match="computed again"):
        run_section(23, dataclasses.replace(smoke, **change), smoke.seed, tmp_path)
    before, after = (section_spec(SECTIONS[23], profile, 0).hash
                     for profile in (smoke, dataclasses.replace(smoke, **change)))
    assert before != after


def test_the_seed_is_part_of_the_spec(smoke):
    assert section_spec(SECTIONS[23], smoke, 0).hash != section_spec(SECTIONS[23], smoke, 1).hash


def test_the_questions_file_is_part_of_the_spec(smoke):
    assert [path.name for path in section_spec(SECTIONS[23], smoke, 0).data] == ["questions.csv"]


def test_another_seed_has_a_tree_of_its_own(smoke, tmp_path):
    assert profile_tree(smoke, smoke.seed, tmp_path) == tmp_path / "smoke"
    assert profile_tree(smoke, 7, tmp_path) == tmp_path / "smoke-seed7"


def test_a_section_none_of_whose_models_can_be_had_is_not_run(smoke, tmp_path, empty_hub_cache):
    run = run_section(23, dataclasses.replace(smoke, models=(ABSENT,)), 0, tmp_path)
    assert run.results.status == "not run"
    assert "nobody/nothing: not in the local Hugging Face cache" in run.results.reason
    assert run.results.values == []
    assert not (run.tree / "figures").exists()


def test_a_model_that_cannot_be_had_is_told_beside_those_that_can(
    smoke, smoke_run, tmp_path, empty_hub_cache
):
    profile = dataclasses.replace(smoke, models=(smoke.models[0], ABSENT))
    run = run_section(23, profile, 0, tmp_path)
    assert run.results.status == "done"
    models = run.table("models").set_index("model")
    assert models.loc["absent", "status"] == "not run"
    assert "nobody/nothing" in models.loc["absent", "reason"]
    assert list(run.results.values) == [value for value in smoke_run.results.values
                                        if value.model == smoke.models[0].slug]


def test_a_table_keeps_white_space_and_words_that_look_like_nothing(smoke_run, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "s23_t.csv").write_text("a,b\n ,NA\nnan,\n")
    table = dataclasses.replace(smoke_run, tree=tmp_path, _tables={}).table("t")
    assert table["a"].tolist() == [" ", "nan"]
    assert table["b"].iloc[0] == "NA"
    assert table["b"].isna().tolist() == [False, True]


def test_intervals_of_the_section_use_the_profiles_draws(smoke_run, smoke):
    framing, n = "two_shot_same_prefix", smoke.questions
    table = smoke_run.table("questions")
    rows = table[(table["model"] == "tinyllama-random") & (table["framing"] == framing)]
    picked = generator(smoke.seed, "bootstrap", str(n)).integers(
        0, n, size=(smoke.bootstrap_draws, n))
    low = np.quantile(rows["p_correct_genuine"].to_numpy()[picked].mean(axis=1), 0.025)
    found = smoke_run.results.value(f"s23.tinyllama-random.{framing}.all.p_correct.genuine")
    assert found.ci_low == pytest.approx(low)


def test_a_table_gives_back_every_text_as_it_was_and_begins_no_cell_as_a_formula(
    tmp_path, hostile
):
    table = pd.DataFrame({"text": hostile, "n": range(len(hostile)), "p": -0.5, "none": None})
    path = tmp_path / csv_name(SECTIONS[23], "t")
    write_atomic(path, _csv(table))
    run = SectionRun(SECTIONS[23], None, tmp_path)
    assert list(run.table("t")["text"]) == hostile
    assert list(run.table("t")["n"]) == list(table["n"])
    assert (run.table("t")["p"] == -0.5).all()
    with path.open(encoding="utf-8", newline="") as file:
        cells = [row[0] for row in csv.reader(file)]
    assert not [cell for cell in cells if cell[:1] in set("=+-@\t\r＝＋－＠")]
