"""Our SAEs in SAELens: it loads their folders, strictly, and computes what we compute."""

import json

import pytest
import torch
from sae_lens import SAE
from safetensors.torch import save_file

from deception_saes.experiments.saes import activations, read
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.subjects import saes_of
from deception_saes.saes.config import SaeConfig
from deception_saes.saes.files import CFG, WEIGHTS, load, save
from deception_saes.saes.registry import ARCHITECTURES, architecture, build
from deception_saes.saes.tags import sandbagging_tags

D_IN, D_SAE = 64, 256
METADATA = {"model_name": "tinyllama-random", "hook_name": "model.layers.4", "prepend_bos": True,
            "context_size": 64, "hook_layer": 4, "training_condition": "mixed",
            "recipe": {"epochs": 3, "learning_rate": 3e-4, "target_l0": None}, "note": "ε = 1 pp"}
MODEL = profile_named("smoke").models[0]
TAGS = sandbagging_tags(MODEL.slug, MODEL.shape.layers)


@pytest.fixture(scope="session")
def trained(smoke, smoke_task):
    """The folders of the smoke profile's SAEs by tag, and the evaluating half's residuals by
    layer."""
    saes = saes_of(smoke, smoke_task)
    half = read(activations(smoke_task.evaluating, saes.layers, "suffix"))
    folders = {tag.name: bank.source / tag.name for bank in map(saes.bank, saes.layers)
               for tag in bank.tags}
    return folders, half.x_by_layer


def random_sae(name, apply_b_dec_to_input=True, metadata=METADATA):
    """An SAE of random weights, none of them zero, decoder rows about as long as trained ones."""
    config = SaeConfig(name, D_IN, D_SAE, k=32 if name == "topk" else None,
                       apply_b_dec_to_input=apply_b_dec_to_input, metadata=metadata)
    random = torch.Generator().manual_seed(3)
    weights = {weight: torch.randn(shape, generator=random) / D_IN**0.5
               for weight, shape in architecture(name).sae.shapes(config).items()}
    if "threshold" in weights:
        weights["threshold"].abs_()
    return build(config, weights)


def random_rows():
    return torch.randn(100, D_IN, generator=torch.Generator().manual_seed(5))


def assert_same_file(theirs, ours):
    assert theirs.cfg.architecture() == ours.config.architecture
    assert (theirs.cfg.d_in, theirs.cfg.d_sae) == (ours.config.d_in, ours.config.d_sae)
    assert theirs.cfg.apply_b_dec_to_input == ours.config.apply_b_dec_to_input
    for key, value in ours.config.metadata.items():
        assert theirs.cfg.metadata[key] == value
    weights = theirs.state_dict()
    assert weights.keys() == ours.weights.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, ours.weights[name]), name


def assert_same_numbers(theirs, ours, x):
    """Features and reconstructions agree within 1e-5 of the root mean square of x."""
    within = {"rtol": 0, "atol": 1e-5 * float(x.square().mean().sqrt())}
    with torch.inference_mode():
        features = ours.encode(x)
        torch.testing.assert_close(theirs.encode(x), features, **within)
        torch.testing.assert_close(theirs.decode(features), ours.decode(features), **within)
        torch.testing.assert_close(theirs(x), ours.decode(features), **within)
        assert torch.equal(theirs.encode(x) > 0, features > 0)
    assert (features > 0).any()


def test_the_release_has_its_42_tags(trained):
    folders, _ = trained
    assert folders.keys() == {tag.name for tag in TAGS}
    assert all((folder / WEIGHTS).is_file() for folder in folders.values())
    assert len(TAGS) == 42


@pytest.mark.parametrize("tag", TAGS, ids=lambda tag: tag.name)
def test_a_trained_sae_is_the_same_in_sae_lens(trained, tag):
    folders, x_by_layer = trained
    ours, theirs = load(folders[tag.name]), SAE.load_from_disk(folders[tag.name])
    assert_same_file(theirs, ours)
    assert theirs.cfg.metadata.hook_name == f"model.layers.{tag.layer}"
    assert theirs.cfg.metadata.training_condition == tag.train_set
    assert_same_numbers(theirs, ours, x_by_layer[tag.layer])


@pytest.mark.parametrize("apply", [True, False])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_random_weights_are_the_same_in_sae_lens(name, apply, tmp_path):
    ours = random_sae(name, apply)
    save(ours, tmp_path)
    theirs = SAE.load_from_disk(tmp_path)
    assert_same_file(theirs, ours)
    assert_same_numbers(theirs, ours, random_rows())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_taking_b_dec_off_the_input_or_not_makes_a_difference(name):
    x = random_rows()
    one, other = (random_sae(name, apply).encode(x) for apply in (True, False))
    assert not torch.allclose(one, other)


def test_rescaling_is_folded_as_sae_lens_applies_it(tmp_path):
    sae = random_sae("topk", metadata={})
    cfg = {"architecture": "topk", "d_in": D_IN, "d_sae": D_SAE, "k": sae.config.k,
           "rescale_acts_by_decoder_norm": True, "dtype": "float32",
           "metadata": {"sae_lens_version": "6.0.0"}}
    (tmp_path / CFG).write_text(json.dumps(cfg))
    save_file(sae.weights, tmp_path / WEIGHTS)
    theirs, ours, x = SAE.load_from_disk(tmp_path), load(tmp_path), random_rows()
    torch.testing.assert_close(theirs.encode(x), ours.encode(x))
    torch.testing.assert_close(theirs(x), ours.decode(ours.encode(x)))
