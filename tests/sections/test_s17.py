"""§17 of the smoke profile, and the parts of it on made-up labels."""

import dataclasses
import math

import pytest

from deception_saes.sections import judged, s17
from deception_saes.sections.behaviour import MAIN_ROUND, completions
from deception_saes.sections.catalogue import SECTIONS
from deception_saes.sections.judge_probes import probed_layer
from deception_saes.sections.profiles import profile_named
from deception_saes.sections.run import NotRun, run_section, section_spec
from deception_saes.tasks.completions import Completion
from deception_saes.tasks.labels import LABELS

SLUG = "tinyllama-random"
OWN = (f"{SLUG}-single", f"{SLUG}-batch")


@pytest.fixture(scope="module")
def run(artifacts, smoke):
    return run_section(17, smoke, smoke.seed, artifacts)


@pytest.fixture(scope="module")
def params(smoke):
    return s17.plan(smoke, smoke.seed, smoke.models, {})


def completion(i, scenario="a", round=MAIN_ROUND):
    return Completion(f"{scenario}-{round}-{i:03d}", "smollm2it", scenario, round, i, 1.0, 0, True,
                      f"text {i} of {scenario}")


def made_up(n=30, scenarios=("a", "b")):
    return [completion(i, scenario) for scenario in scenarios for i in range(n)]


def cycled(drawn, *labels):
    return {c.id: labels[i % len(labels)] for i, c in enumerate(drawn)}


def test_every_draw_is_recorded_with_the_label_of_every_judge(run, params):
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
    for judge in judged.STUDY_JUDGES:
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


@pytest.mark.parametrize(("layers", "layer"), [(16, 9), (30, 16), (22, 12), (8, 4)])
def test_the_layer_is_the_studys_at_the_same_relative_depth(layers, layer):
    assert probed_layer(layers) == layer


def test_examples_are_drawn_by_seed_and_not_by_hand():
    drawn = made_up()
    labels = cycled(drawn, *LABELS)
    chosen = s17.examples(drawn, labels, 0)
    assert chosen == s17.examples(drawn, labels, 0)
    assert chosen != s17.examples(drawn, labels, 1)
    assert len(chosen) == len(set(chosen)) == 2 * len(LABELS) * s17.EXAMPLES
    for label in LABELS:
        assert sum(labels[id] == label for id in chosen) == 2 * s17.EXAMPLES


def test_where_a_label_is_rare_all_that_there_are_are_shown():
    drawn = made_up(scenarios=("a",))
    labels = dict.fromkeys((c.id for c in drawn), "honest") | {drawn[3].id: "deceptive"}
    chosen = s17.examples(drawn, labels, 0)
    assert drawn[3].id in chosen
    assert len(chosen) == s17.EXAMPLES + 1


def test_examples_are_of_the_main_round():
    drawn = [completion(i, round=round) for round in ("R1", MAIN_ROUND) for i in range(9)]
    chosen = s17.examples(drawn, cycled(drawn, *LABELS), 0)
    assert all(f"-{MAIN_ROUND}-" in id for id in chosen)


def test_judges_with_nothing_in_common_are_not_compared(params):
    drawn = made_up()
    half = len(drawn) // 2
    labels = {"a": cycled(drawn[:half], "honest", "deceptive"),
              "b": cycled(drawn[half:], "honest")}
    table, confusion = s17.agreement_tables(drawn, labels, params)
    assert list(table["n"]) == [0]
    assert math.isnan(table["kappa"].iloc[0])
    assert confusion.empty


def test_a_judge_stands_beside_the_others_by_being_in_the_file(params, monkeypatch):
    hosted = judged.STUDY_JUDGES[0]
    shipped = {"claude-1": {}, hosted: {}, "somebody": {}}
    ids = [c.id for c in completions(params.of)]
    shipped = {judge: dict.fromkeys(ids[:10], "honest") for judge in shipped}
    shipped["somebody"]["unknown-R3-000"] = "honest"
    monkeypatch.setattr("deception_saes.tasks.labels.load_labels", lambda: shipped)
    monkeypatch.setattr(judged, "_read_here", lambda of, work: {judge: {} for judge in OWN})
    labels = judged.by_judge(params.of, None)
    assert list(labels) == ["claude-1", "claude-2", *OWN, hosted, "somebody"]
    assert len(labels["somebody"]) == 10  # what is not read here does not count
    state = {row["judge"]: row["state"] for row in judged.judge_rows(params.of, labels)}
    assert state[hosted] == state["somebody"] == "done"
    assert [judge for judge, of in state.items() if of.startswith("not run: it needs")] == [
        judge for judge in judged.STUDY_JUDGES if judge != hosted]


def test_a_model_without_completions_or_labels_is_not_run(smoke):
    paper = profile_named("paper")
    found = s17.plan(paper, 0, paper.models, {})
    assert isinstance(found, NotRun)
    assert "make resample" in found.reasons["llama"]
    without = dataclasses.replace(smoke, behaviour=None)
    assert isinstance(s17.plan(without, 0, smoke.models, {}), NotRun)


def test_no_model_is_loaded_to_know_the_spec(smoke, monkeypatch):
    def load(*_):
        raise AssertionError("loaded")

    monkeypatch.setattr("deception_saes.models.load.load", load)
    assert section_spec(SECTIONS[17], smoke, 0).hash == section_spec(SECTIONS[17], smoke, 0).hash
