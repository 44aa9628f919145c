"""Portions: by means, of heads chosen by portion, and of heads chosen under several arms."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from deception_saes.experiments.circuits import (
    across_arms,
    arm_agreement,
    chosen_by_portion,
    of_questions,
    portion_against_random,
    portion_when_relabelled,
    strongest,
)
from deception_saes.experiments.heads import RandomHeads, p_correct, random_heads
from deception_saes.interventions.ablation import head_means, plain_p_correct
from deception_saes.models.anatomy import Head
from deception_saes.paper.plots import s27, s30
from deception_saes.paper.profiles import PROFILES

HEADS = [Head(layer, head) for layer in range(10) for head in range(4)]
QUESTIONS = [f"q{number}" for number in range(20)]


def half_of(ids, clusters=None):
    """As much of a half of questions as tables read."""
    of = [SimpleNamespace(id=id, cluster=cluster)
          for id, cluster in zip(ids, clusters or ids, strict=True)]
    return SimpleNamespace(questions=of)


def swept(effects_HQ, ids=QUESTIONS):
    table = pd.DataFrame(effects_HQ, columns=list(ids))
    table.insert(0, "head", [str(head) for head in HEADS[: len(table)]])
    return table


# Relabelled


def answering(sets, portion_of, level=30.0, questions=6):
    """P(correct) in percent of the clean model and of the sets, whose portions are the sums of
    their heads' portions; genuine prompts stay as they are."""
    sandbag = [level, *(level + sum(portion_of.get(head, 0.0) for head in heads) for heads in sets)]
    return {"sandbag": np.repeat(np.array(sandbag)[:, None], questions, axis=1),
            "genuine": np.full((len(sandbag), questions), 60.0)}


def p_of(effects, portion_of, seed=0):
    sandbag, genuine = effects
    sets = chosen_by_portion(half_of(QUESTIONS), sandbag, genuine, 5, relabellings=99, seed=seed)
    assert len(sets) == 100
    _, found = portion_when_relabelled([sets[0], *sets], answering([sets[0], *sets], portion_of),
                                       clusters=None, draws=50, seed=0)
    return found.set_index(["scale", "measure"])["value"]


def test_heads_with_a_portion_of_their_own_have_a_small_p():
    real = dict.fromkeys(HEADS[7:12], 2.0)
    noise = np.random.default_rng(0).normal(size=(2, 40, 20), scale=2.0)
    noise[0, 7:12] += 2.0
    found = p_of((swept(noise[0]), swept(noise[1])), real)
    assert found["pp", "chosen"] == pytest.approx(10.0)
    assert found["pp", "p"] <= 0.05
    assert found["logits", "p"] <= 0.05


def test_where_conditions_can_be_exchanged_p_is_seldom_small():
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        # every head does as much under both conditions, on these questions and on others
        effects = rng.normal(size=(2, 40, 20)) + 5 * rng.normal(size=(1, 40, 1))
        portion_of = dict(zip(HEADS, rng.normal(size=40), strict=True))
        found.append(p_of((swept(effects[0]), swept(effects[1])), portion_of, seed)["pp", "p"])
    assert np.mean(np.array(found) <= 0.05) < 0.15
    assert 0.25 < np.mean(found) < 0.75


def test_the_p_of_a_portion_by_hand():
    sets = [(HEADS[0],), (HEADS[1],), (HEADS[2],), (HEADS[1],), (HEADS[3],), (HEADS[4],)]
    portions = {HEADS[0]: 7.0, HEADS[1]: 4.0, HEADS[2]: 5.0, HEADS[3]: -1.0, HEADS[4]: 1.0}
    by_set, found = portion_when_relabelled(sets, answering(sets, portions), clusters=None,
                                            draws=50, seed=0)
    pp = found[found["scale"] == "pp"].set_index("measure")["value"]
    # relabelled: 5, 4 (the same head again), -1, 1; two of four are at least 4
    assert pp.to_dict() == pytest.approx({
        "suppressors": 7.0, "chosen": 4.0, "random": 2.25, "gap": 1.75, "largest": 5.0,
        "sigma": np.std([5, 4, -1, 1], ddof=1), "p": 3 / 5})
    assert list(by_set["portion_pp"]) == pytest.approx([7, 4, 5, 4, -1, 1])
    assert list(by_set["kind"]) == ["suppressors", "chosen", *["relabelled"] * 4]
    odds = np.log(37 / 63) - np.log(30 / 70)
    assert by_set["portion_logits"][0] == pytest.approx(odds)


def test_heads_are_chosen_by_portion_of_the_questions_of_both_sweeps():
    sandbag = swept([[9, 0, 9, 9], [5, 5, 0, 0], [4, 4, 0, 0]], ["a", "b", "c", "d"])
    genuine = swept([[9, 0], [1, 1], [2, 2]], ["b", "a"])  # portions 0 - 9, 5 - 1, 4 - 2, ...
    clusters = ["a", "b", "c", "d"]
    chosen, *_ = chosen_by_portion(half_of(clusters), sandbag, genuine, 2, relabellings=3, seed=0)
    assert chosen == (HEADS[1], HEADS[2])


def test_questions_of_one_template_are_relabelled_together():
    sandbag = swept([[3.0, -3.0], [1.0, 1.0], [-1.0, -1.0]], ["a", "b"])
    genuine = swept(np.zeros((3, 2)), ["a", "b"])
    for clusters, chosen in ((["t", "t"], {1, 2}), (["a", "b"], {0, 1, 2})):
        found = chosen_by_portion(half_of(["a", "b"], clusters), sandbag, genuine, 1,
                                  relabellings=30, seed=0)
        assert set(found) == {(HEADS[place],) for place in chosen}


# By means


def test_random_heads_by_means_are_those_by_zeros_and_put_the_choosing_halfs_means(
        smoke_task, tiny_llama):
    few, means_of = smoke_task.evaluating.spread(3), smoke_task.choosing.spread(4)
    heads = (Head(1, 0), Head(4, 2))
    how = {"kinds": ("layer_matched",), "draws": 2, "seed": 0}
    zeros = random_heads(few, "sandbag", heads, **how)
    means = random_heads(few, "sandbag", heads, **how, means_of=means_of)
    assert list(means.table["heads"]) == list(zeros.table["heads"])
    assert np.array_equal(means.p_correct[0], zeros.p_correct[0])
    groups = [means_of.prompts.prompts[condition] for condition in ("genuine", "sandbag")]
    of_layers = head_means(tiny_llama.model, groups, (1, 4))
    asked = few.prompts
    plain = plain_p_correct(tiny_llama.model, asked.prompts["sandbag"], asked.correct["sandbag"],
                            [(), heads], of_layers)
    np.testing.assert_allclose(means.p_correct[:2], 100 * plain, atol=1e-4)
    assert not np.allclose(means.p_correct[1], zeros.p_correct[1], atol=1e-6)


def test_a_set_that_stands_twice_is_run_once(smoke_task):
    half, heads, other = smoke_task.evaluating.spread(2), (Head(0, 0),), (Head(1, 1),)
    found = p_correct(half, "sandbag", ablate=[other, heads, (), heads])
    once = p_correct(half, "sandbag", ablate=[other, heads, ()])
    assert np.array_equal(found, once[[0, 1, 2, 1]])


def test_portions_by_zeros_and_by_means_stand_apart():
    def drawn(*p_by_set):
        p_SQ = np.repeat(np.array(p_by_set, dtype=float)[:, None], 6, axis=1)
        table = pd.DataFrame({"kind": ["circuit", "layer_matched", "layer_matched"],
                              "heads": ["a", "b", "c"]})
        return RandomHeads(table, pd.DataFrame(p_SQ[1:] - p_SQ[0]), p_SQ)

    genuine = drawn(60, 60, 60, 60)
    found = portion_against_random(
        {"zero": (drawn(10, 40, 20, 14), genuine), "mean": (drawn(10, 15, 16, 12), genuine)},
        clusters=None, draws=50, seed=0)
    gaps = found.query("measure == 'gap' and scale == 'pp'").set_index("mode")["value"]
    assert gaps.to_dict() == pytest.approx({"zero": 30 - 7, "mean": 5 - 4})
    p = found.query("measure == 'p' and scale == 'pp'").set_index("mode")["value"]
    assert p.to_dict() == pytest.approx({"zero": 1 / 3, "mean": 2 / 3})


# Arms


def test_arms_agree_as_far_as_their_heads_do():
    rng = np.random.default_rng(0)
    signal, other = rng.normal(size=(2, 40, 1), scale=9.0)
    by_arm = {name: swept(of + rng.normal(size=(40, 20)))
              for name, of in (("one", signal), ("alike", signal), ("unlike", other))}
    found = arm_agreement(by_arm, 5, splits=20, seed=0).set_index(["arm", "other"])
    assert len(found) == 6
    assert found.loc[("one", "one"), "correlation"] > 0.9
    assert found.loc[("one", "alike"), "correlation"] > 0.9
    assert abs(found.loc[("one", "unlike"), "correlation"]) < 0.5
    assert found.loc[("one", "one"), "shared"] == 5
    expected = set(strongest(by_arm["one"], 5)) & set(strongest(by_arm["unlike"], 5))
    assert found.loc[("one", "unlike"), "shared"] == len(expected)
    shown = s27.arms(found.reset_index(), dict.fromkeys(by_arm, "title"))
    assert list(shown["with"]) == ["itself", "title", "title", "itself", "title", "itself"]


def test_sweeps_of_other_questions_are_not_compared():
    effects = np.random.default_rng(0).normal(size=(40, 2))
    one, other = swept(effects, ["a", "b"]), swept(effects, ["a", "c"])
    with pytest.raises(ValueError, match="other questions"):
        arm_agreement({"one": one, "other": other}, 5, splits=2, seed=0)


def test_the_questions_of_every_arm_are_among_those_that_were_swept():
    assert list(of_questions(swept(np.ones((40, 20))), half_of(["q3", "q11"]))) == [
        "head", "q3", "q11"]
    with pytest.raises(KeyError):
        of_questions(swept(np.ones((40, 20))), half_of(["q3", "q99"]))
    for profile in PROFILES.values():
        many, few = profile.sweep_sandbag_questions, profile.arm_sweep_questions
        assert (many, few) == (None, few) or many % few == 0


def test_heads_chosen_under_one_arm_are_tested_under_another():
    def conditions(sandbag, genuine):
        return {"sandbag": np.array(sandbag), "genuine": np.array(genuine)}

    fall = conditions([20.0] * 8, [60.0] * 8)
    no_fall = conditions([60.0] * 8, [55.0] * 8)
    measured = [
        ("one", "one", (HEADS[0],), conditions([9.0] * 8, [1.0] * 8), fall),
        ("two", "one", (HEADS[1],), conditions([1.0] * 8, [-8.0] * 8), fall),
        ("one", "two", (HEADS[0],), conditions([9.0] * 8, [1.0] * 8), no_fall),
    ]
    found = across_arms(measured, share=0.1, clusters=None, draws=50, seed=0)
    table = found.set_index(["chosen", "tested", "measure"])
    assert table.loc[("one", "one", "portion"), "value"] == pytest.approx(8.0)
    assert table.loc[("one", "one", "fall"), "value"] == pytest.approx(40.0)
    # a tenth of the fall is 4
    assert table.loc[("one", "one", "restoration"), "outcome"] == "different"
    assert table.loc[("one", "one", "portion"), "outcome"] == "different"
    assert table.loc[("two", "one", "restoration"), "outcome"] == "equivalent"
    assert table.loc[("two", "one", "portion"), "outcome"] == "different"
    assert table.loc[("one", "two", "portion"), "outcome"] == "no fall shown"
    shown = s30.arms(found, {"one": "labelled", "two": "same prefix"})
    assert list(shown["tested under"]) == ["labelled", "labelled", "same prefix"]
    assert shown["restoration"][1].endswith(", equivalent")
