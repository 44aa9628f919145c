"""KL under replacement against whole passes with a hand-made hook."""

import numpy as np
import pytest
import torch

from deception_saes.interventions.replaced_kl import replaced_kl
from deception_saes.interventions.steering import prefilled
from deception_saes.models.anatomy import anatomy

PROMPT, COMPLETION, LAYER = [5, 9, 14, 3, 8, 21], [7, 30, 11, 2], 2


def whole(lm, replace):
    def hook(_, __, output):
        x = (output[0] if isinstance(output, tuple) else output).clone()
        x[0, len(PROMPT) :] = replace(x[0, len(PROMPT) :])
        return (x, *output[1:]) if isinstance(output, tuple) else x

    handle = anatomy(lm.model).blocks[LAYER].register_forward_hook(hook)
    try:
        with torch.inference_mode():
            logits = lm.model(torch.tensor([PROMPT + COMPLETION])).logits[0, len(PROMPT) :]
    finally:
        handle.remove()
    return torch.log_softmax(logits.double(), dim=-1)


def test_it_is_that_of_whole_passes(tiny):
    clean = whole(tiny, lambda x: x)
    edits = [lambda x: 0.3 * x, lambda x: x, lambda x: x.flip(-1)]
    found = replaced_kl(tiny.model, prefilled(tiny.model, PROMPT), PROMPT[-1], COMPLETION, LAYER,
                        edits)
    assert found.shape == (3, len(COMPLETION))
    for edit, kl in zip(edits, found, strict=True):
        other = whole(tiny, edit)
        expected = (clean.exp() * (clean - other)).sum(-1)
        np.testing.assert_allclose(kl, expected, atol=1e-5)
    assert found[0].max() > 1e-3
    assert np.abs(found[1]).max() < 1e-6


def test_an_empty_completion_is_an_error(tiny):
    with pytest.raises(ValueError, match="no token"):
        replaced_kl(tiny.model, prefilled(tiny.model, PROMPT), PROMPT[-1], [], LAYER, [])
