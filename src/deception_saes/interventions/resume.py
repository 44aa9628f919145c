"""Ablate many head sets fast: nothing is computed twice that an ablation leaves as it was.

A head in layer L changes nothing below L, so runs start at L from the residuals of the clean run.
Prompts are laid out as a tree (models/tree.py): what several of them begin with is run once per
ablation. Sets with one first layer share a batch. Behind the last attention only the last
positions go on.

Shape suffixes: N sets, T tokens of a branch, Q prompts, D d_model or heads * head_dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from deception_saes.interventions.heads import HeadSet, Means, ablated, kept, overwrite
from deception_saes.models.anatomy import anatomy
from deception_saes.models.tree import (
    TOKENS_OF_BRANCH,
    Keys,
    Layout,
    Tree,
    clean_blocks,
    lay_out,
    plan,
    tree_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOKENS_OF_BRANCH = TOKENS_OF_BRANCH
_TOKENS_AT_ONCE = 2048


@dataclass(frozen=True)
class _Branch:
    """A tree of tokens, run without ablation.

    inputs, outputs: by layer, the residual before the block and the projection's input, [1, T, D].
    leaves: last token of each prompt. last_QD: final hidden states there.
    """

    layout: Layout
    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    leaves: list[int]
    last_QD: torch.Tensor


class ResumableRun:
    """The clean run of some prompts, from which ablated ones resume.

    clean_QD: final hidden state at the last position of every prompt.
    Raises ValueError for a family whose blocks `Anatomy.finish` does not know.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> None:
        self._parts = anatomy(model)
        if not self._parts.family.resumable:
            raise ValueError(f"runs of {model.config.model_type} cannot be resumed in the middle")
        self._plan = plan(prompts, _TOKENS_OF_BRANCH)
        prefix, keys = self._plan.prefix, Keys()
        self._trunk = self._record(tree_of([prefix], 0), 0, keys) if prefix else None
        before = [keys.seen] if prefix else []
        self._branches = [self._record(tree, len(prefix), Keys(before))
                          for tree in self._plan.trees]
        self.clean_QD = self._plan.in_order([branch.last_QD for branch in self._branches])

    def batches(self, sets: Sequence[HeadSet]) -> Iterator[list[int]]:
        """Indices of sets that share their first layer, as many as go through at once."""
        largest = max(branch.inputs[0].shape[1] for branch in self._branches)
        at_once = max(1, _TOKENS_AT_ONCE // largest)

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
            return self._plan.in_order([
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
