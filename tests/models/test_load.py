import dataclasses
import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch

from deception_saes.models.anatomy import FAMILIES
from deception_saes.models.last_position import LastPositionRun
from deception_saes.models.load import (
    at_commit,
    avoid_wrong_attention,
    converted,
    family,
    load,
    weights_hash,
)
from deception_saes.models.registry import MODELS, get
from deception_saes.models.spec import HubModel
from deception_saes.store.files import PACKAGE_DIR
from deception_saes.tasks.trivia import load_questions


def test_an_unknown_slug_is_an_error_that_names_the_known_ones():
    with pytest.raises(KeyError, match=r"'gpt-9'.*tinyllama-random"):
        get("gpt-9")


def test_models_are_found_by_their_slug():
    assert all(get(slug).slug == slug for slug in MODELS)


def test_only_the_models_of_the_study_can_reproduce_it():
    assert get("llama").of_the_study
    assert not get("smollm2it").of_the_study
    assert not get("tinyllama-random").of_the_study


def test_a_model_converts_and_loads_without_network(no_network, tmp_path, tiny):
    lm = load(tiny.spec, tmp_path, "cpu")
    assert lm.model.device == torch.device("cpu")


def test_a_loaded_model_is_float32_and_frozen(tiny):
    assert not tiny.model.training
    assert {p.dtype for p in tiny.model.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in tiny.model.parameters())


def test_a_model_has_the_shape_its_spec_says(tiny):
    config, source = tiny.model.config, tiny.spec.source
    assert (config.model_type, config.num_hidden_layers, config.num_attention_heads,
            config.hidden_size) == (
                source.family, source.shape.layers, source.shape.heads, source.shape.d_model)


def test_the_embedded_model_has_the_shape_the_design_says(embedded):
    config = embedded.model.config
    assert (config.num_hidden_layers, config.num_attention_heads, config.hidden_size) == (
        30, 9, 576)
    assert {p.dtype for p in embedded.model.parameters()} == {torch.float32}


def test_loading_again_gives_the_same_object(artifacts):
    first = load(get("tinyllama-random"), artifacts, "cpu")
    assert load(get("tinyllama-random"), artifacts, "cpu") is first


def test_every_word_of_the_questions_answers_is_one_token_of_a_random_model(tiny):
    words = {word for question in load_questions() for answer in (*question.accepted, question.foil)
             for word in answer.split() if re.fullmatch("[A-Za-z]+", word)}
    assert len(words) > 300
    for word in words:
        assert len(tiny.tokenizer(f" {word}")["input_ids"]) == 1, word


def test_a_tokenizer_gives_back_what_it_was_given(tiny):
    text = "Q: What is “é”, then?\nA: 7 × 8\t\n"
    assert tiny.tokenizer.decode(tiny.tokenizer(text)["input_ids"]) == text


def test_layers_of_a_random_model_move_its_output(tiny):
    ends_alike = torch.tensor([[5, 300, 7, 9], [6, 301, 8, 9]])
    with torch.inference_mode():
        first, second = tiny.model(ends_alike).logits[:, -1].softmax(-1)
    assert (first - second).abs().sum() > 0.1


def eager_copy(artifacts, spec, cache, commit):
    """The model as a hub model whose configuration asks for eager attention."""
    folder = cache / "models--somebody--something"
    snapshot = folder / "snapshots" / commit
    shutil.copytree(converted(spec, artifacts), snapshot)
    config = json.loads((snapshot / "config.json").read_text())
    (snapshot / "config.json").write_text(json.dumps(config | {"attn_implementation": "eager"}))
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    return dataclasses.replace(spec, source=HubModel("somebody/something"))


def test_a_configuration_that_asks_for_eager_attention_changes_no_number(
        empty_hub_cache, artifacts, tiny_llama):
    lm = load(eager_copy(artifacts, tiny_llama.spec, empty_hub_cache, "0" * 40), artifacts, "cpu")
    prompts = [[5, 300, 7, 9], [5, 300, 8, 9, 11], [5, 301]]
    expected = LastPositionRun(tiny_llama.model, prompts, [2]).clean_QD
    assert torch.equal(LastPositionRun(lm.model, prompts, [2]).clean_QD, expected)


def test_an_engine_refuses_a_model_that_would_not_mask_by_booleans(tiny_llama):
    tiny_llama.model.set_attn_implementation("eager")
    try:
        with pytest.raises(ValueError, match=r"'eager'.*sdpa"):
            LastPositionRun(tiny_llama.model, [[5, 300, 7]], [2])
    finally:
        tiny_llama.model.set_attn_implementation("sdpa")


def test_a_branch_of_the_hub_is_replaced_by_the_commit_that_the_cache_holds(
        empty_hub_cache, artifacts, tiny_llama):
    spec = eager_copy(artifacts, tiny_llama.spec, empty_hub_cache, "0" * 40)
    assert at_commit(spec).source.revision == "0" * 40
    eager_copy(artifacts, tiny_llama.spec, empty_hub_cache, "1" * 40)  # the branch moves on
    assert at_commit(spec).source.revision == "1" * 40
    load.cache_clear()
    assert load(at_commit(spec), artifacts, "cpu").spec.source.revision == "1" * 40
    absent = dataclasses.replace(spec, source=HubModel("nobody/nothing"))
    assert at_commit(absent) == absent
    assert at_commit(tiny_llama.spec) == tiny_llama.spec


def test_another_corpus_is_another_random_model(tiny_llama, tmp_path, monkeypatch):
    before = weights_hash(tiny_llama.spec)
    source = tiny_llama.spec.source
    corpus = tmp_path / source.corpus
    corpus.parent.mkdir(parents=True)
    shutil.copy(PACKAGE_DIR / source.corpus, corpus)
    monkeypatch.setattr("deception_saes.models.load.PACKAGE_DIR", tmp_path)
    assert weights_hash(tiny_llama.spec) == before
    corpus.write_text(corpus.read_text().replace("Paris", "Lutetia"))
    assert weights_hash(tiny_llama.spec) != before


def test_where_the_blocks_are_is_known_without_loading_the_model(artifacts, tiny):
    known = FAMILIES[family(tiny.spec, artifacts)]
    assert known.base == tiny.model.base_model_prefix
    assert tiny.model.get_submodule(f"{known.base}.layers") is tiny.model.base_model.layers


@pytest.mark.parametrize(("device", "key_heads", "kept"), [
    ("cuda", 1, False), ("cuda", 2, True), ("cpu", 1, True)])
def test_a_kernel_that_is_wrong_for_one_key_head_is_turned_off_on_a_gpu(device, key_heads, kept):
    model = SimpleNamespace(device=torch.device(device),
                            config=SimpleNamespace(num_key_value_heads=key_heads))
    before = torch.backends.cuda.mem_efficient_sdp_enabled()
    try:
        avoid_wrong_attention(model)
        assert torch.backends.cuda.mem_efficient_sdp_enabled() == (before and kept)
        assert before
    finally:
        torch.backends.cuda.enable_mem_efficient_sdp(before)
