import torch
from safetensors.torch import save

from deception_saes.paper.made import Made, pinned_digests


def digest_of(tmp_path, tensors, texts, pinned=True):
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(tensors, texts))
    return pinned_digests([Made("a", pinned, {"a": path}, "one", "AVX2", None)])


def test_the_digest_is_of_tensors_and_metadata_in_whatever_order_they_were_written(tmp_path):
    tensors = {"x": torch.arange(6.0), "y": torch.ones(2)}
    texts = {str(i): "text" for i in range(20)}  # more keys than any two orders would share
    found = {digest_of(tmp_path, tensors, dict(order))["a"] for order in (
        list(texts.items()), list(reversed(texts.items())))}
    assert len(found) == 1
    assert digest_of(tmp_path, tensors | {"y": torch.zeros(2)}, texts)["a"] not in found
    assert digest_of(tmp_path, tensors, texts | {"3": "another"})["a"] not in found


def test_what_was_not_made_pinned_has_no_digest(tmp_path):
    assert digest_of(tmp_path, {"x": torch.ones(1)}, None, pinned=False) == {}
