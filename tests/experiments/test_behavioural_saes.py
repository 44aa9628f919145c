"""The behavioural SAEs, and §20 of the smoke profile."""

import pytest
import torch
from cells import run_cells

from deception_saes.errors import UserError
from deception_saes.experiments.behavioural_saes import (
    LABELS_OF_TRAIN_SET,
    TRAIN_ROUNDS,
    trained_on,
    untrained,
)
from deception_saes.experiments.reading import MAIN_ROUND
from deception_saes.saes.quality import quality
from deception_saes.saes.tags import behavioural_tags
from deception_saes.tasks.labels import duplicate_groups

MODEL = "tinyllama-random"


@pytest.fixture(scope="module")
def run(smoke, artifacts):
    return run_cells(20, smoke, smoke.seed, artifacts)


@pytest.fixture(scope="module")
def reading(saes):
    return saes.reading


@pytest.fixture(scope="module")
def table(run):
    return run.table("saes").set_index(["fixed", "sae"])


def value(run, id):
    return run.results.value(f"s20.{MODEL}.{id}")


def test_training_sets_hold_their_labels_alone(reading):
    for train_set, wanted in LABELS_OF_TRAIN_SET.items():
        ids = trained_on(reading, train_set)
        assert {reading.labels[id] for id in ids} == set(wanted)
        assert not set(ids) & set(reading.main.ids)
        assert {id.split("-")[1] for id in ids} <= set(TRAIN_ROUNDS)
    assert sorted(trained_on(reading, "mixed")) == sorted(
        [*trained_on(reading, "honest_only"), *trained_on(reading, "deceptive_only")])


def test_no_near_duplicate_of_the_main_round_trains_an_sae(reading):
    seen = set(trained_on(reading, "mixed"))
    left_out = 0
    for scenario in {completion.scenario for completion in reading.completions}:
        of = [completion for completion in reading.completions if completion.scenario == scenario]
        groups = duplicate_groups([completion.text for completion in of])
        main = {g for c, g in zip(of, groups, strict=True) if c.round == MAIN_ROUND}
        assert not main & {g for c, g in zip(of, groups, strict=True) if c.id in seen}
        left_out += sum(c.round != MAIN_ROUND and g in main
                        for c, g in zip(of, groups, strict=True))
    assert left_out > 0  # else this shows nothing


def test_the_tags_are_the_releases(saes):
    release = behavioural_tags(MODEL, 8)
    assert sorted(tag.name for tag in saes.tags) == sorted(tag.name for tag in release)
    assert {tag.name for tag, _ in saes.load()} == {tag.name for tag in release}
    assert {tag.name for tag in saes.before_fix(saes.layers).tags} == {
        tag.name for tag in release if tag.architecture == "jumprelu"}
    assert saes.tag(saes.layers[1], "topk", "mixed").name == f"{MODEL}_topk_L2_mixed"
    with pytest.raises(UserError, match="gated, L2, mixed"):
        saes.tag(2, "gated", "mixed")


def test_those_before_the_fix_are_the_jumprelus_of_chosen_layers(saes):
    found = saes.before_fix(saes.layers[1:2])
    assert found.layers == saes.layers[1:2]
    assert [tag.architecture for tag in found.tags] == 3 * ["jumprelu"]


def test_thresholds_are_learned_or_stay_zero(saes):
    for of, learned in ((saes, True), (saes.before_fix(saes.layers), False)):
        for tag, sae in of.load():
            if tag.architecture == "jumprelu":
                assert bool(sae.weights["threshold"].any()) == learned


def test_an_sae_says_where_it_belongs(saes, reading):
    bank = saes.bank(saes.layers[1])
    tag = bank.tags[0]
    about = bank.sae(tag).config.metadata
    assert about["hook_name"] == f"model.layers.{tag.layer}"
    assert about["training_condition"] == tag.train_set
    rows = reading.tokens(*TRAIN_ROUNDS)
    assert about["context_size"] == rows.position.max() + 1
    assert about["training_rows"] == len(rows.of(trained_on(reading, tag.train_set)))


def test_the_start_is_not_the_trained_one(saes, reading):
    bank = saes.bank(saes.layers[0])
    starts = untrained(saes, saes.layers[0], reading.tokens(*TRAIN_ROUNDS))
    for tag, start in zip(bank.tags, starts, strict=True):
        end = bank.sae(tag)
        assert start.config.metadata["tag"] == end.config.metadata["tag"] == tag.name
        assert not torch.equal(start.weights["W_dec"], end.weights["W_dec"])


def test_a_row_is_the_quality_of_its_files(table, saes, reading):
    rows = reading.tokens(MAIN_ROUND)
    assert {id.split("-")[1] for id in rows.completion} == {MAIN_ROUND}
    for of, learned in ((saes, True), (saes.before_fix(saes.layers[1:2]), False)):
        tag = of.tag(of.layers[-1], "jumprelu", "mixed")
        found = quality(of.bank(tag.layer).sae(tag), rows.x_by_layer[tag.layer])
        row = table.loc[(learned, tag.name)]
        assert row["l0"] == pytest.approx(found.l0)
        assert row["explained_variance"] == pytest.approx(found.explained_variance)
        assert row["tokens"] == len(rows.completion)
        assert row["seconds"] == of.seconds[tag.name]


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
