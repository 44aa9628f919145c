"""Head ablation by hooks: the plain way, right for every family, and the measure of the fast one.

Ablating a head overwrites its slice of the input to the attention output projection at all prompt
positions: with zeros, or in mean mode with the head's mean output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from deception_saes.models.anatomy import Anatomy, Head

if TYPE_CHECKING:
    from torch import nn

HeadSet = tuple[Head, ...]
Means = Mapping[int, torch.Tensor]
"""By layer, the mean of the projection's input, [heads * head_dim]."""


def check_heads(heads: Sequence[Head], parts: Anatomy) -> None:
    """ValueError for a head that the model has not, or one named twice."""
    for head in heads:
        if not (0 <= head.layer < parts.n_layers and 0 <= head.head < parts.n_heads):
            raise ValueError(f"{head} does not exist: this model has layers L0 to "
                             f"L{parts.n_layers - 1} with heads H0 to H{parts.n_heads - 1}")
    doubled = sorted({str(head) for head in heads if list(heads).count(head) > 1})
    if doubled:
        raise ValueError(f"{', '.join(doubled)} named twice; name each head once")


def kept(
    sets: Sequence[HeadSet], parts: Anatomy, device: torch.device
) -> dict[int, torch.Tensor]:
    """By layer with an ablated head: 1 where a set keeps the projection's input and 0 where it
    does not, [sets, heads * head_dim]."""
    layers = sorted({head.layer for heads in sets for head in heads})
    masks = {layer: torch.ones(len(sets), parts.n_heads, parts.head_dim, device=device)
             for layer in layers}
    for row, heads in enumerate(sets):
        check_heads(heads, parts)
        for head in heads:
            masks[head.layer][row, head.head] = 0.0
    return {layer: mask.flatten(1) for layer, mask in masks.items()}


def overwrite(
    outputs: torch.Tensor, keep: torch.Tensor, mean: torch.Tensor | None
) -> torch.Tensor:
    """Head outputs [B, T, heads * head_dim] with what `keep` [B or 1, same] drops set to zero, or
    to `mean`."""
    keep = keep[:, None]
    return outputs * keep if mean is None else outputs * keep + (1 - keep) * mean


@contextmanager
def ablated(
    parts: Anatomy, sets: Sequence[HeadSet], means: Means | None = None
) -> Iterator[None]:
    """While open, row b of every batch runs without the heads of sets[b * len(sets) // B].

    One set ablates the same heads in all rows. means: by layer, for mean mode.
    Raises ValueError for a head that does not exist or is named twice in a set.
    """
    device = parts.projection(0).get_parameter("weight").device
    with ExitStack() as hooks:
        for layer, keep in kept(sets, parts, device).items():
            mean = None if means is None else means[layer]

            def hook(
                module: nn.Module,
                args: tuple[torch.Tensor],
                keep: torch.Tensor = keep,
                mean: torch.Tensor | None = mean,
            ) -> tuple[torch.Tensor]:
                rows = keep.repeat_interleave(args[0].shape[0] // len(keep), dim=0)
                return (overwrite(args[0], rows, mean),)

            hooks.enter_context(parts.projection(layer).register_forward_pre_hook(hook))
        yield
