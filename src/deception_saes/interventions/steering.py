"""Add a vector to the residual while a model goes on from a prompt.

The vector is added to resid_post of one layer at the prompt's last position and at every position
behind it. Nothing is encoded or decoded, so whatever an SAE does not explain stays in place, and
the zero vector leaves the model as it is, to the bit.

Shape suffixes: B rows, T positions, D d_model, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from deception_saes.models.anatomy import anatomy
from deception_saes.models.forward import finite_logits

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel


@contextmanager
def steering(
    model: PreTrainedModel, layer: int, vector_D: torch.Tensor
) -> Iterator[None]:
    """While open, every forward pass has the vector added at its last position: at the prompt's
    last one when the prompt is read, at each new token afterwards.

    Raises ValueError for a layer that does not exist or a vector of another width.
    """
    _check(model, layer, vector_D)

    def hook(_: Any, __: Any, output: Any) -> Any:
        x_BTD = output[0] if isinstance(output, tuple) else output
        x_BTD = torch.cat([x_BTD[:, :-1], x_BTD[:, -1:] + vector_D], dim=1)
        return (x_BTD, *output[1:]) if isinstance(output, tuple) else x_BTD

    handle = anatomy(model).blocks[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def prefilled(model: PreTrainedModel, prompt: Sequence[int]) -> DynamicCache:
    """Keys and values of the prompt without its last token, for `reply_log_p`.

    Raises ValueError for a prompt of fewer than two tokens.
    """
    from transformers import DynamicCache

    if len(prompt) < 2:
        raise ValueError(f"the prompt has {len(prompt)} tokens; expected at least two")
    cache = DynamicCache(config=model.config)
    ids_1T = torch.tensor([list(prompt[:-1])], device=model.device)
    model.base_model(input_ids=ids_1T, past_key_values=cache, use_cache=True)
    return cache


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

    cache: see `prefilled`; it stays as it is. last: the prompt's last token.
    Raises ValueError for an empty reply and as `steering` does; FloatingPointError if a logit is
    not finite.
    """
    _check(model, layer, vectors_BD)
    if not reply:
        raise ValueError("the reply has no token; there is nothing to score")
    past = copy.deepcopy(cache)
    past.batch_repeat_interleave(len(vectors_BD))
    ids_T = torch.tensor([last, *reply], device=model.device)

    def hook(_: Any, __: Any, output: Any) -> Any:
        x_BTD = output[0] if isinstance(output, tuple) else output
        x_BTD = x_BTD + vectors_BD[:, None]
        return (x_BTD, *output[1:]) if isinstance(output, tuple) else x_BTD

    handle = anatomy(model).blocks[layer].register_forward_hook(hook)
    try:
        hidden_BTD = model.base_model(
            input_ids=ids_T[:-1].expand(len(vectors_BD), -1), past_key_values=past,
            use_cache=True).last_hidden_state
    finally:
        handle.remove()
    target_T = ids_T[1:]
    found = [torch.log_softmax(finite_logits(model, hidden_TD).double(), dim=-1)
             .gather(1, target_T[:, None]).mean() for hidden_TD in hidden_BTD]
    return torch.stack(found).cpu()


def _check(model: PreTrainedModel, layer: int, vectors: torch.Tensor) -> None:
    layers, width = anatomy(model).n_layers, model.config.hidden_size
    if not 0 <= layer < layers:
        raise ValueError(f"L{layer} cannot be steered: the model has L0 to L{layers - 1}")
    if vectors.shape[-1] != width:
        raise ValueError(f"a vector of width {vectors.shape[-1]} does not fit a residual that is "
                         f"{width} wide")
