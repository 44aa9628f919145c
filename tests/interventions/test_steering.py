"""Steering and replacement against whole forward passes with a hand-made hook."""

import numpy as np
import pytest
import torch

from deception_saes.interventions.steering import (
    added,
    replaced_kl,
    reply_log_p,
    steered_texts,
    unsteered_log_p,
)
from deception_saes.models.anatomy import anatomy
from deception_saes.models.forward import cache_before_last
from deception_saes.tasks.sampling import sample

PROMPT, LAYER = [5, 9, 14, 3, 8, 21], 2
REPLY, COMPLETION = [7, 30, 11], [7, 30, 11, 2]


def whole(lm, completion, first, edit):
    """Log-probabilities of the tokens behind each of the completion's and before it, [1 + T, V],
    with `edit` of the residual from position `first` on."""

    def hook(_, __, output):
        x = (output[0] if isinstance(output, tuple) else output).clone()
        x[0, first:] = edit(x[0, first:])
        return (x, *output[1:]) if isinstance(output, tuple) else x

    with torch.inference_mode(), anatomy(lm.model).blocks[LAYER].register_forward_hook(hook):
        logits = lm.model(torch.tensor([PROMPT + completion])).logits[0, len(PROMPT) - 1 :]
    return torch.log_softmax(logits.double(), dim=-1)


def steered(lm, vector):
    """Mean log-probability of REPLY with the vector added from the prompt's last position on."""
    log_p = whole(lm, REPLY, len(PROMPT) - 1, lambda x: x + vector)
    return sum(float(log_p[i, token]) for i, token in enumerate(REPLY)) / len(REPLY)


@pytest.fixture
def vectors(tiny):
    width = tiny.model.config.hidden_size
    drawn = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    return torch.stack([torch.zeros(width), *(0.5 * drawn)])


def test_replies_are_scored_as_by_whole_passes(tiny, vectors):
    cache = cache_before_last(tiny.model, PROMPT[:])
    found = reply_log_p(tiny.model, cache, PROMPT[-1], REPLY, LAYER, vectors)
    assert found.tolist() == pytest.approx([steered(tiny, v) for v in vectors], abs=1e-5)
    assert abs(found[0] - found[1]) > 1e-3
    again = reply_log_p(tiny.model, cache, PROMPT[-1], REPLY, LAYER, vectors)
    assert torch.equal(found, again)  # the cache is as it was


def test_replies_of_several_lengths_are_scored_together_as_one_by_one(tiny, vectors):
    cache, replies = cache_before_last(tiny.model, PROMPT), [REPLY, [30], [4, 4, 19, 8, 25]]
    found = unsteered_log_p(tiny.model, cache, PROMPT[-1], replies)
    alone = [float(reply_log_p(tiny.model, cache, PROMPT[-1], reply, LAYER, vectors[:1])[0])
             for reply in replies]
    assert found.tolist() == pytest.approx(alone, abs=1e-5)
    assert found[0] == pytest.approx(steered(tiny, vectors[0]), abs=1e-5)
    assert unsteered_log_p(tiny.model, cache, PROMPT[-1], []).shape == (0,)


def test_strength_zero_is_the_clean_model_to_the_bit(tiny, vectors):
    ids = torch.tensor([PROMPT])
    with torch.inference_mode():
        clean = tiny.model(ids).logits
        with added(tiny.model, LAYER, 0.0 * vectors[1:2]):
            at_zero = tiny.model(ids).logits
        with added(tiny.model, LAYER, vectors[1:2]):
            moved = tiny.model(ids).logits
        after = tiny.model(ids).logits
    assert torch.equal(clean, at_zero)
    assert torch.equal(clean, after)
    assert not torch.allclose(clean, moved)


def test_texts_are_sampled_from_the_steered_model(tiny, vectors):
    cache, draws = cache_before_last(tiny.model, PROMPT), 4
    pull = 1e4 * tiny.model.get_output_embeddings().weight[17].detach()
    last = anatomy(tiny.model).n_layers - 1
    found = steered_texts(tiny, cache, PROMPT[-1], last, torch.stack([0 * pull, pull]), draws, 0, 6)
    clean = [of.text for of in sample(tiny, PROMPT, draws, 1.0, 0, 6, draws)]
    assert found[0] == clean
    assert found[1] != clean
    again = steered_texts(tiny, cache, PROMPT[-1], last, torch.stack([pull, 0 * pull]), draws, 0, 6)
    assert again == found[::-1]  # a row knows nothing of the others; the cache is as it was


@pytest.mark.parametrize(("layer", "width", "message"), [
    (99, None, "cannot be steered"), (-1, None, "cannot be steered"), (0, 3, "width 3")])
def test_what_cannot_be_steered_is_named(tiny, layer, width, message):
    vectors = torch.zeros(1, width or tiny.model.config.hidden_size)
    with pytest.raises(ValueError, match=message), added(tiny.model, layer, vectors):
        pass


def test_nothing_to_score_is_an_error(tiny, vectors):
    cache = cache_before_last(tiny.model, PROMPT)
    with pytest.raises(ValueError, match="no token"):
        reply_log_p(tiny.model, cache, PROMPT[-1], [], LAYER, vectors)
    with pytest.raises(ValueError, match="no token"):
        unsteered_log_p(tiny.model, cache, PROMPT[-1], [REPLY, []])
    with pytest.raises(ValueError, match="no token"):
        replaced_kl(tiny.model, cache, PROMPT[-1], [], LAYER, [])


def test_kl_under_replacement_is_that_of_whole_passes(tiny):
    def log_p(edit):
        return whole(tiny, COMPLETION, len(PROMPT), edit)[1:]

    edits = [lambda x: 0.3 * x, lambda x: x, lambda x: x.flip(-1)]
    found = replaced_kl(tiny.model, cache_before_last(tiny.model, PROMPT), PROMPT[-1], COMPLETION,
                        LAYER, edits)
    assert found.shape == (3, len(COMPLETION))
    clean = log_p(lambda x: x)
    for edit, kl in zip(edits, found, strict=True):
        expected = (clean.exp() * (clean - log_p(edit))).sum(-1)
        np.testing.assert_allclose(kl, expected, atol=1e-5)
    assert found[0].max() > 1e-3
    assert np.abs(found[1]).max() < 1e-6
