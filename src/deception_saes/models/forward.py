"""Run a model on prompts that share their beginning, reading that beginning once.

Shape suffixes: B prompts of a batch, T positions, D d_model, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel


@dataclass(frozen=True)
class SuffixBatch:
    """Prompts of one length, run behind their shared prefix.

    rows: index of each prompt in the caller's list.
    hidden_BTD: after the final norm, at the positions behind the prefix.
    cache: keys and values of the whole prompts, to go on from.
    """

    rows: list[int]
    hidden_BTD: torch.Tensor
    cache: DynamicCache


def shared_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The longest common beginning that leaves every prompt at least one token of its own."""
    shortest = min(len(prompt) for prompt in prompts)
    columns = zip(*(prompt[: shortest - 1] for prompt in prompts), strict=True)
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]


@torch.inference_mode()
def suffix_batches(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], batch_size: int
) -> Iterator[SuffixBatch]:
    """Final hidden states of all prompts, at most `batch_size` of one length at a time.

    prompts: token ids. Equal lengths leave no padding to compute or to mask.
    Raises ValueError if there is no prompt or an empty one.
    """
    if not prompts or any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("suffix_batches needs at least one prompt, each of at least one token")
    prefix = shared_prefix(prompts)
    cache = _prefix_cache(model, prefix)

    def length(row: int) -> int:
        return len(prompts[row])

    for _, same in groupby(sorted(range(len(prompts)), key=length), key=length):
        of_length = list(same)
        for start in range(0, len(of_length), batch_size):
            rows = of_length[start : start + batch_size]
            past = copy.deepcopy(cache)
            if past is not None:
                past.batch_repeat_interleave(len(rows))
            ids_BT = torch.tensor([list(prompts[row][len(prefix) :]) for row in rows],
                                  device=model.device)
            out = model.base_model(input_ids=ids_BT, past_key_values=past, use_cache=True)
            yield SuffixBatch(rows, out.last_hidden_state, out.past_key_values)


@torch.inference_mode()
def continuation_states(
    model: PreTrainedModel, batch: SuffixBatch, continuations: Sequence[tuple[int, Sequence[int]]]
) -> list[torch.Tensor]:
    """Final hidden states [T, D] at the tokens of each (place in the batch, token ids)."""
    if not continuations:
        return []
    longest = max(len(tokens) for _, tokens in continuations)
    # padding stands on the right, where a causal model never looks back from
    ids_BT = torch.zeros(len(continuations), longest, dtype=torch.long, device=model.device)
    for i, (_, tokens) in enumerate(continuations):
        ids_BT[i, : len(tokens)] = torch.tensor(list(tokens), device=model.device)
    past = copy.deepcopy(batch.cache)
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
    if not torch.isfinite(logits_BV).all():
        raise FloatingPointError(
            f"{type(model).__name__} gave a logit that is not finite: its weights or the edit "
            "of its activations are broken, and no probability can be read from it"
        )
    return logits_BV


def _prefix_cache(model: PreTrainedModel, prefix: Sequence[int]) -> DynamicCache | None:
    if not prefix:
        return None
    ids_1T = torch.tensor([list(prefix)], device=model.device)
    cache: DynamicCache = model.base_model(input_ids=ids_1T, use_cache=True).past_key_values
    return cache
