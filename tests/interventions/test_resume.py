"""The resumable runs against whole forward passes: the same numbers for every head and mode."""

import copy

import numpy as np
import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from deception_saes.interventions.ablation import (
    ablated_p_correct,
    collateral_damage,
    head_means,
    plain_p_correct,
)
from deception_saes.interventions.heads import ablated
from deception_saes.models.anatomy import Head, anatomy
from deception_saes.models.forward import log_probabilities

# Unequal lengths, a beginning shared by all, one shared by some, one prompt the beginning of
# another, one twice.
PROMPTS = [[5, 6, 7, 8, 9], [5, 6, 7, 8, 9, 40, 41], [5, 6, 30], [5, 6, 30, 31, 32, 33], [5, 6, 30]]
CORRECT = [[100, 101], [7], [2000], [300, 5], [2000]]
EVERY_HEAD = [(Head(layer, head),) for layer in range(8) for head in range(4)]
SEVERAL = [(), (Head(0, 1), Head(0, 2)), (Head(2, 0), Head(5, 3), Head(7, 1)), (Head(7, 0),)]


@pytest.mark.parametrize("mode", ["zero", "mean"])
def test_equals_the_plain_loop_for_every_head_and_set(tiny, mode):
    sets = EVERY_HEAD + SEVERAL
    means = head_means(tiny.model, [PROMPTS], range(8)) if mode == "mean" else None
    fast = ablated_p_correct(tiny.model, PROMPTS, CORRECT, sets, means)
    plain = plain_p_correct(tiny.model, PROMPTS, CORRECT, sets, means)
    np.testing.assert_allclose(fast, plain, atol=1e-6, rtol=1e-4)
    assert len(np.unique(plain[:32].round(12), axis=0)) == 32  # each head matters


def test_prompts_that_share_nothing_and_single_prompts(tiny):
    for prompts in ([[5, 6], [9, 8, 7]], [[5]], [[5, 6, 7]]):
        correct = [[100]] * len(prompts)
        fast = ablated_p_correct(tiny.model, prompts, correct, SEVERAL)
        plain = plain_p_correct(tiny.model, prompts, correct, SEVERAL)
        np.testing.assert_allclose(fast, plain, atol=1e-6, rtol=1e-4)


def test_many_branches_and_batches_change_nothing(tiny, monkeypatch):
    whole = ablated_p_correct(tiny.model, PROMPTS, CORRECT, EVERY_HEAD)
    monkeypatch.setattr("deception_saes.interventions.resume._TOKENS_OF_BRANCH", 4)
    monkeypatch.setattr("deception_saes.interventions.resume._TOKENS_AT_ONCE", 8)
    np.testing.assert_allclose(ablated_p_correct(tiny.model, PROMPTS, CORRECT, EVERY_HEAD), whole,
                               atol=1e-6, rtol=1e-4)


def test_the_same_call_gives_the_same_bits(tiny):
    first, second = (ablated_p_correct(tiny.model, PROMPTS, CORRECT, EVERY_HEAD) for _ in range(2))
    assert np.array_equal(first, second)


def test_no_question_is_an_error_that_says_what_to_do(tiny):
    with pytest.raises(ValueError, match="no question is answerable"):
        ablated_p_correct(tiny.model, [], [], EVERY_HEAD)


def test_nan_weights_are_an_error(tiny):
    broken = copy.deepcopy(tiny.model)
    with torch.no_grad():
        broken.get_output_embeddings().weight[:] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        ablated_p_correct(broken, PROMPTS, CORRECT, [(Head(1, 1),)])


def test_a_duplicate_head_is_an_error(tiny):
    with pytest.raises(ValueError, match="L2H1 named twice"):
        ablated_p_correct(tiny.model, PROMPTS, CORRECT, [(Head(2, 1), Head(2, 1))])


def test_a_family_that_cannot_be_resumed_goes_the_plain_way_and_says_so(capsys):
    config = Gemma3TextConfig(vocab_size=64, hidden_size=32, intermediate_size=64,
                              num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                              head_dim=16)
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(config).eval()
    sets = [(), (Head(1, 1),)]
    found = ablated_p_correct(model, [[5, 6, 7], [5, 8]], [[9], [10]], sets)
    assert "plain loop: gemma3_text runs cannot be resumed" in capsys.readouterr().err
    with torch.inference_mode(), ablated(anatomy(model), [(Head(1, 1),)]):
        p = torch.softmax(model(torch.tensor([[5, 6, 7]])).logits[0, -1].double(), dim=-1)
    assert found[1, 0] == pytest.approx(float(p[9]), rel=1e-4)
    assert found[0, 0] != pytest.approx(found[1, 0], rel=1e-4)


def test_damage_equals_that_of_a_whole_forward_pass(tiny, log_p):
    text, heads = [5, 6, 7, 8, 9, 10, 11, 12], (Head(1, 1), Head(4, 2))
    clean = log_p(tiny, text)[:-1]
    with torch.inference_mode(), ablated(anatomy(tiny.model), [heads]):
        changed = log_probabilities(
            tiny.model, tiny.model.base_model(torch.tensor([text])).last_hidden_state[0, :-1])
    found = collateral_damage(tiny.model, text, [(), heads])
    kl = (clean.exp() * (clean - changed)).sum(dim=-1).mean()
    entropy = -changed[range(len(text) - 1), text[1:]].mean()
    assert found[1].kl == pytest.approx(float(kl), rel=1e-3)
    assert found[1].cross_entropy == pytest.approx(float(entropy), rel=1e-4)
    assert found[0].kl == pytest.approx(0.0, abs=1e-9)
