"""Edits at all positions against passes of one prompt each with the residuals put in by hand."""

import pytest
import torch

from deception_saes.models.all_positions import hidden_with_all_edited
from deception_saes.models.anatomy import anatomy

PROMPTS = [[5, 6, 30, 31, 32], [5, 6, 7], [9], [5, 6, 7, 40], [11, 12, 13]]
LAYER = 3
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def doubled(x_ND):
    return 2 * x_ND + 0.5


@torch.inference_mode()
def by_hand(model, prompt, edit, spare_first):
    """The final hidden state at the prompt's last position."""
    def hook(_, args, out):
        out = out.clone()
        for position in range(1 if spare_first else 0, len(prompt)):
            out[0, position] = edit(out[0, position][None])[0]
        return out

    with anatomy(model).blocks[LAYER].register_forward_hook(hook):
        return model.base_model(torch.tensor([prompt]), use_cache=False).last_hidden_state[0, -1]


def edited(model, edit, *, spare_first=False, batch_size=2, prompts=PROMPTS, layer=LAYER):
    return hidden_with_all_edited(model, prompts, layer, edit, spare_first=spare_first,
                                  batch_size=batch_size)


@pytest.mark.parametrize("spare_first", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_every_position_is_edited_and_the_first_if_it_is_not_spared(tiny, spare_first, batch_size):
    found_QD = edited(tiny.model, doubled, spare_first=spare_first, batch_size=batch_size)
    clean_QD = edited(tiny.model, lambda x_ND: x_ND)
    for prompt, found_D, clean_D in zip(PROMPTS, found_QD, clean_QD, strict=True):
        torch.testing.assert_close(found_D, by_hand(tiny.model, prompt, doubled, spare_first),
                                   **CLOSE)
        # of one token alone nothing is edited if the first is spared
        assert torch.allclose(found_D, clean_D, **CLOSE) == (spare_first and len(prompt) == 1)


def test_one_vector_everywhere_leaves_nothing_of_the_prompt(tiny):
    vector_D = torch.randn(tiny.model.config.hidden_size,
                           generator=torch.Generator().manual_seed(0))

    def constant(x_ND):
        return vector_D.expand_as(x_ND)

    found_QD = edited(tiny.model, constant)
    torch.testing.assert_close(found_QD, found_QD[:1].expand_as(found_QD), **CLOSE)
    spared_QD = edited(tiny.model, constant, spare_first=True)
    assert not torch.allclose(spared_QD[0], spared_QD[2], **CLOSE)


@pytest.mark.parametrize(("given", "error", "wrong"), [
    ({"prompts": []}, ValueError, "at least one prompt"),
    ({"prompts": [[1], []]}, ValueError, "at least one token"),
    ({"layer": 8}, ValueError, "layer 8: .* L7"), ({"layer": -1}, ValueError, "layer -1"),
    ({"edit": lambda x_ND: x_ND / 0}, FloatingPointError, "L3 is not finite"),
])
def test_what_cannot_be_edited_is_an_error(tiny_llama, given, error, wrong):
    with pytest.raises(error, match=wrong):
        edited(tiny_llama.model, **{"edit": doubled, **given})
