import dataclasses

import pytest
from transformers import AutoConfig

from deception_saes.models.anatomy import anatomy
from deception_saes.models.convert import convert
from deception_saes.models.registry import MODELS, get


def matrices(module):
    return sum(weight.numel() for weight in module.parameters() if weight.ndim == 2)


def test_a_block_has_the_weights_that_the_real_one_has(tiny):
    found = tiny.spec.shape
    assert found.block_parameters == matrices(anatomy(tiny.model).blocks[0])
    assert found.flops_of_token == 2 * sum(map(matrices, anatomy(tiny.model).blocks))


def test_the_embedded_model_has_the_weights_that_are_counted(embedded):
    assert embedded.spec.shape.parameters == matrices(embedded.model)


@pytest.mark.parametrize(("slug", "millions"), [
    ("llama", 1236), ("smollm2", 134.5), ("tinyllama", 1100), ("pythia160m", 162),
    ("pythia410m", 405), ("gemma270m", 268)])
def test_sizes_are_those_that_the_models_are_published_with(slug, millions):
    assert get(slug).shape.parameters / 1e6 == pytest.approx(millions, rel=0.01)


def test_every_model_of_the_registry_has_a_shape():
    for model in MODELS.values():
        assert model.shape.layers > 0


def test_a_model_without_a_shape_is_an_error():
    unknown = dataclasses.replace(get("llama"), slug="new", sizes=None)
    with pytest.raises(ValueError, match=r"\bnew\b"):
        _ = unknown.shape


@pytest.mark.parametrize("slug", ["llama", "tinyllama", "pythia160m", "pythia410m"])
def test_random_weights_have_the_sizes_of_the_studys_model(slug):
    assert get(f"{slug}-shape").shape == get(slug).shape


@pytest.mark.parametrize("tied", [True, False])
def test_a_random_model_is_made_in_the_sizes_that_it_is_asked_for(tmp_path, tied):
    source = get("tinyllama-random").source
    small = dataclasses.replace(source.shape, layers=1, d_ff=24, vocabulary=7000, tied=tied)
    convert(dataclasses.replace(source, shape=small), tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.intermediate_size, config.vocab_size) == (24, 7000)
    assert config.tie_word_embeddings == tied
