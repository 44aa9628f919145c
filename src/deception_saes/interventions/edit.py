"""Edits of the residual at any set of layers and positions, by whole forward passes.

`models.last_position` does the same for one layer and the last position, much faster.

Shape suffixes: B prompts, T positions, D d_model, S d_sae.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from deception_saes.models.anatomy import Anatomy, anatomy
from deception_saes.models.forward import shared_prefix, token_mass
from deception_saes.saes.sae import Sae

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Edit = Callable[[torch.Tensor], torch.Tensor]
"""From residuals [..., D] to residuals of the same shape."""
Where = Literal["last", "suffix", "all"]
"""The last position, those behind the prompts' shared prefix, or all."""


def through_features(sae: Sae, change: Edit) -> Edit:
    """The edit that changes features f [..., S] of x to change(f) and keeps the error term:
    x + (change(f) − f) W_dec. Where nothing is changed x stays as it is, to the bit."""

    def edit(x: torch.Tensor) -> torch.Tensor:
        features = sae.encode(x)
        return x + (change(features) - features) @ sae.weights["W_dec"]

    return edit


@torch.inference_mode()
def edited_p_correct(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    correct: Sequence[Sequence[int]],
    edits: Mapping[int, Edit],
    where: Where = "last",
    label: str = "edit",
) -> np.ndarray:
    """P(correct) of every prompt, [prompts], with resid_post of each layer edited at `where`.

    prompts: token ids; correct: the tokens T(q) of each. edits: by layer; a later layer's edit is
    given what an earlier one has made of its input.
    Raises ValueError for a layer that does not exist or an unknown place.
    """
    parts = anatomy(model)
    unknown = sorted(layer for layer in edits if not 0 <= layer < parts.n_layers)
    if unknown:
        raise ValueError(f"L{unknown[0]} cannot be edited: the model has L0 to "
                         f"L{parts.n_layers - 1}")
    if where not in ("last", "suffix", "all"):
        raise ValueError(f"where is {where!r}; expected 'last', 'suffix' or 'all'")
    before = len(shared_prefix(prompts)) if where == "suffix" else 0
    p_correct = np.empty(len(prompts))
    for row, prompt in enumerate(tqdm(prompts, desc=label, unit="prompt")):
        first = len(prompt) - 1 if where == "last" else before
        ids_1T = torch.tensor([list(prompt)], device=model.device)
        with _edited(parts, edits, first):
            hidden_1TD = model.base_model(ids_1T, use_cache=False).last_hidden_state
        p_correct[row] = token_mass(model, hidden_1TD[:, -1], [correct[row]])[0]
    return p_correct


@contextmanager
def _edited(parts: Anatomy, edits: Mapping[int, Edit], first: int) -> Iterator[None]:
    """While open, blocks give edited outputs from position `first` on."""
    with ExitStack() as hooks:
        for layer, edit in edits.items():

            def hook(_: Any, __: Any, output: Any, edit: Edit = edit) -> Any:
                x_BTD = output[0] if isinstance(output, tuple) else output
                x_BTD = torch.cat([x_BTD[:, :first], edit(x_BTD[:, first:])], dim=1)
                return (x_BTD, *output[1:]) if isinstance(output, tuple) else x_BTD

            hooks.enter_context(parts.blocks[layer].register_forward_hook(hook))
        yield
