"""The behavioural SAEs in SAELens: it loads their folders and computes what we compute."""

import pytest
import torch
from sae_lens import SAE

from deception_saes.saes.files import load
from deception_saes.saes.tags import behavioural_tags
from deception_saes.sections.behaviour import DEPTHS, MAIN_ROUND
from deception_saes.sections.behaviour_saes import (
    behaviour_bank,
    behaviour_sae_params,
    token_rows,
)
from deception_saes.sections.profiles import profile_named
from deception_saes.sections.run import Work

MODEL = profile_named("smoke").models[0]
TAGS = behavioural_tags(MODEL.slug, MODEL.shape.layers)
PREFIX = [tag for tag in TAGS if tag.architecture == "jumprelu"]


@pytest.fixture(scope="module")
def trained(smoke, artifacts, tmp_path_factory):
    """The smoke profile's banks, in a tree of their own, and R3's residuals by layer."""
    params = behaviour_sae_params(smoke, smoke.seed, smoke.models, {})
    work = Work(artifacts, tmp_path_factory.mktemp("behavioural"), {})
    for depth in DEPTHS:
        for fixed in (True, False):
            behaviour_bank(params, depth, work, fixed)
    return work.tree, token_rows(params, (MAIN_ROUND,), work).x_by_layer


@pytest.mark.parametrize(("folder", "tags", "n"), [("saes", TAGS, 18), ("saes-prefix", PREFIX, 9)])
def test_the_folders_are_the_releases(trained, folder, tags, n):
    tree, _ = trained
    found = {path.name for path in (tree / folder).iterdir() if path.is_dir()}
    assert found == {tag.name for tag in tags}
    assert len(found) == n


@pytest.mark.parametrize(
    ("folder", "tag"),
    [*(("saes", tag) for tag in TAGS), *(("saes-prefix", tag) for tag in PREFIX)],
    ids=lambda of: of if isinstance(of, str) else of.name)
def test_a_behavioural_sae_is_the_same_in_sae_lens(trained, folder, tag):
    tree, x_by_layer = trained
    ours, theirs = load(tree / folder / tag.name), SAE.load_from_disk(tree / folder / tag.name)
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
