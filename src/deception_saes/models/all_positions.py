"""Put other residuals at all positions of a prompt, and read what the model makes of it.

The plain way, right for every family: whole forward passes with a hook on the block's output.

Shape suffixes: B prompts of a batch, T positions, D d_model, Q prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from deception_saes.models.anatomy import anatomy
from deception_saes.models.forward import right_padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def hidden_with_all_edited(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], layer: int,
    edit: Callable[[torch.Tensor], torch.Tensor], *, spare_first: bool, batch_size: int,
) -> torch.Tensor:
    """Final hidden states (after the final norm) at the last positions, [Q, D], if at every
    position resid_post of `layer` is what `edit` makes of it.

    prompts: token ids. edit: takes residuals [N, D], one row a position, and returns as many.
    spare_first: leave position 0 as it is. At most `batch_size` prompts go through the model at
    once. Raises ValueError if there is no prompt or an empty one, or for a layer that does not
    exist; FloatingPointError for an edited residual that is not finite.
    """
    parts = anatomy(model)
    if not 0 <= layer < parts.n_layers:
        raise ValueError(f"layer {layer}: name one of L0 to L{parts.n_layers - 1}")
    if not prompts or any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("there must be at least one prompt, each of at least one token")

    def everywhere(_: torch.nn.Module, __: object, x_BTD: torch.Tensor) -> torch.Tensor:
        edited_BTD: torch.Tensor = edit(x_BTD.flatten(0, 1)).reshape(x_BTD.shape)
        if not torch.isfinite(edited_BTD).all():
            raise FloatingPointError(f"an edited residual of L{layer} is not finite")
        if spare_first:
            edited_BTD = torch.cat([x_BTD[:, :1], edited_BTD[:, 1:]], dim=1)
        return edited_BTD

    hidden = []
    with parts.blocks[layer].register_forward_hook(everywhere):
        for first in range(0, len(prompts), batch_size):
            some = prompts[first : first + batch_size]
            # what stands behind a prompt's last token, in the filling, it never looks at
            out_BTD = model.base_model(right_padded(some, model.device),
                                       use_cache=False).last_hidden_state
            last_B = torch.tensor([len(prompt) for prompt in some], device=model.device) - 1
            hidden.append(out_BTD[torch.arange(len(some), device=model.device), last_B])
    return torch.cat(hidden)
