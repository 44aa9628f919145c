"""resid_post on completions against plain forward passes of prompt and completion."""

import numpy as np
import pytest
import torch

from deception_saes.activations import completions as module
from deception_saes.activations.completions import (
    TokenCompletion,
    capture_completions,
    joined,
    read_completions,
    read_tokens,
    write_completions,
    write_tokens,
)
from deception_saes.models.anatomy import anatomy

PROMPTS = {"party": [5, 300, 7, 2000], "loss": [5, 300, 8]}
COMPLETIONS = [
    TokenCompletion("party-R3-000", "party", [11, 12, 13]),
    TokenCompletion("loss-R3-000", "loss", [14]),
    TokenCompletion("party-R3-001", "party", [11, 12, 99, 40, 1]),
    TokenCompletion("loss-R3-001", "loss", [20, 21, 22, 23]),
    TokenCompletion("party-R3-002", "party", [11, 12, 13]),
    TokenCompletion("party-R3-003", "party", [15]),
]
IDS = [completion.id for completion in COMPLETIONS]
LAYERS = range(8)


def plain(model, ids):
    """resid_post [L, T, D] by a plain forward pass. Transformers' last hidden state is behind the
    final norm, so the last layer is read before it."""
    parts, before_norm = anatomy(model), []
    norm = parts.base.get_submodule(parts.family.norm)
    handle = norm.register_forward_pre_hook(lambda _, args: before_norm.append(args[0]))
    with torch.inference_mode():
        states = model(torch.tensor([list(ids)]), output_hidden_states=True).hidden_states
    handle.remove()
    return torch.stack([state[0] for state in (*states[1:-1], *before_norm)])


@pytest.fixture(params=[4096, 4], ids=["in one part", "in several parts"])
def found(request, tiny, monkeypatch):
    monkeypatch.setattr(module, "COMPLETION_TOKENS_AT_ONCE", request.param)
    return capture_completions(tiny.model, PROMPTS, COMPLETIONS, (), 2)[0]


def assert_close(found_LD, expected_LD):
    error = (found_LD - expected_LD).norm(dim=-1) / expected_LD.norm(dim=-1)
    assert error.max() < 1e-5


def test_activations_are_those_of_a_plain_forward_pass(found, tiny):
    assert found.ids == tuple(IDS)
    assert found.n_tokens.tolist() == [3, 1, 5, 4, 3, 1]
    for row, completion in enumerate(COMPLETIONS):
        prompt = PROMPTS[completion.scenario]
        whole_LTD = plain(tiny.model, [*prompt, *completion.tokens])
        own_LTD = whole_LTD[:, len(prompt) :]
        assert_close(found.mean[:, row], own_LTD.mean(dim=1))
        assert_close(found.last[:, row], own_LTD[:, -1])
        place = found.scenarios.index(completion.scenario)
        assert_close(found.prompt_end_LSD[:, place], whole_LTD[:, len(prompt) - 1])


def test_completions_are_asked_for_by_id_in_any_order(found):
    order = [IDS[2], IDS[1], IDS[0]]
    for pooling in ("mean", "last"):
        expected = getattr(found, pooling)[:, [2, 1, 0]]
        np.testing.assert_array_equal(found.of(order, pooling), expected.double().numpy())


def test_the_prompts_end_is_the_same_for_all_completions_of_a_scenario(found):
    x_LND = found.of(IDS, "prompt_end")
    party = [row for row, c in enumerate(COMPLETIONS) if c.scenario == "party"]
    assert (x_LND[:, party] == x_LND[:, party[:1]]).all()
    assert (x_LND[:, 0] != x_LND[:, 1]).any()


def test_what_is_written_is_read(found, tmp_path):
    write_completions(tmp_path / "a.safetensors", found)
    again = read_completions(tmp_path / "a.safetensors")
    assert (again.ids, again.scenario, again.scenarios) == (
        found.ids, found.scenario, found.scenarios)
    np.testing.assert_array_equal(again.n_tokens, found.n_tokens)
    for name in ("mean", "last", "prompt_end_LSD"):
        assert torch.equal(getattr(again, name), getattr(found, name))


@pytest.mark.parametrize(("completions", "message"), [
    ([], "no completion"),
    ([TokenCompletion("a-R1-000", "picnic", [1])], "'picnic'"),
    ([TokenCompletion("party-R1-007", "party", [])], "party-R1-007"),
])
def test_what_cannot_be_read_is_named(tiny_llama, completions, message):
    with pytest.raises(ValueError, match=message):
        capture_completions(tiny_llama.model, PROMPTS, completions, (), 2)


def test_an_unknown_completion_or_pooling_is_an_error(found):
    with pytest.raises(KeyError, match="nobody"):
        found.of(["nobody"], "mean")
    with pytest.raises(ValueError, match="'median'"):
        found.of(IDS[:1], "median")


def test_tokens_are_those_of_a_plain_forward_pass(tiny, tmp_path):
    layers = (1, 5)
    _, kept = capture_completions(tiny.model, PROMPTS, COMPLETIONS, layers, 2)
    write_tokens(tmp_path / "tokens.safetensors", kept)
    rows = read_tokens(tmp_path / "tokens.safetensors")
    assert rows.completion.tolist() == [c.id for c in COMPLETIONS for _ in c.tokens]
    for completion in COMPLETIONS:
        prompt = PROMPTS[completion.scenario]
        whole_LTD = plain(tiny.model, [*prompt, *completion.tokens])
        of = rows.of([completion.id])
        assert rows.position[of].tolist() == list(range(len(prompt), whole_LTD.shape[1]))
        for layer in layers:
            assert_close(rows.x_by_layer[layer][of], whole_LTD[layer, len(prompt) :])


def test_rows_of_several_captures_stand_one_behind_the_other(tiny):
    parts = [capture_completions(tiny.model, PROMPTS, COMPLETIONS[part], (1, 5), 2)[1]
             for part in (slice(2), slice(2, None))]
    rows = joined(parts)
    assert rows.completion.tolist() == [c.id for c in COMPLETIONS for _ in c.tokens]
    for layer, x_ND in rows.x_by_layer.items():
        assert torch.equal(x_ND, torch.cat([part.x_by_layer[layer] for part in parts]))
    assert len(rows.position) == len(rows.completion)
