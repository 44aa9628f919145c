"""The head sweep: kept layer by layer, and the suppressors that are read from it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from places import artifacts_at

from deception_saes.errors import UserError
from deception_saes.experiments import heads as module
from deception_saes.experiments.circuits import (
    effects_of,
    mean_share,
    n_early,
    redundancy,
    strongest,
)
from deception_saes.experiments.heads import all_heads, best_of_size, sweep
from deception_saes.interventions.ablation import plain_p_correct
from deception_saes.models.anatomy import Head
from deception_saes.tasks.framings import reworded


@pytest.fixture(scope="module")
def asked(smoke_task):
    return smoke_task.choosing.spread(4)


def anew(folder, half, condition):
    """The sweep with nothing to read."""
    with artifacts_at(folder):
        return effects_of(sweep(half, condition))


def test_equals_the_plain_loop(tiny_llama, asked):
    found = sweep(asked, "sandbag")
    prompts = asked.prompts
    every = all_heads(asked.task.subject)
    plain = plain_p_correct(tiny_llama.model, prompts.prompts["sandbag"],
                            prompts.correct["sandbag"], [(), *((head,) for head in every)])
    assert list(found["head"]) == [str(head) for head in every]
    assert list(found.columns[1:]) == [question.id for question in asked.questions]
    np.testing.assert_allclose(effects_of(found), 100 * (plain[1:] - plain[0]), atol=1e-4)


def test_a_sweep_that_stopped_goes_on_where_it_stopped(asked, tmp_path, monkeypatch):
    layers = []
    real = module.ablated_p_correct

    def failing_at_layer_3(model, prompts, correct, sets, *rest, **named):
        if sets[1][0].layer == 3 and len(layers) < 8:
            layers.append("failed")
            raise KeyboardInterrupt
        layers.append(sets[1][0].layer)
        return real(model, prompts, correct, sets, *rest, **named)

    monkeypatch.setattr(module, "ablated_p_correct", failing_at_layer_3)
    with pytest.raises(KeyboardInterrupt):
        anew(tmp_path / "a", asked, "sandbag")
    layers += ["again"] * 8
    resumed = anew(tmp_path / "a", asked, "sandbag")
    assert layers == [0, 1, 2, "failed", *["again"] * 8, 3, 4, 5, 6, 7]
    monkeypatch.undo()
    assert np.array_equal(resumed, anew(tmp_path / "b", asked, "sandbag"))


def test_other_questions_are_another_sweep(asked):
    assert effects_of(sweep(asked, "genuine")).shape == (32, 4)
    assert effects_of(sweep(asked.spread(2), "genuine")).shape == (32, 2)


def test_questions_of_the_same_ids_and_another_wording_are_another_sweep(asked, tmp_path):
    # the genuine prompts, and with them the halves, stay as they are
    framing = reworded(asked.task.framing, "Give a wrong answer.")
    other = dataclasses.replace(asked, task=dataclasses.replace(asked.task, framing=framing))
    assert other.prompts.ids == asked.prompts.ids
    before, after = (effects_of(sweep(half, "sandbag")) for half in (asked, other))
    assert not np.array_equal(after, before)
    assert np.array_equal(after, anew(tmp_path, other, "sandbag"))


def test_the_text_of_any_question_decides_the_sweep(asked):
    first, *rest = asked.task.questions
    task = dataclasses.replace(
        asked.task, questions=(dataclasses.replace(first, text=first.text + "?"), *rest))
    other = dataclasses.replace(asked, task=task)
    assert sweep.call(other, "sandbag").spec.hash != sweep.call(asked, "sandbag").spec.hash


def swept(*effects):
    """A sweep of heads of two a layer, with these effects on two questions alike."""
    names = [f"L{place // 2}H{place % 2}" for place in range(len(effects))]
    return pd.DataFrame({"head": names, "q1": effects, "q2": effects})


def test_the_suppressors_are_the_heads_of_largest_effect():
    table = swept(1.0, 5.0, -9.0, 5.0, 0.0, 0.5)
    assert strongest(table, 3) == (Head(0, 1), Head(1, 1), Head(0, 0))


@pytest.mark.parametrize("n", [0, 4])
def test_more_suppressors_than_leave_as_many_heads_to_draw_from_are_refused(n):
    with pytest.raises(UserError, match=f"n_heads is {n}"):
        strongest(swept(1.0, 5.0, -9.0, 5.0, 0.0, 0.5), n)


def test_heads_in_the_first_quarter_of_depth_are_counted(asked):
    assert asked.task.subject.model.shape.layers == 8
    heads = (Head(0, 1), Head(2, 0), Head(3, 0), Head(7, 3))
    assert n_early(heads, asked.task.subject) == 2


def test_the_best_of_a_size_is_the_one_that_restores_most_on_the_choosing_half():
    a, b, c = Head(0, 0), Head(0, 1), Head(1, 0)
    sets = [(a,), (b,), (c,), (a, b), (a, c), (a, b, c)]
    assert best_of_size(sets, np.array([1.0, 3.0, 2.0, -2.0, -1.0, 0.0])) == {1, 4, 5}


@pytest.mark.parametrize(("sign", "share"), [(1.0, 25.0), (-1.0, None)])
def test_redundancy_is_given_only_where_the_sum_is_above_zero(sign, share):
    one, two = np.full(9, 2.0 * sign), np.full(9, 2.0 * sign)
    sets = [(Head(0, 0),), (Head(0, 1),), (Head(0, 0), Head(0, 1))]
    table = redundancy([one, two, np.full(9, 3.0 * sign)], sets, clusters=None,
                       draws=50, seed=0)
    value = table.set_index("measure")["value"]
    assert value["sum_of_singles"] == pytest.approx(4.0 * sign)
    assert (None if np.isnan(value["redundancy"]) else value["redundancy"]) == share


def test_a_head_that_no_half_chose_counts_as_never_chosen():
    table = pd.DataFrame({"head": ["L0H0"], "share_of_splits": [0.5]})
    assert mean_share(table, (Head(0, 0), Head(0, 1))) == pytest.approx(25.0)
