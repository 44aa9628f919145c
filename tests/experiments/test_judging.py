"""§17 of the smoke profile, and the parts of it on made-up labels."""

import math

import pandas as pd
import pytest
from cells import run_cells

from deception_saes.experiments import judging
from deception_saes.experiments.judge_tables import agreement_tables, examples
from deception_saes.experiments.judging import all_labels, judge_table, short_names
from deception_saes.experiments.reading import MAIN_ROUND
from deception_saes.paper.subjects import reading_of
from deception_saes.tasks.completions import Completion
from deception_saes.tasks.labels import LABELS

SLUG = "tinyllama-random"
OWN = (f"{SLUG}-single", f"{SLUG}-batch")
HOSTED = ("gpt-4o-mini-batch", "gemini-2.5-flash-single")
EACH = 2


@pytest.fixture(scope="module")
def run(artifacts, smoke):
    return run_cells(17, smoke, smoke.seed, artifacts)


@pytest.fixture(scope="module")
def reading(smoke, artifacts):
    return reading_of(smoke, smoke.seed, smoke.models[0], smoke.behaviour.judge)


def completion(i, scenario="a", round=MAIN_ROUND):
    return Completion(f"{scenario}-{round}-{i:03d}", "smollm2it", scenario, round, i, 1.0, 0, True,
                      f"text {i} of {scenario}")


def made_up(n=30, scenarios=("a", "b")):
    return [completion(i, scenario) for scenario in scenarios for i in range(n)]


def cycled(drawn, *labels):
    return {c.id: labels[i % len(labels)] for i, c in enumerate(drawn)}


def test_every_draw_is_recorded_with_the_label_of_every_judge(run):
    table = run.table("completions")
    assert not table["id"].duplicated().any()
    assert set(table["round"]) == {"R1", "R2", "R3"}
    assert table["label_claude-1"].isin(LABELS).all()
    main = table[table["round"] == MAIN_ROUND]
    for judge in OWN:
        assert main[f"label_{judge}"].isin(LABELS).all()
        assert table[table["round"] != MAIN_ROUND][f"label_{judge}"].isna().all()


def test_the_balanced_subsets_are_recorded_and_balanced(run):
    balanced = run.table("balanced")
    counts = balanced.groupby(["round", "scenario", "label"]).size().unstack(fill_value=0)
    assert set(counts.columns) == {"honest", "deceptive"}
    assert (counts["honest"] == counts["deceptive"]).all()
    table = run.table("completions").set_index("id")
    assert (table.loc[balanced["id"], "label_claude-1"].to_numpy() == balanced["label"]).all()
    assert set(balanced["id"]) == set(table.index[table["balanced"]])


def test_claims_are_answered_by_the_batch_judge_and_the_balanced_round(run):
    answered = {value.claim: value for value in run.results.values if value.claim}
    assert set(answered) == {"B-01", "B-02"}
    table = run.table("completions")
    main = table[table["round"] == MAIN_ROUND]
    share = 100 * (main[f"label_{OWN[1]}"] == "ambiguous").mean()
    assert answered["B-01"].value == pytest.approx(share)
    assert answered["B-01"].n == len(main)
    assert answered["B-02"].value == main["balanced"].sum()


def test_shares_of_a_judge_sum_to_all_it_read(run):
    shares = run.table("shares")
    sums = shares.groupby(["judge", "round", "scenario"])[["share", "n"]].sum()
    assert sums["share"].to_numpy() == pytest.approx(100.0)
    of = shares.groupby(["judge", "round", "scenario"])["of"].first()
    assert (sums["n"] == of).all()


def test_every_pair_of_judges_is_compared(run):
    table = run.table("agreement")
    labelled = run.table("judges").query("labelled > 0")["judge"]
    pairs = len(labelled) * (len(labelled) - 1) // 2
    assert (table["n"] > 0).sum() <= pairs <= len(table)
    of = table[(table["a"] == "claude-1") & (table["b"] == OWN[0])].iloc[0]
    counts = run.table("confusion").query(f"a == 'claude-1' and b == '{OWN[0]}'")
    assert counts["n"].sum() == of["n"]
    same = counts.loc[counts["label_a"] == counts["label_b"], "n"].sum()
    assert of["same"] == pytest.approx(100 * same / of["n"])


def test_the_hosted_judges_of_the_study_are_not_run_and_say_why(run):
    state = run.table("judges").set_index("judge")["state"]
    for judge in HOSTED:
        assert state[judge].startswith("not run: ")


def test_every_judge_has_a_row_of_the_probe_at_the_layer_fixed_beforehand(run):
    probe = run.table("probe")
    assert set(probe["judge"]) == set(run.table("judges").query("labelled > 0")["judge"]) | {
        "claude-1", "claude-2"}
    assert set(probe["layer"]) == {4}  # 9/16 of 8
    first = probe[probe["judge"] == "claude-1"].iloc[0]
    assert first["auroc_own"] == first["auroc_primary"] == first["auroc_same"]
    labels = run.table("completions").query(f"round == '{MAIN_ROUND}'")
    for row in probe.itertuples():
        assert row.honest == (labels[f"label_{row.judge}"] == "honest").sum()


def chosen(drawn, labels, seed):
    return list(examples(drawn, labels, each=EACH, seed=seed)["id"])


def test_examples_are_drawn_by_seed_and_not_by_hand():
    drawn = [*made_up(), *(completion(i, round="R1") for i in range(9))]
    labels = cycled(drawn, *LABELS)
    found = chosen(drawn, labels, 0)
    assert all(f"-{MAIN_ROUND}-" in id for id in found)
    assert found == chosen(drawn, labels, 0)
    assert found != chosen(drawn, labels, 1)
    assert len(found) == len(set(found)) == 2 * len(LABELS) * EACH
    for label in LABELS:
        assert sum(labels[id] == label for id in found) == 2 * EACH


def test_where_a_label_is_rare_all_that_there_are_are_shown():
    drawn = made_up(scenarios=("a",))
    labels = dict.fromkeys((c.id for c in drawn), "honest") | {drawn[3].id: "deceptive"}
    found = chosen(drawn, labels, 0)
    assert drawn[3].id in found
    assert len(found) == EACH + 1


def test_judges_with_nothing_in_common_are_not_compared(artifacts):
    drawn = made_up()
    half = len(drawn) // 2
    labels = {"a": cycled(drawn[:half], "honest", "deceptive"),
              "b": cycled(drawn[half:], "honest")}
    found = agreement_tables(drawn, labels, {"a": "a", "b": "b"}, resamples=200, seed=0)
    assert list(found["agreement"]["n"]) == [0]
    assert math.isnan(found["agreement"]["kappa"].iloc[0])
    assert found["confusion"].empty


def test_a_judge_stands_beside_the_others_by_being_in_the_file(reading, monkeypatch):
    hosted, another = HOSTED
    ids = [c.id for c in reading.completions]
    shipped = {judge: dict.fromkeys(ids[:10], "honest")
               for judge in ("claude-1", hosted, "some body")}
    shipped["some body"]["unknown-R3-000"] = "honest"
    monkeypatch.setattr(judging, "load_labels", lambda: shipped)
    own = {how: pd.DataFrame({"id": [], "label": []}) for how in ("single", "batch")}
    labels = all_labels(reading, own, second="claude-2")
    assert list(labels) == ["claude-1", "claude-2", *OWN, hosted, "some body"]
    assert len(labels["some body"]) == 10  # what is not read here does not count
    table = judge_table(reading, own, labels, second="claude-2", hosted=HOSTED)
    state = table.set_index("judge")["state"]
    assert state[hosted] == state["some body"] == "done"
    assert another in state.index[state != "done"]
    assert list(short_names(reading, own, labels).values()) == [
        "claude-1", "claude-2", "single", "batch", hosted, "some-body"]


def test_another_judge_may_be_the_primary_one(run, smoke):
    own = run_cells(17, smoke, smoke.seed, run.artifacts, judge="claude-2")
    assert own.table("judges")["judge"].iloc[0] == "claude-2"
    assert not [value for value in own.results.values if value.claim]
    kept = {of.function for of in own.book.used if not of.computed}
    assert {"judged_singly", "judged_in_batches"} <= kept
