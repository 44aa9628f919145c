"""§25 and §32 of the smoke profile, and the trained SAEs that both read."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from cells import run_cells
from places import artifacts_at

from deception_saes.cache import calls_tree
from deception_saes.experiments.sae_tables import (
    measure_table,
    pair_table,
    topk_less_jumprelu,
)
from deception_saes.experiments.saes import (
    CONDITIONS_OF_TRAIN_SET,
    TRAIN_CONDITIONS,
    TrainedSae,
    activations,
    read,
    train_saes,
    untrained,
)
from deception_saes.experiments.swaps import edit_effects
from deception_saes.experiments.zoo import SWAPS, held_out, measure, quality_at
from deception_saes.models.anatomy import anatomy
from deception_saes.models.registry import get
from deception_saes.paper.subjects import saes_of, task_of
from deception_saes.saes import bank as bank_module
from deception_saes.saes import training
from deception_saes.saes.config import SaeConfig
from deception_saes.saes.files import CFG, WEIGHTS, load
from deception_saes.saes.registry import build
from deception_saes.saes.tags import sandbagging_tags
from deception_saes.store.files import sha256_file

MODEL = "tinyllama-random"
LAYERS = (2, 4, 6)


@pytest.fixture(scope="module")
def runs(smoke, artifacts):
    return {n: run_cells(n, smoke, smoke.seed, artifacts) for n in (25, 32)}


@pytest.fixture(scope="module")
def tags(tiny_llama):
    return {tag.name: tag for tag in sandbagging_tags(MODEL, anatomy(tiny_llama.model).n_layers)}


@pytest.fixture(scope="module")
def saes(smoke, smoke_task):
    return saes_of(smoke, smoke_task)


@pytest.fixture(scope="module")
def folders(runs, saes):
    """Of every trained SAE, by tag."""
    return {tag.name: saes.bank(tag.layer).source / tag.name for tag in saes.tags}


@pytest.fixture(scope="module")
def halves(runs, saes):
    """The evaluating half by layer."""
    return {layer: held_out(saes, layer) for layer in LAYERS}


def rows(saes, half, positions):
    """Activations of the choosing or the evaluating half."""
    return read(activations(getattr(saes.task, half), saes.layers, positions))


def digests(folder):
    """SHA-256 of every file of every SAE in a bank's folder."""
    return {path.relative_to(folder).as_posix(): sha256_file(path)
            for path in folder.glob("v4_*/*")}


def value(runs, id):
    return runs[int(id[1:3])].results.value(id).value


def rows_of(runs, section, table, key):
    return runs[section].table(table).set_index(key)


# what is trained


def test_the_42_saes_of_the_release_are_trained_each_in_its_folder(runs, tags, saes, folders):
    assert len(tags) == 42
    assert [tag.name for tag in saes.tags] == list(tags)
    for layer in LAYERS:
        of_layer = {name for name, tag in tags.items() if tag.layer == layer}
        assert set(digests(train_saes(saes, layer))) == {
            f"{name}/{file}" for name in of_layer for file in (WEIGHTS, CFG)}
    assert list(runs[25].table("saes")["tag"].sort_values()) == sorted(tags)
    assert value(runs, f"s25.{MODEL}.n_saes") == 42
    for name, tag in tags.items():
        config = load(folders[name]).config
        assert (config.architecture, config.d_in, config.d_sae, config.k) == (
            tag.architecture, 64, 64 * tag.expansion, tag.k)


def test_an_sae_says_where_it_belongs_and_what_it_was_trained_on(tags, saes, folders):
    choosing = rows(saes, "choosing", "suffix")
    counts = {c: int((choosing.condition == c).sum()) for c in TRAIN_CONDITIONS}
    for name, tag in tags.items():
        cfg = json.loads((folders[name] / CFG).read_text(encoding="utf-8"))
        about = cfg["metadata"]
        assert about["model_name"] == saes.task.subject.model.name
        assert about["hook_name"] == f"model.layers.{tag.layer}"
        assert (about["hook_layer"], about["tag"]) == (tag.layer, name)
        assert (about["training_condition"], about["framing"]) == (
            tag.train_set, "two_shot_labelled")
        conditions = CONDITIONS_OF_TRAIN_SET[tag.train_set]
        assert about["training_rows"] == sum(counts[c] for c in conditions) > 0
        assert about["recipe"] == dataclasses.asdict(saes.recipe)
        assert about["context_size"] == choosing.position.max() + 1


def test_an_sae_is_trained_on_the_question_tokens_of_its_own_conditions(tags, saes, folders):
    # b_dec starts at the mean of the training rows, and four epochs move it little
    choosing = rows(saes, "choosing", "suffix")
    for name, tag in tags.items():
        start = untrained(saes, tag).weights["b_dec"]
        of = np.isin(choosing.condition, CONDITIONS_OF_TRAIN_SET[tag.train_set])
        mean = choosing.x_by_layer[tag.layer][torch.from_numpy(of)].mean(0)
        torch.testing.assert_close(start, mean, rtol=1e-4, atol=1e-4)
        trained = load(folders[name]).weights["b_dec"]
        assert 0 < float((trained - mean).norm()) < 0.3 * float(
            (choosing.x_by_layer[tag.layer] - mean).norm(dim=1).mean())


class Killed(Exception):
    pass


def test_a_killed_training_leaves_no_saes_and_goes_on_from_its_checkpoints(
        saes, artifacts, tmp_path, monkeypatch):
    undisturbed = digests(train_saes(saes, LAYERS[0]))
    shutil.copytree(artifacts / "models", tmp_path / "models")
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    whole, steps = training.train, []

    def killed(job, x_ND, seed, checkpoint, progress):
        done = []

        def report(batches):
            done.append(batches)
            if len(done) == 3 and "jumprelu" in job.name:
                raise Killed(job.name)

        return whole(job, x_ND, seed, checkpoint, report)

    monkeypatch.setattr(bank_module, "train", killed)
    with artifacts_at(tmp_path):
        call = train_saes.call(saes, LAYERS[0])
        with pytest.raises(Killed):
            call.make()
        assert not call.is_made
        assert not list(calls_tree().glob("train_saes-*"))
        (kept,) = (calls_tree() / "checkpoints").glob("train_saes-*")
        assert any("jumprelu" in path.name for path in kept.iterdir())
        before = {path.stem for path in kept.iterdir()}

        monkeypatch.setattr(bank_module, "train", lambda job, *args: whole(
            job, *args[:-1], lambda _: steps.append(job.name)))
        folder = call.make()
        assert call.is_made
        assert not kept.exists()
    for tag in saes.at(LAYERS[0]):
        epochs = steps.count(tag.name)
        assert epochs < saes.recipe.epochs if tag.name in before else epochs == 4
    assert digests(folder) == undisturbed


def test_saes_that_are_there_are_not_trained_again(runs, saes, monkeypatch):
    monkeypatch.setattr(bank_module, "train", lambda *_: pytest.fail("trained again"))
    for layer in LAYERS:
        found = saes.bank(layer)
        assert {tag.layer for tag in found.tags} == {layer}
        assert found.seconds.keys() == {tag.name for tag in found.tags}
        assert all(seconds > 0 for seconds in found.seconds.values())


@pytest.mark.parametrize("what", [
    "seed", "threads", "framing", "model", "questions", "recipe", "layer"])
def test_whatever_decides_the_saes_decides_their_training(smoke, saes, what):
    seed = 1 if what == "seed" else smoke.seed
    model = get("tinyneox-random") if what == "model" else smoke.models[0]
    framing = "two_shot_same_prefix" if what == "framing" else saes.task.framing.name
    task = task_of(smoke, seed, model, framing)
    if what == "threads":
        task = dataclasses.replace(task, subject=dataclasses.replace(task.subject, threads=2))
    if what == "questions":
        task = dataclasses.replace(task, questions=task.questions[:-1])
    recipe = dataclasses.replace(saes.recipe, epochs=5) if what == "recipe" else saes.recipe
    changed = dataclasses.replace(saes, task=task, recipe=recipe)
    assert (train_saes.call(changed, 4 if what == "layer" else 2).spec.hash
            != train_saes.call(saes, 2).spec.hash)


# §25


def test_every_number_of_25_is_there_and_finite(runs):
    table = runs[25].table("saes")
    assert not table.drop(columns="k").isna().any(axis=None)
    assert list(table["k"].notna()) == list(table["architecture"] == "topk")
    for found in runs[25].results.values:
        assert found.value is not None, found.id
        if found.id.endswith(("variance", "variance_last", "kl_recovered")) and found.tag:
            assert found.ci_low < found.value < found.ci_high, found.id


def test_cost_is_compared_at_matched_layer_and_condition(runs):
    table = runs[25].table("saes").query("expansion == 4").set_index(["layer", "train_set"])
    topk = table[(table["architecture"] == "topk") & (table["k"] == 64)]["seconds"]
    jumprelu = table[table["architecture"] == "jumprelu"]["seconds"]
    found = runs[25].results.value(f"s25.{MODEL}.timing.jumprelu_over_topk")
    assert found.n == len(topk) == 9
    assert found.value == pytest.approx((jumprelu / topk).median())


@pytest.mark.parametrize("name", [f"v4_{MODEL}_jumprelu_L2_mixed", f"v4_{MODEL}_gated_L4_mixed",
                                  f"v4_{MODEL}_topk_k256_L6_sandbagging_only"])
def test_explained_variance_is_that_of_the_evaluating_half(runs, tags, saes, folders, name):
    row, tag = rows_of(runs, 25, "saes", "tag").loc[name], tags[name]
    sae = load(folders[name])

    def explained(x):
        error = (x - sae.decode(sae.encode(x))).double().square().sum()
        return float(1 - error / (x.double() - x.double().mean(0)).square().sum())

    tokens = rows(saes, "evaluating", "suffix")
    x = tokens.x_by_layer[tag.layer]
    own = torch.from_numpy(np.isin(tokens.condition, CONDITIONS_OF_TRAIN_SET[tag.train_set]))
    last = rows(saes, "evaluating", "last").x_by_layer[tag.layer]
    assert row["explained_variance"] == pytest.approx(explained(x), abs=1e-5)
    assert row["explained_variance_own"] == pytest.approx(explained(x[own]), abs=1e-5)
    assert row["explained_variance_last"] == pytest.approx(explained(last), abs=1e-5)
    assert row["l0"] == pytest.approx(float((sae.encode(x) > 0).sum(1).double().mean()))


def test_no_question_stands_in_both_halves(saes):
    choosing, evaluating = (set(rows(saes, half, "suffix").question)
                            for half in ("choosing", "evaluating"))
    assert choosing
    assert evaluating
    assert not choosing & evaluating


# KL recovered


def signed_identity(b_dec, threshold):
    """An SAE with a feature for each sign of each coordinate."""
    size = len(b_dec)
    decoder = torch.cat([torch.eye(size), -torch.eye(size)])
    return build(SaeConfig("jumprelu", size, 2 * size), {
        "W_enc": decoder.T.contiguous(), "W_dec": decoder, "b_enc": torch.zeros(2 * size),
        "b_dec": b_dec, "threshold": torch.full((2 * size,), threshold)})


@pytest.mark.parametrize("layer", LAYERS)
def test_kl_recovered_is_one_for_the_identity_and_zero_for_the_mean(halves, layer):
    half, mean = halves[layer], halves[layer].mean_D
    replaced = half.divergence(mean.expand_as)
    assert (replaced > 1e-3).all()
    assert np.abs(half.divergence(lambda x: x)).max() < 1e-3 * replaced.min()
    perfect, none = (measure(signed_identity(b, t), "mixed", half)
                     for b, t in ((torch.zeros_like(mean), 0.0), (mean, 1e30)))
    assert perfect["kl"].sum() < 1e-3 * replaced.sum()
    for rows in ("tokens", "own", "last"):
        assert perfect[rows]["explained_variance"] == 1.0
        assert perfect[rows]["kept"] == pytest.approx(perfect[rows]["spread"])
    assert none["kl"] == pytest.approx(replaced, rel=1e-6)
    assert none["tokens"]["l0"] == 0.0


def test_divergence_is_that_of_a_hook_on_the_block_summed_over_conditions(halves):
    layer, question = 4, 3
    half, mean = halves[layer], halves[layer].mean_D
    model, asked = half.prompts.lm.model, half.prompts.asked

    def log_p(prompt, edited):
        def replace(_module, _args, out):
            if edited:
                out = out.clone()
                out[0, -1] = mean
            return out

        with anatomy(model).blocks[layer].register_forward_hook(replace), torch.no_grad():
            return torch.log_softmax(model(torch.tensor([list(prompt)])).logits[0, -1].double(), 0)

    total = 0.0
    for condition in TRAIN_CONDITIONS:
        clean, edited = (log_p(asked.prompts[condition][question], e) for e in (False, True))
        total += float((clean.exp() * (clean - edited)).sum())
    assert half.divergence(mean.expand_as)[question] == pytest.approx(total, rel=1e-3)


def test_features_that_are_never_active_are_counted_in_percent(runs, saes, halves, tags):
    tag = tags[f"v4_{MODEL}_topk_L2_mixed"]
    silent = measure(signed_identity(halves[2].mean_D, 1e30), "mixed", halves[2])
    found = quality_at(saes, 2, SWAPS)[tag.name] | silent
    table = measure_table((tag,), {tag.name: found}, clusters=None, draws=50,
                          seed=0).set_index("measure")
    assert (table.loc["dead_share", "value"], table.loc["dead_share", "unit"]) == (100.0, "percent")
    assert table.loc["kl_recovered", "value"] == pytest.approx(0.0, abs=1e-6)


def test_the_mean_is_that_of_the_training_rows(halves, saes):
    training_rows = rows(saes, "choosing", "suffix").x_by_layer
    for layer, half in halves.items():
        torch.testing.assert_close(half.mean_D, training_rows[layer].double().mean(0).float())


def test_a_swap_through_an_sae_is_that_of_the_swap_sections(runs, saes, tags):
    tag = tags[f"v4_{MODEL}_jumprelu_L4_mixed"]
    found = edit_effects(saes.task.evaluating, 4, TrainedSae(saes, tag), SWAPS, {}, draws=2,
                         draw_questions=None, conditions=("sandbag",))["sandbag"]
    for name, effects in found.items():
        of = runs[25].results.value(f"s25.{MODEL}.{tag.name}.swap.{name}")
        assert (of.value, of.condition) == (pytest.approx(effects.mean()), name)
    gap = runs[25].results.value(f"s25.{MODEL}.{tag.name}.swap.E6-E4")
    assert gap.value == pytest.approx((found["E6"] - found["E4"]).mean())
    assert gap.condition is None


# §32


def test_every_sae_and_baseline_is_in_the_table_of_32(runs, tags):
    table = runs[32].table("separation")
    assert sorted(table["dictionary"]) == sorted([*tags, *["raw", "components"] * 3])
    assert not table.loc[:, "layer":"d_picked_high"].isna().any(axis=None)
    assert table["untrained_d_max"].notna().sum() == 18
    assert (table["n_questions"] == len(runs[32].book.task.evaluating.questions)).all()
    assert (table["d_picked_low"] < table["d_picked_high"]).all()
    assert (table["d_max"] <= table["d_max_no_floor"] + 1e-12).all()
    assert (table["d_mean_live"] <= table["d_max"]).all()
    for found in runs[32].results.values:
        assert found.value is not None, found.id


def test_wins_are_those_of_the_matched_pairs(runs):
    table = runs[32].table("separation").query("expansion == 4")
    topk = table[(table["architecture"] == "topk") & (table["k"] == 64)]
    jumprelu = table[table["architecture"] == "jumprelu"]
    both = pd.merge(topk, jumprelu, on=["layer", "train_set"])
    assert len(both) == 9
    wins = {name: value(runs, f"s32.{MODEL}.wins.{name}") for name in ("topk", "jumprelu")}
    assert wins == {"topk": (both["d_max_x"] > both["d_max_y"]).sum(),
                    "jumprelu": (both["d_max_y"] > both["d_max_x"]).sum()}
    assert sum(wins.values()) <= 9
    by_topk = both[both["d_max_x"] > both["d_max_y"]]
    late = runs[32].results.value(f"s32.{MODEL}.wins.topk.late_mixed")
    of_8_blocks = by_topk.query("layer >= 4 and train_set == 'mixed'")
    assert late.value == len(of_8_blocks)
    assert (late.unit, late.n, late.claim) == (f"of {len(by_topk)}", len(by_topk), "S-26")
    ratio = runs[32].results.value(f"s32.{MODEL}.d_mean_ratio")
    assert ratio.value == pytest.approx((both["d_mean_all_y"] / both["d_mean_all_x"]).median())
    assert ratio.ci_low < ratio.value < ratio.ci_high
    compared = pd.concat([topk, jumprelu])
    assert value(runs, f"s32.{MODEL}.beats_untrained") == (
        compared["d_max"] > compared["untrained_d_max"]).sum()


@pytest.mark.parametrize("architecture", ["topk", "jumprelu"])
def test_the_outlier_is_the_studys(runs, tags, architecture):
    table = rows_of(runs, 32, "separation", "dictionary")
    name = f"v4_{MODEL}_{architecture}_L4_mixed"
    base, row = f"s32.{MODEL}.outlier.{architecture}", table.loc[name]
    assert runs[32].results.value(f"{base}.d_max").tag == name
    for id, column in (("d_max", "d_max"), ("null_95", "null_95"), ("p", "p"),
                       ("no_floor", "d_max_no_floor"), ("picked", "d_picked"),
                       ("untrained", "untrained_d_max")):
        assert value(runs, f"{base}.{id}") == pytest.approx(row[column], rel=1e-9)
    rank = list(table.loc[list(tags)]["d_max"].sort_values(ascending=False).index).index(name)
    assert value(runs, f"{base}.rank") == rank + 1


def wins(*rows):
    """The count of late wins from rows of layer, training set, TopK's and JumpReLU's d_max, in a
    model of 30 blocks."""
    table = pd.DataFrame([
        {"layer": layer, "train_set": train_set, "architecture": architecture, "d_max": d_max,
         "untrained_d_max": 1.0, "n_questions": 9.0}
        for layer, train_set, *of in rows
        for architecture, d_max in zip(("topk", "jumprelu"), of, strict=True)])
    found = [{"d_means": {"mixed": {"topk": np.array([1.0, 1.1, 0.9]),
                                    "jumprelu": np.array([2.0, 2.1, 2.2])}}}]
    counted = pair_table(table, found, blocks=30).set_index("measure").loc["wins.topk.late_mixed"]
    return counted["value"], counted["unit"]


def test_topks_wins_are_late_from_half_of_the_depth_on():
    assert wins((7, "mixed", 3, 2), (14, "mixed", 3, 2), (15, "mixed", 3, 2), (22, "mixed", 3, 2),
                (22, "genuine_only", 3, 2), (23, "mixed", 2, 3)) == (2, "of 5")
    assert wins((22, "mixed", 2, 3)) == (0, "of 0")


def test_the_outliers_contrast_is_paired_over_questions(runs):
    base = f"s32.{MODEL}.outlier."
    found = {of: runs[32].results.value(f"{base}topk_minus_jumprelu.{of}")
             for of in ("d_max", "picked")}
    for of, difference in found.items():
        assert difference.value == pytest.approx(value(runs, f"{base}topk.{of}")
                                                 - value(runs, f"{base}jumprelu.{of}"))
    assert (found["d_max"].claim, found["d_max"].ci_low) == (None, None)
    assert found["picked"].claim == "S-25"
    assert found["picked"].ci_low < found["picked"].ci_high


def test_the_contrast_takes_the_same_resamples_of_both():
    d_max = {"topk": 9.0, "jumprelu": 4.0}
    table = pd.DataFrame([{"layer": layer, "train_set": "mixed", "architecture": name,
                           "d_max": d_max[name], "untrained_d_max": 1.0, "n_questions": 9.0}
                          for layer in (7, 15) for name in d_max])
    drawn = np.concatenate([[3.0], np.linspace(0, 10, 101)])
    found = [{"rows": [{"layer": layer}], "picked": {"mixed": {"topk": drawn + shift,
                                                               "jumprelu": drawn}}}
             for layer, shift in ((7, 5.0), (15, 2.0))]
    of = topk_less_jumprelu(table, found, 15).set_index("measure")
    assert of["value"].to_dict() == {"d_max": 5.0, "picked": 2.0}
    ends = of.loc["picked", ["ci_low", "ci_high"]]
    assert list(ends) == pytest.approx([2.0, 2.0])  # both move together
    assert topk_less_jumprelu(table, found, 8).empty


def textbook(sandbag, genuine):
    pooled = np.sqrt((sandbag.var(axis=0, ddof=1) + genuine.var(axis=0, ddof=1)) / 2)
    return np.divide(sandbag.mean(axis=0) - genuine.mean(axis=0), pooled,
                     out=np.zeros_like(pooled), where=pooled > 0)


def test_d_of_a_dictionary_is_that_of_its_features_on_the_evaluating_half(
        runs, saes, folders, tags):
    table = runs[32].table("separation")
    name = f"v4_{MODEL}_jumprelu_L6_genuine_only"
    of_half = {half: rows(saes, half, "last") for half in ("evaluating", "choosing")}

    def expected(encode):
        d, often = {}, {}
        for half, of in of_half.items():
            features = encode(of.x_by_layer[6]).double().numpy()
            pair = [features[of.condition == c] for c in ("sandbag", "genuine")]
            often[half] = (features != 0).sum(axis=0) >= 0.05 * len(features)
            d[half] = np.abs(textbook(*pair))
        return d, often

    sae = load(folders[name])
    for prefix, found in (("", sae), ("untrained_", untrained(saes, tags[name]))):
        row = table[table["dictionary"] == name].iloc[0]
        d, often = expected(found.encode)
        assert row[f"{prefix}n_live"] == often["evaluating"].sum()
        assert row[f"{prefix}d_max_no_floor"] == pytest.approx(
            d["evaluating"][often["evaluating"]].max(), rel=1e-4)
        assert row[f"{prefix}d_mean_all"] <= d["evaluating"].mean() + 1e-6  # a floor may lower it
    raw = table[(table["dictionary"] == "raw") & (table["layer"] == 6)].iloc[0]
    d, _ = expected(lambda x: x)
    assert raw["d_max_no_floor"] == pytest.approx(d["evaluating"].max(), rel=1e-6)
    assert raw["d_picked"] == pytest.approx(d["evaluating"][d["choosing"].argmax()], rel=1e-6)
    assert value(runs, f"s32.{MODEL}.raw.L6.d_max") == pytest.approx(raw["d_max"])
