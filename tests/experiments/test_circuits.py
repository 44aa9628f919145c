"""§27 to §30 of the smoke profile: one story, told by numbers that agree with each other."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from cells import run_cells

from deception_saes.experiments.circuits import portion_against_random
from deception_saes.experiments.heads import RandomHeads
from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s30
from deception_saes.paper.settings import Settings
from deception_saes.paper.shared import shared_calls
from deception_saes.tasks.framings import FRAMINGS

MODEL = "tinyllama-random"
ABSENT = dataclasses.replace(get("pythia160m"), source=HubModel("nobody/nothing"))


@pytest.fixture(scope="module")
def runs(smoke, artifacts):
    return {n: run_cells(n, smoke, smoke.seed, artifacts) for n in (27, 28, 29, 30)}


def value(runs, id):
    return runs[int(id[1:3])].results.value(id).value


def test_restoration_is_the_difference_of_the_two_levels(runs):
    base = f"s28.{MODEL}."
    levels = [value(runs, f"{base}p_correct.sandbag.{mode}") for mode in ("clean", "zero")]
    assert value(runs, f"{base}effect.sandbag.zero") == pytest.approx(100 * (levels[1] - levels[0]))


def test_what_an_ablation_leaves_of_the_genuine_level_is_a_claim_of_its_own(runs):
    base = f"s28.{MODEL}."
    clean = value(runs, f"{base}p_correct.genuine.clean")
    for mode, claim in (("zero", "R-18"), ("mean", None)):
        found = runs[28].results.value(f"{base}above_genuine.sandbag.{mode}")
        ablated = value(runs, f"{base}p_correct.sandbag.{mode}")
        assert found.value == pytest.approx(100 * (ablated - clean))
        assert found.ci_low < found.value < found.ci_high
        assert (found.claim, found.unit) == (claim, "pp")


def test_levels_are_means_of_the_table_of_questions(runs):
    table = runs[28].table("questions")
    for condition in ("sandbag", "genuine"):
        for mode in ("clean", "zero", "mean"):
            of = runs[28].results.value(f"s28.{MODEL}.p_correct.{condition}.{mode}")
            assert of.value == pytest.approx(table[f"p_correct_{condition}_{mode}"].mean())
            assert of.n == len(table)


def drawn(p_by_set, kinds=("circuit", "layer_matched", "layer_matched")):
    """Random heads with these P(correct) in percent, [1 + S, Q]."""
    p_SQ = np.array(p_by_set, dtype=float)
    table = pd.DataFrame({"kind": kinds, "heads": [f"L0H{i}" for i in range(len(kinds))]})
    return RandomHeads(table, pd.DataFrame(p_SQ[1:] - p_SQ[0]), p_SQ)


def test_a_portion_is_set_beside_that_of_random_heads():
    sandbag = drawn([[10] * 6, [40] * 6, [20] * 6, [14] * 6])
    genuine = drawn([[60] * 6, [62] * 6, [54] * 6, [60] * 6])
    found = portion_against_random({"zero": (sandbag, genuine)}, clusters=None, draws=50, seed=0)
    pp = found[found["scale"] == "pp"].set_index("measure")["value"]
    # portions: chosen 30 - 2, random 10 + 6 and 4 - 0
    assert pp.to_dict() == pytest.approx({"chosen": 28, "random": 10, "gap": 18, "largest": 16,
                                          "sigma": 6 * 2**0.5, "p": 1 / 3})
    logits = found[found["scale"] == "logits"].set_index("measure")["value"]
    of = [np.log(p / (1 - p)) for p in (0.4, 0.1, 0.62, 0.6)]
    assert logits["chosen"] == pytest.approx(of[0] - of[1] - of[2] + of[3])


def test_other_random_heads_on_genuine_prompts_are_no_control():
    by_mode = {"zero": (drawn([[1]] * 4), drawn([[1]] * 3, ("circuit", "layer_matched")))}
    with pytest.raises(ValueError, match="other random heads"):
        portion_against_random(by_mode, clusters=None, draws=50, seed=0)


def test_a_portion_beside_chance_is_that_of_the_page(runs):
    for mode, id in (("zero", "portion"), ("mean", "portion.mean")):
        table = runs[29].table("portion_random").query(
            f"scale == 'pp' and mode == '{mode}'").set_index("measure")
        assert table.loc["gap", "value"] == pytest.approx(
            table.loc["chosen", "value"] - table.loc["random", "value"])
        assert table.loc["sigma", "n"] > 1
        assert value(runs, f"s29.{MODEL}.{id}.pp.gap") == table.loc["gap", "value"]


def test_the_p_of_a_portion_is_that_of_its_relabellings(runs, smoke):
    sets = runs[29].table("relabelled_sets")
    assert list(sets["kind"][:2]) == ["suppressors", "chosen"]
    assert len(sets) == 2 + smoke.relabellings
    for scale in ("pp", "logits"):
        portions = sets[f"portion_{scale}"]
        assert value(runs, f"s29.{MODEL}.relabelled.{scale}.p") == pytest.approx(
            (1 + (portions[2:] >= portions[1]).sum()) / (1 + smoke.relabellings))
        assert value(runs, f"s29.{MODEL}.relabelled.{scale}.suppressors") == pytest.approx(
            portions[0])
    chosen = runs[27].table("suppressors").query("condition == 'sandbag'")["head"]
    assert set(sets["heads"][0].split()) == set(chosen)
    same = (sets["heads"][2:] == sets["heads"][1]).sum()
    assert value(runs, f"s29.{MODEL}.relabelled.same") == same


def test_the_arms_of_the_sweep_are_those_that_are_tested(runs, smoke):
    agreement, tested = runs[27].table("arms"), runs[30].table("arms")
    arms = ["section", "two_shot_same_prefix", "instruction_alone"]
    assert list(dict.fromkeys(agreement["arm"])) == arms
    assert set(agreement["n"]) == {smoke.arm_sweep_questions}
    by_pair = tested.query("measure == 'portion'").set_index(["chosen", "tested"])
    assert set(by_pair.index) == {(chosen, test) for chosen in arms for test in arms}
    heads = {arm: set(by_pair.loc[(arm, "section"), "heads"].split()) for arm in arms}
    for row in agreement.itertuples():
        if row.arm != row.other:
            assert row.shared == len(heads[row.arm] & heads[row.other])
    for test in arms:  # the fall is of the prompts, whoever's heads are ablated
        falls = tested[(tested["measure"] == "fall") & (tested["tested"] == test)]["value"]
        assert falls.nunique() == 1
    assert value(runs, f"s30.{MODEL}.arm_questions") == smoke.arm_sweep_questions


def test_no_head_is_chosen_in_the_wording_that_the_instruction_alone_is_tested_in(smoke):
    of = Settings(30, smoke, 0)
    alone, tested = of.arms["instruction_alone"], FRAMINGS["instruction_alone"]
    assert alone.shots == tested.shots
    assert alone.answer_labels == tested.answer_labels
    assert not set(alone.instructions) & {tested.instructions[0], tested.instructions[2]}
    assert all(arm.instructions == alone.instructions for arm in of.arms.values())
    swept = [call for name, call in shared_calls(30, smoke, 0).items() if name.startswith("sweep-")]
    assert not [call for call in swept if dict(call.arguments)["half"].framing == tested]


def test_the_framing_of_the_section_is_no_other_arm_as_well(smoke):
    profile = dataclasses.replace(smoke, circuit_framing="two_shot_same_prefix")
    arms = Settings(30, profile, 0).arms
    assert list(arms) == ["section", "instruction_alone"]


def test_where_the_instruction_alone_differs_the_labelled_questions_are_asked(runs):
    models = runs[30].table("models").query("measure == 'restoration'").set_index(
        ["model", "framing"])
    for model in {model for model, _ in models.index}:
        assert (models.loc[(model, "instruction_alone"), "n"]
                == models.loc[(model, "two_shot_labelled"), "n"])


def test_other_measures_beside_the_restoration_are_of_the_same_answers(runs):
    table = runs[28].table("beside").set_index(["state", "measure"])
    for state, mode, condition in (("sandbag", "clean", "sandbag"), ("ablated", "zero", "sandbag"),
                                   ("genuine", "clean", "genuine")):
        assert table.loc[(state, "p_correct"), "level"] == pytest.approx(
            value(runs, f"s28.{MODEL}.p_correct.{condition}.{mode}"), abs=1e-5)
    assert table.loc[("ablated", "p_correct"), "value"] == pytest.approx(
        value(runs, f"s28.{MODEL}.effect.sandbag.zero"), abs=1e-3)


def test_half_the_temperature_changes_no_likeliest_token(runs):
    table = runs[28].table("beside").set_index(["state", "measure"])
    assert table.loc[("sharpened", "top_is_correct"), "value"] == 0
    assert table.loc[("sharpened", "p_correct"), "value"] != 0


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


def test_each_subset_is_reported_with_its_own_restoration(runs):
    table = runs[28].table("subsets")
    for row in table[table["size"] == 1].itertuples():
        assert value(runs, f"s28.{MODEL}.single{row.rank}") == pytest.approx(row.restoration)
    for row in table[table["best_of_size"]].itertuples():
        assert value(runs, f"s28.{MODEL}.best{row.size}") == pytest.approx(row.restoration)
    total = runs[28].results.value(f"s28.{MODEL}.sum_of_singles")
    assert total.value == pytest.approx(table[table["size"] == 1]["restoration"].sum())


def test_a_gap_is_the_circuit_less_the_mean_of_the_draws(runs):
    draws = runs[28].table("draws")
    circuit = draws[draws["kind"] == "circuit"]["effect"].iloc[0]
    for kind in ("uniform", "layer_matched", "damage_matched"):
        of_kind = draws[draws["kind"] == kind]["effect"]
        base = f"s28.{MODEL}."
        assert value(runs, f"{base}random.{kind}") == pytest.approx(of_kind.mean())
        assert value(runs, f"{base}gap.{kind}") == pytest.approx(circuit - of_kind.mean())
        assert value(runs, f"{base}sigma.{kind}") == pytest.approx(of_kind.std(ddof=1))


def test_the_heads_that_are_ablated_are_those_of_the_sweep(runs):
    heads = runs[27].table("suppressors")
    singles = runs[28].table("subsets").query("size == 1")
    assert list(heads[heads["condition"] == "sandbag"]["head"]) == list(singles["heads"])
    (circuit,) = runs[28].table("draws").query("kind == 'circuit'")["heads"]
    assert circuit.split() == list(singles["heads"])
    assert set(runs[30].table("models").query(f"model == '{MODEL}'")["heads"]) == {circuit}


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


def test_shares_and_costs_of_29_are_those_of_its_tables(runs):
    effects, cost = (runs[29].table(name) for name in ("effects", "cost"))
    for condition in ("genuine", "sandbag"):
        of = runs[29].results.value(f"s29.{MODEL}.effect.{condition}")
        assert of.value == pytest.approx(effects[condition].mean())
        assert of.ci_low < of.value < of.ci_high
        share = 100 * (effects[condition] > 0).mean()
        improved = runs[29].results.value(f"s29.{MODEL}.improved.{condition}")
        assert improved.value == pytest.approx(share)
        assert improved.claim == ("S-24" if condition == "genuine" else None)
    n = runs[29].results.value(f"s29.{MODEL}.text.kl").n
    assert n == (cost["tokens"] - 1).sum()
    for measure in ("clean", "ablated", "kl"):
        total = ((cost["tokens"] - 1) * cost[measure]).sum()
        assert value(runs, f"s29.{MODEL}.text.{measure}") == pytest.approx(total / n)


def test_every_model_of_the_profile_is_measured_under_both_framings(runs, smoke):
    table = runs[30].table("models")
    assert set(table["status"]) == {"done"}
    for model in smoke.models:
        for framing in smoke.primary_framings:
            of = table[(table["model"] == model.slug) & (table["framing"] == framing)]
            found = of.set_index("measure")["value"]
            assert found["portion"] == pytest.approx(found["restoration"] - found["genuine"])
            for measure in ("restoration", "genuine", "portion"):
                id = f"s30.{model.slug}.{framing}.{measure}"
                assert value(runs, id) == pytest.approx(found[measure])
    answers = {of.claim: of.id for of in runs[30].results.values if of.claim}
    assert answers == {"S-14": f"s30.{MODEL}.two_shot_labelled.portion"}


def test_models_that_are_unavailable_or_answer_nothing_are_rows_that_say_why(
        smoke, artifacts, empty_hub_cache, monkeypatch):
    task_of = Settings.task_of

    def too_hard_for_one(self, subject, framing):
        task = task_of(self, subject, framing)
        hard = (subject.model.slug, framing.name) == ("tinyneox-random", "two_shot_same_prefix")
        return dataclasses.replace(task, least_p_correct=1.1) if hard else task

    monkeypatch.setattr(Settings, "task_of", too_hard_for_one)
    profile = dataclasses.replace(smoke, models=(*smoke.models, ABSENT))
    run = run_cells(30, profile, 0, artifacts)
    table = run.table("models").set_index("model")
    assert set(table.loc[MODEL, "status"]) == {"done"}
    for slug, reason in (("tinyneox-random", "answerable under the framing two_shot_same_prefix"),
                         ("pythia160m", "nobody/nothing")):
        assert table.loc[slug, "status"] == "not run"
        assert reason in table.loc[slug, "reason"]
    shown = s30.models(run.namespace["models"], run.namespace["claims"])
    shown = shown.set_index("model")["portion"]
    assert "nobody/nothing" in shown["pythia160m"]
    assert shown["Pythia-160M (published, S-16)"] == "<= 0 pp"
    assert shown["Pythia-410M (published, S-17)"].endswith("; not run in this profile")


def test_under_a_framing_that_is_not_measured_no_portion_answers_a_claim(smoke, artifacts):
    run = run_cells(30, dataclasses.replace(smoke, circuit_framing="zero_shot"), 0, artifacts)
    assert run.results.values
    assert not [of for of in run.results.values if of.claim]


@pytest.mark.parametrize("number", [25, 27, 28, 29, 30, 32])
def test_without_the_primary_model_an_experiment_is_not_run(smoke, number, empty_hub_cache):
    profile = dataclasses.replace(smoke, models=(ABSENT, smoke.models[0]))
    results = open_section(number, profile, 0).results
    assert (results.status, results.values) == ("not run", [])
    assert shared_calls(number, profile, 0) == {}
    assert "nobody/nothing" in results.reason
