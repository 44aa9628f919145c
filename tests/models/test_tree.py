"""Many prompts in one pass against one pass a prompt."""

from types import SimpleNamespace

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from deception_saes.models import tree
from deception_saes.models.forward import log_probabilities
from deception_saes.models.tree import final_states, following

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
PREFIX = [5, 300, 7, 2000]
PROMPTS = [PREFIX + tail for tail in ([11, 12, 13], [14], [11, 12], [18, 19], [11, 12, 99, 40, 1])]


@pytest.mark.parametrize("largest", [1, 4, 128])
@pytest.mark.parametrize("prompts", [PROMPTS, [p[4:] for p in PROMPTS], PROMPTS[:1]],
                         ids=["shared prefix", "no shared prefix", "one prompt"])
def test_final_states_are_those_of_a_plain_forward_pass(
        tiny, log_p, prompts, largest, monkeypatch):
    monkeypatch.setattr(tree, "TOKENS_OF_BRANCH", largest)
    seen = {}
    for rows, hidden_BD in final_states(tiny.model, prompts):
        seen |= dict(zip(rows, log_probabilities(tiny.model, hidden_BD), strict=True))
    assert sorted(seen) == list(range(len(prompts)))
    for row, prompt in enumerate(prompts):
        torch.testing.assert_close(seen[row], log_p(tiny, prompt)[-1], **CLOSE)


@pytest.mark.parametrize("window", [64, 6])
def test_a_family_whose_runs_cannot_be_resumed_has_them_too(log_p, window):
    config = Gemma3TextConfig(vocab_size=2048, hidden_size=32, intermediate_size=64,
                              num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                              head_dim=16, sliding_window=window,
                              layer_types=["sliding_attention", "full_attention"])
    gemma = SimpleNamespace(model=Gemma3ForCausalLM(config).eval())
    for rows, hidden_BD in final_states(gemma.model, PROMPTS):
        for row, ours in zip(rows, log_probabilities(gemma.model, hidden_BD), strict=True):
            torch.testing.assert_close(ours, log_p(gemma, PROMPTS[row])[-1], **CLOSE)


def test_what_follows_a_prompt_is_what_a_plain_forward_pass_says(tiny, log_p):
    tails = [[(31,), (31, 32, 33)], [], [(31, 32, 40), (7,)], [(18,)], [(2, 3)]]
    done = []
    found = following(tiny.model, PROMPTS, tails, done.append)
    assert sum(done) == len(PROMPTS)
    for prompt, of_prompt, ours in zip(PROMPTS, tails, found, strict=True):
        assert ours.top == int(log_p(tiny, prompt)[-1].argmax())
        assert len(ours.log_p) == len(of_prompt)
        for tokens, log_p_of in zip(of_prompt, ours.log_p, strict=True):
            whole = log_p(tiny, [*prompt, *tokens])[len(prompt) - 1 : -1]
            assert log_p_of == pytest.approx(float(whole[range(len(tokens)), tokens].sum()),
                                             abs=1e-4)


def test_without_a_prompt_nothing_can_follow(tiny):
    with pytest.raises(ValueError, match="prompt"):
        following(tiny.model, [], [])
