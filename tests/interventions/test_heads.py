"""Head ablation by hooks against edited weights."""

import copy

import pytest
import torch

from deception_saes.interventions.ablation import head_means, plain_p_correct
from deception_saes.interventions.heads import ablated
from deception_saes.models.anatomy import Head, anatomy, parse_head

PROMPTS = [[5, 6, 7, 8, 9], [5, 6, 30, 31, 32]]


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
    with pytest.raises(ValueError, match=r"L0 to L7 with heads H0 to H3"):
        plain_p_correct(tiny.model, PROMPTS, [[1], [1]], [(head,)])


def test_a_head_named_twice_is_an_error(tiny):
    with pytest.raises(ValueError, match="L1H1 named twice"):
        plain_p_correct(tiny.model, PROMPTS, [[1], [1]], [(Head(1, 1), Head(1, 1))])


def test_heads_are_read_from_text():
    assert parse_head("L12H3") == Head(12, 3)
    with pytest.raises(ValueError, match="write layer and head like L0H6"):
        parse_head("12.3")


def test_an_unknown_family_is_an_error_that_names_the_known_ones(tiny_llama):
    stranger = copy.copy(tiny_llama.model)
    stranger.config = copy.copy(tiny_llama.model.config)
    stranger.config.model_type = "stranger"
    with pytest.raises(ValueError, match="'stranger' is not known here; known: llama, gpt_neox"):
        anatomy(stranger)
