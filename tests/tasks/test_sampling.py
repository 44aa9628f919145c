from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from deception_saes.rng import generator
from deception_saes.tasks import sampling
from deception_saes.tasks.prompts import encode
from deception_saes.tasks.sampling import Sampled, choose, decode, end_tokens, sample

DRAWS = 4000


def drawn(lm, **changed):
    """Twelve continuations unless changed."""
    options = {"draws": 12, "temperature": 1.0, "seed": 0, "max_new_tokens": 6, "batch_size": 5}
    return sample(lm, encode("Who broke the vase?", lm.tokenizer), **options | changed)


@pytest.fixture
def many_ends(monkeypatch):
    """Every fourth token ends a continuation, so that draws end at different lengths."""
    ends = frozenset(range(0, 4299, 4))
    monkeypatch.setattr(sampling, "end_tokens", lambda _: ends)
    return ends


@torch.inference_mode()
def plain(lm, draws, temperature, seed, max_new_tokens, ends):
    """Tokens of the same draws, whether they ended, and how near a random number came to the edge
    between two tokens: one by one, the whole text read anew for each token, NumPy's softmax."""
    prompt = encode("Who broke the vase?", lm.tokenizer)
    found = []
    for draw in range(draws):
        stream, tokens, finished = generator(seed, "draw", str(draw)), [], False
        nearest = 1.0
        while len(tokens) < max_new_tokens and not finished:
            logits = lm.model(torch.tensor([[*prompt, *tokens]])).logits[0, -1].numpy()
            scaled = logits.astype(np.float64) / temperature
            mass = np.exp(scaled - scaled.max())
            edges, u = np.cumsum(mass) / mass.sum(), stream.random()
            token = int(np.argmax(edges > u))
            nearest = min(nearest, np.abs(edges - u).min())
            finished = token in ends
            tokens += [] if finished else [token]
        found.append((tokens, finished, nearest))
    return found


def expected_shares(lm, temperature):
    """Probability of each one-token text by a plain forward pass."""
    ids = encode("Who broke the vase?", lm.tokenizer)
    with torch.inference_mode():
        logits = lm.model(torch.tensor([ids])).logits[0, -1].double()
    shares = Counter()
    for token, p in enumerate(torch.softmax(logits / temperature, -1).tolist()):
        ended = token in end_tokens(lm)
        shares[Sampled("" if ended else decode(lm, [token]), ended)] += p
    return shares


def fit(lm, sampled, temperature):
    """p of the chi-square test of the first tokens against the softmax, rare ones in one cell."""
    shares = expected_shares(lm, temperature)
    often = [key for key, p in shares.items() if p * len(sampled) >= 5]
    counts = Counter(sampled)
    seen = [counts[key] for key in often]
    due = [shares[key] * len(sampled) for key in often]
    assert len(often) > 20
    return chisquare([*seen, len(sampled) - sum(seen)], [*due, len(sampled) - sum(due)]).pvalue


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_first_tokens_are_as_frequent_as_the_softmax_says(tiny, temperature):
    sampled = drawn(tiny, draws=DRAWS, temperature=temperature, max_new_tokens=1, batch_size=500)
    assert fit(tiny, sampled, temperature) > 0.01
    other = {0.7: 1.0, 1.0: 0.7}[temperature]
    assert fit(tiny, sampled, other) < 1e-6


def test_a_temperature_near_zero_takes_the_likeliest_token(tiny):
    likeliest, share = expected_shares(tiny, 1e-4).most_common(1)[0]
    assert share > 0.999
    assert set(drawn(tiny, temperature=1e-4, max_new_tokens=1)) == {likeliest}


def test_the_same_seed_draws_the_same_and_another_seed_does_not(tiny):
    assert drawn(tiny) == drawn(tiny)
    assert drawn(tiny) != drawn(tiny, seed=1)


def test_draws_of_one_seed_differ_from_each_other(tiny):
    assert len(set(drawn(tiny))) > 1


@pytest.mark.parametrize("batch_size", [1, 3, 12, 64])
def test_a_draw_does_not_depend_on_the_batch(tiny, many_ends, batch_size):
    assert drawn(tiny, batch_size=batch_size) == drawn(tiny)


def test_a_draw_does_not_depend_on_how_many_follow(tiny, many_ends):
    assert drawn(tiny, draws=4) == drawn(tiny, draws=12)[:4]


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_cached_sampling_is_the_plain_loop(tiny, many_ends, temperature):
    sampled = drawn(tiny, draws=40, temperature=temperature)
    # what lies on an edge to within rounding may go either way, which depends on the processor
    compared = [(ours, Sampled(decode(tiny, tokens), finished))
                for ours, (tokens, finished, nearest) in zip(
                    sampled, plain(tiny, 40, temperature, 0, 6, many_ends), strict=True)
                if nearest > 1e-6]
    assert len(compared) > 30
    for ours, theirs in compared:
        assert ours == theirs
    assert {each.finished for each in sampled} == {True, False}


def test_the_prompt_is_read_once_and_draws_that_have_ended_leave_the_batch(tiny, many_ends):
    read = []
    hook = tiny.model.base_model.register_forward_pre_hook(
        lambda _, __, given: read.append(tuple(given["input_ids"].shape)), with_kwargs=True)
    drawn(tiny, draws=40, batch_size=40, max_new_tokens=4)
    hook.remove()
    lengths = [len(tokens) for tokens, _, _ in plain(tiny, 40, 1.0, 0, 4, many_ends)]
    left = [sum(length >= n for length in lengths) for n in (1, 2, 3)]
    (first, prompt), *rest = read
    assert first == 1 < prompt
    assert rest == [(n, 1) for n in left]  # nothing is read after the last token
    assert 40 > left[0] > left[1] > left[2]


def test_a_first_token_that_ends_gives_an_empty_text(tiny, monkeypatch):
    monkeypatch.setattr(sampling, "end_tokens", lambda _: frozenset(range(4299)))
    assert set(drawn(tiny)) == {Sampled("", True)}


def test_without_an_end_token_every_draw_stops_at_the_limit(tiny, monkeypatch):
    monkeypatch.setattr(sampling, "end_tokens", lambda _: frozenset())
    assert not any(each.finished for each in drawn(tiny))


def test_the_edges_of_the_unit_interval_choose_tokens_that_can_occur():
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]]).expand(3, -1)
    assert choose(logits, 1.0, [0.0, 0.5, float(np.nextafter(1, 0))]) == [1, 2, 2]


@pytest.mark.parametrize("name", ["draws", "max_new_tokens", "batch_size", "temperature"])
@pytest.mark.parametrize("number", [0, -1, float("inf"), float("nan")])
def test_a_count_or_temperature_that_is_not_positive_is_named(tiny_llama, name, number):
    with pytest.raises(ValueError, match=f"{name} is {number}"):
        drawn(tiny_llama, **{name: number})


def test_an_empty_prompt_is_refused(tiny_llama):
    with pytest.raises(ValueError, match="prompt"):
        sample(tiny_llama, [], 1, 1.0, 0, 1, 1)
