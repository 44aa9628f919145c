"""How a section that a module computes is run, on §29 of the smoke profile."""

import csv
import dataclasses

import pandas as pd
import pytest

from deception_saes.cache import write_table
from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel
from deception_saes.sections import s29, subjects
from deception_saes.sections.catalogue import SECTIONS
from deception_saes.sections.run import (
    SectionRun,
    csv_name,
    profile_tree,
    run_section,
    section_spec,
)
from deception_saes.tasks.trivia import load_questions

ABSENT = dataclasses.replace(get("llama"), slug="absent", source=HubModel("nobody/nothing"))
SECTION = SECTIONS[29]


@pytest.fixture(scope="module")
def run(smoke, artifacts):
    return run_section(29, smoke, smoke.seed, artifacts)


@pytest.fixture
def nothing_computes(monkeypatch):
    def compute(params, work):
        raise AssertionError("computed again")

    monkeypatch.setattr(s29, "compute", compute)


def test_a_profile_that_a_section_would_stop_at_is_refused_at_once(smoke):
    with pytest.raises(ValueError, match="profile smoke: swap_draws is 7; give an even number"):
        dataclasses.replace(smoke, swap_draws=7)


def test_the_section_is_done_and_says_what_made_it(run, smoke):
    results = run.results
    assert (results.section, results.status, results.profile, results.seed) == (
        29, "done", "smoke", smoke.seed)
    assert {"python", "torch", "transformers", "numpy"} <= results.versions.keys()
    assert {value.model for value in results.values} == {smoke.models[0].slug}
    assert {value.framing for value in results.values} == {smoke.circuit_framing}
    assert run.hash == section_spec(SECTION, smoke, smoke.seed).hash


def test_a_second_call_computes_nothing(run, smoke, artifacts, nothing_computes):
    again = run_section(29, smoke, smoke.seed, artifacts)
    assert again.results == run.results


@pytest.mark.parametrize("change", [{"bootstrap_draws": 201}, {"batch_size": 8}, {"threads": 7},
                                    {"circuit_size": 4}, {"questions": 47},
                                    {"answerable_min_p": 0.1}])
def test_a_changed_profile_is_computed_again(smoke, tmp_path, change, nothing_computes):
    changed = dataclasses.replace(smoke, **change)
    with pytest.raises(AssertionError, match="computed again"):
        run_section(29, changed, smoke.seed, tmp_path)
    assert section_spec(SECTION, smoke, 0).hash != section_spec(SECTION, changed, 0).hash


def test_the_seed_is_part_of_the_spec(smoke):
    assert section_spec(SECTION, smoke, 0).hash != section_spec(SECTION, smoke, 1).hash


def test_the_text_of_every_question_and_the_data_files_are_part_of_the_spec(smoke, monkeypatch):
    before = section_spec(SECTION, smoke, 0)
    assert [path.name for path in before.data] == ["neutral_text.txt"]
    first, *rest = load_questions()
    reworded = [dataclasses.replace(first, text=f"{first.text}?"), *rest]
    monkeypatch.setattr(subjects, "load_questions", lambda: reworded)
    assert section_spec(SECTION, smoke, 0).hash != before.hash


def test_another_seed_has_a_tree_of_its_own(smoke, tmp_path):
    assert profile_tree(smoke, smoke.seed, tmp_path) == tmp_path / "smoke"
    assert profile_tree(smoke, 7, tmp_path) == tmp_path / "smoke-seed7"


def test_a_section_none_of_whose_models_can_be_had_is_not_run(smoke, tmp_path, empty_hub_cache):
    run = run_section(29, dataclasses.replace(smoke, models=(ABSENT,)), 0, tmp_path)
    assert run.results.status == "not run"
    assert "nobody/nothing: not in the local Hugging Face cache" in run.results.reason
    assert run.results.values == []
    assert not (run.tree / "figures").exists()


def test_a_table_keeps_white_space_and_words_that_look_like_nothing(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "s29_t.csv").write_text("a,b\n ,NA\nnan,\n")
    table = SectionRun(SECTION, None, tmp_path).table("t")
    assert table["a"].tolist() == [" ", "nan"]
    assert table["b"].iloc[0] == "NA"
    assert table["b"].isna().tolist() == [False, True]


def test_a_table_gives_back_every_text_as_it_was_and_begins_no_cell_as_a_formula(
    tmp_path, hostile
):
    table = pd.DataFrame({"text": hostile, "n": range(len(hostile)), "p": -0.5, "none": None})
    path = tmp_path / csv_name(SECTION, "t")
    write_table(table, path)
    run = SectionRun(SECTION, None, tmp_path)
    assert list(run.table("t")["text"]) == hostile
    assert list(run.table("t")["n"]) == list(table["n"])
    assert (run.table("t")["p"] == -0.5).all()
    assert run.table("t")["none"].isna().all()
    with path.open(encoding="utf-8", newline="") as file:
        cells = [row[0] for row in csv.reader(file)]
    assert not [cell for cell in cells if cell[:1] in set("=+-@\t\r＝＋－＠")]
