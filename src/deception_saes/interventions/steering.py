"""Change resid_post of one layer while a model goes on from a prompt.

Steering adds a vector at the prompt's last position and at every position behind it. Nothing is
encoded or decoded, so whatever an SAE does not explain stays in place, and the zero vector leaves
the model as it is, to the bit. `replaced_kl` puts something else, such as a reconstruction, in the
residual's place at every token of a completion.

Shape suffixes: B rows, T positions, D d_model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deception_saes.models.anatomy import anatomy
from deception_saes.models.forward import (
    continuation_states,
    finite_logits,
    log_probabilities,
    repeated,
)
from deception_saes.rng import generator
from deception_saes.saes.quality import divergence
from deception_saes.tasks.sampling import choose, decode, end_tokens

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

    from deception_saes.models.load import LanguageModel

Replace = Callable[[torch.Tensor], torch.Tensor]
"""From residuals [T, D] to what stands in their place."""


@contextmanager
def edited(
    model: PreTrainedModel, layer: int, edit: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[None]:
    """While open, resid_post of this layer becomes `edit` of it, [B, T, D] to [B, T, D], in every
    forward pass."""

    def hook(_: Any, __: Any, output: Any) -> Any:
        x_BTD = edit(output[0] if isinstance(output, tuple) else output)
        return (x_BTD, *output[1:]) if isinstance(output, tuple) else x_BTD

    with anatomy(model).blocks[layer].register_forward_hook(hook):
        yield


@contextmanager
def added(model: PreTrainedModel, layer: int, vectors_BD: torch.Tensor) -> Iterator[None]:
    """While open, each row of a batch has its vector added to resid_post of this layer, at every
    position of every forward pass.

    Raises ValueError for a layer that does not exist or vectors of another width.
    """
    layers, width = anatomy(model).n_layers, model.config.hidden_size
    if not 0 <= layer < layers:
        raise ValueError(f"L{layer} cannot be steered: the model has L0 to L{layers - 1}")
    if vectors_BD.shape[-1] != width:
        raise ValueError(f"a vector of width {vectors_BD.shape[-1]} does not fit a residual that "
                         f"is {width} wide")
    with edited(model, layer, lambda x_BTD: x_BTD + vectors_BD[:, None]):
        yield


@torch.inference_mode()
def reply_log_p(
    model: PreTrainedModel,
    cache: DynamicCache,
    last: int,
    reply: Sequence[int],
    layer: int,
    vectors_BD: torch.Tensor,
) -> torch.Tensor:
    """Mean log-probability of the reply's tokens under each vector, float64 [B], in nats.

    cache: of the prompt before its last token, see `models.forward.cache_before_last`; it stays as
    it is. last: that token.
    Raises ValueError for an empty reply and as `added` does; FloatingPointError if a logit is
    not finite.
    """
    if not reply:
        raise ValueError("the reply has no token; there is nothing to score")
    ids_T = torch.tensor([last, *reply[:-1]], device=model.device)
    with added(model, layer, vectors_BD):
        hidden_BTD = model.base_model(
            input_ids=ids_T.expand(len(vectors_BD), -1),
            past_key_values=repeated(cache, len(vectors_BD)), use_cache=True).last_hidden_state
    return torch.stack([_mean_log_p(model, hidden_TD, reply) for hidden_TD in hidden_BTD]).cpu()


@torch.inference_mode()
def unsteered_log_p(
    model: PreTrainedModel, cache: DynamicCache, last: int, replies: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Mean log-probability of the tokens of each reply, float64 [B], in nats, nothing added.

    cache, last and errors as in `reply_log_p`. There may be no reply.
    """
    if not all(replies):
        raise ValueError("a reply has no token; there is nothing to score")
    states = continuation_states(model, cache, [(0, [last, *reply[:-1]]) for reply in replies])
    found = [float(_mean_log_p(model, hidden_TD, reply))
             for hidden_TD, reply in zip(states, replies, strict=True)]
    return torch.tensor(found, dtype=torch.float64)


def _mean_log_p(
    model: PreTrainedModel, hidden_TD: torch.Tensor, reply: Sequence[int]
) -> torch.Tensor:
    target_T1 = torch.tensor(reply, device=hidden_TD.device)[:, None]
    return log_probabilities(model, hidden_TD).gather(1, target_T1).mean()


@torch.inference_mode()
def steered_texts(
    lm: LanguageModel,
    cache: DynamicCache,
    last: int,
    layer: int,
    vectors_BD: torch.Tensor,
    draws: int,
    seed: int,
    max_new_tokens: int,
) -> list[list[str]]:
    """Continuations at temperature 1, by vector and draw, from the full softmax.

    cache, last: see `reply_log_p`. Draw i takes its numbers from one stream of (seed, i), the same
    under every vector and the same as that of `tasks.sampling.sample`.
    Raises ValueError as `added` does; FloatingPointError if a logit is not finite.
    """
    rows = [(vector, draw) for vector in range(len(vectors_BD)) for draw in range(draws)]
    streams = [generator(seed, "draw", str(draw)) for _, draw in rows]
    past = repeated(cache, len(rows))
    ends, ended = end_tokens(lm), [False] * len(rows)
    tokens: list[list[int]] = [[] for _ in rows]
    chosen = [last] * len(rows)
    with added(lm.model, layer, vectors_BD.repeat_interleave(draws, dim=0)):
        for _ in range(max_new_tokens):
            ids_B1 = torch.tensor(chosen, device=lm.model.device)[:, None]
            hidden_BTD = lm.model.base_model(input_ids=ids_B1, past_key_values=past,
                                             use_cache=True).last_hidden_state
            chosen = choose(finite_logits(lm.model, hidden_BTD[:, -1]), 1.0,
                            [stream.random() for stream in streams])
            for row, token in enumerate(chosen):
                ended[row] = ended[row] or token in ends
                if not ended[row]:
                    tokens[row].append(token)
            if all(ended):
                break
    texts = [decode(lm, of) for of in tokens]
    return [texts[start : start + draws] for start in range(0, len(texts), draws)]


@torch.inference_mode()
def replaced_kl(
    model: PreTrainedModel,
    cache: DynamicCache,
    last: int,
    completion: Sequence[int],
    layer: int,
    replacements: Sequence[Replace],
) -> np.ndarray:
    """KL(clean ‖ replaced) in nats at each token of the completion, float64 [B, T], with
    resid_post of the layer replaced at all of them.

    cache, last: see `reply_log_p`.
    Raises ValueError for an empty completion; FloatingPointError if a logit is not finite.
    """
    if not completion:
        raise ValueError("the completion has no token, so nothing can be replaced")
    rows = 1 + len(replacements)  # the first stays clean
    ids_BT = torch.tensor([last, *completion], device=model.device).expand(rows, -1)

    def edit(x_BTD: torch.Tensor) -> torch.Tensor:
        x_BTD = x_BTD.clone()
        for row, replace in enumerate(replacements, start=1):
            x_BTD[row, 1:] = replace(x_BTD[row, 1:])
        return x_BTD

    with edited(model, layer, edit):
        hidden_BTD = model.base_model(input_ids=ids_BT, past_key_values=repeated(cache, rows),
                                      use_cache=True).last_hidden_state[:, 1:]
    clean_TV = log_probabilities(model, hidden_BTD[0])
    return np.stack([divergence(clean_TV, log_probabilities(model, hidden_TD))
                     for hidden_TD in hidden_BTD[1:]])
