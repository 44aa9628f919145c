"""The behavioural SAEs in SAELens: it loads their folders and computes what we compute."""

import pytest
import torch
from sae_lens import SAE

from deception_saes.experiments.behavioural_saes import train_behavioural
from deception_saes.experiments.reading import MAIN_ROUND
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.settings import Settings
from deception_saes.saes.files import load
from deception_saes.saes.tags import behavioural_tags

MODEL = profile_named("smoke").models[0]
TAGS = behavioural_tags(MODEL.slug, MODEL.shape.layers)
PREFIX = [tag for tag in TAGS if tag.architecture == "jumprelu"]


@pytest.fixture(scope="module")
def trained(smoke, artifacts):
    """Folders of the smoke profile's SAEs by grid and layer, and R3's residuals by layer."""
    saes = Settings(20, smoke, smoke.seed).behavioural_saes
    folders = {grid: {layer: train_behavioural(of, layer) for layer in of.layers}
               for grid, of in (("saes", saes), ("prefix", saes.before_fix(saes.layers)))}
    return folders, saes.reading.tokens(MAIN_ROUND).x_by_layer


@pytest.mark.parametrize(("grid", "tags", "n"), [("saes", TAGS, 18), ("prefix", PREFIX, 9)])
def test_the_folders_are_the_releases(trained, grid, tags, n):
    folders, _ = trained
    found = {path.name for folder in folders[grid].values() for path in folder.iterdir()
             if path.is_dir()}
    assert found == {tag.name for tag in tags}
    assert len(found) == n


@pytest.mark.parametrize(
    ("grid", "tag"),
    [*(("saes", tag) for tag in TAGS), *(("prefix", tag) for tag in PREFIX)],
    ids=lambda of: of if isinstance(of, str) else of.name)
def test_a_behavioural_sae_is_the_same_in_sae_lens(trained, grid, tag):
    folders, x_by_layer = trained
    folder = folders[grid][tag.layer] / tag.name
    ours, theirs = load(folder), SAE.load_from_disk(folder)
    assert theirs.cfg.metadata.hook_name == f"model.layers.{tag.layer}"
    assert theirs.cfg.metadata.training_condition == tag.train_set
    assert theirs.cfg.metadata.context_size == ours.config.metadata["context_size"]
    x_ND = x_by_layer[tag.layer]
    within = {"rtol": 0, "atol": 1e-5 * float(x_ND.square().mean().sqrt())}
    with torch.inference_mode():
        features_NS = ours.encode(x_ND)
        assert (features_NS > 0).any()
        torch.testing.assert_close(theirs.encode(x_ND), features_NS, **within)
        torch.testing.assert_close(theirs(x_ND), ours.decode(features_NS), **within)
