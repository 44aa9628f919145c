"""§20 of the smoke profile, and the behavioural SAEs that §20 to §22 share."""

import pytest
import torch

from deception_saes.paper.units import book_units
from deception_saes.saes.quality import quality
from deception_saes.saes.tags import behavioural_tags
from deception_saes.sections.behaviour import (
    DEPTHS,
    MAIN_ROUND,
    ROUNDS,
    capture_spec,
    completions,
    labels,
)
from deception_saes.sections.behaviour_saes import (
    TRAIN_ROUNDS,
    TRAIN_SETS,
    behaviour_bank,
    behaviour_bank_spec,
    token_rows,
    trained_on,
    untrained_sae,
)
from deception_saes.sections.run import run_section
from deception_saes.tasks.labels import duplicate_groups

MODEL = "tinyllama-random"


@pytest.fixture(scope="module")
def run(smoke, artifacts):
    return run_section(20, smoke, smoke.seed, artifacts)


@pytest.fixture(scope="module")
def params(behavioural_saes):
    return behavioural_saes


@pytest.fixture(scope="module")
def work(run, smoke_work):
    return smoke_work


@pytest.fixture(scope="module")
def table(run):
    return run.table("saes").set_index(["fixed", "sae"])


def value(run, id):
    return run.results.value(f"s20.{MODEL}.{id}")


def test_training_sets_hold_their_labels_alone(params):
    given = labels(params.behaviour)
    for train_set, wanted in TRAIN_SETS.items():
        ids = trained_on(params, train_set)
        assert {given[id] for id in ids} == set(wanted)
        assert {id.split("-")[1] for id in ids} <= set(TRAIN_ROUNDS)
    assert sorted(trained_on(params, "mixed")) == sorted(
        [*trained_on(params, "honest_only"), *trained_on(params, "deceptive_only")])


def test_no_near_duplicate_of_the_main_round_trains_an_sae(params):
    seen = set(trained_on(params, "mixed"))
    drawn = completions(params.behaviour)
    left_out = 0
    for scenario in {completion.scenario for completion in drawn}:
        of = [completion for completion in drawn if completion.scenario == scenario]
        groups = duplicate_groups([completion.text for completion in of])
        main = {g for c, g in zip(of, groups, strict=True) if c.round == MAIN_ROUND}
        assert not main & {g for c, g in zip(of, groups, strict=True) if c.id in seen}
        left_out += sum(c.round != MAIN_ROUND and g in main
                        for c, g in zip(of, groups, strict=True))
    assert left_out > 0  # else this shows nothing


def test_the_tags_are_the_releases(params, work):
    tags = [tag for depth in DEPTHS for tag in behaviour_bank(params, depth, work).tags]
    assert sorted(tag.name for tag in tags) == sorted(
        tag.name for tag in behavioural_tags(MODEL, 8))
    folders = {path.name for path in (work.tree / "saes").iterdir() if path.is_dir()}
    assert {tag.name for tag in tags} <= folders
    prefix = {path.name for path in (work.tree / "saes-prefix").iterdir() if path.is_dir()}
    assert prefix == {tag.name for tag in tags if tag.architecture == "jumprelu"}


def test_thresholds_are_learned_or_stay_zero(params, work):
    for depth in DEPTHS:
        for fixed in (True, False):
            bank = behaviour_bank(params, depth, work, fixed)
            for tag in bank.tags:
                if tag.architecture == "jumprelu":
                    assert bool(bank.sae(tag).weights["threshold"].any()) == fixed


def test_an_sae_says_where_it_belongs(params, work):
    bank = behaviour_bank(params, 4, work)
    about = bank.sae(bank.tags[0]).config.metadata
    layer = bank.tags[0].layer
    assert about["hook_name"] == f"model.layers.{layer}"
    assert about["training_condition"] == bank.tags[0].train_set
    rows = token_rows(params, TRAIN_ROUNDS, work)
    assert about["context_size"] == rows.position.max() + 1
    assert about["training_rows"] == len(rows.of(trained_on(params, bank.tags[0].train_set)))


def test_the_start_is_not_the_trained_one(params, work):
    bank = behaviour_bank(params, 2, work)
    start, end = untrained_sae(params, bank.tags[0], work), bank.sae(bank.tags[0])
    assert start.config.d_sae == end.config.d_sae
    assert not torch.equal(start.weights["W_dec"], end.weights["W_dec"])


def test_token_rows_are_those_of_the_rounds(params, work):
    rows = token_rows(params, (MAIN_ROUND,), work)
    assert {id.split("-")[1] for id in rows.completion} == {MAIN_ROUND}
    assert len(rows.x_by_layer) == 3
    for x in rows.x_by_layer.values():
        assert len(x) == len(rows.completion) == len(rows.position)


def test_captures_and_banks_are_units_of_the_workflow(smoke, params):
    units = book_units(smoke, smoke.seed)
    for round in ROUNDS:
        unit = capture_spec(params.behaviour, round).unit
        for reader in ("s18", "s21", behaviour_bank_spec(params, 2).unit):
            assert unit in units[reader].needs
    for depth in DEPTHS:
        for fixed in (True, False):
            unit = behaviour_bank_spec(params, depth, fixed).unit
            assert unit in units
            assert unit in units["s20"].needs
            assert unit in units["s22"].needs


def test_a_row_is_the_quality_of_its_files(table, params, work):
    rows = token_rows(params, (MAIN_ROUND,), work)
    for fixed in (True, False):
        bank = behaviour_bank(params, 6, work, fixed)
        tag = next(tag for tag in bank.tags if tag.architecture == "jumprelu")
        found = quality(bank.sae(tag), rows.x_by_layer[tag.layer])
        row = table.loc[(fixed, tag.name)]
        assert row["l0"] == pytest.approx(found.l0)
        assert row["explained_variance"] == pytest.approx(found.explained_variance)
        assert row["tokens"] == len(rows.completion)


def test_kl_recovered_is_a_ratio_of_sums(run, table):
    kl = run.table("kl")
    assert kl["kl"].ge(-1e-6).all()
    name = table.loc[True].index[0]
    mine = kl[(kl["sae"] == name) & kl["fixed"]]
    mean = kl[(kl["sae"] == "mean") & (kl["layer"] == mine["layer"].iloc[0])]
    expected = 1 - (mine["kl"] * mine["tokens"]).sum() / (mean["kl"] * mean["tokens"]).sum()
    assert table["kl_recovered"][(True, name)] == pytest.approx(expected)


def test_values_are_those_of_the_table(run, table):
    before = table.loc[False]
    assert value(run, "prefix.threshold").value == 0
    assert value(run, "prefix.l0_share").value == pytest.approx(
        (100 * before["l0"] / before["d_sae"]).mean())
    assert value(run, "prefix.l0_share").value > value(run, "learned.l0_share").value
    assert value(run, "saes").value == 18
    answered = [v.claim for v in run.results.values if v.claim]
    assert sorted(answered) == ["B-11", "B-12", "B-13"]


def test_histograms_are_shares(run):
    of = run.table("thresholds").groupby(["layer", "fixed"])["share"].sum()
    assert of.to_numpy() == pytest.approx(1.0)
