import torch
from safetensors.torch import save

from deception_saes.experiments.task import ask
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.made import Made, made, origin, pinned_digests
from deception_saes.paper.specs import results_spec


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


def test_calls_that_the_book_shares_are_named_by_their_units(asked_in_smoke, smoke, artifacts):
    found = {unit.unit: unit for unit in made(smoke, smoke.seed, artifacts / "smoke")}
    of = found["ask-tinyllama-random-two_shot_labelled"]
    assert of.files.keys() >= {f"calls/{of.unit}/questions.csv", f"calls/{of.unit}/result.json"}
    assert all(path.is_file() for path in of.files.values())
    assert of.pinned == ask.pinned
    assert of.processor
    assert found["tinyllama-random"].pinned


def test_the_origin_of_a_run_names_what_computed_each_section(asked_in_smoke, smoke, artifacts):
    results = asked_in_smoke.results
    units = made(smoke, smoke.seed, artifacts / "smoke")
    found = origin(smoke, smoke.seed, [results], units)
    assert found.specs == {"s23": results_spec(SECTIONS[23], smoke, smoke.seed).hash}
    assert found.commit == results.commit
    assert any(name.startswith("models/") for name in found.files)
    assert found.files == pinned_digests(units)
