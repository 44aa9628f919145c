from collections import Counter

import pytest

from deception_saes.errors import UserError
from deception_saes.paper.source_checks import release_tags
from deception_saes.saes.registry import ARCHITECTURES
from deception_saes.saes.tags import LLAMA as LLAMA_DEPTHS
from deception_saes.saes.tags import (
    TINYLLAMA,
    SaeTag,
    behavioural_tags,
    depth_name,
    is_compared,
    is_swapped,
    layer_at_same_depth,
    sandbagging_tags,
    swapped_at,
    tags_at,
)

LLAMA = ("llama", 16)


def test_the_sandbagging_tags_are_those_that_the_card_lists():
    assert sorted(tag.name for tag in sandbagging_tags(*LLAMA)) == release_tags()


@pytest.mark.parametrize("expected", [
    SaeTag("v4_llama_jumprelu_L12_genuine_only", "llama", "jumprelu", 12, "genuine_only", None, 4),
    SaeTag("v4_llama_topk_L4_mixed", "llama", "topk", 4, "mixed", 64, 4),
    SaeTag("v4_llama_topk_k16_L8_mixed", "llama", "topk", 8, "mixed", 16, 4),
    SaeTag("v4_llama_topk_k256_L12_sandbagging_only", "llama", "topk", 12, "sandbagging_only",
           256, 4),
    SaeTag("v4_llama_gated_L8_mixed", "llama", "gated", 8, "mixed", None, 4),
    SaeTag("v4_llama_x8_gated_L8_mixed", "llama", "gated", 8, "mixed", None, 8),
    SaeTag("v4_llama_x8_k64_L8_mixed", "llama", "topk", 8, "mixed", 64, 8),
], ids=lambda tag: tag.name)
def test_a_tag_says_what_its_sae_is(expected):
    assert expected in sandbagging_tags(*LLAMA)


def test_the_sandbagging_tags_are_counted():
    tags = sandbagging_tags(*LLAMA)
    assert len(tags) == 42
    assert Counter((t.architecture, t.expansion) for t in tags) == {
        ("jumprelu", 4): 9, ("topk", 4): 27, ("gated", 4): 3, ("topk", 8): 2, ("gated", 8): 1}
    assert Counter(t.k for t in tags if t.architecture == "topk" and t.expansion == 4) == {
        16: 3, 32: 3, 64: 9, 128: 3, 256: 9}
    assert {t.layer for t in tags if t.architecture == "gated" or t.expansion == 8} == {8}
    assert all((t.k is None) == (t.architecture != "topk") for t in tags)


def test_the_behavioural_tags_are_three_layers_by_two_architectures_by_three_conditions():
    tags = behavioural_tags(*LLAMA)
    assert {tag.name for tag in tags} == {
        f"llama_{arch}_L{layer}_{condition}" for arch in ("topk", "jumprelu")
        for layer in (2, 4, 6) for condition in ("mixed", "deceptive_only", "honest_only")}
    assert len(tags) == 18
    assert {(t.architecture, t.k, t.expansion) for t in tags} == {("topk", 64, 4),
                                                                  ("jumprelu", None, 4)}
    for tag in tags:
        assert tag.name == f"llama_{tag.architecture}_L{tag.layer}_{tag.train_set}"


@pytest.mark.parametrize(("model", "n_layers", "layers", "behavioural"), [
    ("llama", 16, {4, 8, 12}, {2, 4, 6}),
    ("smollm2it", 30, {7, 15, 22}, {3, 7, 11}),
    ("tinyllama", 22, {5, 11, 16}, {2, 5, 8}),
    ("tinyneox-random", 8, {2, 4, 6}, {1, 2, 3}),
])
def test_on_another_model_slug_and_layers_change_and_nothing_else(
    model, n_layers, layers, behavioural
):
    for tags_of, expected in ((sandbagging_tags, layers), (behavioural_tags, behavioural)):
        tags, of_llama = tags_of(model, n_layers), tags_of(*LLAMA)
        assert {tag.layer for tag in tags} == expected
        assert len({tag.name for tag in tags}) == len(tags)
        for tag, original in zip(tags, of_llama, strict=True):
            assert tag.model == model
            assert tag.layer == original.layer * n_layers // 16
            assert tag.name == original.name.replace("llama", model, 1).replace(
                f"L{original.layer}_", f"L{tag.layer}_")
            assert (tag.architecture, tag.train_set, tag.k, tag.expansion) == (
                original.architecture, original.train_set, original.k, original.expansion)


def test_every_architecture_can_be_built():
    both = sandbagging_tags(*LLAMA) + behavioural_tags(*LLAMA)
    assert {tag.architecture for tag in both} == set(ARCHITECTURES)
    assert len({tag.name for tag in both}) == 60


@pytest.mark.parametrize(("tags_of", "n_layers", "wrong"), [
    (sandbagging_tags, 2, "L4, L8, L12 .* L0, L1, L1 .*'small'"),
    (behavioural_tags, 4, "L2, L4, L6 .* L0, L1, L1 .*'small'"),
])
def test_layers_that_would_fall_together_are_named(tags_of, n_layers, wrong):
    with pytest.raises(ValueError, match=wrong):
        tags_of("small", n_layers)


@pytest.mark.parametrize(("tags_of", "n_layers"), [(sandbagging_tags, 3), (behavioural_tags, 6)])
def test_a_small_model_is_enough_if_its_layers_stay_apart(tags_of, n_layers):
    assert len({tag.layer for tag in tags_of("small", n_layers)}) == 3


@pytest.mark.parametrize(("layer", "n_layers", "wrong"), [
    (16, 30, "layer 16 .* 0 to 15"),
    (-1, 30, "layer -1"),
    (4, 0, "n_layers is 0"),
])
def test_a_layer_or_a_model_that_is_none_is_an_error(layer, n_layers, wrong):
    with pytest.raises(ValueError, match=wrong):
        layer_at_same_depth(layer, n_layers)


def test_swapped_are_the_saes_of_the_usual_size_that_both_conditions_train():
    assert {tag.name for tag in sandbagging_tags(*LLAMA) if is_swapped(tag)} == {
        *(f"v4_llama_{name}_L{layer}_mixed" for name in ("jumprelu", "topk")
          for layer in (4, 8, 12)), "v4_llama_gated_L8_mixed"}


def test_compared_are_the_pairs_and_what_else_of_the_usual_size_both_conditions_train():
    compared = [tag for tag in sandbagging_tags(*LLAMA) if is_compared(tag)]
    pairs = {f"v4_llama_{name}_L{layer}_{of}" for name in ("jumprelu", "topk")
             for layer in (4, 8, 12) for of in ("genuine_only", "mixed", "sandbagging_only")}
    assert {tag.name for tag in compared} == pairs | {
        *(f"v4_llama_topk_k256_L{layer}_mixed" for layer in (4, 8, 12)),
        *(f"v4_llama_topk_k{k}_L8_mixed" for k in (16, 32, 128)), "v4_llama_gated_L8_mixed"}


@pytest.mark.parametrize("k", [64, 256])
def test_saes_at_any_layer_are_swapped_and_at_the_releases_layers_its_own(k):
    tags = tags_at("llama", (14, 4, 8), k)
    assert [tag.layer for tag in tags] == [4, 4, 8, 8, 14, 14]
    assert all(is_swapped(tag, k) for tag in tags)
    assert {tag for tag in tags if tag.layer != 14} <= set(sandbagging_tags(*LLAMA))


@pytest.mark.parametrize(("layer", "n_layers", "name"), [
    (8, 16, "D8"), (9, 16, "L9"), (15, 30, "D8"), (8, 30, "L8"), (6, 8, "D12")])
def test_a_layer_is_named_by_the_studys_layer_of_its_depth_if_it_has_one(layer, n_layers, name):
    assert depth_name(layer, n_layers) == name


@pytest.mark.parametrize(("n_layers", "layers"), [
    (22, (5, 11, 16)), (30, (6, 15, 21)), (8, (1, 4, 5))])
def test_tinyllamas_layers_move_to_the_same_depth_and_keep_their_names(n_layers, layers):
    assert TINYLLAMA.moved(n_layers) == layers
    assert [depth_name(layer, n_layers, TINYLLAMA) for layer in layers] == ["D4", "D8", "D12"]
    assert depth_name(7, n_layers, TINYLLAMA) == "L7"


@pytest.mark.parametrize("n_layers", [8, 12, 16, 22, 30])
def test_llamas_layers_move_as_its_saes_do(n_layers):
    tags = sandbagging_tags("m", n_layers)
    assert LLAMA_DEPTHS.moved(n_layers) == tuple(sorted({tag.layer for tag in tags}))


def test_depths_that_fall_together_are_an_error():
    with pytest.raises(ValueError, match=r"L5, L11, L16 of TinyLlama .* L0, L2, L2 .* 4 layers"):
        TINYLLAMA.moved(4)


def test_the_swapped_saes_of_a_layer_are_found():
    tags = sandbagging_tags(*LLAMA)
    assert [tag.name for tag in swapped_at(tags, 8)] == [
        f"v4_llama_{name}_L8_mixed" for name in ("jumprelu", "topk", "gated")]
    assert [tag.name for tag in swapped_at(tags, 12, "topk")] == ["v4_llama_topk_L12_mixed"]
    assert [tag.k for tag in swapped_at(tags, 12, "topk", k=256)] == [256]


@pytest.mark.parametrize(("of", "layers"), [
    ((14,), "L4, L8, L12"), ((12, "gated"), "L8"), ((8, "vanilla"), "none"),
    ((4, "topk", 16), "L8")])
def test_a_layer_without_a_swapped_sae_is_one_line_that_names_those_with_one(of, layers):
    with pytest.raises(UserError, match=rf"L{of[0]}\b.*: {layers}\.") as caught:
        swapped_at(sandbagging_tags(*LLAMA), *of)
    assert "\n" not in str(caught.value)
