"""Many continuations of one prompt by temperature sampling, each draw from its own random stream.

Shape suffixes: B draws of a batch, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from tqdm import tqdm

from deception_saes.models.forward import finite_logits
from deception_saes.rng import generator

if TYPE_CHECKING:
    from transformers import DynamicCache

    from deception_saes.models.load import LanguageModel


@dataclass(frozen=True)
class Sampled:
    """One continuation."""

    text: str
    """Without the end token."""
    finished: bool
    """Whether an end token came before the limit of tokens."""


@dataclass
class _Draw:
    """A continuation being drawn: its own stream of uniform numbers, one a token."""

    stream: np.random.Generator
    tokens: list[int] = field(default_factory=list)
    finished: bool = False


def sample(
    lm: LanguageModel,
    prompt_ids: Sequence[int],
    draws: int,
    temperature: float,
    seed: int,
    max_new_tokens: int,
    batch_size: int,
    label: str = "sampling",
) -> list[Sampled]:
    """`draws` continuations of one prompt, from the full softmax at `temperature`.

    Draw i takes its numbers from a stream of (seed, i) alone. So it depends neither on the number
    of draws nor on the batch size, except where the last bits of a matrix product, which do depend
    on the batch size, decide between two tokens.
    The prompt is read once; draws that have ended are left out of the batch.
    Raises ValueError for an empty prompt, or a count or temperature that is not positive;
    FloatingPointError if a logit is not finite.
    """
    if not prompt_ids:
        raise ValueError("the prompt has no token; there is nothing to continue")
    for name, number in (("draws", draws), ("max_new_tokens", max_new_tokens),
                         ("batch_size", batch_size), ("temperature", temperature)):
        if not 0 < number < float("inf"):
            raise ValueError(f"{name} is {number}; expected a positive number")
    ends = end_tokens(lm)
    states = [_Draw(generator(seed, "draw", str(i))) for i in range(draws)]
    hidden_1D, cache = _prefill(lm, prompt_ids)
    with tqdm(total=draws, desc=label, unit="draw") as bar:
        for start in range(0, draws, batch_size):
            batch = states[start : start + batch_size]
            _draw_batch(lm, batch, hidden_1D, cache, temperature, ends, max_new_tokens, bar)
    return [Sampled(decode(lm, state.tokens), state.finished) for state in states]


def end_tokens(lm: LanguageModel) -> frozenset[int]:
    """Ids of the tokens that end a continuation: the tokenizer's and the generation config's."""
    named = getattr(lm.model.generation_config, "eos_token_id", None)
    listed = named if isinstance(named, list) else [named]
    return frozenset(token for token in (*listed, lm.tokenizer.eos_token_id) if token is not None)


def decode(lm: LanguageModel, tokens: Sequence[int]) -> str:
    """The text of sampled tokens, its spaces as they were drawn, special tokens left out."""
    return str(lm.tokenizer.decode(list(tokens), skip_special_tokens=True,
                                   clean_up_tokenization_spaces=False))


def choose(logits_BV: torch.Tensor, temperature: float, uniforms: Sequence[float]) -> list[int]:
    """The token of each row at which the cumulative softmax at `temperature` passes its uniform
    number in [0, 1). In float64: in float32 the sum over a vocabulary is off by more than the
    probability of a rare token."""
    mass_BV = torch.softmax(logits_BV.double() / temperature, dim=-1).cumsum(dim=-1)
    u_B1 = torch.tensor(list(uniforms), dtype=torch.float64, device=mass_BV.device).unsqueeze(1)
    # scaled by the total, which rounding leaves a little off 1
    return torch.searchsorted(mass_BV, u_B1 * mass_BV[:, -1:], right=True).squeeze(1).tolist()


@torch.inference_mode()
def _prefill(lm: LanguageModel, prompt_ids: Sequence[int]) -> tuple[torch.Tensor, DynamicCache]:
    out = _run(lm, [list(prompt_ids)], transformers.DynamicCache(config=lm.model.config))
    return out.last_hidden_state[:, -1], out.past_key_values


@torch.inference_mode()
def _draw_batch(
    lm: LanguageModel,
    batch: list[_Draw],
    hidden_1D: torch.Tensor,
    cache: DynamicCache,
    temperature: float,
    ends: frozenset[int],
    max_new_tokens: int,
    bar: Any,
) -> None:
    """Draw every continuation of the batch to its end, in place."""
    logits_BV = finite_logits(lm.model, hidden_1D).expand(len(batch), -1)
    past = copy.deepcopy(cache)
    past.batch_repeat_interleave(len(batch))
    running = batch
    while True:
        chosen = choose(logits_BV, temperature, [draw.stream.random() for draw in running])
        staying: list[int] = []
        for place, (draw, token) in enumerate(zip(running, chosen, strict=True)):
            if token in ends:
                draw.finished = True
            else:
                draw.tokens.append(token)
                if len(draw.tokens) < max_new_tokens:
                    staying.append(place)
        bar.update(len(running) - len(staying))
        if not staying:
            return
        if len(staying) < len(running):
            past.batch_select_indices(torch.tensor(staying, device=lm.model.device))
            running = [running[place] for place in staying]
        out = _run(lm, [[draw.tokens[-1]] for draw in running], past)
        logits_BV = finite_logits(lm.model, out.last_hidden_state[:, -1])


def _run(lm: LanguageModel, ids: list[list[int]], past: DynamicCache) -> Any:
    ids_BT = torch.tensor(ids, device=lm.model.device)
    return lm.model.base_model(input_ids=ids_BT, past_key_values=past, use_cache=True)
