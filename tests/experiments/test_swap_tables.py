"""From effects, which are made up here, to what is said of them; and folds of questions."""

import numpy as np
import pandas as pd
import pytest

from deception_saes.analysis.equivalence import questions_needed
from deception_saes.experiments.gaps import (
    WORDS,
    credit,
    effect_table,
    gap_name,
    gap_table,
    gaps,
    headline,
    margin_of,
    over_seeds,
    seed_table,
    specific_counts,
    specific_table,
)
from deception_saes.experiments.swaps import FOLDS, PLAIN, SWAP_CONDITIONS, Cell, question_folds

N = 12


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def cell(name="topk", depth="D8", condition="sandbag", clean=20.0, drawn_subset=range(N),
         **effects):
    """Each effect: one number, one a question, or [draws, questions]."""
    given = {edit: np.broadcast_to(of, (1, N)) if np.ndim(of) < 2 else np.asarray(of)
             for edit, of in effects.items()}
    layer = int(depth[1:]) // 2
    return Cell(name, depth, layer, condition, given, np.full(N, clean), np.array(drawn_subset),
                tuple(f"q{n}" for n in range(N)))


def beside(*cells, patch=10.0, clean=50.0):
    """With what tables look up: the edits without an SAE, and genuine prompts."""
    depths = {of.depth for of in cells}
    swapped = {(of.name, of.depth) for of in cells}
    there = {(of.name, of.depth, of.condition) for of in cells}
    others = [cell(PLAIN, depth, condition, patch=patch) for depth in depths
              for condition in SWAP_CONDITIONS]
    others += [cell(*of, "genuine", clean, E2=0.0) for of in swapped
               if (*of, "genuine") not in there]
    return [*others, *cells]


def gaps_of(cells, margin=1.0):
    return gap_table.function(cells, margin, draws=500, seed=0)


def effects_of(cells):
    return effect_table.function(cells, draws=500, seed=0)


def row_of(table, **where):
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    assert len(table) == 1
    return table.iloc[0]


@pytest.mark.parametrize(("gap", "name"), [
    ("E6-E1", "E6 − E1"), ("E6Δ-E1Δ", "E6Δ − E1Δ"), ("E6-half", "E6 − (E4 + E6) / 2"),
    ("mean_difference-random_direction", "mean difference − random direction"),
    ("E6Δ-mean_difference.norm", "E6Δ − mean difference at equal norm"),
    ("E6Δ-U6Δ", "E6Δ − U6Δ, untrained")])
def test_a_gap_is_named_as_it_stands_on_pages(gap, name):
    assert gap_name(gap) == name


def test_the_gaps_are_those_of_the_issue():
    every = cell(E6=1, E4=1, E2=1, E6Δ=1, E4Δ=1, U6Δ=1, E1=noise(4, N), E1Δ=noise(4, N),
                 E3=noise(4, N), **{"mean_difference.norm": 1, "U6Δ.frozen": 1})
    assert set(gaps(every)) == {
        "E6-E4", "E6-E1", "E6-half", "E1-half", "E6Δ-E1Δ", "E6Δ-E4Δ", "E6-E3", "E6-E2",
        "E6Δ-mean_difference.norm", "E6Δ-U6Δ", "E6Δ-U6Δ.frozen"}
    assert set(gaps(cell(PLAIN, patch=1, mean_difference=1, random_direction=noise(4, N)))) == {
        "mean_difference-random_direction"}
    assert set(gaps(cell(E6=1, E4=1))) == {"E6-E4", "E6-half"}


def test_a_gap_is_a_difference_of_each_question_averaged_over_draws():
    swap_Q, back_Q = noise(N), noise(N, seed=1)
    drawn_subset, drawn_NQ = [1, 4, 7], noise(6, 3, seed=2)
    found = {name: gap.per_question for name, gap in gaps(
        cell(drawn_subset=drawn_subset, E6=swap_Q, E4=back_Q, E1=drawn_NQ)).items()}
    expected = {"E6-E4": swap_Q - back_Q, "E6-half": (swap_Q - back_Q) / 2,
                "E6-E1": swap_Q[drawn_subset] - drawn_NQ.mean(0),
                "E1-half": drawn_NQ.mean(0) - (swap_Q + back_Q)[drawn_subset] / 2}
    assert found.keys() == expected.keys()
    for name, gap_Q in found.items():
        np.testing.assert_allclose(gap_Q, expected[name], err_msg=name)


def test_the_empirical_p_counts_the_draws_that_reach_as_far():
    drawn_subset = [0, 1]
    swap_Q = np.full(N, 100.0)
    swap_Q[drawn_subset] = 2.0, 4.0
    # means over the two questions: 1, 3, 3.5, -8; the swap's is 3
    drawn_NQ = [[0.0, 2.0], [6.0, 0.0], [3.0, 4.0], [-8.0, -8.0]]
    found = gaps(cell(drawn_subset=drawn_subset, E6=swap_Q, E4=0.0, E1=drawn_NQ))
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
    found, wide = (row_of(gaps_of(beside(of)), gap="E6-E4") for of in (quiet, loud))
    for column in ("mean", "ci_low", "ci_high"):
        assert wide[column] == found[column]
    assert (found["verdict"], wide["verdict"]) == ("different", "inconclusive")
    assert wide["low90"] < 0 < found["low90"] < found["high90"] < 4 < wide["high90"]
    assert (found["p"] < 1e-6, wide["p"] > 0.3) == (True, True)


def test_p_is_corrected_over_layers_and_architectures_for_each_gap_and_condition():
    size = {("topk", "D4"): 0.3, ("topk", "D8"): 0.6, ("jumprelu", "D4"): 0.45,
            ("jumprelu", "D8"): 0.5}
    cells = [cell(*of, condition, E2=0.0, E4=0.0, E6=noise(N, seed=seed) + shift * sign)
             for seed, (of, shift) in enumerate(size.items())
             for condition, sign in (("sandbag", 1), ("genuine", 2))]
    table = gaps_of(beside(*cells))
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
    on_genuine = cell(condition="genuine", E2=0.0, E6=swap_Q)
    table = effects_of(beside(cell(E6=swap_Q, E4=1.0), on_genuine, patch=patch_Q))
    found = row_of(table, prompts="sandbag", intervention="E6")
    assert found["share"] == pytest.approx(100 * swap_Q.sum() / patch_Q.sum())
    assert found["share_low"] < found["share"] < found["share_high"]
    assert found["effect"] == pytest.approx(swap_Q.mean())
    for where in ({"prompts": "genuine", "intervention": "E6"},
                  {"prompts": "sandbag", "intervention": "E4"}):
        assert np.isnan(row_of(table, architecture="topk", **where)["share"])


def test_there_is_no_share_of_a_patch_that_may_do_nothing():
    table = effects_of(beside(cell(E6=4.0), patch=noise(N)))
    assert table["share"].isna().all()


def test_sigma_is_the_spread_of_the_draws_means():
    drawn_NQ = noise(4, N)
    table = effects_of(beside(cell(E1=drawn_NQ, E6=1.0)))
    found = row_of(table, intervention="E1")
    assert found["sigma"] == pytest.approx(np.std([of.mean() for of in drawn_NQ], ddof=1))
    assert (found["draws"], found["effect"]) == (4, pytest.approx(drawn_NQ.mean()))
    assert np.isnan(row_of(table, intervention="E6")["sigma"])


SPREAD = 10 * (noise(N) - noise(N).mean())  # its mean is 0


@pytest.mark.parametrize(("lost", "uninformative"), [
    (25.0, False), (25.01, True), (45.0, True),
    (28.0 + SPREAD, False),  # 22 of 50 are left, but the interval reaches beyond half
    (40.0 + SPREAD, True),
])
def test_a_cell_is_uninformative_if_reconstruction_alone_surely_leaves_under_half(
        lost, uninformative):
    there = cell(condition="genuine", clean=50.0, E2=-lost, E6=0.0, E4=0.0)
    here = cell("topk", E2=-60.0, E6=0.1, E4=0.0)
    other = cell("gated", E2=-60.0, E6=0.1, E4=0.0)
    plain = cell(PLAIN, patch=1.0, mean_difference=0.0, random_direction=np.zeros((3, N)))
    table = gaps_of([cell(PLAIN, condition="genuine", patch=1.0), plain, *beside(
        there, here, other)[2:]])
    for column in ("verdict", "verdict_published"):
        of = table.groupby("architecture")[column].agg(lambda v: (v == "uninformative").mean())
        assert of.to_dict() == {"topk": float(uninformative), "gated": 0.0, PLAIN: 0.0}


def test_e6_at_the_floor_is_a_finding_where_reconstruction_alone_leaves_the_answers():
    floor = {"E2": -5.0, "E6": -49.9, "E4": -49.9}
    cells = beside(cell(clean=20.0, E2=-1.0, E6=-19.9, E4=-19.9),
                   cell(condition="genuine", clean=50.0, **floor))
    assert set(gaps_of(cells)["verdict"]) == {"equivalent", "different"}


CONTROLS = ("E1Δ", "mean_difference.norm", "U6Δ", "U6Δ.frozen")


@pytest.mark.parametrize(("gap", "spread", "margin", "said"), [
    (3.0, 0.1, 1.0, ["direction-specific", "the SAE adds", "beats untrained", "beats frozen"]),
    (0.1, 0.1, 1.0, ["not direction-specific", "the mean difference is as good",
                     "untrained is as good", "frozen is as good"]),
    (-3.0, 0.1, 1.0, ["less than its null", "the mean difference does more",
                      "untrained does more", "frozen does more"]),
    (1.1, 0.5, 1.0, ["inconclusive"] * 4),  # differs from none, but not surely by the margin
    (-1.1, 0.5, 1.0, ["inconclusive"] * 4),
    (0.0, 9.0, 1.0, ["inconclusive"] * 4),
    (3.0, 0.1, 0.0, ["inconclusive"] * 4),  # nothing is taken that could be given back
])
def test_what_follows_from_a_gap_needs_its_whole_interval_on_one_side_of_the_margin(
        gap, spread, margin, said):
    deviation_Q = spread * (noise(N) - noise(N).mean())
    controls = dict.fromkeys(CONTROLS[1:], 0.0) | {"E1Δ": np.zeros((2, N))}
    table = gaps_of(beside(cell(E6Δ=gap + deviation_Q, E4Δ=0.0, **controls)), margin)
    for control, words in zip(CONTROLS, said, strict=True):
        assert row_of(table, gap=f"E6Δ-{control}")["conclusion"] == words
    assert row_of(table, gap="E6Δ-E4Δ")["conclusion"] == ""


def test_relabelled_sets_widen_what_credits_the_sae_and_a_poor_one_says_nothing():
    def conclusions(e2, spread):
        of = cell(E6Δ=3 + 0.1 * noise(N), E1Δ=np.outer([-spread, spread], np.ones(N)), U6Δ=0.0,
                  **{"mean_difference.norm": 0.0})
        table = gaps_of(beside(of, cell(condition="genuine", clean=50.0, E2=e2)))
        return set(table[table["gap"] != ""]["conclusion"])

    assert conclusions(-1.0, 0.0) == {"direction-specific", "the SAE adds", "beats untrained"}
    assert conclusions(-1.0, 2.0) == {"inconclusive"}
    assert conclusions(-40.0, 0.0) == {"uninformative"}


def test_places_are_counted_at_which_the_step_beats_its_controls():
    def at(name, depth, over_null, over_mean, over_untrained):
        return cell(name, depth, E6Δ=9.0, E1Δ=np.full((2, N), 9.0 - over_null),
                    U6Δ=9.0 - over_untrained, **{"mean_difference.norm": 9.0 - over_mean})

    cells = beside(at("jumprelu", "D4", 5, 0, 5), at("jumprelu", "D8", 5, 5, 0),
                   at("topk", "D4", 0, -5, 0), at("topk", "D8", 5, 0, 5),
                   cell("gated", condition="genuine", E2=0.0, E6Δ=9.0, E1Δ=np.zeros((2, N))))
    found = credit(gaps_of(cells)).set_index("through")
    assert list(found.loc["jumprelu"]) == [2, 2, 1, 1, 0, 1]
    assert list(found.loc["all"]) == [4, 3, 1, 2, 1, 2]


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
    found = row_of(gaps_of(cells, margin), gap="E6-E4")
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


@pytest.fixture
def three():
    """The gap E6 − E4 through three architectures at one layer."""
    table = gaps_of(beside(*(cell(name, E6=noise(N), E4=0.0)
                             for name in ("topk", "gated", "jumprelu"))))
    return table[table["gap"] == "E6-E4"].set_index("architecture", drop=False)


@pytest.mark.parametrize("ends", [(-9.0, -2.0), (2.0, 9.0), (-1.0, 9.0), (-9.0, 1.0)])
def test_the_headline_is_the_gap_that_reaches_farthest_from_none_on_either_side(three, ends):
    three[["low90", "high90"]] = -8.0, 8.0
    three.loc["gated", ["low90", "high90"]] = ends
    found = headline(three, 1.0).set_index("through")
    assert (found["of"]["all"], found["of"]["jumprelu"]) == (3, 1)
    assert found["which"]["all"] == ": gated, L4, E6 − E4"
    assert tuple(found.loc["all", ["low90", "high90"]]) == ends
    assert found["mean"]["all"] == three["mean"]["gated"]
    assert found["which"]["jumprelu"] == ": jumprelu, L4, E6 − E4"


@pytest.mark.parametrize("lacking", ["no rows", "uninformative", "too few questions"])
def test_where_no_claimed_gap_is_informative_the_headline_says_so(three, lacking):
    if lacking == "no rows":
        three = three[:0]
    elif lacking == "uninformative":
        three["verdict"] = "uninformative"
    else:
        three[["low90", "high90"]] = np.nan
    found = headline(three, 1.0)
    few = lacking == "too few questions"
    assert list(found["which"]) == [": too few questions for an interval" if few
                                    else ": none is informative"] * 2
    assert found[["mean", "low90", "high90"]].isna().all(axis=None)
    assert list(found["n"].fillna(0)) == [N * few] * 2
    assert list(found["informative"]) == ([1, 3] if few else [0, 0])


def test_the_headline_counts_the_claimed_gaps_of_sandbag_prompts_by_their_verdicts():
    table = gaps_of(beside(cell(E6=0.02, E4=0.0), cell("jumprelu", E6=5.0, E4=0.0),
                           cell("gated", condition="genuine", E2=0.0, E6=5.0, E4=0.0)))
    found = headline(table, 1.0, claimed=("E6-E4",)).set_index("through")
    assert dict(found.loc["all", list(WORDS)]) == {
        "equivalent": 1, "different": 1, "inconclusive": 0, "uninformative": 0}
    assert dict(found.loc["jumprelu", list(WORDS)]) == {
        "equivalent": 0, "different": 1, "inconclusive": 0, "uninformative": 0}
    assert (found["margin"] == 1.0).all()


# Ten features

MET = {"ten": 9.0, "ten.untrained": 2.0, "ten.frozen": 2.0, "ten.matched": 1.0,
       "ten.components": 3.0, "E6Δ": 8.0, "E6Δ.without": 1.0}
"""With a patch of 10 and a margin of 1, every condition holds."""


def specific_of(margin=1.0, e2=0.0, **effects):
    effects = {name: of for name, of in (MET | effects).items() if of is not None}
    around = beside(cell("jumprelu", E2=e2), cell("jumprelu", condition="genuine", clean=50.0,
                                                   E2=e2))
    return specific_table([cell("jumprelu", **effects)], around, margin, draws=500, seed=0)


def test_each_condition_is_a_difference_of_effects_or_of_halves_of_them():
    found = specific_of(ten=9 + noise(N)).set_index("against")
    shift = noise(N).mean()
    assert found["mean"].to_dict() == pytest.approx({
        "patch": 4 + shift, "untrained": 7 + shift, "frozen": 7 + shift, "matched": 8 + shift,
        "components": 6 + shift, "removed": 3})
    assert found.loc["patch", ["treated", "control"]].tolist() == pytest.approx([9 + shift, 5])
    assert found.loc["removed", ["treated", "control"]].tolist() == pytest.approx([4, 1])
    assert found["ci_low"]["matched"] < found["mean"]["matched"] < found["ci_high"]["matched"]
    assert (found["n"] == N).all()


SPREAD_TEN = 9 + 2 * (noise(N) - noise(N).mean())


@pytest.mark.parametrize(("changed", "outcomes", "verdict"), [
    ({}, {"holds"}, "feature-specific"),
    ({"ten.frozen": None}, {"holds"}, "not refuted"),
    ({"ten.matched": 8.5}, {"holds", "fails"}, "not feature-specific"),
    ({"ten.components": 8.1}, {"holds", "fails"}, "not feature-specific"),  # less than the margin
    ({"E6Δ.without": 3.5}, {"holds", "fails"}, "not feature-specific"),
    ({"ten": 5.5}, {"holds", "fails"}, "not feature-specific"),  # half of the patch is 5
    ({"ten": SPREAD_TEN, "ten.components": 8.1}, {"holds", "open"}, "inconclusive"),
    ({"e2": -40.0}, {"holds"}, "uninformative"),
    ({"margin": 0.0}, {"open"}, "inconclusive"),
])
def test_ten_features_are_specific_if_all_hold_and_not_if_one_fails(changed, outcomes, verdict):
    found = specific_of(**changed)
    assert set(found["outcome"]) == outcomes
    assert set(found["verdict"]) == {verdict}


def test_places_are_counted_by_verdict_and_by_the_conditions_that_hold():
    other = specific_of(**{"ten.frozen": None, "ten.matched": 8.5}).assign(architecture="topk")
    found = specific_counts(pd.concat([specific_of(), other])).set_index(["through", "what"])
    assert list(found.loc[("all", "feature_specific"), ["of", "count"]]) == [2, 1]
    assert list(found.loc[("all", "not_specific"), ["of", "count"]]) == [2, 1]
    assert list(found.loc[("all", "holds.matched"), ["of", "count"]]) == [2, 1]
    assert list(found.loc[("all", "holds.frozen"), ["of", "count"]]) == [1, 1]
    assert list(found.loc[("jumprelu", "not_specific"), ["of", "count"]]) == [1, 0]


def test_gaps_of_training_seeds_are_numbered_and_summed_up_by_mean_and_sd():
    swaps = [noise(N, seed=seed) for seed in range(3)]
    cells = [cell("jumprelu", E6=of, E4=0.0) for of in swaps]
    seeds = seed_table(cells, draws=100, seed=0)
    assert list(seeds["training"]) == [0, 0, 1, 1, 2, 2]
    found = over_seeds(seeds).set_index("gap")
    means = [of.mean() for of in swaps]
    assert found["mean"]["E6-E4"] == pytest.approx(np.mean(means))
    assert found["sd"]["E6-E4"] == pytest.approx(np.std(means, ddof=1))
    assert (found["n"] == 3).all()
    assert (found["layer"] == 4).all()


def test_where_no_seeds_are_compared_their_tables_are_empty():
    seeds = seed_table([], draws=100, seed=0)
    assert len(seeds) == len(over_seeds(seeds)) == 0


# Folds


def by_themselves(ids):
    return {id: id for id in ids}


@pytest.mark.parametrize("count", [3, 5, 16, 74])
def test_folds_hold_every_question_once_and_are_of_one_size_but_for_one(count):
    ids = [f"question-{n}" for n in range(count)]
    folds = question_folds(by_themselves(ids), 0)
    assert sorted(folds) == sorted(ids)
    sizes = np.bincount(list(folds.values()), minlength=FOLDS)
    assert len(sizes) == FOLDS
    assert sizes.max() - sizes.min() <= 1


def test_questions_of_one_template_share_a_fold():
    ids = [f"question-{n}" for n in range(60)]
    folds = question_folds(by_themselves(ids) | dict.fromkeys(ids[:9], "template capital"), 0)
    assert len({folds[id] for id in ids[:9]}) == 1
    assert np.bincount(list(folds.values())).tolist() == [12] * FOLDS


@pytest.mark.parametrize("clusters", [["alone"], ["template capital"] * 3])
def test_questions_of_one_template_have_no_other_to_learn_from(clusters):
    with pytest.raises(ValueError, match=f"{len(clusters)} answerable"):
        question_folds({f"question-{n}": of for n, of in enumerate(clusters)}, 0)


def test_folds_are_seeded_and_do_not_depend_on_the_order_of_questions():
    ids = [f"question-{n}" for n in range(40)]
    of, reversed_of = by_themselves(ids), by_themselves(ids[::-1])
    assert question_folds(reversed_of, 3) == question_folds(of, 3)
    assert question_folds(of, 4) != question_folds(of, 3)
    in_order = {id: place % FOLDS for place, id in enumerate(sorted(ids))}
    assert question_folds(of, 3) != in_order
