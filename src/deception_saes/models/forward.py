"""Run a model on prompts that share their beginning, reading that beginning once.

Shape suffixes: B prompts of a batch, T suffix positions (right-padded), D d_model, V vocabulary.
"""

from __future__ import annotations

import copy
import os.path
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel


@dataclass(frozen=True)
class SuffixBatch:
    """Final hidden states of one batch, after the shared prefix.

    rows: index of each prompt in the caller's list.
    offset: length of the shared prefix; suffix position t is prompt position offset + t.
    hidden_BTD: after the final norm; positions at or past a row's length are padding.
    """

    rows: list[int]
    offset: int
    lengths: list[int]
    hidden_BTD: torch.Tensor

    def last_BD(self) -> torch.Tensor:
        """Hidden state at each prompt's last position."""
        last = torch.tensor(self.lengths, device=self.hidden_BTD.device) - 1
        return self.hidden_BTD[torch.arange(len(self.rows), device=last.device), last]


def shared_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The longest common beginning that leaves every prompt at least one token of its own."""
    prefix: list[int] = os.path.commonprefix([list(prompt) for prompt in prompts])
    return prefix[: min(len(prompt) for prompt in prompts) - 1]


@torch.inference_mode()
def suffix_batches(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    batch_size: int,
    prefix: Sequence[int] | None = None,
) -> Iterator[SuffixBatch]:
    """Final hidden states of all prompts, batch by batch, prompts of like length together.

    prompts: token ids. prefix: the beginning to read once, `shared_prefix(prompts)` if None.
    Padding stands on the right, where a causal model never looks back from.
    Raises ValueError if there is no prompt or an empty one.
    """
    if not prompts or any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("suffix_batches needs at least one prompt, each of at least one token")
    device = model.device
    prefix = shared_prefix(prompts) if prefix is None else list(prefix)
    cache = _prefix_cache(model, prefix)
    order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        suffixes = [list(prompts[row][len(prefix) :]) for row in rows]
        lengths = [len(suffix) for suffix in suffixes]
        ids_BT = torch.zeros(len(rows), max(lengths), dtype=torch.long, device=device)
        for i, suffix in enumerate(suffixes):
            ids_BT[i, : len(suffix)] = torch.tensor(suffix, device=device)
        past = copy.deepcopy(cache)
        if past is not None:
            past.batch_repeat_interleave(len(rows))
        hidden_BTD = model.base_model(
            input_ids=ids_BT, past_key_values=past, use_cache=past is not None
        ).last_hidden_state
        yield SuffixBatch(rows, len(prefix), lengths, hidden_BTD)


@torch.inference_mode()
def log_probabilities(model: PreTrainedModel, hidden_BD: torch.Tensor) -> torch.Tensor:
    """Log-probability of every next token, [B, V], float64.

    Raises FloatingPointError if a logit is not finite.
    """
    logits_BV: torch.Tensor = model.get_output_embeddings()(hidden_BD)
    if not torch.isfinite(logits_BV).all():
        raise FloatingPointError(
            f"{type(model).__name__} gave a logit that is not finite: its weights or the edit "
            "of its activations are broken, and no probability can be read from it"
        )
    return torch.log_softmax(logits_BV.double(), dim=-1)


def _prefix_cache(model: PreTrainedModel, prefix: Sequence[int]) -> DynamicCache | None:
    if not prefix:
        return None
    ids_1T = torch.tensor([list(prefix)], device=model.device)
    return model.base_model(input_ids=ids_1T, use_cache=True).past_key_values
