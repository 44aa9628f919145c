"""Run a model and read its answers: prompts that share their beginning have it read once.

Shape suffixes: B prompts of a batch, T positions, D d_model, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import transformers

from deception_saes.models.anatomy import Head

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

Result = TypeVar("Result")

LOGITS_AT_ONCE = 2**25
"""128 MiB of float32, and about twice that beside it."""


@dataclass(frozen=True)
class SuffixBatch:
    """Prompts of one length, run behind their shared prefix."""

    rows: list[int]
    """Index of each prompt in the caller's list."""
    hidden_BTD: torch.Tensor
    """After the final norm, at the positions behind the prefix."""
    cache: DynamicCache
    """Keys and values of the whole prompts, to go on from."""


def shared_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The longest common beginning that leaves every prompt at least one token of its own.

    Raises ValueError if there is no prompt or an empty one.
    """
    if not prompts or any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("there must be at least one prompt, each of at least one token")
    shortest = min(len(prompt) for prompt in prompts)
    columns = zip(*(prompt[: shortest - 1] for prompt in prompts), strict=True)
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]


@torch.inference_mode()
def behind_prefix(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    batch_size: int,
    run: Callable[[torch.Tensor, DynamicCache], Result],
) -> Iterator[tuple[list[int], Result]]:
    """What `run` makes of all prompts, at most `batch_size` of one length at a time.

    prompts: token ids. Equal lengths leave no padding to compute or to mask.
    run: runs the model on ids [B, T] and writes their keys and values behind those that the cache
        holds. It is first called once on the shared prefix, then on what stands behind it.
    Yields the index of each prompt of the batch in `prompts`, and the result.
    Raises ValueError if there is no prompt or an empty one, or if `batch_size` is not positive.
    """
    prefix = shared_prefix(prompts)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1")
    cache = transformers.DynamicCache(config=model.config)
    if prefix:
        run(torch.tensor([prefix], device=model.device), cache)

    def length(row: int) -> int:
        return len(prompts[row])

    for _, same in groupby(sorted(range(len(prompts)), key=length), key=length):
        of_length = list(same)
        for start in range(0, len(of_length), batch_size):
            rows = of_length[start : start + batch_size]
            ids_BT = torch.tensor([list(prompts[row][len(prefix) :]) for row in rows],
                                  device=model.device)
            yield rows, run(ids_BT, repeated(cache, len(rows)))


def repeated(cache: DynamicCache, rows: int) -> DynamicCache:
    """The same keys and values for so many rows, apart from the cache, which stays as it is."""
    past = copy.deepcopy(cache)
    past.batch_repeat_interleave(rows)
    return past


@torch.no_grad()
def cache_before_last(model: PreTrainedModel, prompt: Sequence[int]) -> DynamicCache:
    """Keys and values of a prompt, token ids, without its last token: to go on from there."""
    cache = transformers.DynamicCache(config=model.config)
    if len(prompt) > 1:
        ids_1T = torch.tensor([list(prompt[:-1])], device=model.device)
        model.base_model(input_ids=ids_1T, past_key_values=cache, use_cache=True)
    return cache


def right_padded(sequences: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """Token ids [B, longest], zeros on the right, where a causal model never looks back from."""
    ids_BT = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long, device=device)
    for row, tokens in enumerate(sequences):
        ids_BT[row, : len(tokens)] = torch.tensor(list(tokens), device=device)
    return ids_BT


@torch.inference_mode()
def suffix_batches(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], batch_size: int
) -> Iterator[SuffixBatch]:
    """Final hidden states of all prompts, at most `batch_size` of one length at a time.

    Raises ValueError as `behind_prefix` does.
    """

    def run(ids_BT: torch.Tensor, past: DynamicCache) -> Any:
        return model.base_model(input_ids=ids_BT, past_key_values=past, use_cache=True)

    for rows, out in behind_prefix(model, prompts, batch_size, run):
        yield SuffixBatch(rows, out.last_hidden_state, out.past_key_values)


@torch.inference_mode()
def continuation_states(
    model: PreTrainedModel, cache: DynamicCache, continuations: Sequence[tuple[int, Sequence[int]]]
) -> list[torch.Tensor]:
    """Final hidden states [T, D] at the tokens of each (place in the cache's batch, token ids).

    cache: of what stands before them; it stays as it is.
    """
    if not continuations:
        return []
    ids_BT = right_padded([tokens for _, tokens in continuations], model.device)
    past = copy.deepcopy(cache)
    past.batch_select_indices(torch.tensor([place for place, _ in continuations],
                                           device=model.device))
    out = model.base_model(input_ids=ids_BT, past_key_values=past, use_cache=True)
    return [out.last_hidden_state[i, : len(tokens)] for i, (_, tokens) in enumerate(continuations)]


@torch.inference_mode()
def log_probabilities(model: PreTrainedModel, hidden_BD: torch.Tensor) -> torch.Tensor:
    """Log-probability of every next token, [B, V], float64.

    Raises FloatingPointError if a logit is not finite.
    """
    return torch.log_softmax(finite_logits(model, hidden_BD).double(), dim=-1)


@torch.inference_mode()
def finite_logits(model: PreTrainedModel, hidden_BD: torch.Tensor) -> torch.Tensor:
    """Logit of every next token, [B, V], in the model's precision.

    Raises FloatingPointError if one is not finite.
    """
    logits_BV: torch.Tensor = model.get_output_embeddings()(hidden_BD)
    # extremes carry a NaN along, and cost a fifth of asking every logit
    if not all(torch.isfinite(extreme) for extreme in torch.aminmax(logits_BV)):
        raise FloatingPointError(
            f"{type(model).__name__} gave a logit that is not finite: its weights or the edit "
            "of its activations are broken, and no probability can be read from it"
        )
    return logits_BV


@contextmanager
def at_temperature(model: PreTrainedModel, temperature: float) -> Iterator[None]:
    """While open, the model's logits are divided by the temperature."""

    def scaled(_: torch.nn.Module, __: tuple[torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
        return logits / temperature

    hook = model.get_output_embeddings().register_forward_hook(scaled)
    try:
        yield
    finally:
        hook.remove()


@torch.inference_mode()
def token_mass(
    model: PreTrainedModel, hidden: torch.Tensor, tokens: Sequence[Sequence[int]]
) -> np.ndarray:
    """Probability that the next token is one of `tokens[q]`, float64 [..., Q].

    hidden: after the final norm, [..., Q, D]. tokens: by prompt, token ids; with T(q), this is
    P(correct). However many hidden states there are, the logits held at once are bounded.
    Raises ValueError if `hidden` and `tokens` are not of the same number of prompts;
    FloatingPointError if a logit is not finite.
    """
    if hidden.ndim < 2 or hidden.shape[-2] != len(tokens):
        raise ValueError(f"hidden states of shape {list(hidden.shape)} do not belong to "
                         f"{len(tokens)} prompts; give [..., prompts, d_model]")
    vocabulary = model.get_output_embeddings().get_parameter("weight").shape[0]
    counted_QK, padding_QK = _padded(tokens, hidden.device)
    log_mass: list[torch.Tensor] = []
    row = 0
    for hidden_BD in hidden.flatten(0, -2).split(max(1, LOGITS_AT_ONCE // vocabulary)):
        logits_BV = finite_logits(model, hidden_BD)
        place_B = torch.arange(row, row + len(hidden_BD), device=hidden.device) % len(tokens)
        of_tokens = logits_BV.gather(1, counted_QK[place_B])
        of_tokens = of_tokens.masked_fill(padding_QK[place_B], -torch.inf)
        log_mass.append(of_tokens.logsumexp(dim=-1) - logits_BV.logsumexp(dim=-1))
        row += len(hidden_BD)
    mass: np.ndarray = torch.cat(log_mass).double().exp().cpu().numpy()
    return mass.reshape(hidden.shape[:-1])


def _padded(
    tokens: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids of equal number for every prompt, [Q, K], and which of them only fill up."""
    most = max(len(of) for of in tokens)
    ids = [[*of, *[0] * (most - len(of))] for of in tokens]
    filled = [[place >= len(of) for place in range(most)] for of in tokens]
    return torch.tensor(ids, device=device), torch.tensor(filled, device=device)


@torch.inference_mode()
def last_position_attention(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], heads: Sequence[Head]
) -> dict[Head, list[np.ndarray]]:
    """By head, for every prompt the attention weights of its last position, [positions].

    The model's attention is switched to the implementation that returns weights, and back.
    """
    before = model.config._attn_implementation
    weights: dict[Head, list[np.ndarray]] = {head: [] for head in heads}
    model.set_attn_implementation("eager")
    try:
        for prompt in prompts:
            ids = torch.tensor([list(prompt)], device=model.device)
            found = model.base_model(ids, output_attentions=True, use_cache=False).attentions
            for head in heads:
                weights[head].append(found[head.layer][0, head.head, -1].cpu().numpy())
    finally:
        model.set_attn_implementation(before)
    return weights
