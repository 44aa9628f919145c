"""The head sweep of a section: kept layer by layer, and the circuit that is read from it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from deception_saes.interventions.ablation import plain_p_correct
from deception_saes.models.anatomy import Head
from deception_saes.sections import sweep as module
from deception_saes.sections.halves import half_of
from deception_saes.sections.sweep import all_heads, circuit, sweep


@pytest.fixture(scope="module")
def asked(smoke_run, tiny_llama):
    return half_of(smoke_run, tiny_llama, "two_shot_labelled", "choosing").spread(4)


def test_equals_the_plain_loop(tiny_llama, asked, tmp_path):
    found = sweep(tiny_llama, asked, "sandbag", tmp_path)
    prompts, correct = asked.prompts["sandbag"], asked.correct["sandbag"]
    plain = plain_p_correct(tiny_llama.model, prompts, correct,
                            [(), *((head,) for head in all_heads(tiny_llama))])
    np.testing.assert_allclose(found, 100 * (plain[1:] - plain[0]), atol=1e-4)


def test_a_sweep_that_stopped_goes_on_where_it_stopped(tiny_llama, asked, tmp_path, monkeypatch):
    layers = []
    real = module.ablated_p_correct

    def failing_at_layer_3(model, prompts, correct, sets, **rest):
        if sets[1][0].layer == 3 and len(layers) < 8:
            layers.append("failed")
            raise KeyboardInterrupt
        layers.append(sets[1][0].layer)
        return real(model, prompts, correct, sets, **rest)

    monkeypatch.setattr(module, "ablated_p_correct", failing_at_layer_3)
    with pytest.raises(KeyboardInterrupt):
        sweep(tiny_llama, asked, "sandbag", tmp_path)
    layers += ["again"] * 8
    resumed = sweep(tiny_llama, asked, "sandbag", tmp_path)
    assert layers == [0, 1, 2, "failed", *["again"] * 8, 3, 4, 5, 6, 7]
    monkeypatch.undo()
    assert np.array_equal(resumed, sweep(tiny_llama, asked, "sandbag", tmp_path / "anew"))


def test_other_questions_are_another_sweep(tiny_llama, asked, tmp_path):
    assert sweep(tiny_llama, asked, "genuine", tmp_path).shape == (32, 4)
    assert sweep(tiny_llama, asked.spread(2), "genuine", tmp_path).shape == (32, 2)


def test_an_empty_half_is_an_error_that_names_the_framing(smoke_run, tiny_llama):
    with pytest.raises(ValueError, match="'two_shot_labelled': none is answerable"):
        half_of(smoke_run, tiny_llama, "two_shot_labelled", "no such half")


def test_the_circuit_is_the_heads_of_largest_effect():
    table = pd.DataFrame({"layer": [0, 0, 1, 1], "head": [0, 1, 0, 1],
                          "effect_sandbag": [1.0, 5.0, -9.0, 5.0]})
    assert circuit(table, 3) == [Head(0, 1), Head(1, 1), Head(0, 0)]


def test_questions_of_the_same_ids_and_another_text_are_another_sweep(
        tiny_llama, asked, tmp_path):
    before = sweep(tiny_llama, asked, "genuine", tmp_path)
    reworded = dataclasses.replace(asked, prompts={
        condition: [[*prompt[:-3], 7, *prompt[-2:]] for prompt in prompts]
        for condition, prompts in asked.prompts.items()})
    after = sweep(tiny_llama, reworded, "genuine", tmp_path)
    assert np.array_equal(after, sweep(tiny_llama, reworded, "genuine", tmp_path / "anew"))
    assert not np.array_equal(after, before)
