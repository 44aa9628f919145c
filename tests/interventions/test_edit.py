"""Edits at any layers and positions, against what is known without them."""

import numpy as np
import pytest
import torch

from deception_saes.interventions.edit import edited_p_correct, through_features
from deception_saes.models.forward import token_mass
from deception_saes.models.last_position import LastPositionRun
from deception_saes.saes.registry import ARCHITECTURES, build
from deception_saes.saes.sae import SaeConfig
from deception_saes.tasks.prompts import prompt_set
from deception_saes.tasks.scoring import scorable
from deception_saes.tasks.trivia import load_questions
from deception_saes.tasks.wordings import FRAMINGS


@pytest.fixture(scope="module")
def asked(tiny):
    framing = FRAMINGS["two_shot_labelled"]
    kept, _ = scorable(load_questions()[:20], framing, tiny.tokenizer)
    return prompt_set(framing, kept[:3], tiny.tokenizer)


def random_sae(architecture, d_in):
    random = torch.Generator().manual_seed(0)
    config = SaeConfig(architecture, d_in, 2 * d_in, 8 if architecture == "topk" else None)
    shapes = ARCHITECTURES[architecture].sae.shapes(config)
    return build(config, {name: torch.randn(shape, generator=random) / 8
                          for name, shape in shapes.items()})


def p_correct(lm, asked, edits, where="last"):
    return edited_p_correct(lm.model, asked.prompts["sandbag"], asked.correct["sandbag"], edits,
                            where)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("where", ["last", "suffix", "all"])
def test_with_the_error_kept_the_identity_changes_nothing_exactly(tiny, asked, architecture,
                                                                  where):
    sae = random_sae(architecture, tiny.model.config.hidden_size)
    identity = {layer: through_features(sae, lambda f: f) for layer in (0, 3, 7)}
    assert np.array_equal(p_correct(tiny, asked, identity, where), p_correct(tiny, asked, {}))


def test_a_changed_feature_moves_the_residual_along_its_decoder_row_alone():
    sae = random_sae("jumprelu", 16)
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))

    def first_up(features):
        return features + torch.nn.functional.one_hot(torch.tensor(0), 32)

    moved = through_features(sae, first_up)(x) - x
    torch.testing.assert_close(moved, sae.weights["W_dec"][0].expand(5, -1))


def test_a_decoder_that_ignores_its_features_does_nothing_beyond_its_error():
    sae = random_sae("topk", 16)
    sae.weights["W_dec"].zero_()
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    assert torch.equal(through_features(sae, lambda f: 7 * f + 1)(x), x)
    assert torch.equal(sae.decode(sae.encode(x)), sae.weights["b_dec"].expand(5, -1))


@pytest.mark.parametrize("layer", [0, 4, 7])
def test_one_layer_at_the_last_position_is_what_the_fast_way_gives(tiny, asked, layer):
    shift = torch.randn(tiny.model.config.hidden_size, generator=torch.Generator().manual_seed(2))
    run = LastPositionRun(tiny.model, asked.prompts["sandbag"], [layer])
    fast = token_mass(tiny.model, run.final_hidden(layer, (run.residual(layer) + shift)[None])[0],
                      asked.correct["sandbag"])
    plain = p_correct(tiny, asked, {layer: lambda x: x + shift})
    np.testing.assert_allclose(plain, fast, rtol=1e-4)
    assert not np.allclose(plain, p_correct(tiny, asked, {}), rtol=1e-3)


def test_places_and_layers_make_a_difference_and_layers_add_up(tiny, asked):
    def shift(x):
        return x + 2 * torch.nn.functional.one_hot(torch.tensor(1), x.shape[-1])

    last, suffix, everywhere = (p_correct(tiny, asked, {2: shift}, where)
                                for where in ("last", "suffix", "all"))
    assert len({tuple(found) for found in (last, suffix, everywhere)}) == 3
    undone = {2: shift, 3: lambda x: x}
    np.testing.assert_array_equal(p_correct(tiny, asked, undone), last)
    assert not np.array_equal(p_correct(tiny, asked, {2: shift, 5: shift}), last)


def test_a_layer_or_place_that_does_not_exist_is_named(tiny, asked):
    with pytest.raises(ValueError, match="L8 cannot be edited"):
        p_correct(tiny, asked, {8: lambda x: x})
    with pytest.raises(ValueError, match="'first'"):
        p_correct(tiny, asked, {}, "first")
