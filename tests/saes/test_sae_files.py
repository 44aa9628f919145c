"""The two files of an SAE: what is written, what of other projects is read, what is refused."""

import dataclasses
import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from deception_saes.saes.config import SaeConfig, SaeError
from deception_saes.saes.files import CFG, NEEDED_METADATA, WEIGHTS, load, save
from deception_saes.saes.registry import ARCHITECTURES, architecture, build

METADATA = {"model_name": "tinyllama-random", "hook_name": "model.layers.4", "prepend_bos": True,
            "context_size": 64, "hook_layer": 4, "training_condition": "mixed",
            "recipe": {"epochs": 3, "learning_rate": 3e-4, "target_l0": None}, "note": "ε = 1 pp"}
D_IN, D_SAE = 8, 24


def made(name, d_in=D_IN, d_sae=D_SAE, **changed):
    """An SAE of random weights, none of them zero."""
    config = SaeConfig(name, d_in, d_sae, k=5 if name == "topk" else None, metadata=METADATA)
    config = dataclasses.replace(config, **changed)
    generator = torch.Generator().manual_seed(3)
    return build(config, {weight: torch.randn(shape, generator=generator).abs() * 0.3
                          if weight == "threshold" else torch.randn(shape, generator=generator)
                          for weight, shape in architecture(name).sae.shapes(config).items()})


def assert_equal(one, other):
    assert type(one) is type(other)
    assert one.config == other.config
    assert one.weights.keys() == other.weights.keys()
    for name, weight in one.weights.items():
        assert torch.equal(weight, other.weights[name]), name


def released(folder, sae, weights=None, **cfg):
    """A folder as another project writes it: no digests, a bare cfg. A field that is None is
    left out."""
    record = {"architecture": sae.config.architecture, "d_in": sae.config.d_in,
              "d_sae": sae.config.d_sae, "k": sae.config.k, **cfg}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CFG).write_text(json.dumps({k: v for k, v in record.items() if v is not None}))
    save_file(dict(sae.weights) if weights is None else weights, folder / WEIGHTS)
    return folder


def x_of(sae, rows=7):
    return torch.randn(rows, sae.config.d_in, generator=torch.Generator().manual_seed(5))


@pytest.fixture(params=ARCHITECTURES)
def sae(request):
    return made(request.param)


# Written and read back


@pytest.mark.parametrize("apply", [True, False])
def test_what_is_saved_is_loaded_again(sae, tmp_path, apply):
    sae = made(sae.config.architecture, apply_b_dec_to_input=apply)
    save(sae, tmp_path / "tag")
    assert_equal(load(tmp_path / "tag"), sae)
    assert {path.name for path in (tmp_path / "tag").iterdir()} == {CFG, WEIGHTS}


def test_the_same_sae_gives_the_same_bytes(sae, tmp_path):
    save(sae, tmp_path / "one")
    save(sae, tmp_path / "two")
    save(load(tmp_path / "one"), tmp_path / "three")
    for name in (CFG, WEIGHTS):
        assert len({(tmp_path / folder / name).read_bytes()
                    for folder in ("one", "two", "three")}) == 1


def test_weights_that_are_views_are_written_as_they_read(tmp_path):
    sae = made("topk")
    sae.weights["W_enc"] = sae.weights["W_enc"].T.contiguous().T
    sae.weights["b_dec"] = torch.stack([sae.weights["b_dec"]] * 2, dim=1)[:, 0]
    sae.weights["W_dec"] = sae.weights["W_enc"].T  # shares its memory
    save(sae, tmp_path)
    assert_equal(load(tmp_path), sae)


def test_the_cfg_says_what_sae_lens_asks_for(sae, tmp_path):
    save(sae, tmp_path)
    cfg = json.loads((tmp_path / CFG).read_text())
    assert cfg["dtype"] == "float32"
    assert (cfg["normalize_activations"], cfg["reshape_activations"]) == ("none", "none")
    assert ("k" in cfg) == ("rescale_acts_by_decoder_norm" in cfg) == (
        sae.config.architecture == "topk")
    assert cfg["metadata"]["sae_lens_version"] >= "6"
    assert cfg["metadata"]["model_class_name"] == "AutoModelForCausalLM"
    assert cfg["metadata"].items() >= METADATA.items()


@pytest.mark.parametrize("name", NEEDED_METADATA)
def test_an_sae_that_does_not_say_where_it_belongs_is_not_written(tmp_path, name):
    metadata = {key: value for key, value in METADATA.items() if key != name}
    with pytest.raises(SaeError, match=f"lacks {name}"):
        save(made("gated", metadata=metadata), tmp_path / "tag")
    assert not (tmp_path / "tag").exists()


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, (1, 2), {1: "one"}])
def test_metadata_that_would_not_come_back_is_refused(tmp_path, value):
    with pytest.raises(SaeError, match="metadata"):
        save(made("gated", metadata=METADATA | {"bad": value}), tmp_path / "tag")
    assert not (tmp_path / "tag").exists()


# Damaged or mixed up after it was written


@pytest.mark.parametrize("name", [CFG, WEIGHTS])
def test_the_two_files_of_different_saes_do_not_go_together(tmp_path, name):
    save(made("topk"), tmp_path / "one")
    save(made("topk", k=6), tmp_path / "two")
    shutil.copy(tmp_path / "one" / name, tmp_path / "two" / name)
    with pytest.raises(SaeError, match=str(tmp_path / "two")):
        load(tmp_path / "two")


@pytest.mark.parametrize("key", ["weights_sha256", "sae_lens_version", "hook_name", "note"])
@pytest.mark.parametrize("alter", ["drop", "rename", "change"])
def test_nothing_of_the_metadata_can_be_altered(tmp_path, key, alter):
    save(made("jumprelu"), tmp_path)
    cfg = json.loads((tmp_path / CFG).read_text())
    value = cfg["metadata"].pop(key)
    if alter != "drop":
        cfg["metadata"][key + "x" * (alter == "rename")] = value + "x" * (alter == "change")
    (tmp_path / CFG).write_text(json.dumps(cfg))
    with pytest.raises(SaeError, match=str(tmp_path)):
        load(tmp_path)


def test_a_missing_seal_on_the_weights_is_a_damage_too(tmp_path):
    save(made("jumprelu"), tmp_path)
    weights = (tmp_path / WEIGHTS).read_bytes().replace(b"cfg_sha256", b"cfg_sha257", 1)
    (tmp_path / WEIGHTS).write_bytes(weights)
    with pytest.raises(SaeError, match=f"{tmp_path / WEIGHTS}: "):
        load(tmp_path)
    cfg = json.loads((tmp_path / CFG).read_text())
    cfg["metadata"]["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    (tmp_path / CFG).write_text(json.dumps(cfg))
    with pytest.raises(SaeError, match=f"{tmp_path / CFG}: "):
        load(tmp_path)


def test_layout_and_order_of_the_cfg_do_not_matter(tmp_path):
    sae = made("topk")
    save(sae, tmp_path)
    cfg = json.loads((tmp_path / CFG).read_text())
    (tmp_path / CFG).write_text(json.dumps(dict(reversed(cfg.items())), indent=7))
    assert_equal(load(tmp_path), sae)


# What other projects' files show


def test_a_released_file_without_digests_is_read(sae, tmp_path):
    folder = released(tmp_path, sae, model_name="llama", hook_name="model.layers.4.hook_resid_post",
                      hook_layer=4, training_condition="mixed", hook_head_index=0)
    loaded = load(folder)
    assert loaded.config.metadata == {"model_name": "llama", "hook_name": "model.layers.4",
                                      "hook_layer": 4, "training_condition": "mixed",
                                      "hook_head_index": 0}
    assert loaded.config.apply_b_dec_to_input
    assert_equal(loaded, made(sae.config.architecture, metadata=loaded.config.metadata))


@pytest.mark.parametrize("hook", ["gpt_neox.layers.11", "gpt_neox.layers.11.hook_resid_post"])
def test_both_spellings_of_the_hook_are_the_modules_path(tmp_path, hook):
    in_metadata = load(released(tmp_path, made("topk"), metadata={"hook_name": hook}))
    at_the_top = load(released(tmp_path, made("topk"), hook_name=hook))
    both = load(released(tmp_path, made("topk"), hook_name="gpt_neox.layers.11",
                         metadata={"hook_name": hook}))
    for loaded in (in_metadata, at_the_top, both):
        assert loaded.config.metadata == {"hook_name": "gpt_neox.layers.11"}


def test_a_hook_of_transformer_lens_stays_one(tmp_path):
    folder = released(tmp_path, made("topk"), hook_name="blocks.4.hook_resid_post")
    assert load(folder).config.metadata["hook_name"] == "blocks.4.hook_resid_post"


def test_log_threshold_is_the_thresholds_logarithm(tmp_path):
    sae = made("jumprelu", metadata={})
    weights = dict(sae.weights)
    weights["log_threshold"] = weights.pop("threshold").log()
    loaded = load(released(tmp_path, sae, weights))
    torch.testing.assert_close(loaded.weights["threshold"], sae.weights["threshold"])
    x = x_of(sae)
    torch.testing.assert_close(loaded.encode(x), sae.encode(x))
    both = weights | {"threshold": sae.weights["threshold"]}
    assert_equal(load(released(tmp_path, sae, both)), sae)
    wrong = weights | {"threshold": sae.weights["threshold"] + 0.1}
    with pytest.raises(SaeError, match="log_threshold"):
        load(released(tmp_path, sae, wrong))


@pytest.mark.parametrize("name", ["threshold", "log_threshold"])
def test_a_stray_threshold_of_a_topk_file_is_ignored(tmp_path, name):
    sae = made("topk", metadata={})
    folder = released(tmp_path, sae, dict(sae.weights) | {name: torch.zeros(D_SAE)})
    assert_equal(load(folder), sae)


def test_a_threshold_below_zero_acts_as_zero(tmp_path):
    sae = made("jumprelu", metadata={})
    x = x_of(sae)
    below, zero = (load(released(tmp_path, sae, dict(sae.weights) | {"threshold": threshold}))
                   for threshold in (torch.full((D_SAE,), -0.5), torch.zeros(D_SAE)))
    assert torch.equal(below.encode(x), zero.encode(x))


@pytest.mark.parametrize(("spelling", "name"), [("TopK", "topk"), ("JumpReLU", "jumprelu"),
                                                ("jump_relu", "jumprelu"), ("GATED", "gated")])
def test_an_architecture_may_be_spelled_otherwise(tmp_path, spelling, name):
    sae = made(name, metadata={})
    assert_equal(load(released(tmp_path, sae, architecture=spelling)), sae)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(sae, tmp_path, dtype):
    weights = {name: weight.to(dtype) for name, weight in sae.weights.items()}
    loaded = load(released(tmp_path, sae, weights, dtype=str(dtype)))
    for name, weight in weights.items():
        assert loaded.weights[name].dtype == torch.float32
        assert torch.equal(loaded.weights[name], weight.float())


def test_sizes_left_out_are_read_off_the_weights(sae, tmp_path):
    loaded = load(released(tmp_path, sae, d_in=None, d_sae=None))
    assert (loaded.config.d_in, loaded.config.d_sae) == (D_IN, D_SAE)


@pytest.mark.parametrize("none", ["none", False])
def test_no_normalisation_is_spelled_in_more_than_one_way(tmp_path, none):
    sae = made("topk", metadata={})
    assert_equal(load(released(tmp_path, sae, normalize_activations=none)), sae)


def test_rescaling_by_the_decoders_norm_is_folded_in(tmp_path):
    sae = made("topk", metadata={})
    sae.weights["W_dec"][3] = 0
    folder = released(tmp_path, sae, rescale_acts_by_decoder_norm=True)
    loaded, x = load(folder), x_of(sae)
    norm = sae.weights["W_dec"].norm(dim=-1)
    pre = (sae.projected(x) + sae.weights["b_enc"]) * norm
    kth = pre.topk(5, dim=-1).values[:, -1:]
    features = torch.where(pre >= kth, pre, 0).relu()
    torch.testing.assert_close(loaded.encode(x), features)
    unit = sae.weights["W_dec"] / norm.clamp(min=1e-30)[:, None]
    torch.testing.assert_close(loaded.decode(features), features @ unit + sae.weights["b_dec"])
    assert not torch.equal(loaded.encode(x) > 0, sae.encode(x) > 0)


# What is refused, always with the file's name


@pytest.mark.parametrize(("cfg", "said"), [
    ({"architecture": "standard"}, "'standard'.*topk"),
    ({"architecture": None}, "architecture is None"),
    ({"architecture": 3}, "architecture is 3"),
    ({"k": None}, "k is None"),
    ({"k": True}, "k is True"),
    ({"k": "64"}, "k is '64'"),
    ({"k": 5.0}, "k is 5.0"),
    ({"k": 0}, "k is 0"),
    ({"k": D_SAE + 1}, "k is 25"),
    ({"d_in": D_IN + 1}, "d_in 9 and d_sae 24 ask for"),
    ({"d_sae": 10 ** 30}, "ask for"),
    ({"d_in": -8}, "must be at least 1"),
    ({"d_in": 8.0}, "d_in is 8.0"),
    ({"apply_b_dec_to_input": "false"}, "apply_b_dec_to_input is 'false'"),
    ({"apply_b_dec_to_input": 1}, "apply_b_dec_to_input is 1"),
    ({"normalize_activations": "layer_norm"}, "layer_norm.*fold"),
    ({"normalize_activations": True}, "normalize_activations is True.*fold"),
    ({"normalize_activations": [0]}, r"normalize_activations is \[0\].*fold"),
    ({"reshape_activations": "hook_z"}, "reshape_activations is 'hook_z'"),
    ({"rescale_acts_by_decoder_norm": "yes"}, "rescale_acts_by_decoder_norm is 'yes'"),
    ({"metadata": [1]}, "must be JSON objects"),
    ({"hook_name": "model.layers.4", "metadata": {"hook_name": "model.layers.8"}},
     "hook_name.*'model.layers.4'.*'model.layers.8'"),
    ({"hook_name": "model.layers.4", "hook_layer": 8}, "hook_layer is 8"),
])
def test_a_cfg_that_would_mislead_is_refused(tmp_path, cfg, said):
    folder = released(tmp_path / "v4_tag", made("topk"), **cfg)
    with pytest.raises(SaeError, match=said) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def test_rescaling_without_topk_is_refused(tmp_path):
    folder = released(tmp_path, made("gated"), rescale_acts_by_decoder_norm=True)
    with pytest.raises(SaeError, match="gated"):
        load(folder)


@pytest.mark.parametrize("change", [
    {"b_dec": torch.zeros(D_IN + 1)}, {"W_enc": torch.zeros(D_SAE, D_IN)},
    {"W_dec": torch.zeros(D_SAE * D_IN)}, {"b_dec": torch.tensor(1.0)},
    {"b_enc": torch.full((D_SAE,), torch.nan)}, {"W_dec": torch.full((D_SAE, D_IN), torch.inf)},
    {"W_enc": torch.full((D_IN, D_SAE), 1e300, dtype=torch.float64)},
    {"b_enc": torch.zeros(D_SAE, dtype=torch.int32)},
    {"b_enc": torch.zeros(D_SAE).to(torch.float8_e4m3fn)},
    {"b_enc": None}, {"scaling_factor": torch.ones(D_SAE)},
])
@pytest.mark.parametrize("sizes", [{}, {"d_in": None, "d_sae": None}])
def test_weights_that_are_not_the_architectures_are_refused(tmp_path, change, sizes):
    sae = made("topk")
    weights = {k: v for k, v in (dict(sae.weights) | change).items() if v is not None}
    folder = released(tmp_path, sae, weights, **sizes)
    with pytest.raises(SaeError) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


HUGE = json.dumps({"W_enc": {"dtype": "F32", "shape": [2 ** 40, 2 ** 20],
                             "data_offsets": [0, 2 ** 62]}}).encode()


@pytest.mark.parametrize("content", [
    b"", b"\x00" * 7, b"PK\x03\x04 a pickle", b"\xff" * 64,
    (2 ** 62).to_bytes(8, "little") + b"{}", (90_000_000).to_bytes(8, "little") + b"{}",
    len(HUGE).to_bytes(8, "little") + HUGE, len(HUGE).to_bytes(8, "little") + HUGE + b"\x00" * 99,
])
def test_a_weights_file_that_is_none_is_refused(tmp_path, content):
    folder = released(tmp_path, made("topk"))
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(SaeError, match=str(folder / WEIGHTS)):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"[1]", b"null",
                                     b'"text"', b"9" * 5000])
def test_a_cfg_that_is_no_json_object_is_refused(tmp_path, content):
    folder = released(tmp_path, made("topk"))
    (folder / CFG).write_bytes(content)
    with pytest.raises(SaeError, match=str(folder / CFG)):
        load(folder)


@pytest.mark.parametrize("name", [CFG, WEIGHTS])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    folder = released(tmp_path, made("topk"))
    (folder / name).unlink()
    with pytest.raises(SaeError, match=str(folder / name)):
        load(folder)
    (folder / name).mkdir()
    with pytest.raises(SaeError, match=str(folder / name)):
        load(folder)


def test_loaded_weights_do_not_change_with_the_file(tmp_path):
    sae = made("topk")
    save(sae, tmp_path)
    loaded = load(tmp_path)
    with (tmp_path / WEIGHTS).open("r+b") as file:
        file.seek(-400, 2)
        file.write(b"\x07" * 400)
    assert_equal(loaded, sae)


def test_load_file_of_safetensors_reads_the_same(sae, tmp_path):
    save(sae, tmp_path)
    raw = load_file(tmp_path / WEIGHTS)
    assert raw.keys() == sae.weights.keys()
    assert all(torch.equal(raw[name], sae.weights[name]) for name in raw)
