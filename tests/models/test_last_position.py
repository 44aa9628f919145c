"""Edits at the last position against whole forward passes with the block's output overwritten."""

import copy

import numpy as np
import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from deception_saes.models import forward, last_position, tree
from deception_saes.models.anatomy import anatomy
from deception_saes.models.forward import log_probabilities, token_mass
from deception_saes.models.last_position import LastPositionRun
from deception_saes.tasks.framings import FRAMINGS
from deception_saes.tasks.prompts import prompt_set
from deception_saes.tasks.trivia import load_questions

# A beginning shared by some, one prompt the beginning of another, one twice, not in order.
SUFFIXES = [[30, 31, 32, 33], [7, 8, 9], [30], [7, 8, 9, 40, 41], [30], [11]]
WITH_PREFIX = [[5, 6, *suffix] for suffix in SUFFIXES]
PROMPTS = pytest.mark.parametrize(
    "prompts", [WITH_PREFIX, SUFFIXES, [[5, 6, 7]], [[5]], [[5], [5, 6]]],
    ids=["shared prefix", "no shared prefix", "one prompt", "one token", "one token and two"])
CLOSE = {"atol": 1e-4, "rtol": 1e-4}  # of values up to about 10; edits move them by 0.01 and more


@pytest.fixture(scope="module")
def gemma():
    """A random Gemma, whose runs cannot be resumed; prompts are longer than its window."""
    config = Gemma3TextConfig(vocab_size=300, hidden_size=32, intermediate_size=64,
                              num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
                              head_dim=16, sliding_window=3,
                              layer_types=["sliding_attention", "full_attention",
                                           "sliding_attention"])
    torch.manual_seed(0)
    return Gemma3ForCausalLM(config).eval()


@torch.inference_mode()
def whole(model, prompt, layer, x_D=None):
    """(resid_post of the layer, final hidden state) at the last position of a whole pass, with the
    residual replaced by x_D if there is one."""
    seen = []

    def hook(_, args, out):
        out = out.clone()
        if x_D is not None:
            out[0, -1] = x_D
        seen.append(out[0, -1])
        return out

    with anatomy(model).blocks[layer].register_forward_hook(hook):
        hidden_TD = model.base_model(torch.tensor([prompt]), use_cache=False).last_hidden_state[0]
    return seen[0], hidden_TD[-1]


def edits(run, layer, count):
    """Residuals as far from the clean one as it is long, another for each edit and prompt."""
    clean_QD = run.residual(layer)
    noise = torch.randn(count, *clean_QD.shape, generator=torch.Generator().manual_seed(layer))
    return clean_QD + noise * clean_QD.std()


def check(model, prompts, layers, count=3):
    run = LastPositionRun(model, prompts, layers)
    for layer in layers:
        x_NQD = edits(run, layer, count)
        found_NQD = run.final_hidden(layer, x_NQD)
        assert found_NQD.shape == x_NQD.shape
        for q, prompt in enumerate(prompts):
            residual_D, clean_D = whole(model, prompt, layer)
            torch.testing.assert_close(run.residual(layer)[q], residual_D, **CLOSE)
            torch.testing.assert_close(run.clean_QD[q], clean_D, **CLOSE)
            for n in range(count):
                _, edited_D = whole(model, prompt, layer, x_NQD[n, q])
                torch.testing.assert_close(found_NQD[n, q], edited_D, **CLOSE)
                assert not torch.allclose(edited_D, clean_D, atol=1e-2)


@PROMPTS
def test_every_edit_gives_what_a_whole_forward_pass_gives(tiny, prompts):
    check(tiny.model, prompts, range(8))


@PROMPTS
def test_a_family_that_cannot_be_resumed_gives_the_same(gemma, prompts):
    check(gemma, prompts, range(3))


@pytest.mark.parametrize("rows_of_joined", [0, 21, 128], ids=["apart", "some joined", "all joined"])
@PROMPTS
def test_many_branches_and_small_batches_change_nothing(
    tiny, monkeypatch, prompts, rows_of_joined
):
    monkeypatch.setattr(last_position, "ROWS_AT_ONCE", 4)
    monkeypatch.setattr(last_position, "ROWS_OF_JOINED", rows_of_joined)
    monkeypatch.setattr(last_position, "TOKENS_OF_BRANCH", 4)
    check(tiny.model, prompts, [0, 3, 7], count=7)


def test_small_batches_change_nothing_where_a_run_cannot_be_resumed(gemma, monkeypatch):
    monkeypatch.setattr(last_position, "COPIED_KEYS_AT_ONCE", 10)
    check(gemma, WITH_PREFIX, [1], count=7)


def test_more_edits_than_one_batch_holds(tiny):
    run = LastPositionRun(tiny.model, WITH_PREFIX, [4])
    x_NQD = edits(run, 4, last_position.ROWS_AT_ONCE)
    found_NQD = run.final_hidden(4, x_NQD)
    for n, q in ((0, 0), (42, 3), (43, 2), (100, 1), (255, 5)):
        torch.testing.assert_close(found_NQD[n, q], whole(tiny.model, WITH_PREFIX[q], 4,
                                                          x_NQD[n, q])[1], **CLOSE)


def test_the_clean_residual_gives_the_clean_run(tiny, gemma):
    for model in (tiny.model, gemma):
        layers = range(anatomy(model).n_layers)
        run = LastPositionRun(model, WITH_PREFIX, layers)
        for layer in layers:
            found_NQD = run.final_hidden(layer, run.residual(layer).expand(2, -1, -1))
            torch.testing.assert_close(found_NQD, run.clean_QD.expand(2, -1, -1), **CLOSE)


def test_above_the_last_layer_is_only_the_norm(tiny):
    run = LastPositionRun(tiny.model, WITH_PREFIX, [7])
    x_NQD = edits(run, 7, 2)
    with torch.inference_mode():
        torch.testing.assert_close(run.final_hidden(7, x_NQD),
                                   anatomy(tiny.model).final_norm(x_NQD))


def test_no_edit_is_no_work(tiny):
    run = LastPositionRun(tiny.model, WITH_PREFIX, [3])
    assert run.final_hidden(3, run.residual(3)[None][:0]).shape[:2] == (0, 6)


def test_what_it_gives_can_be_trained_on(tiny):
    run = LastPositionRun(tiny.model, WITH_PREFIX, [4])
    for given in (run.residual(4), run.clean_QD, run.final_hidden(4, edits(run, 4, 2))):
        weight = torch.ones(given.shape[-1], requires_grad=True)
        (given * weight).square().sum().backward()
        assert torch.isfinite(weight.grad).all()


def test_wrong_layers_and_shapes_are_errors_that_name_them(tiny, gemma):
    for model, beyond in ((tiny.model, 8), (gemma, 3)):
        for layers in ([1, beyond], [-1]):
            with pytest.raises(ValueError, match=rf"layers \[{layers[-1]}\]"):
                LastPositionRun(model, WITH_PREFIX, layers)
        with pytest.raises(ValueError, match="layers none"):
            LastPositionRun(model, WITH_PREFIX, [])
        for prompts in ([], [[5], []]):
            with pytest.raises(ValueError, match="prompt"):
                LastPositionRun(model, prompts, [1])
        run = LastPositionRun(model, WITH_PREFIX, [1])
        x_QD = run.residual(1)
        with pytest.raises(ValueError, match=r"L2\b.*L1"):
            run.residual(2)
        with pytest.raises(ValueError, match=r"L2\b.*L1"):
            run.final_hidden(2, x_QD[None])
        for wrong in (x_QD, x_QD[None, :5], x_QD[None, :, 1:]):
            with pytest.raises(ValueError, match=rf"shape \[{', '.join(map(str, wrong.shape))}\]"):
                run.final_hidden(1, wrong)


def test_an_edit_that_is_not_finite_is_an_error(tiny):
    run = LastPositionRun(tiny.model, WITH_PREFIX, [1])
    x_NQD = run.residual(1)[None].clone()
    x_NQD[0, 2, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="L1 is not finite"):
        run.final_hidden(1, x_NQD)


def test_the_mass_of_tokens_is_their_summed_probability(tiny, log_p, monkeypatch):
    tokens = [[100, 101], [7], [2000], [300, 5, 9], [2000], [1]]
    run = LastPositionRun(tiny.model, WITH_PREFIX, [3])
    hidden_NQD = torch.stack([run.clean_QD, *run.final_hidden(3, edits(run, 3, 2))])
    expected = np.array([[log_probabilities(tiny.model, hidden_D[None])[0, of_q].exp().sum()
                          for hidden_D, of_q in zip(hidden_QD, tokens, strict=True)]
                         for hidden_QD in hidden_NQD])
    plain = [float(log_p(tiny, prompt)[-1, of_q].exp().sum())
             for prompt, of_q in zip(WITH_PREFIX, tokens, strict=True)]
    for logits_at_once in (2**25, 4 * 4096, 1):
        monkeypatch.setattr(forward, "LOGITS_AT_ONCE", logits_at_once)
        found = token_mass(tiny.model, hidden_NQD, tokens)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        np.testing.assert_allclose(token_mass(tiny.model, hidden_NQD[1], tokens), found[1],
                                   rtol=1e-6)
        np.testing.assert_allclose(found[0], plain, rtol=1e-4)


def test_the_mass_is_read_from_bounded_logits(tiny, monkeypatch):
    sizes = []
    real = forward.finite_logits
    monkeypatch.setattr(forward, "finite_logits",
                        lambda model, x: sizes.append(len(x)) or real(model, x))
    vocabulary = tiny.model.config.vocab_size
    monkeypatch.setattr(forward, "LOGITS_AT_ONCE", 4 * vocabulary)
    token_mass(tiny.model, torch.zeros(3, 2, tiny.model.config.hidden_size), [[1], [2]])
    assert sizes == [4, 2]


def test_a_mass_of_another_number_of_prompts_is_an_error(tiny):
    width = tiny.model.config.hidden_size
    for shape in ((2, 3, width), (3, width), (width,)):
        with pytest.raises(ValueError, match="2 prompts"):
            token_mass(tiny.model, torch.zeros(shape), [[1], [2]])


def test_a_broken_weight_is_an_error_and_not_a_mass(tiny):
    model = copy.deepcopy(tiny.model)
    model.get_output_embeddings().weight[5, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        token_mass(model, torch.ones(1, 1, model.config.hidden_size), [[1]])


def test_a_trunk_and_its_branches_hold_every_prompt_once():
    laid = tree.forest_of(WITH_PREFIX, 3)
    assert laid.prefix == [5, 6]
    assert sorted(row for rows in laid.rows for row in rows) == list(range(6))
    assert len(laid.trees) > 1
    for of_branch, rows in zip(laid.trees, laid.rows, strict=True):
        for leaf, row in zip(of_branch.leaves, rows, strict=True):
            path = [of_branch.tokens[t] for t in of_branch.sees()[leaf].nonzero().flatten()]
            assert [*laid.prefix, *path] == WITH_PREFIX[row]
            assert of_branch.depths()[leaf] == len(path) - 1


@pytest.mark.parametrize("layer", [7, 22])
def test_the_embedded_model_gives_what_a_whole_forward_pass_gives(embedded, layer):
    two = [question for question in load_questions()
           if question.id in {"geo-capital-france", "geo-eiffel-tower"}]
    asked = prompt_set(FRAMINGS["two_shot_labelled"], two, embedded.tokenizer)
    assert len(asked.ids) == 2
    prompts = [*asked.prompts["sandbag"], *asked.prompts["genuine"]]
    run = LastPositionRun(embedded.model, prompts, [7, 22])
    x_NQD = torch.cat([run.residual(layer)[None], edits(run, layer, 2)])
    found_NQV = log_probabilities(embedded.model, run.final_hidden(layer, x_NQD))
    for q, prompt in enumerate(prompts):
        for n, x_D in enumerate(x_NQD[:, q]):
            hidden_D = whole(embedded.model, prompt, layer, x_D)[1]
            torch.testing.assert_close(
                found_NQV[n, q], log_probabilities(embedded.model, hidden_D[None])[0],
                atol=1e-4, rtol=0)
