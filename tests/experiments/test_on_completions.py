"""Features of completions against a plain loop over their tokens."""

import numpy as np
import pytest
import torch

from deception_saes.activations.completions import TokenRows
from deception_saes.experiments.on_completions import completion_features
from deception_saes.saes.registry import build
from deception_saes.saes.sae import SaeConfig

D_IN, D_SAE = 6, 11


@pytest.fixture(scope="module")
def made_up_sae():
    random = torch.Generator().manual_seed(0)
    decoder = torch.randn(D_SAE, D_IN, generator=random)
    return build(SaeConfig("topk", D_IN, D_SAE, 3), {
        "W_enc": decoder.T.contiguous(), "W_dec": decoder, "b_enc": torch.zeros(D_SAE),
        "b_dec": torch.randn(D_IN, generator=random)})


@pytest.fixture(scope="module")
def made_up_rows():
    names = np.repeat(["one", "two", "three"], [4, 1, 1500])  # more than are read at once
    x = torch.randn(len(names), D_IN, generator=torch.Generator().manual_seed(1))
    return TokenRows({5: x}, names, np.arange(len(names)))


@pytest.mark.parametrize("ids", [["three", "one"], ["two"], ["one", "two", "three"]])
def test_features_are_those_of_a_plain_loop_over_tokens(made_up_sae, made_up_rows, ids):
    sae, rows = made_up_sae, made_up_rows
    found = completion_features(sae, rows, 5, ids)
    for n, id in enumerate(ids):
        f = sae.encode(rows.x_by_layer[5][torch.from_numpy(rows.completion == id)])
        np.testing.assert_allclose(found.mean_NS[n], f.mean(dim=0).numpy(), rtol=1e-5, atol=1e-7)
        assert (found.fires_NS[n] == (f > 0).any(dim=0).numpy()).all()
    assert found.fires_NS.any()
    assert not found.fires_NS.all()


def test_a_completion_without_tokens_is_named(made_up_sae, made_up_rows):
    with pytest.raises(ValueError, match="four"):
        completion_features(made_up_sae, made_up_rows, 5, ["one", "four"])
