"""From effects to what is said of them, and §24, §26 and §31 of the smoke profile."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from deception_saes.analysis.equivalence import questions_needed
from deception_saes.interventions.swap import (
    Training,
    drawn_edits,
    random_directions,
    relabellings,
    single_edits,
)
from deception_saes.models.anatomy import anatomy
from deception_saes.models.load import load
from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel
from deception_saes.saes.files import CFG, WEIGHTS
from deception_saes.saes.files import load as load_sae
from deception_saes.saes.tags import sandbagging_tags
from deception_saes.sections import swap_section
from deception_saes.sections.halves import half_of
from deception_saes.sections.run import run_section
from deception_saes.sections.swap import (
    CONDITIONS,
    FOLDS,
    plain_effects,
    question_folds,
    run_clean,
    sae_effects,
)
from deception_saes.sections.swap_tables import (
    PLAIN,
    Cell,
    Counting,
    effect_table,
    gap_name,
    gap_table,
    gaps,
    margin_of,
)
from deception_saes.sections.trained import is_swapped

ABSENT = dataclasses.replace(get("pythia160m"), source=HubModel("nobody/nothing"))
CLAIMS = {24: "S-04", 26: "S-05", 31: "S-06"}
LAYERS = (2, 4, 6)
HOW = Counting(margin=1.0, draws=500, seed=0)
N = 12


def with_task(artifacts, folder):
    """A tree of artifacts that holds the models and §23, and nothing else."""
    shutil.copytree(artifacts / "models", folder / "models")
    for pattern in (".done/s23-*", "results/s23.json", "figures/s23_*"):
        for path in (artifacts / "smoke").glob(pattern):
            to = folder / path.relative_to(artifacts)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
    return folder


# Tables, of effects that are made up


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def cell(name="topk", depth=8, condition="sandbag", clean=20.0, few=range(N), **effects):
    """Each effect: one number, one a question, or [draws, questions]."""
    given = {edit: np.broadcast_to(of, (1, N)) if np.ndim(of) < 2 else np.asarray(of)
             for edit, of in effects.items()}
    return Cell(name, depth, depth // 2, condition, given, np.full(N, clean), np.array(few))


def beside(*cells, patch=10.0, clean=50.0):
    """With what tables look up: the edits without an SAE, and genuine prompts."""
    depths = {of.depth for of in cells}
    swapped = {(of.name, of.depth) for of in cells}
    there = {(of.name, of.depth, of.condition) for of in cells}
    others = [cell(PLAIN, depth, condition, patch=patch) for depth in depths
              for condition in CONDITIONS]
    others += [cell(*of, "genuine", clean, E2=0.0) for of in swapped
               if (*of, "genuine") not in there]
    return [*others, *cells]


def row_of(table, **where):
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    assert len(table) == 1
    return table.iloc[0]


@pytest.mark.parametrize(("gap", "name"), [
    ("E6-E1", "E6 − E1"), ("E6Δ-E1Δ", "E6Δ − E1Δ"), ("E6-half", "E6 − (E4 + E6) / 2"),
    ("mean_difference-random_direction", "mean difference − random direction")])
def test_a_gap_is_named_as_it_stands_on_pages(gap, name):
    assert gap_name(gap) == name


def test_the_gaps_are_those_of_the_issue():
    every = cell(E6=1, E4=1, E2=1, E6Δ=1, E4Δ=1, E1=noise(4, N), E1Δ=noise(4, N), E3=noise(4, N))
    assert set(gaps(every)) == {"E6-E4", "E6-E1", "E6-half", "E1-half", "E6Δ-E1Δ", "E6Δ-E4Δ",
                                "E6-E3", "E6-E2"}
    assert set(gaps(cell(PLAIN, patch=1, mean_difference=1, random_direction=noise(4, N)))) == {
        "mean_difference-random_direction"}
    assert set(gaps(cell(E6=1, E4=1))) == {"E6-E4", "E6-half"}


def test_a_gap_is_a_difference_of_each_question_averaged_over_draws():
    swap_Q, back_Q = noise(N), noise(N, seed=1)
    few, drawn_NQ = [1, 4, 7], noise(6, 3, seed=2)
    found = {name: gap.per_question for name, gap in gaps(
        cell(few=few, E6=swap_Q, E4=back_Q, E1=drawn_NQ)).items()}
    expected = {"E6-E4": swap_Q - back_Q, "E6-half": (swap_Q - back_Q) / 2,
                "E6-E1": swap_Q[few] - drawn_NQ.mean(0),
                "E1-half": drawn_NQ.mean(0) - (swap_Q + back_Q)[few] / 2}
    assert found.keys() == expected.keys()
    for name, gap_Q in found.items():
        np.testing.assert_allclose(gap_Q, expected[name], err_msg=name)


def test_the_empirical_p_counts_the_draws_that_reach_as_far():
    few = [0, 1]
    swap_Q = np.full(N, 100.0)
    swap_Q[few] = 2.0, 4.0
    # means over the two questions: 1, 3, 3.5, -8; the swap's is 3
    drawn_NQ = [[0.0, 2.0], [6.0, 0.0], [3.0, 4.0], [-8.0, -8.0]]
    found = gaps(cell(few=few, E6=swap_Q, E4=0.0, E1=drawn_NQ))
    assert found["E6-E1"].empirical_p == pytest.approx((1 + 2) / (1 + 4))
    assert found["E6-E4"].empirical_p is None
    assert found["E1-half"].empirical_p is None


def test_sigma_of_a_gap_is_that_of_such_a_gap_between_relabelled_sets():
    first, second, third = (np.array(pair) for pair in ((1.0, 5.0), (2.0, 3.0), (0.0, -2.0)))
    drawn_NQ = np.array([[mean] * N for mean in (*first, *second, *third)]) + noise(1, N)
    drawn_NQ -= noise(1, N).mean()
    found = gaps(cell(E6=1, E4=1, E2=1, E3=noise(6, N), E6Δ=1, E4Δ=1, E1=drawn_NQ,
                      E1Δ=2 * drawn_NQ))
    across = np.sqrt((4**2 + 1**2 + 2**2) / 3)
    every = np.std([*first, *second, *third])
    expected = {"E6-E4": across, "E6-half": across / 2, "E6-E1": every, "E6-E2": every,
                "E6-E3": every, "E1-half": 0, "E6Δ-E4Δ": 2 * across, "E6Δ-E1Δ": 2 * every}
    assert {name: gap.sigma for name, gap in found.items()} == pytest.approx(expected)
    without = gaps(cell(PLAIN, mean_difference=1, random_direction=noise(4, N)))
    assert without["mean_difference-random_direction"].sigma == 0


def test_what_a_gap_owes_to_its_training_questions_widens_what_it_is_judged_by():
    quiet, loud = (cell(E6=2 + 0.1 * noise(N), E4=0.0, E1=np.outer([0, spread], np.ones(N)))
                   for spread in (0.0, 4.0))
    found, wide = (row_of(gap_table(beside(of), HOW), gap="E6-E4") for of in (quiet, loud))
    for column in ("mean", "ci_low", "ci_high"):
        assert wide[column] == found[column]
    assert (found["verdict"], wide["verdict"]) == ("different", "inconclusive")
    assert wide["low90"] < 0 < found["low90"] < found["high90"] < 4 < wide["high90"]
    assert (found["p"] < 1e-6, wide["p"] > 0.3) == (True, True)


def test_p_is_corrected_over_layers_and_architectures_for_each_gap_and_condition():
    size = {("topk", 4): 0.3, ("topk", 8): 0.6, ("jumprelu", 4): 0.45, ("jumprelu", 8): 0.5}
    cells = [cell(*of, condition, E2=0.0, E4=0.0, E6=noise(N, seed=seed) + shift * sign)
             for seed, (of, shift) in enumerate(size.items())
             for condition, sign in (("sandbag", 1), ("genuine", 2))]
    table = gap_table(beside(*cells), HOW)
    assert sorted(table["gap"].unique()) == ["E6-E2", "E6-E4", "E6-half"]
    for _, of in table.groupby(["gap", "prompts"]):
        assert len(of) == 4
        adjusted, least = {}, 0.0
        for place, (row, p) in enumerate(of["p"].sort_values().items()):
            least = max(least, min(1.0, (4 - place) * p))
            adjusted[row] = least
        for row, p in of["p_holm"].items():
            assert p == pytest.approx(adjusted[row])
    assert (table["p_holm"] > table["p"]).sum() >= 12


def test_the_share_is_of_what_the_patch_does_on_sandbag_prompts():
    patch_Q, swap_Q = 10 + noise(N), 4 + noise(N, seed=1)
    table = effect_table(beside(cell(E6=swap_Q, E4=1.0), cell(condition="genuine", E2=0.0,
                                                             E6=swap_Q), patch=patch_Q), HOW)
    found = row_of(table, prompts="sandbag", intervention="E6")
    assert found["share"] == pytest.approx(100 * swap_Q.sum() / patch_Q.sum())
    assert found["share_low"] < found["share"] < found["share_high"]
    assert found["effect"] == pytest.approx(swap_Q.mean())
    for where in ({"prompts": "genuine", "intervention": "E6"},
                  {"prompts": "sandbag", "intervention": "E4"}):
        assert np.isnan(row_of(table, architecture="topk", **where)["share"])


def test_there_is_no_share_of_a_patch_that_may_do_nothing():
    table = effect_table(beside(cell(E6=4.0), patch=noise(N)), HOW)
    assert table["share"].isna().all()


def test_sigma_is_the_spread_of_the_draws_means():
    drawn_NQ = noise(4, N)
    table = effect_table(beside(cell(E1=drawn_NQ, E6=1.0)), HOW)
    found = row_of(table, intervention="E1")
    assert found["sigma"] == pytest.approx(np.std([of.mean() for of in drawn_NQ], ddof=1))
    assert (found["draws"], found["effect"]) == (4, pytest.approx(drawn_NQ.mean()))
    assert np.isnan(row_of(table, intervention="E6")["sigma"])


@pytest.mark.parametrize(("lost", "uninformative"), [(25.0, True), (24.99, False), (60.0, True)])
def test_a_cell_is_uninformative_if_reconstruction_alone_loses_half(lost, uninformative):
    there = cell(condition="genuine", clean=50.0, E2=-lost, E6=0.0, E4=0.0)
    here = cell("topk", E2=-60.0, E6=0.1, E4=0.0)
    other = cell("gated", E2=-60.0, E6=0.1, E4=0.0)
    plain = cell(PLAIN, patch=1.0, mean_difference=0.0, random_direction=np.zeros((3, N)))
    table = gap_table([cell(PLAIN, condition="genuine", patch=1.0), plain, *beside(
        there, here, other)[2:]], HOW)
    for column in ("verdict", "verdict_published"):
        of = table.groupby("architecture")[column].agg(lambda v: (v == "uninformative").mean())
        assert of.to_dict() == {"topk": float(uninformative), "gated": 0.0, PLAIN: 0.0}


@pytest.mark.parametrize(("gap", "spread", "margin", "said", "published"), [
    (0.02, 0.05, 1.0, "equivalent", "equivalent"),
    (0.5, 0.05, 1.0, "equivalent", "different"),
    (5.0, 0.05, 1.0, "different", "different"),
    (-5.0, 0.05, 1.0, "different", "different"),
    (0.0, 9.0, 1.0, "inconclusive", "inconclusive"),
    (0.02, 0.05, 0.0, "inconclusive", "equivalent"),
    (5.0, 0.05, -2.0, "inconclusive", "different"),
])
def test_a_gap_is_judged_at_the_margin_and_at_the_published_bound(
        gap, spread, margin, said, published):
    deviation_Q = noise(N) - noise(N).mean()
    cells = beside(cell(E6=gap + spread * deviation_Q, E4=0.0))
    found = row_of(gap_table(cells, dataclasses.replace(HOW, margin=margin)), gap="E6-E4")
    assert (found["verdict"], found["verdict_published"]) == (said, published)
    assert found["mean"] == pytest.approx(gap)
    sd = spread * np.std(deviation_Q, ddof=1)
    assert found["detectable"] == pytest.approx((1.959964 + 0.841621) * sd / np.sqrt(N), rel=1e-5)
    assert found["n_published"] == questions_needed(sd, 0.15)


def test_the_margin_is_a_share_of_what_the_instruction_takes():
    cells = beside(cell(clean=20.0, E6=0.0), clean=20.0)
    assert margin_of([cell(clean=20.0), cell(condition="genuine", clean=52.0)], 0.1) == (
        pytest.approx(3.2))
    assert margin_of(cells, 0.1) == 0.0


@pytest.mark.parametrize("ends", [(-9.0, -2.0), (2.0, 9.0), (-1.0, 9.0), (-9.0, 1.0)])
def test_the_gap_that_reaches_farthest_is_the_one_farthest_from_none_on_either_side(ends):
    table = gap_table(beside(cell(E6=noise(N), E4=0.0), cell("gated", E6=noise(N), E4=0.0),
                             cell("jumprelu", E6=noise(N), E4=0.0)), HOW)
    table = table[table["gap"] == "E6-E4"]
    table.loc[table["architecture"] == "gated", ["low90", "high90"]] = ends
    table.loc[table["architecture"] != "gated", ["low90", "high90"]] = -8.0, 8.0
    assert swap_section._farthest(table)["architecture"] == "gated"
    assert swap_section._farthest(table[:0]) == {}
    table["low90"] = table["high90"] = np.nan  # of too few questions
    assert swap_section._farthest(table) == {}


# Folds


@pytest.mark.parametrize("count", [3, 5, 16, 74])
def test_folds_hold_every_question_once_and_are_of_one_size_but_for_one(count):
    ids = [f"question-{n}" for n in range(count)]
    folds = question_folds(ids, 0)
    assert sorted(folds) == sorted(ids)
    sizes = np.bincount(list(folds.values()), minlength=FOLDS)
    assert len(sizes) == FOLDS
    assert sizes.max() - sizes.min() <= 1


def test_one_question_has_no_other_to_learn_from():
    with pytest.raises(ValueError, match="1 answerable question to edit: at least 2"):
        question_folds(["question-0"], 0)


def test_folds_are_seeded_and_do_not_depend_on_the_order_of_questions():
    ids = [f"question-{n}" for n in range(40)]
    assert question_folds(ids[::-1], 3) == question_folds(ids, 3)
    assert question_folds(ids, 4) != question_folds(ids, 3)
    in_order = {id: place % FOLDS for place, id in enumerate(sorted(ids))}
    assert question_folds(ids, 3) != in_order


# The sections


@pytest.fixture(scope="module")
def trees(artifacts, smoke_run, tmp_path_factory):
    """By section, the artifacts that it fills. §31's SAEs do not go where §25 looks for its own."""
    apart = with_task(artifacts, tmp_path_factory.mktemp("apart"))
    return {24: artifacts, 26: artifacts, 31: apart}


@pytest.fixture(scope="module")
def runs(smoke, trees):
    return {n: run_section(n, smoke, smoke.seed, tree) for n, tree in trees.items()}


@pytest.fixture(scope="module")
def prompts(smoke, smoke_run, artifacts):
    """By section: the model, the evaluating half run clean, and the part of it for drawn edits."""
    found = {}
    for n, (slug, framing) in smoke.swaps.items():
        lm = load(get(slug), artifacts, "cpu")
        asked = half_of(smoke_run, lm, framing, "evaluating")
        folds = question_folds(asked.ids, smoke.seed)
        found[n] = (lm, *(run_clean(lm, some, LAYERS, folds)
                          for some in (asked, asked.spread(smoke.swap_draw_questions))))
    return found


def base(smoke, section):
    return f"s{section}.{smoke.swaps[section][0]}"


def sae_folder(trees, section):
    return trees[section] / "smoke" / ("saes-two_shot_same_prefix" if section == 26 else "saes")


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


@pytest.mark.parametrize(("section", "architecture", "depth"), [
    (24, "jumprelu", 8), (26, "gated", 8), (31, "topk", 12)])
def test_effects_are_those_of_whole_forward_passes_with_a_hook(
        runs, prompts, trees, smoke, section, architecture, depth):
    lm, every, few = prompts[section]
    asked, layer = every.asked, depth // 2
    sae = load_sae(sae_folder(trees, section)
                   / f"v4_{lm.spec.slug}_{architecture}_L{layer}_mixed")
    table = runs[section].table("effects")
    at = {c: torch.stack([whole(lm, prompt, layer)[0] for prompt in asked.prompts[c]])
          for c in CONDITIONS}
    folds = question_folds(asked.ids, smoke.seed)
    fold_Q = np.array([folds[id] for id in asked.ids])
    halves_NQ = relabellings(fold_Q, smoke.swap_draws, smoke.seed)
    for condition, other in zip(CONDITIONS, reversed(CONDITIONS), strict=True):
        found = {}
        for q, prompt in enumerate(asked.prompts[condition]):
            rows = np.flatnonzero(fold_Q != fold_Q[q])
            training = Training(sae, at["genuine"][rows], at["sandbag"][rows])
            x_D = at[condition][q]
            in_saes, plain = edits_by_hand(sae, {c: of[rows] for c, of in at.items()}, condition,
                                           x_D, at[other][q])
            top = {"E5.4": dict(single_edits(training, x_D[None], (4,)))["E5.4"][0].numpy()}
            ours = {edit: torch.from_numpy(np.float32(of))[None]
                    for edit, of in {**in_saes, **plain, **top}.items()}
            if asked.ids[q] in few.asked.ids:
                about = (smoke.seed, f"L{layer}")
                ours |= {edit: of[:, 0] for edit, of in [
                    *drawn_edits(training, x_D[None], halves_NQ[:, rows], *about),
                    *random_directions(training, x_D[None], smoke.swap_draws, *about)]}
            _, log_p = whole(lm, prompt, layer, torch.cat([x_D[None], *ours.values()]))
            p_N = 100 * log_p[:, list(asked.correct[condition][q])].exp().sum(1)
            of_edit = dict(zip(ours, p_N[1:].split([len(of) for of in ours.values()]),
                               strict=True))
            for edit, p in of_edit.items():
                found.setdefault(edit, []).append(float((p - p_N[0]).mean()))
        assert [len(found["E6"]), len(found["E1"])] == [len(asked.ids), smoke.swap_draw_questions]
        assert max(abs(np.mean(of)) for of in found.values()) > 1e-2
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
        for condition in CONDITIONS:
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


def test_the_edit_of_a_question_is_not_learned_from_its_own_residual(trees, runs, prompts):
    _, every, few = prompts[24]
    question = every.asked.ids.index(few.asked.ids[2])
    same_fold = every.fold_Q == every.fold_Q[question]
    same_fold_few = few.fold_Q == every.fold_Q[question]
    sae = load_sae(sae_folder(trees, 24) / "v4_tinyllama-random_jumprelu_L4_mixed")

    def effects(every):
        through = sae_effects(sae, 4, every, few, 4, (4,), 0, "perturbed")
        plain = plain_effects(sae, 4, every, few, 4, 0)
        return {c: {**through[c], **plain[c]} for c in CONDITIONS}

    before, reached = effects(every), set()
    for condition in CONDITIONS:
        moved = {**every.runs, condition: Perturbed(every.runs[condition], question)}
        after = effects(dataclasses.replace(every, runs=moved))
        for of, edits in before.items():
            for edit, effect_NQ in edits.items():
                drawn = effect_NQ.shape[1] == len(few.asked.ids)
                mine = same_fold_few if drawn else same_fold
                changed_Q = (after[of][edit] != effect_NQ).any(0)
                # what is put in may hold the question's own residual, never what is learned
                if of == condition and not drawn:
                    mine = mine & (np.arange(len(mine)) != question)
                if edit == "patch":
                    assert changed_Q.sum() == (of != condition), (condition, of)
                    continue
                assert not changed_Q[mine].any(), (condition, of, edit)
                constant = edit in {"E6", "E4", "E1", "E3", "E6.mean", "E6.0.5"}
                if of == condition and constant and not drawn:
                    assert not changed_Q[question], (condition, of, edit)
                if changed_Q[~(same_fold_few if drawn else same_fold)].any():
                    reached.add(edit)
    # of questions in other folds it is learned
    assert reached >= {"E6", "E4", "E6Δ", "E4Δ", "E6Δ.mean", "E1", "E1Δ", "E3", "E5.4",
                       "median_residual", "mean_difference", "random_direction"}


@pytest.mark.parametrize("section", CLAIMS)
def test_every_intervention_is_run_at_every_depth_on_both_conditions(
        runs, prompts, smoke, section):
    _, every_question, few = prompts[section]
    table = runs[section].table("effects")
    of = table.groupby(["architecture", "depth", "prompts"])["intervention"].agg(set)
    architectures = {(PLAIN, d) for d in (4, 8, 12)} | {("jumprelu", d) for d in (4, 8, 12)} | {
        ("topk", d) for d in (4, 8, 12)} | {("gated", 8)}
    assert set(of.index) == {(*cell, c) for cell in architectures for c in CONDITIONS}
    plain = {"patch", "median_residual", "mean_difference", "random_direction"}
    every = {"E2", "E6", "E4", "E6Δ", "E4Δ", "E1", "E1Δ", "E3", "E5.1", "E5.4", "E5.16", "E5.64",
             *(f"{e}.{dose}" for e in ("E6", "E6Δ") for dose in (0.25, 0.5, 0.75)),
             *(f"{e}.mean" for e in ("E6", "E4", "E6Δ", "E4Δ"))}
    for (name, _, _), edits in of.items():
        assert edits == (plain if name == PLAIN else every)
    drawn = table["intervention"].isin({"E1", "E1Δ", "E3", "random_direction"})
    assert (table["draws"] == np.where(drawn, smoke.swap_draws, 1)).all()
    assert (table["n"] == np.where(drawn, len(few.asked.ids), len(every_question.asked.ids))).all()
    assert len(few.asked.ids) == smoke.swap_draw_questions < len(every_question.asked.ids)


def test_each_framing_and_model_has_saes_of_its_own(runs, trees):
    kept = {folder: {path.name for path in (trees[n] / "smoke" / folder).iterdir()
                     if path.is_dir()}
            for n, folder in ((24, "saes"), (26, "saes-two_shot_same_prefix"))}
    tags = {tag.name for tag in sandbagging_tags("tinyllama-random", 8)}
    assert kept["saes"] >= tags
    assert kept["saes-two_shot_same_prefix"] == swapped_tags("tinyllama-random")
    assert len(swapped_tags("tinyllama-random")) == 7
    of_31 = trees[31] / "smoke" / "saes"
    assert {path.name for path in of_31.iterdir() if path.is_dir()} == (
        swapped_tags("tinyneox-random"))
    for n in (24, 26, 31):
        for path in sae_folder(trees, n).glob("*_jumprelu_L4_mixed"):
            assert {file.name for file in path.iterdir()} == {CFG, WEIGHTS}
    one, other = (load_sae(sae_folder(trees, n) / "v4_tinyllama-random_jumprelu_L4_mixed")
                  for n in (24, 26))
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
    assert f"L{row['layer']}" in found.quantity
    assert "90%" in found.quantity
    assert gap_name(row["gap"]) in found.quantity
    for name, column in (("detectable", "detectable"), ("n_published", "n_published")):
        assert results.value(f"{found.id}.{name}").value == pytest.approx(row[column])
    counts = claimed["verdict"].value_counts()
    for word in ("equivalent", "different", "inconclusive", "uninformative"):
        value = results.value(f"{key}.count.jumprelu.{word}")
        assert (value.value, value.unit) == (counts.get(word, 0), "of 6")


@pytest.mark.parametrize("section", CLAIMS)
def test_the_margin_is_a_tenth_of_the_clean_difference(runs, prompts, smoke, section):
    _, every, _ = prompts[section]
    margin = runs[section].results.value(f"{base(smoke, section)}.headline.jumprelu.margin")
    genuine, sandbag = (float(every.clean[c].mean()) for c in ("genuine", "sandbag"))
    assert margin.value == pytest.approx(0.1 * (genuine - sandbag), rel=1e-6)
    table = runs[section].table("effects")
    assert row_of(table, architecture=PLAIN, depth=4, prompts="genuine",
                  intervention="patch")["clean"] == pytest.approx(genuine)
    if margin.value <= 0:
        words = set(runs[section].table("gaps")["verdict"])
        assert words <= {"inconclusive", "uninformative"}


@pytest.mark.parametrize("section", CLAIMS)
def test_values_are_those_of_the_tables(runs, smoke, section):
    results, key = runs[section].results, base(smoke, section)
    for table, name in (("effects", "intervention"), ("gaps", "gap")):
        for row in runs[section].table(table).to_dict("records"):
            architecture = row["architecture"].replace(" ", "_").lower()
            id = f"{key}.{architecture}.D{row['depth']}.{row['prompts']}"
            id += f".gap.{row['gap']}" if name == "gap" else f".{row['intervention']}"
            value = results.value(id)
            assert [value.value, value.ci_low, value.ci_high] == pytest.approx(
                [row["effect" if name == "intervention" else "mean"], row["ci_low"],
                 row["ci_high"]])
            assert (value.n, value.layer, value.unit) == (row["n"], row["layer"], "pp")


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


@pytest.mark.parametrize("section", [26, 31])
def test_a_section_that_compares_no_seeds_has_a_table_of_none(runs, section):
    assert len(runs[section].table("seeds")) == 0


@pytest.mark.parametrize("section", CLAIMS)
def test_two_computations_from_nothing_give_the_same_values(
        runs, smoke, again, section):
    assert again[section].results.values == runs[section].results.values
    pd.testing.assert_frame_equal(again[section].table("centres"), runs[section].table("centres"))


@pytest.fixture(scope="module")
def again(smoke, artifacts, smoke_run, tmp_path_factory):
    tree = with_task(artifacts, tmp_path_factory.mktemp("again"))
    return {n: run_section(n, smoke, smoke.seed, tree) for n in CLAIMS}


def test_l0_and_norms_of_the_centres_are_those_of_the_whole_half(runs, prompts, trees):
    _, every, _ = prompts[26]
    sae = load_sae(sae_folder(trees, 26) / "v4_tinyllama-random_topk_L6_mixed")
    features = {c: sae.encode(every.runs[c].residual(6)).numpy() for c in CONDITIONS}
    row = row_of(runs[26].table("centres"), architecture="topk", depth=12)
    assert row["l0_prompt"] == pytest.approx((features["sandbag"] > 0).sum(1).mean())
    for letter, c in (("G", "genuine"), ("S", "sandbag")):
        assert row[f"l0_m_{letter}"] == (np.median(features[c], axis=0) > 0).sum()
    assert row["l0_mean_G"] == (features["genuine"].mean(0) > 0).sum()
    decoder = sae.weights["W_dec"].numpy()
    for name, centre in (("median", np.median), ("mean", np.mean)):
        step = (centre(features["genuine"], axis=0) - centre(features["sandbag"], axis=0)) @ decoder
        assert row[f"step_{name}"] == pytest.approx(np.linalg.norm(step), rel=1e-4)


# What cannot be run


@pytest.fixture
def task_alone(artifacts, smoke_run, tmp_path):
    return with_task(artifacts, tmp_path)


def not_run(section, profile, tree):
    results = run_section(section, profile, profile.seed, tree).results
    assert (results.status, results.values) == ("not run", [])
    assert not [path for path in tree.rglob("saes*") if path.is_dir()]
    return results.reason


def test_a_section_that_the_profile_has_no_model_for_is_not_run(smoke, task_alone):
    swaps = {n: smoke.swaps[n] for n in (24, 26)}
    reason = not_run(31, dataclasses.replace(smoke, swaps=swaps), task_alone)
    assert "profile smoke has no model for §31" in reason


def test_a_model_that_the_profile_does_not_list_is_not_run(smoke, task_alone):
    swaps = {26: ("smollm2", "two_shot_labelled")}
    reason = not_run(26, dataclasses.replace(smoke, swaps=swaps), task_alone)
    assert reason == "smollm2 is not among the profile's models"


def test_a_model_that_cannot_be_had_is_not_run_and_its_reason_given(
        smoke, task_alone, empty_hub_cache):
    profile = dataclasses.replace(smoke, models=(*smoke.models, ABSENT), questions=8,
                                  framings=smoke.primary_framings,
                                  swaps={31: ("pythia160m", "two_shot_labelled")})
    assert "nobody/nothing" in not_run(31, profile, task_alone)
