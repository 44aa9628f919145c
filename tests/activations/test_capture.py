import copy
import re
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from deception_saes.activations.capture import (
    capture,
    read_activations,
    residuals,
    write_activations,
)
from deception_saes.models.anatomy import anatomy
from deception_saes.models.forward import shared_prefix
from deception_saes.tasks.framings import FRAMINGS
from deception_saes.tasks.prompts import PromptSet, prompt_set
from deception_saes.tasks.trivia import load_questions

PREFIX = [5, 300, 7, 2000]
SUFFIXES = [[11, 12, 13], [14], [15, 16, 17], [18, 19], [20], [21, 22, 23], [11, 12, 99, 40, 1]]
PROMPTS = [PREFIX + suffix for suffix in SUFFIXES]
ALL_LAYERS = range(8)


def assert_close(found_TD, expected_TD):
    """Sums in another order: the worst error measured is 2e-6 of a row's norm, on all models."""
    assert found_TD.shape == expected_TD.shape
    error = (found_TD - expected_TD).norm(dim=-1) / expected_TD.norm(dim=-1)
    assert error.max() < 1e-5


def plain(model, ids):
    """resid_post [T, D] of every layer by a plain forward pass. Transformers' last hidden state
    is behind the final norm, so the last layer is read before it."""
    parts, before_norm = anatomy(model), []
    norm = parts.base.get_submodule(parts.family.norm)
    handle = norm.register_forward_pre_hook(lambda _, args: before_norm.append(args[0]))
    with torch.inference_mode():
        states = model(torch.tensor([list(ids)]), output_hidden_states=True).hidden_states
    handle.remove()
    return [state[0] for state in (*states[1:-1], *before_norm)]


@contextmanager
def counted_tokens(model):
    """How many tokens each block is run on."""
    counts = [0] * len(anatomy(model).blocks)

    def counter(layer):
        def count(_, args):
            counts[layer] += args[0].shape[0] * args[0].shape[1]
        return count

    handles = [block.register_forward_pre_hook(counter(layer))
               for layer, block in enumerate(anatomy(model).blocks)]
    yield counts
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("prompts", [PROMPTS, SUFFIXES, PROMPTS[:1], [[7], [7], [7]]],
                         ids=["shared prefix", "no shared prefix", "one prompt", "all the same"])
@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("positions", ["suffix", "last"])
def test_rows_are_those_of_a_plain_forward_pass(tiny, prompts, batch_size, positions):
    found = residuals(tiny.model, prompts, ALL_LAYERS, positions, batch_size)
    before = len(shared_prefix(prompts))
    kept = [range(len(p) - 1 if positions == "last" else before, len(p)) for p in prompts]
    assert found.prompt.tolist() == [row for row, of in enumerate(kept) for _ in of]
    assert found.position.tolist() == [position for of in kept for position in of]
    expected = [plain(tiny.model, prompt) for prompt in prompts]
    for layer in ALL_LAYERS:
        rows = [expected[row][layer][list(of)] for row, of in enumerate(kept)]
        assert_close(found.x_by_layer[layer], torch.cat(rows))


@pytest.mark.parametrize("layers", [[0], [3], [6, 2], [7]], ids=str)
def test_layers_are_chosen_and_come_in_the_callers_order(tiny, layers):
    whole = residuals(tiny.model, PROMPTS, ALL_LAYERS, "suffix", 2)
    found = residuals(tiny.model, PROMPTS, layers, "suffix", 2)
    assert list(found.x_by_layer) == layers
    for layer in layers:
        assert torch.equal(found.x_by_layer[layer], whole.x_by_layer[layer])


@pytest.mark.parametrize("layers", [[0], [2, 5], [5, 2], [7]], ids=str)
@pytest.mark.parametrize("batch_size", [1, 64])
def test_the_prefix_is_run_once_and_nothing_above_the_last_layer(tiny, layers, batch_size):
    with counted_tokens(tiny.model) as counts:
        residuals(tiny.model, PROMPTS, layers, "last", batch_size)
    run = len(PREFIX) + sum(len(suffix) for suffix in SUFFIXES)
    assert counts == [run if layer <= max(layers) else 0 for layer in ALL_LAYERS]


class TupleBlock(torch.nn.Module):
    """A block as older transformers have it: its output is the first of several."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x, *args, **kwargs):
        return self.block(x[0] if isinstance(x, tuple) else x, *args, **kwargs), None


def test_a_block_that_returns_a_tuple_is_read_the_same(tiny):
    model = copy.deepcopy(tiny.model)
    layers = anatomy(model).base.layers
    for layer in ALL_LAYERS:
        layers[layer] = TupleBlock(layers[layer])
    found = residuals(model, PROMPTS, [1, 2, 5], "suffix", 2)
    expected = residuals(tiny.model, PROMPTS, [1, 2, 5], "suffix", 2)
    for layer in (1, 2, 5):
        assert torch.equal(found.x_by_layer[layer], expected.x_by_layer[layer])


@pytest.mark.parametrize("broken", [False, True])
def test_afterwards_the_model_runs_as_before(tiny, broken):
    model, prompt = broken_at_layer_2(tiny) if broken else tiny.model, torch.tensor(PROMPTS[:1])
    with torch.inference_mode():
        before = model(prompt).logits
        with pytest.raises(FloatingPointError) if broken else nullcontext():
            residuals(model, PROMPTS, [1, 2], "last", 2)
        assert torch.equal(model(prompt).logits.nan_to_num(9), before.nan_to_num(9))


def test_rows_can_be_trained_on(tiny_llama):
    x = residuals(tiny_llama.model, PROMPTS, [2], "suffix", 2).x_by_layer[2]
    assert x.dtype == torch.float32
    weight = torch.zeros(x.shape[1], 3, requires_grad=True)
    (x @ weight).sum().backward()  # saves x, which a tensor made in inference mode cannot be
    torch.testing.assert_close(weight.grad[:, 0], x.sum(0))


def questions(*conditions):
    """Three questions, whose prompts begin otherwise under each condition."""
    begins = {"genuine": [5, 6], "neutral": [7], "sandbag": [5, 6, 8, 9]}
    asked = [[11, 12, 13], [14], [15, 16]]
    prompts = {c: [begins[c] + question for question in asked] for c in conditions}
    return PromptSet(FRAMINGS["zero_shot"], ("q7", "q3", "q5"), prompts, {})


def test_rows_go_by_condition_then_question_then_position(tiny):
    asked = questions("genuine", "neutral", "sandbag")
    found = capture(tiny.model, asked, ("sandbag", "genuine"), "choosing", [3, 1], "suffix", 2)
    assert found.condition.tolist() == ["sandbag"] * 6 + ["genuine"] * 6
    assert found.question.tolist() == ["q7", "q7", "q7", "q3", "q5", "q5"] * 2
    assert found.position.tolist() == [4, 5, 6, 4, 4, 5, 2, 3, 4, 2, 2, 3]
    assert found.half.tolist() == ["choosing"] * 12
    for layer in (3, 1):
        assert found.x_by_layer[layer].shape == (12, tiny.model.config.hidden_size)
        for row, x_D in enumerate(found.x_by_layer[layer]):
            place = asked.ids.index(found.question[row])
            prompt = asked.prompts[found.condition[row]][place]
            expected_D = plain(tiny.model, prompt)[layer][found.position[row]]
            assert_close(x_D[None], expected_D[None])


def test_the_last_positions_are_one_row_a_question(tiny):
    found = capture(tiny.model, questions("genuine", "sandbag"), ("genuine", "sandbag"),
                    "evaluating", [3], "last", 2)
    assert found.question.tolist() == ["q7", "q3", "q5"] * 2
    assert found.position.tolist() == [4, 2, 3, 6, 4, 5]
    assert found.x_by_layer[3].shape == (6, tiny.model.config.hidden_size)


def test_real_questions_of_the_embedded_model(embedded):
    two = load_questions()[:40:20]
    asked = prompt_set(FRAMINGS["two_shot_same_prefix"], two, embedded.tokenizer)
    layers = [0, 7, 15, 22, 29]
    found = capture(embedded.model, asked, ("genuine", "sandbag"), "choosing", layers, "suffix", 8)
    for condition in ("genuine", "sandbag"):
        for question, prompt in zip(two, asked.prompts[condition], strict=True):
            rows = (found.question == question.id) & (found.condition == condition)
            expected = plain(embedded.model, prompt)
            assert found.position[rows][-1] == len(prompt) - 1
            for layer in layers:
                assert_close(found.x_by_layer[layer][rows],
                             expected[layer][found.position[rows]])


@pytest.mark.parametrize(("change", "wrong"), [
    ({"layers": [8]}, "layer 8.* 0 to 7"),
    ({"layers": [2, -1]}, "layer -1.* 0 to 7"),
    ({"layers": [2, 3, 2]}, r"\[2, 3, 2\]"),
    ({"layers": []}, r"\[\]"),
    ({"prompts": []}, "prompt"),
    ({"prompts": [[1, 2], []]}, "prompt"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"batch_size": -2}, "batch_size is -2"),
    ({"positions": "first"}, "'first'.*suffix, last"),
])
def test_what_cannot_be_captured_is_named(tiny_llama, change, wrong):
    asked = {"prompts": PROMPTS, "layers": [2], "positions": "last", "batch_size": 2} | change
    with pytest.raises(ValueError, match=wrong):
        residuals(tiny_llama.model, **asked)


@pytest.mark.parametrize("conditions", [(), ("genuine", "genuine")])
def test_no_condition_or_one_twice_is_an_error(tiny_llama, conditions):
    with pytest.raises(ValueError, match=re.escape(str(list(conditions)))):
        capture(tiny_llama.model, questions("genuine"), conditions, "choosing", [2], "last", 2)


def broken_at_layer_2(lm):
    model = copy.deepcopy(lm.model)
    anatomy(model).projection(2).weight[0, 0] = float("nan")
    return model


def test_an_activation_that_is_not_finite_is_an_error(tiny):
    model = broken_at_layer_2(tiny)
    assert residuals(model, PROMPTS, [0, 1], "suffix", 2).x_by_layer[1].isfinite().all()
    with pytest.raises(FloatingPointError, match="layer 2"):
        residuals(model, PROMPTS, [1, 2], "suffix", 2)


@pytest.fixture
def stored(tiny_llama, tmp_path):
    """Some activations and the file they were written to."""
    found = capture(tiny_llama.model, questions("genuine", "sandbag"), ("genuine", "sandbag"),
                    "choosing", [2, 5], "suffix", 2)
    write_activations(tmp_path / "new" / "activations.safetensors", found)
    return found, tmp_path / "new" / "activations.safetensors"


@pytest.mark.parametrize("layers", [None, [5], [5, 2]], ids=str)
def test_a_file_gives_back_what_was_written(stored, layers):
    found, path = stored
    read = read_activations(path, layers)
    assert list(read.x_by_layer) == (layers or [2, 5])
    for layer, x_ND in read.x_by_layer.items():
        assert torch.equal(x_ND, found.x_by_layer[layer])
    for name in ("question", "condition", "position", "half"):
        np.testing.assert_array_equal(getattr(read, name), getattr(found, name), strict=True)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_layer_that_the_file_has_not_is_named(stored):
    with pytest.raises(ValueError, match=r"layer 3.*\[2, 5\]"):
        read_activations(stored[1], [2, 3])


def test_half_a_file_is_an_error(stored):
    path = stored[1]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(SafetensorError):
        read_activations(path)
