"""Head ablation: hooks against edited weights, resumed runs against whole forward passes."""

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
from deception_saes.models.anatomy import Head, anatomy, parse_head
from deception_saes.models.forward import log_probabilities

PROMPTS = [[5, 6, 7, 8, 9], [5, 6, 30, 31, 32]]
# Unequal lengths, a beginning shared by all, one shared by some, one prompt the beginning of
# another, one twice.
SHARING = [[5, 6, 7, 8, 9], [5, 6, 7, 8, 9, 40, 41], [5, 6, 30], [5, 6, 30, 31, 32, 33], [5, 6, 30]]
CORRECT = [[100, 101], [7], [2000], [300, 5], [2000]]
EVERY_HEAD = [(Head(layer, head),) for layer in range(8) for head in range(4)]
SEVERAL = [(), (Head(0, 1), Head(0, 2)), (Head(2, 0), Head(3, 3), Head(7, 1)), (Head(7, 0),)]


@torch.inference_mode()
def logits(model, prompts=PROMPTS):
    return model(torch.tensor(prompts)).logits


@pytest.mark.parametrize("head", [Head(0, 0), Head(3, 2), Head(7, 3)])
def test_zeroing_a_head_equals_zeroing_its_input_columns(tiny, head):
    parts = anatomy(tiny.model)
    with ablated(parts, [(head,)]):
        hooked = logits(tiny.model)
    edited = copy.deepcopy(tiny.model)
    columns = slice(head.head * parts.head_dim, (head.head + 1) * parts.head_dim)
    with torch.no_grad():
        anatomy(edited).projection(head.layer).weight[:, columns] = 0
    torch.testing.assert_close(hooked, logits(edited), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(hooked, logits(tiny.model), atol=1e-4)


def test_removing_the_hooks_restores_the_model_bit_for_bit(tiny):
    before = logits(tiny.model)
    with ablated(anatomy(tiny.model), [(Head(1, 1), Head(4, 0))]):
        pass
    assert torch.equal(before, logits(tiny.model))


def test_hooks_are_removed_after_an_error(tiny):
    before = logits(tiny.model)
    with pytest.raises(RuntimeError, match="planted"), ablated(
        anatomy(tiny.model), [(Head(1, 1),)]
    ):
        raise RuntimeError("planted")
    assert torch.equal(before, logits(tiny.model))


def test_rows_of_one_batch_may_lose_different_heads(tiny):
    parts, sets = anatomy(tiny.model), [(Head(2, 1),), (Head(2, 3), Head(5, 0))]
    with ablated(parts, sets):
        together = logits(tiny.model)
    for row, heads in enumerate(sets):
        with ablated(parts, [heads]):
            alone = logits(tiny.model)
        torch.testing.assert_close(together[row], alone[row], atol=1e-5, rtol=1e-5)


def test_heads_are_query_heads_under_grouped_query_attention(tiny_llama):
    config = tiny_llama.model.config
    assert config.num_key_value_heads < config.num_attention_heads
    outputs = []
    for head in range(config.num_attention_heads):
        with ablated(anatomy(tiny_llama.model), [(Head(2, head),)]):
            outputs.append(logits(tiny_llama.model))
    for i, one in enumerate(outputs):
        assert not any(torch.allclose(one, other, atol=1e-6) for other in outputs[:i])


def test_mean_mode_puts_the_given_means_in_place(tiny):
    parts, head = anatomy(tiny.model), Head(3, 1)
    mean = torch.arange(parts.n_heads * parts.head_dim, dtype=torch.float32) / 100
    seen = []
    keep = slice(head.head * parts.head_dim, (head.head + 1) * parts.head_dim)
    with ablated(parts, [(head,)], {3: mean}):
        handle = parts.projection(3).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        logits(tiny.model)
        handle.remove()
    assert torch.equal(seen[0][..., keep], mean[keep].expand_as(seen[0][..., keep]))


def test_means_weigh_conditions_equally_and_leave_position_0_out(tiny):
    parts = anatomy(tiny.model)
    groups = [[[5, 6, 7]], [[8, 9, 10, 11], [12, 13]]]
    by_group = []
    for prompts in groups:
        rows = []
        for prompt in prompts:
            handle = parts.projection(2).register_forward_pre_hook(
                lambda _, args, rows=rows: rows.append(args[0][0, 1:]))
            logits(tiny.model, [prompt])
            handle.remove()
        by_group.append(torch.cat(rows).mean(dim=0))
    expected = (by_group[0] + by_group[1]) / 2
    torch.testing.assert_close(head_means(tiny.model, groups, [2])[2], expected, atol=1e-5,
                               rtol=1e-4)


@pytest.mark.parametrize("head", [Head(8, 0), Head(0, 4), Head(-1, 0)])
def test_a_head_that_does_not_exist_names_the_valid_range(tiny, head):
    with pytest.raises(ValueError, match=rf"{head}.*L0 to L7.*H0 to H3"):
        plain_p_correct(tiny.model, PROMPTS, [[1], [1]], [(head,)])


def test_a_head_named_twice_is_an_error(tiny):
    with pytest.raises(ValueError, match="L1H1"):
        plain_p_correct(tiny.model, PROMPTS, [[1], [1]], [(Head(1, 1), Head(1, 1))])


def test_heads_are_read_from_text():
    assert parse_head("L12H3") == Head(12, 3)
    with pytest.raises(ValueError, match=r"12\.3.*L0H6"):
        parse_head("12.3")


def test_an_unknown_family_is_an_error_that_names_the_known_ones(tiny_llama):
    stranger = copy.copy(tiny_llama.model)
    stranger.config = copy.copy(tiny_llama.model.config)
    stranger.config.model_type = "stranger"
    with pytest.raises(ValueError, match=r"'stranger'.*llama, gpt_neox"):
        anatomy(stranger)


@pytest.mark.parametrize("mode", ["zero", "mean"])
def test_equals_the_plain_loop_for_every_head_and_set(tiny, mode):
    sets = EVERY_HEAD + SEVERAL
    means = head_means(tiny.model, [SHARING], range(8)) if mode == "mean" else None
    fast = ablated_p_correct(tiny.model, SHARING, CORRECT, sets, means)
    plain = plain_p_correct(tiny.model, SHARING, CORRECT, sets, means)
    np.testing.assert_allclose(fast, plain, atol=1e-6, rtol=1e-4)
    assert len(np.unique(plain[:32].round(12), axis=0)) == 32  # each head matters


def test_prompts_that_share_nothing_and_single_prompts(tiny):
    for prompts in ([[5, 6], [9, 8, 7]], [[5]], [[5, 6, 7]]):
        correct = [[100]] * len(prompts)
        fast = ablated_p_correct(tiny.model, prompts, correct, SEVERAL)
        plain = plain_p_correct(tiny.model, prompts, correct, SEVERAL)
        np.testing.assert_allclose(fast, plain, atol=1e-6, rtol=1e-4)


def test_many_branches_and_batches_change_nothing(tiny, monkeypatch):
    whole = ablated_p_correct(tiny.model, SHARING, CORRECT, EVERY_HEAD)
    monkeypatch.setattr("deception_saes.interventions.heads.TOKENS_OF_BRANCH", 4)
    monkeypatch.setattr("deception_saes.interventions.heads.TOKENS_AT_ONCE", 8)
    np.testing.assert_allclose(ablated_p_correct(tiny.model, SHARING, CORRECT, EVERY_HEAD), whole,
                               atol=1e-6, rtol=1e-4)


def test_the_same_call_gives_the_same_bits(tiny):
    first, second = (ablated_p_correct(tiny.model, SHARING, CORRECT, EVERY_HEAD) for _ in range(2))
    assert np.array_equal(first, second)


def test_no_question_is_an_error_that_says_what_to_do(tiny):
    with pytest.raises(ValueError, match="question"):
        ablated_p_correct(tiny.model, [], [], EVERY_HEAD)


def test_nan_weights_are_an_error(tiny):
    broken = copy.deepcopy(tiny.model)
    with torch.no_grad():
        broken.get_output_embeddings().weight[:] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        ablated_p_correct(broken, SHARING, CORRECT, [(Head(1, 1),)])


def test_a_duplicate_head_is_an_error(tiny):
    with pytest.raises(ValueError, match="L2H1"):
        ablated_p_correct(tiny.model, SHARING, CORRECT, [(Head(2, 1), Head(2, 1))])


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
