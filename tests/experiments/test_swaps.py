"""§24, §26 and §31 under the smoke profile: their effects against whole forward passes, and what
their notebooks report."""

import dataclasses

import numpy as np
import pytest
import torch
from cells import run_cells

from deception_saes.experiments import swaps
from deception_saes.experiments.saes import TrainedSae, UntrainedSae, with_frozen_decoder
from deception_saes.experiments.swaps import (
    PLAIN,
    SWAP_CONDITIONS,
    edit_effects,
    question_folds,
    run_clean,
)
from deception_saes.interventions.swap import (
    AddRandomDirection,
    AddRelabelledDifference,
    Draws,
    RandomFeatures,
    SwapRelabelled,
    SwapTop,
    Training,
    relabellings,
)
from deception_saes.models.anatomy import anatomy
from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel
from deception_saes.paper.book import open_section
from deception_saes.paper.shared import shared_calls
from deception_saes.saes.files import CFG, WEIGHTS
from deception_saes.saes.tags import is_swapped, sandbagging_tags

ABSENT = dataclasses.replace(get("pythia160m"), source=HubModel("nobody/nothing"))
CLAIMS = {24: "S-04", 26: "S-05", 31: "S-06"}
LAYERS = (2, 4, 6)
DRAWN = {"E1": SwapRelabelled(), "E1Δ": AddRelabelledDifference(), "E3": RandomFeatures(),
         "random_direction": AddRandomDirection()}


def row_of(table, **where):
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    assert len(table) == 1
    return table.iloc[0]


@pytest.fixture(scope="module")
def runs(smoke, artifacts):
    return {n: run_cells(n, smoke, smoke.seed, artifacts) for n in CLAIMS}


@pytest.fixture(scope="module")
def prompts(runs, smoke):
    """By section: the model, the evaluating half run clean, and the part of it for drawn edits."""
    found = {}
    for n, run in runs.items():
        every, few = (run_clean(run.book.task.evaluating, count)
                      for count in (None, smoke.swap_draw_questions))
        found[n] = (every.lm, every, few)
    return found


def base(smoke, section):
    return f"s{section}.{smoke.swaps[section][0]}"


def trained(run, architecture, layer):
    """The section's SAE that is swapped."""
    (tag,) = (tag for tag in run.book.saes.at(layer)
              if is_swapped(tag) and tag.architecture == architecture)
    return TrainedSae(run.book.saes, tag)


def swapped_tags(slug):
    return {tag.name for tag in sandbagging_tags(slug, 8) if is_swapped(tag)}


@torch.no_grad()
def whole(lm, prompt, layer, x_ND=None):
    """resid_post of the layer at the last position of a whole pass, and log-probabilities of the
    next token, [N, V], with that residual replaced by each of x_ND."""
    seen = []

    def hook(_, args, out):
        out = out.clone()
        if x_ND is not None:
            out[:, -1] = x_ND
        seen.append(out[0, -1])
        return out

    ids = torch.tensor([list(prompt)] * (1 if x_ND is None else len(x_ND)))
    with anatomy(lm.model).blocks[layer].register_forward_hook(hook):
        logits_NV = lm.model(ids, use_cache=False).logits[:, -1].double()
    return seen[0], torch.log_softmax(logits_NV, dim=-1)


def edits_by_hand(sae, residuals_TD, condition, x_D, other_D):
    """The edits without draws that need no ranking of features, by NumPy."""
    genuine, sandbag = (residuals_TD[c].numpy() for c in ("genuine", "sandbag"))
    features = [sae.encode(torch.from_numpy(of)).numpy() for of in (genuine, sandbag)]
    decoder, bias = sae.weights["W_dec"].numpy(), sae.weights["b_dec"].numpy()
    m_G, m_S = (np.median(of, axis=0) for of in features)
    mean_G, mean_S = (of.mean(axis=0) for of in features)
    x = x_D.numpy()
    in_saes = {"E2": sae.encode(x_D).numpy() @ decoder + bias, "E6": m_G @ decoder + bias,
               "E4": m_S @ decoder + bias, "E6Δ": x + (m_G - m_S) @ decoder,
               "E4Δ": x - (m_G - m_S) @ decoder, "E6Δ.0.25": x + (m_G - m_S) @ decoder / 4,
               "E6.0.75": (0.75 * m_G + 0.25 * m_S) @ decoder + bias,
               "E6.mean": mean_G @ decoder + bias, "E4Δ.mean": x - (mean_G - mean_S) @ decoder}
    plain = {"patch": other_D.numpy(), "median_residual": np.median(genuine, axis=0),
             "mean_difference": x + genuine.mean(axis=0) - sandbag.mean(axis=0)}
    return in_saes, plain


@pytest.mark.parametrize(("section", "architecture", "depth", "layer"), [
    (24, "jumprelu", "D8", 4), (26, "gated", "D8", 4), (31, "topk", "D12", 6)])
def test_effects_are_those_of_whole_forward_passes_with_a_hook(
        runs, prompts, smoke, section, architecture, depth, layer):
    lm, every, few = prompts[section]
    asked, of = every.asked, trained(runs[section], architecture, layer)
    sae, others = of.load(), {"U6Δ": UntrainedSae(of.saes, of.tag).load()}
    if section == 24:
        others["U6Δ.frozen"] = with_frozen_decoder(of.saes, of.tag).load()
    table = runs[section].table("effects")
    at = {c: torch.stack([whole(lm, prompt, layer)[0] for prompt in asked.prompts[c]])
          for c in SWAP_CONDITIONS}
    half = runs[section].book.task.evaluating
    folds = question_folds(dict(zip(asked.ids, half.clusters, strict=True)), smoke.seed)
    fold_Q = np.array([folds[id] for id in asked.ids])
    halves_NQ = relabellings(fold_Q, smoke.swap_draws, smoke.seed)
    for condition, other in zip(SWAP_CONDITIONS, reversed(SWAP_CONDITIONS), strict=True):
        found = {}
        for q, prompt in enumerate(asked.prompts[condition]):
            rows = np.flatnonzero(fold_Q != fold_Q[q])
            training = Training(sae, at["genuine"][rows], at["sandbag"][rows])
            x_D = at[condition][q]
            in_saes, plain = edits_by_hand(sae, {c: of[rows] for c, of in at.items()}, condition,
                                           x_D, at[other][q])
            top = {"E5.4": SwapTop(4)(training, x_D[None], at[other][q])[0].numpy()}
            step = in_saes["E6Δ"] - x_D.numpy()
            mean = plain["mean_difference"] - x_D.numpy()
            top["mean_difference.norm"] = x_D.numpy() + mean * np.linalg.norm(
                step) / np.linalg.norm(mean)
            for edit, dictionary in others.items():
                in_other, _ = edits_by_hand(dictionary, {c: of[rows] for c, of in at.items()},
                                            condition, x_D, at[other][q])
                step_in_other = in_other["E6Δ"] - x_D.numpy()
                top[edit] = x_D.numpy() + step_in_other * np.linalg.norm(
                    step) / np.linalg.norm(step_in_other)
            ours = {edit: torch.from_numpy(np.float32(of))[None]
                    for edit, of in {**in_saes, **plain, **top}.items()}
            if asked.ids[q] in few.asked.ids:
                draws = Draws(halves_NQ[:, rows], smoke.seed, (f"L{layer}",))
                ours |= {edit: of(training, x_D[None], draws)[:, 0]
                         for edit, of in DRAWN.items()}
            _, log_p = whole(lm, prompt, layer, torch.cat([x_D[None], *ours.values()]))
            p_N = 100 * log_p[:, list(asked.correct[condition][q])].exp().sum(1)
            of_edit = dict(zip(ours, p_N[1:].split([len(of) for of in ours.values()]),
                               strict=True))
            for edit, p in of_edit.items():
                found.setdefault(edit, []).append(float((p - p_N[0]).mean()))
        assert [len(found["E6"]), len(found["E1"])] == [len(asked.ids), smoke.swap_draw_questions]
        assert max(abs(np.mean(of)) for of in found.values()) > 1e-2
        run_on = set(table[table["prompts"] == condition]["intervention"])
        found = {edit: of for edit, of in found.items() if edit in run_on}
        if section == 31:  # has what the claim needs
            assert len(found) == (9 if condition == "sandbag" else 7)
        for edit, by_question in found.items():
            name = PLAIN if edit in plain or edit == "random_direction" else architecture
            row = row_of(table, architecture=name, depth=depth, prompts=condition,
                         intervention=edit)
            assert row["effect"] == pytest.approx(np.mean(by_question), abs=2e-5), edit
            assert (row["n"], row["layer"]) == (len(by_question), layer)


@pytest.mark.parametrize("section", CLAIMS)
def test_the_clean_residual_as_an_edit_changes_nothing(prompts, section):
    _, every, few = prompts[section]
    for some in (every, few):
        for condition in SWAP_CONDITIONS:
            for layer in LAYERS:
                x_NQD = some.runs[condition].residual(layer).expand(3, -1, -1)
                assert some.clean[condition].min() > 0
                np.testing.assert_allclose(some.effects(condition, layer, x_NQD), 0,
                                           atol=1e-4 * some.clean[condition].max())


def test_p_correct_counts_the_tokens_of_its_own_condition(prompts):
    lm, every, _ = prompts[24]
    other = [(7, 8)] * len(every.asked.ids)  # else those of both conditions are the same
    asked = dataclasses.replace(every.asked, correct={**every.asked.correct, "sandbag": other})
    x_NQD = every.runs["sandbag"].residual(4)[None]
    found_NQ = dataclasses.replace(every, asked=asked).p_correct("sandbag", 4, x_NQD)
    for q, prompt in enumerate(asked.prompts["sandbag"][:3]):
        _, log_p = whole(lm, prompt, 4)
        assert found_NQ[0, q] == pytest.approx(100 * float(log_p[0, [7, 8]].exp().sum()), rel=1e-3)


@pytest.mark.parametrize(("section", "architecture", "depth", "layer"), [
    (24, "jumprelu", "D8", 4), (31, "topk", "D12", 6)])
def test_ten_features_are_learned_from_the_choosing_half_and_run_on_the_other(
        runs, prompts, section, architecture, depth, layer):
    lm, every, _ = prompts[section]
    of, namespace = trained(runs[section], architecture, layer), runs[section].namespace
    choosing = runs[section].book.task.choosing.prompts
    assert not set(choosing.ids) & set(every.asked.ids)
    learned_from = [torch.stack([whole(lm, prompt, layer)[0] for prompt in choosing.prompts[c]])
                    for c in ("genuine", "sandbag")]
    trained_sae, other = of.load(), namespace["ten_of_other"]
    through = {name: (edit, trained_sae) for name, edit in namespace["ten"].items()}
    through["ten.untrained"] = other, UntrainedSae(of.saes, of.tag).load()
    if section == 24:
        through["ten.frozen"] = other, with_frozen_decoder(of.saes, of.tag).load()
    found = {name: [] for name in through}
    for prompt, tokens in zip(every.asked.prompts["sandbag"], every.asked.correct["sandbag"],
                              strict=True):
        x_D, _ = whole(lm, prompt, layer)
        edited = [edit(Training(sae, *learned_from, trained_sae), x_D[None], x_D[None])
                  for edit, sae in through.values()]
        _, log_p = whole(lm, prompt, layer, torch.cat([x_D[None], *edited]))
        p_N = 100 * log_p[:, list(tokens)].exp().sum(1)
        for name, p in zip(through, p_N[1:], strict=True):
            found[name].append(float(p - p_N[0]))
    (cell,) = [cell for cell in namespace["chosen"] if (cell.name, cell.depth) == (
        architecture, depth)]
    assert cell.effects.keys() == found.keys()
    for name, by_question in found.items():
        np.testing.assert_allclose(cell.effects[name][0], by_question, atol=2e-4, err_msg=name)
    assert len({round(np.mean(of), 6) for of in found.values()}) == len(found)


@pytest.mark.parametrize("section", CLAIMS)
def test_whether_ten_features_are_the_cause_is_asked_of_every_sae(runs, smoke, section):
    table = runs[section].table("specific")
    asked = table.groupby(["architecture", "depth"])["against"].agg(set)
    assert len(asked) == 7
    for (architecture, depth), against in asked.items():
        frozen = {"frozen"} if (section, architecture, depth) == (24, "jumprelu", "D8") else set()
        assert against == {"patch", "untrained", "matched", "components", "removed"} | frozen
    row, key = row_of(table, architecture="gated", against="patch"), base(smoke, section)
    found = runs[section].results.value(f"{key}.specific.gated.D8.patch")
    assert (found.value, found.ci_low, found.n) == (
        pytest.approx(row["mean"]), pytest.approx(row["ci_low"]), row["n"])
    count = runs[section].results.value(f"{key}.count.all.specific.not_specific")
    of_place = table.drop_duplicates(["architecture", "depth"])
    assert count.value == (of_place["verdict"] == "not feature-specific").sum()
    assert count.n == 7


class Perturbed:
    """A clean run whose residual of one question reads differently."""

    def __init__(self, run, question):
        self.run, self.question = run, question
        self.clean_QD = run.clean_QD

    def residual(self, layer):
        x_QD = self.run.residual(layer).clone()
        x_QD[self.question] += 3 * x_QD.std()
        return x_QD

    def final_hidden(self, layer, x_NQD):
        return self.run.final_hidden(layer, x_NQD)


def test_the_edit_of_a_question_is_not_learned_from_its_own_residual(
        runs, prompts, smoke, monkeypatch):
    _, every, few = prompts[24]
    question = every.asked.ids.index(few.asked.ids[2])
    same_fold = every.fold_Q == every.fold_Q[question]
    same_fold_few = few.fold_Q == every.fold_Q[question]
    half, sae = runs[24].book.task.evaluating, trained(runs[24], "jumprelu", 4)
    edits, on_sandbag, drawn, plain, directions = (runs[24].namespace[name] for name in (
        "edits", "on_sandbag", "drawn", "without_sae", "random_direction"))
    how = {"draws": 4, "draw_questions": smoke.swap_draw_questions}

    def effects(every):
        monkeypatch.setattr(swaps, "run_clean", lambda _, count: few if count else every)
        through = edit_effects.function(half, 4, sae, edits | on_sandbag, drawn, **how)
        without = edit_effects.function(half, 4, None, plain, directions, **how)
        return {c: {**through[c], **without[c]} for c in SWAP_CONDITIONS}

    before, reached = effects(every), set()
    for condition in SWAP_CONDITIONS:
        moved = {**every.runs, condition: Perturbed(every.runs[condition], question)}
        after = effects(dataclasses.replace(every, runs=moved))
        for of, effects_of in before.items():
            for edit, effect_NQ in effects_of.items():
                on_few = effect_NQ.shape[1] == len(few.asked.ids)
                mine = same_fold_few if on_few else same_fold
                changed_Q = (after[of][edit] != effect_NQ).any(0)
                # what is put in may hold the question's own residual, never what is learned
                if of == condition and not on_few:
                    mine = mine & (np.arange(len(mine)) != question)
                if edit == "patch":
                    assert changed_Q.sum() == (of != condition), (condition, of)
                    continue
                assert not changed_Q[mine].any(), (condition, of, edit)
                constant = edit in {"E6", "E4", "E1", "E3", "E6.mean", "E6.0.5"}
                if of == condition and constant and not on_few:
                    assert not changed_Q[question], (condition, of, edit)
                if changed_Q[~(same_fold_few if on_few else same_fold)].any():
                    reached.add(edit)
    # of questions in other folds it is learned
    assert reached >= {"E6", "E4", "E6Δ", "E4Δ", "E6Δ.mean", "E1", "E1Δ", "E3", "E5.4",
                       "median_residual", "mean_difference", "random_direction"}


@pytest.mark.parametrize("section", CLAIMS)
def test_every_intervention_is_run_at_every_depth(
        runs, prompts, smoke, section):
    _, every_question, few = prompts[section]
    table = runs[section].table("effects")
    of = table.groupby(["architecture", "depth", "prompts"])["intervention"].agg(set)
    depths = ("D4", "D8", "D12")
    architectures = {(PLAIN, d) for d in depths} | {("jumprelu", d) for d in depths} | {
        ("topk", d) for d in depths} | {("gated", "D8")}
    assert set(of.index) == {(*cell, c) for cell in architectures for c in SWAP_CONDITIONS}
    plain = {"patch", "median_residual", "mean_difference"}
    every = {"E2", "E6", "E4", "E6Δ", "E4Δ", "E5.1", "E5.4", "E5.16", "E5.64",
             "mean_difference.norm", "U6Δ"}
    drawn, directions, varied = {"E1", "E1Δ", "E3"}, {"random_direction"}, set()
    if section == 24:
        varied = {*(f"{e}.{dose}" for e in ("E6", "E6Δ") for dose in (0.25, 0.5, 0.75)),
                  *(f"{e}.mean" for e in ("E6", "E4", "E6Δ", "E4Δ"))}
    if section == 31:  # what the claim needs
        plain, drawn, directions = {"patch"}, {"E1", "E1Δ"}, set()
        every = {"E2", "E6", "E4", "E6Δ", "mean_difference.norm", "U6Δ"}
    for (name, depth, condition), edits in of.items():
        # trained anew in §24 alone
        frozen = {"U6Δ.frozen"} if (section, name, depth) == (24, "jumprelu", "D8") else set()
        on_both = plain if name == PLAIN else every | frozen
        on_sandbag = directions if name == PLAIN else drawn | varied
        assert edits == on_both | (on_sandbag if condition == "sandbag" else set())
    drawn = table["intervention"].isin({"E1", "E1Δ", "E3", "random_direction"})
    assert (table["draws"] == np.where(drawn, smoke.swap_draws, 1)).all()
    assert (table["n"] == np.where(drawn, len(few.asked.ids), len(every_question.asked.ids))).all()
    assert len(few.asked.ids) == smoke.swap_draw_questions < len(every_question.asked.ids)


def test_each_framing_and_model_has_saes_of_its_own(runs):
    kept = {n: {path.name: path for layer in LAYERS
                for path in run.book.saes.bank(layer).source.iterdir() if path.is_dir()}
            for n, run in runs.items()}
    assert kept[24].keys() == {tag.name for tag in sandbagging_tags("tinyllama-random", 8)}
    assert kept[26].keys() == swapped_tags("tinyllama-random")
    assert kept[31].keys() == swapped_tags("tinyneox-random")
    assert len(kept[26]) == len(kept[31]) == 7
    for folders in kept.values():
        for folder in folders.values():
            assert {file.name for file in folder.iterdir()} == {CFG, WEIGHTS}
    one, other = (trained(runs[n], "jumprelu", 4).load() for n in (24, 26))
    assert not torch.equal(one.weights["W_dec"], other.weights["W_dec"])


@pytest.mark.parametrize("section", CLAIMS)
def test_the_claim_is_answered_by_the_claimed_gap_that_reaches_farthest(runs, smoke, section):
    results, key = runs[section].results, base(smoke, section)
    (found,) = (value for value in results.values if value.claim)
    assert (found.claim, found.id) == (CLAIMS[section], f"{key}.headline.jumprelu")
    assert found.model == smoke.swaps[section][0]
    assert found.framing == smoke.swaps[section][1]
    table = runs[section].table("gaps")
    claimed = table[table["gap"].isin(["E6-E4", "E6-E1"]) & (table["prompts"] == "sandbag")
                    & (table["architecture"] == "jumprelu")]
    assert len(claimed) == 6
    told = claimed[claimed["verdict"] != "uninformative"]
    assert len(told) > 0
    row = told.loc[np.maximum(told["low90"].abs(), told["high90"].abs()).idxmax()]
    assert [found.value, found.ci_low, found.ci_high] == pytest.approx(
        [row["mean"], row["low90"], row["high90"]])
    assert (found.layer, found.n) == (row["layer"], row["n"])
    for name in ("detectable", "n_published"):
        assert results.value(f"{found.id}.{name}").value == pytest.approx(row[name])


@pytest.mark.parametrize("section", CLAIMS)
def test_the_margin_is_a_tenth_of_the_clean_difference(runs, prompts, smoke, section):
    _, every, _ = prompts[section]
    margin = runs[section].results.value(f"{base(smoke, section)}.headline.jumprelu.margin")
    genuine, sandbag = (float(every.clean[c].mean()) for c in ("genuine", "sandbag"))
    assert margin.value == pytest.approx(0.1 * (genuine - sandbag), rel=1e-6)
    table = runs[section].table("effects")
    assert row_of(table, architecture=PLAIN, depth="D4", prompts="genuine",
                  intervention="patch")["clean"] == pytest.approx(genuine)
    if margin.value <= 0:
        words = set(runs[section].table("gaps")["verdict"])
        assert words <= {"inconclusive", "uninformative"}


def test_the_headline_gaps_are_measured_with_every_training_seed(runs, smoke):
    table = runs[24].table("seeds")
    of = table.groupby("gap")
    assert set(of.groups) == {"E6-E4", "E6-E1", "E6-half", "E1-half"}
    assert len(table) == 4 * smoke.training_seeds
    assert set(table["layer"]) == {4}
    for gap, rows in of:
        assert sorted(rows["training"]) == list(range(smoke.training_seeds))
        assert rows["mean"].nunique() == smoke.training_seeds
        for id, expected in (("seeds", rows["mean"].mean()), ("seeds_sd", rows["mean"].std())):
            found = runs[24].results.value(f"{base(smoke, 24)}.{id}.{gap}")
            assert (found.value, found.n) == (pytest.approx(expected), smoke.training_seeds)
    for n in (26, 31):
        assert not [value for value in runs[n].results.values if ".seeds" in value.id]


def test_l0_and_norms_of_the_centres_are_those_of_the_whole_half(runs, prompts):
    _, every, _ = prompts[26]
    sae = trained(runs[26], "topk", 6).load()
    features = {c: sae.encode(every.runs[c].residual(6)).numpy() for c in SWAP_CONDITIONS}
    row = row_of(runs[26].table("centres"), architecture="topk", depth="D12")
    assert row["l0_prompt"] == pytest.approx((features["sandbag"] > 0).sum(1).mean())
    for letter, c in (("G", "genuine"), ("S", "sandbag")):
        assert row[f"l0_m_{letter}"] == (np.median(features[c], axis=0) > 0).sum()
    assert row["l0_mean_G"] == (features["genuine"].mean(0) > 0).sum()
    decoder = sae.weights["W_dec"].numpy()
    for name, centre in (("median", np.median), ("mean", np.mean)):
        step = (centre(features["genuine"], axis=0) - centre(features["sandbag"], axis=0)) @ decoder
        assert row[f"step_{name}"] == pytest.approx(np.linalg.norm(step), rel=1e-4)


def test_the_step_is_set_against_the_mean_difference_of_the_folds_that_edits_are_learned_from(
        runs, prompts):
    _, every, _ = prompts[24]
    table, of = runs[24].table("steps"), trained(runs[24], "jumprelu", 4)
    dictionaries = {"trained": of, "untrained": UntrainedSae(of.saes, of.tag),
                    "frozen decoder": with_frozen_decoder(of.saes, of.tag)}
    at = {c: every.runs[c].residual(4) for c in SWAP_CONDITIONS}
    for name, dictionary in dictionaries.items():
        sae = dictionary.load()
        features = {c: sae.encode(x_QD).numpy() for c, x_QD in at.items()}
        found = []
        for fold in range(5):
            rows = every.fold_Q != fold
            step = (np.median(features["genuine"][rows], axis=0) - np.median(
                features["sandbag"][rows], axis=0)) @ sae.weights["W_dec"].numpy()
            mean = (at["genuine"][rows].mean(0) - at["sandbag"][rows].mean(0)).numpy()
            norm, of_mean = np.linalg.norm(step), np.linalg.norm(mean)
            found.append((step @ mean / (norm * of_mean), norm / of_mean))
        row = row_of(table, architecture="jumprelu", depth="D8", sae=name)
        assert [row["cosine"], row["norm_ratio"]] == pytest.approx(np.mean(found, axis=0), rel=1e-4)
    assert table.groupby("sae").size().to_dict() == {
        "trained": 7, "untrained": 7, "frozen decoder": 1}
    assert table["cosine"].nunique() == 15
    key = f"s24.{runs[24].book.model.slug}.jumprelu.D8.step"
    for id, sae, column in (("cosine", "trained", "cosine"),
                            ("untrained.norm_ratio", "untrained", "norm_ratio"),
                            ("frozen_decoder.cosine", "frozen decoder", "cosine")):
        row = row_of(table, architecture="jumprelu", depth="D8", sae=sae)
        assert runs[24].results.value(f"{key}.{id}").value == pytest.approx(row[column])


def test_a_frozen_decoder_is_that_of_the_start_and_its_encoder_is_trained(runs):
    of = trained(runs[24], "jumprelu", 4)
    start, frozen, learned = (sae.load().weights for sae in (
        UntrainedSae(of.saes, of.tag), with_frozen_decoder(of.saes, of.tag), of))
    assert torch.equal(frozen["W_dec"], start["W_dec"])
    assert not torch.equal(frozen["W_enc"], start["W_enc"])
    assert not torch.equal(learned["W_dec"], start["W_dec"])


def test_at_all_positions_what_is_swapped_in_is_learned_from_the_last_ones_of_other_folds(
        runs, prompts, smoke):
    lm, every, _ = prompts[24]
    few = run_clean(runs[24].book.task.evaluating, 16)  # as many as the cell asks
    sae = trained(runs[24], "jumprelu", 4).load()
    features = {c: sae.encode(every.runs[c].residual(4)).numpy() for c in SWAP_CONDITIONS}
    decoder, bias = (sae.weights[name].numpy() for name in ("W_dec", "b_dec"))
    table = runs[24].table("all_positions").set_index(["positions", "prompts", "intervention"])
    effects = {}
    for q, (id, prompt) in enumerate(zip(few.asked.ids, few.asked.prompts["sandbag"],
                                         strict=True)):
        rows = every.fold_Q != every.fold_Q[every.asked.ids.index(id)]
        for name, side in (("E2", None), ("E6", "genuine"), ("E4", "sandbag")):
            for spare in (False, True):

                def hook(_, args, out, side=side, spare=spare, rows=rows):
                    edited = (sae.decode(sae.encode(out)) if side is None else torch.from_numpy(
                        np.median(features[side][rows], axis=0) @ decoder + bias).expand_as(out))
                    return torch.cat([out[:, :1], edited[:, 1:]], dim=1) if spare else edited

                with torch.no_grad(), anatomy(lm.model).blocks[4].register_forward_hook(hook):
                    logits_V = lm.model(torch.tensor([list(prompt)])).logits[0, -1].double()
                p = logits_V.softmax(-1)[list(few.asked.correct["sandbag"][q])].sum()
                effects.setdefault(("but_first" if spare else "all", "sandbag", name), []).append(
                    100 * float(p) - few.clean["sandbag"][q])
    for key, of in effects.items():
        row = table.loc[key]
        assert (row["n"], row["layer"]) == (16, 4)
        assert row["effect"] == pytest.approx(np.mean(of), abs=2e-5), key
    found = runs[24].results.value(f"{base(smoke, 24)}.but_first.E6")
    assert found.value == pytest.approx(np.mean(effects["but_first", "sandbag", "E6"]), abs=2e-5)


def test_of_a_stand_in_the_layers_are_those_at_tinyllamas_depths_by_the_studys_names(
        smoke, artifacts):
    of_primary = {**smoke.swaps, 31: ("tinyllama-random", "two_shot_labelled")}
    run = run_cells(31, dataclasses.replace(smoke, swaps=of_primary), smoke.seed, artifacts)
    assert run.book.layers == (1, 4, 5)  # floor of 5, 11 and 16 of 22, in 8 layers
    found = run.table("effects")
    assert dict(zip(found["depth"], found["layer"], strict=True)) == {"D4": 1, "D8": 4, "D12": 5}
    assert set(found["architecture"]) == {PLAIN, "jumprelu", "topk"}
    (answer,) = (value for value in run.results.values if value.claim)
    assert (answer.claim, answer.model) == ("S-06", "tinyllama-random")
    assert "stand-in for TinyLlama" in run.book.described_subject
    assert "L1, L4, L5" in run.book.described_subject


def test_the_saes_of_a_stand_in_are_units_of_their_own(smoke, artifacts):
    profile = dataclasses.replace(
        smoke, swaps={**smoke.swaps, 31: ("tinyllama-random", "two_shot_labelled")})
    first, other = (shared_calls(number, profile, smoke.seed) for number in (24, 31))
    assert first.keys() & other.keys() == {
        "ask-tinyllama-random-two_shot_labelled",
        "activations-tinyllama-random-two_shot_labelled-choosing-last"}
    assert len(other) == 6


# What cannot be run


def why_not_run(section, profile):
    book = open_section(section, profile, profile.seed)
    assert (book.results.status, book.results.values) == ("not run", [])
    assert shared_calls(section, profile, profile.seed) == {}
    return book.results.reason


def test_a_section_that_the_profile_has_no_model_for_is_not_run(smoke):
    swaps = {n: smoke.swaps[n] for n in (24, 26)}
    reason = why_not_run(31, dataclasses.replace(smoke, swaps=swaps))
    assert "smoke" in reason
    assert "§31" in reason
    assert reason.endswith("; stand-in: random tiny Llama in §24 and §26")


def test_a_model_that_the_profile_does_not_list_is_not_run(smoke):
    swaps = {26: ("smollm2", "two_shot_labelled")}
    reason = why_not_run(26, dataclasses.replace(smoke, swaps=swaps))
    assert "no model for §26" in reason
    assert "stand-in" not in reason  # §26 itself is none


def test_a_model_that_cannot_be_had_is_not_run_and_its_reason_given(smoke, empty_hub_cache):
    profile = dataclasses.replace(smoke, models=(*smoke.models, ABSENT),
                                  swaps={31: ("pythia160m", "two_shot_labelled")})
    assert "nobody/nothing" in (reason := why_not_run(31, profile))
    assert "stand-in" not in reason
    profile = dataclasses.replace(profile, swaps={**smoke.swaps, **profile.swaps})
    assert why_not_run(31, profile) == f"{reason}; stand-in: random tiny Llama in §24 and §26"
