"""What an SAE's reconstruction does to a model's next-token distributions on completions.

Shape suffixes: B variants, T positions, D d_model, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deception_saes.models.anatomy import anatomy
from deception_saes.models.forward import log_probabilities
from deception_saes.saes.quality import divergence

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

Replace = Callable[[torch.Tensor], torch.Tensor]
"""From residuals [T, D] to what stands in their place."""


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

    cache: of the prompt but its last token, see `steering.prefilled`; it stays as it is. last: that
    token.
    Raises ValueError for an empty completion; FloatingPointError if a logit is not finite.
    """
    if not completion:
        raise ValueError("the completion has no token, so nothing can be replaced")
    rows = 1 + len(replacements)  # the first stays clean
    past = copy.deepcopy(cache)
    past.batch_repeat_interleave(rows)
    ids_BT = torch.tensor([last, *completion], device=model.device).expand(rows, -1)

    def hook(_: Any, __: Any, output: Any) -> Any:
        x_BTD = (output[0] if isinstance(output, tuple) else output).clone()
        for row, replace in enumerate(replacements, start=1):
            x_BTD[row, 1:] = replace(x_BTD[row, 1:])
        return (x_BTD, *output[1:]) if isinstance(output, tuple) else x_BTD

    handle = anatomy(model).blocks[layer].register_forward_hook(hook)
    try:
        hidden_BTD = model.base_model(input_ids=ids_BT, past_key_values=past,
                                      use_cache=True).last_hidden_state[:, 1:]
    finally:
        handle.remove()
    clean_TV = log_probabilities(model, hidden_BTD[0])
    return np.stack([divergence(clean_TV, log_probabilities(model, hidden_TD))
                     for hidden_TD in hidden_BTD[1:]])
