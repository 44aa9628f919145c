"""Features of completions against a plain loop over their tokens."""

import numpy as np
import pytest
import torch

from deception_saes.activations.completions import TokenRows
from deception_saes.analysis import completion_features as module
from deception_saes.analysis.completion_features import completion_features
from deception_saes.saes.config import SaeConfig
from deception_saes.saes.registry import build

D_IN, D_SAE = 6, 11


@pytest.fixture(scope="module")
def sae():
    random = torch.Generator().manual_seed(0)
    decoder = torch.randn(D_SAE, D_IN, generator=random)
    return build(SaeConfig("topk", D_IN, D_SAE, 3), {
        "W_enc": decoder.T.contiguous(), "W_dec": decoder, "b_enc": torch.zeros(D_SAE),
        "b_dec": torch.randn(D_IN, generator=random)})


@pytest.fixture(scope="module")
def rows():
    names = np.repeat(["one", "two", "three"], [4, 1, 7])
    x = torch.randn(len(names), D_IN, generator=torch.Generator().manual_seed(1))
    return TokenRows({5: x}, names, np.arange(len(names)))


@pytest.mark.parametrize("ids", [["three", "one"], ["two"], ["one", "two", "three"]])
@pytest.mark.parametrize("at_once", [2, 1024])
def test_they_are_those_of_a_plain_loop(sae, rows, ids, at_once, monkeypatch):
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", at_once)
    found = completion_features(sae, rows, 5, ids)
    for n, id in enumerate(ids):
        f = sae.encode(rows.x_by_layer[5][torch.from_numpy(rows.completion == id)])
        np.testing.assert_allclose(found.mean_NS[n], f.mean(dim=0).numpy(), rtol=1e-6)
        assert (found.fires_NS[n] == (f > 0).any(dim=0).numpy()).all()
    assert found.fires_NS.any()
    assert not found.fires_NS.all()


def test_a_completion_without_tokens_is_named(sae, rows):
    with pytest.raises(ValueError, match="four"):
        completion_features(sae, rows, 5, ["one", "four"])
