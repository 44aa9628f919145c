"""What heads attend to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from deception_saes.models.anatomy import Head

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
