import copy

import numpy as np
import pytest
import torch

from deception_saes.models.forward import (
    at_temperature,
    continuation_states,
    log_probabilities,
    shared_prefix,
    suffix_batches,
    token_mass,
)

CLOSE = {"atol": 1e-5, "rtol": 1e-5}  # of log-probabilities, about -10 in float32
PREFIX = [5, 300, 7, 2000]
SUFFIXES = [[11, 12, 13], [14], [15, 16, 17], [18, 19], [20], [21, 22, 23], [11, 12, 99, 40, 1]]
WITH_PREFIX = [PREFIX + suffix for suffix in SUFFIXES]


@pytest.mark.parametrize("prompts", [WITH_PREFIX, SUFFIXES, WITH_PREFIX[:1], [[7], [7], [7]]],
                         ids=["shared prefix", "no shared prefix", "one prompt", "all the same"])
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_batches_give_what_a_plain_forward_pass_gives(tiny, log_p, prompts, batch_size):
    found = {}
    for batch in suffix_batches(tiny.model, prompts, batch_size):
        assert len(batch.rows) <= batch_size
        last = log_probabilities(tiny.model, batch.hidden_BTD[:, -1])
        for place, row in enumerate(batch.rows):
            assert row not in found
            found[row] = last[place]
    assert sorted(found) == list(range(len(prompts)))
    for row, prompt in enumerate(prompts):
        torch.testing.assert_close(found[row], log_p(tiny, prompt)[-1], **CLOSE)


def test_hidden_states_stand_at_every_position_behind_the_prefix(tiny, log_p):
    for batch in suffix_batches(tiny.model, WITH_PREFIX, 4):
        for place, row in enumerate(batch.rows):
            ours = log_probabilities(tiny.model, batch.hidden_BTD[place])
            assert len(ours) == len(SUFFIXES[row])
            torch.testing.assert_close(ours, log_p(tiny, WITH_PREFIX[row])[len(PREFIX):],
                                       **CLOSE)


def test_continuations_give_what_a_plain_forward_pass_gives(tiny, log_p):
    tails = [(0, (31,)), (0, (31, 32, 33, 34)), (1, (35, 36)), (0, (37, 38))]
    for batch in suffix_batches(tiny.model, WITH_PREFIX, 2):
        wanted = [(place, tail) for place, tail in tails if place < len(batch.rows)]
        for _ in range(2):  # the second time from a cache that the first one must leave as it was
            states = continuation_states(tiny.model, batch.cache, wanted)
            assert len(states) == len(wanted)
            for (place, tail), state_TD in zip(wanted, states, strict=True):
                whole = log_p(tiny, [*WITH_PREFIX[batch.rows[place]], *tail])[-len(tail):]
                torch.testing.assert_close(log_probabilities(tiny.model, state_TD), whole,
                                           **CLOSE)


def test_no_continuation_is_no_work(tiny):
    batch = next(suffix_batches(tiny.model, WITH_PREFIX, 2))
    assert continuation_states(tiny.model, batch.cache, []) == []


@pytest.mark.parametrize(("prompts", "prefix"), [
    ([[1, 2, 3], [1, 2, 4]], [1, 2]),
    ([[1, 2, 3], [1, 2, 3]], [1, 2]),
    ([[1, 2], [1, 2, 3, 4]], [1]),
    ([[1], [1, 2]], []),
    ([[1, 2], [3, 2]], []),
    ([[1, 2, 3]], [1, 2]),
])
def test_the_shared_prefix_leaves_every_prompt_a_token(prompts, prefix):
    assert shared_prefix(prompts) == prefix


@pytest.mark.parametrize("prompts", [[], [[1, 2], []]])
def test_a_missing_or_empty_prompt_is_an_error(tiny, prompts):
    with pytest.raises(ValueError, match="prompt"):
        next(suffix_batches(tiny.model, prompts, 2))


def test_log_probabilities_add_up_to_one_in_float64(tiny):
    batch = next(suffix_batches(tiny.model, WITH_PREFIX, 2))
    log_p_BV = log_probabilities(tiny.model, batch.hidden_BTD[:, -1])
    assert log_p_BV.dtype == torch.float64
    torch.testing.assert_close(log_p_BV.exp().sum(-1), torch.ones(len(batch.rows)).double())


@pytest.mark.parametrize("tokens", [[[3], [0, 9, 700], [5, 6]], [[8, 2], [1, 4], [7, 0]]],
                         ids=["unequal numbers", "equal numbers"])
def test_the_mass_is_the_sum_over_each_prompts_own_tokens(tiny, tokens):
    hidden = torch.randn(2, len(tokens), tiny.model.config.hidden_size,
                         generator=torch.Generator().manual_seed(0))
    p = log_probabilities(tiny.model, hidden).exp()
    expected = [[p[k, q, of].sum().item() for q, of in enumerate(tokens)] for k in range(2)]
    assert token_mass(tiny.model, hidden, tokens) == pytest.approx(np.array(expected), rel=1e-4)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_weight_is_an_error_and_not_a_probability(tiny, broken):
    model = copy.deepcopy(tiny.model)
    model.get_output_embeddings().weight[5, 0] = broken
    batch = next(suffix_batches(model, WITH_PREFIX, 2))
    with pytest.raises(FloatingPointError, match="not finite"):
        log_probabilities(model, batch.hidden_BTD[:, -1])


def test_a_temperature_divides_logits_and_is_gone_afterwards(tiny):
    hidden_BD = torch.randn(3, tiny.model.config.hidden_size,
                            generator=torch.Generator().manual_seed(0))
    plain = log_probabilities(tiny.model, hidden_BD)
    with at_temperature(tiny.model, 0.5):
        sharper = log_probabilities(tiny.model, hidden_BD)
    torch.testing.assert_close(sharper, torch.log_softmax(2 * plain, dim=-1), **CLOSE)
    assert torch.equal(log_probabilities(tiny.model, hidden_BD), plain)
