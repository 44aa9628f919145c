"""Head ablation: by hooks, for every family, or resumed from a clean run, which is faster for many
head sets.

Ablating a head overwrites its slice of the input to the attention output projection at all prompt
positions: with zeros, or in mean mode with the head's mean output.

Shape suffixes: N sets, T tokens of a branch, Q prompts, D d_model or heads * head_dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from deception_saes.models.anatomy import Anatomy, Head, anatomy
from deception_saes.models.tree import (
    TOKENS_OF_BRANCH,
    Keys,
    Layout,
    Tree,
    clean_blocks,
    forest_of,
    lay_out,
    tree_of,
)

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

TOKENS_AT_ONCE = 2048
"""Tokens of all sets of a batch together."""

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


@dataclass(frozen=True)
class _Branch:
    """A tree of tokens, run without ablation."""

    layout: Layout
    inputs: list[torch.Tensor]
    """By layer, the residual before the block, [1, T, D]."""
    outputs: list[torch.Tensor]
    """By layer, the projection's input, [1, T, D]."""
    leaves: list[int]
    """Last token of each prompt."""
    last_QD: torch.Tensor
    """Final hidden states there."""


class ResumableRun:
    """The clean run of some prompts, from which ablated ones resume: nothing is computed twice that
    an ablation leaves as it was.

    A head in layer L changes nothing below L, so runs start at L from the residuals of the clean
    run. Prompts are laid out as a tree (models/tree.py): what several of them begin with is run
    once per ablation. Sets with one first layer share a batch. Behind the last attention only the
    last positions go on.

    clean_QD: final hidden state at the last position of every prompt.
    Raises ValueError for a family whose blocks `Anatomy.finish` does not know.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> None:
        self._parts = anatomy(model)
        if not self._parts.family.resumable:
            raise ValueError(f"runs of {model.config.model_type} cannot be resumed in the middle")
        self._forest = forest_of(prompts, TOKENS_OF_BRANCH)
        prefix, keys = self._forest.prefix, Keys()
        self._trunk = self._record(tree_of([prefix], 0), 0, keys) if prefix else None
        before = [keys.seen] if prefix else []
        self._branches = [self._record(tree, len(prefix), Keys(before))
                          for tree in self._forest.trees]
        self.clean_QD = self._forest.in_order([branch.last_QD for branch in self._branches])

    def batches(self, sets: Sequence[HeadSet]) -> Iterator[list[int]]:
        """Indices of sets that share their first layer, as many as go through at once."""
        largest = max(branch.inputs[0].shape[1] for branch in self._branches)
        at_once = max(1, TOKENS_AT_ONCE // largest)

        def first_layer(index: int) -> int:
            return min(sets[index]).layer

        for _, same in groupby(sorted(range(len(sets)), key=first_layer), key=first_layer):
            of_layer = list(same)
            for first in range(0, len(of_layer), at_once):
                yield of_layer[first : first + at_once]

    @torch.inference_mode()
    def last_hidden(self, sets: Sequence[HeadSet], means: Means | None) -> torch.Tensor:
        """Final hidden state at the last position of every prompt under every set, [N, Q, D].

        The first ablated head of all sets is in one layer.
        """
        start = min(sets[0]).layer
        keep_ND = kept(sets, self._parts, self._parts.base.device)[start]
        mean = None if means is None else means[start]
        later = [tuple(head for head in heads if head.layer > start) for heads in sets]
        keys = Keys()
        with ablated(self._parts, later, means):
            if self._trunk is not None:
                self._resume(self._trunk, start, keep_ND, mean, keys)
            before = [] if self._trunk is None else [keys.seen]
            return self._forest.in_order([
                self._resume(branch, start, keep_ND, mean, Keys(before))
                for branch in self._branches
            ])

    def _resume(
        self, branch: _Branch, start: int, keep_ND: torch.Tensor, mean: torch.Tensor | None,
        keys: Keys,
    ) -> torch.Tensor:
        parts, last = self._parts, self._parts.n_layers - 1
        x = branch.inputs[start].expand(len(keep_ND), -1, -1)
        added = parts.projection(start)(overwrite(branch.outputs[start], keep_ND, mean))
        for layer in range(start, last + 1):
            if layer > start:
                added = parts.attend(layer, x, branch.layout.rotary, branch.layout.mask, keys)
            if layer == last:
                x, added = x[:, branch.leaves], added[:, branch.leaves]
            x = parts.finish(layer, x, added)
        return parts.final_norm(x)

    @torch.inference_mode()
    def _record(self, tree: Tree, offset: int, keys: Keys) -> _Branch:
        layout = lay_out(self._parts, tree, offset)
        blocks = list(clean_blocks(self._parts, layout, keys))
        last_QD = self._parts.final_norm(blocks[-1].after)[0, tree.leaves]
        return _Branch(layout, [block.before for block in blocks],
                       [block.heads for block in blocks], tree.leaves, last_QD)
