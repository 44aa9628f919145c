"""Ablate many head sets fast: nothing is computed twice that an ablation leaves as it was.

A head in layer L changes nothing below L, so runs start at L from the residuals of the clean run.
Prompts are laid out as a tree: what all of them begin with is run once per ablation, and of the
rest each beginning that several prompts share stands once in a sequence in which every token sees
its own ancestors only (as in tree attention: Miao et al. 2023, arXiv:2305.09781). Sets with one
first layer share a batch. Behind the last attention only the last positions go on.

Shape suffixes: N sets, T tokens of a branch, Q prompts, D d_model or heads * head_dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch

from deception_saes.interventions.heads import HeadSet, Means, ablated, kept, overwrite
from deception_saes.models.anatomy import anatomy
from deception_saes.models.forward import shared_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Measured on two cores with SmolLM2-135M: longer branches waste attention, shorter ones sharing.
_TOKENS_OF_BRANCH = 128
_TOKENS_AT_ONCE = 2048


@dataclass
class _Keys:
    """Stands in for a key-value cache: attention hands its keys and values to `update`."""

    before: dict[int, tuple[torch.Tensor, torch.Tensor]]
    seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if layer not in self.before:
            self.seen[layer] = (keys, values)
            return keys, values
        old_keys, old_values = self.before[layer]
        return torch.cat([old_keys, keys], dim=2), torch.cat([old_values, values], dim=2)


@dataclass(frozen=True)
class _Tree:
    """Tokens, each behind its parent; a parent comes before its children.

    parents: index of the parent, -1 for what follows the trunk. leaves: last token of each prompt.
    """

    tokens: list[int]
    parents: list[int]
    leaves: list[int]

    def depths(self) -> list[int]:
        """Positions behind the trunk."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        return depths

    def sees(self) -> torch.Tensor:
        """[T, T], true where the column is the row itself or one of its ancestors."""
        sees = torch.eye(len(self.tokens), dtype=torch.bool)
        for token, parent in enumerate(self.parents):
            if parent >= 0:
                sees[token] |= sees[parent]
        return sees


@dataclass(frozen=True)
class _Branch:
    """A tree of tokens, run without ablation.

    inputs, outputs: by layer, the residual before the block and the projection's input, [1, T, D].
    mask: [1, 1, T, trunk + T]. rotary: position embeddings. leaves: as in `_Tree`.
    last_QD: final hidden states at the leaves.
    """

    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    mask: torch.Tensor
    rotary: Any
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
        prefix = shared_prefix(prompts)
        keys = _Keys({})
        self._trunk = self._record(_tree([prefix], 0), 0, keys) if prefix else None
        order = sorted(range(len(prompts)), key=lambda row: list(prompts[row]))
        self._branches = []
        for rows in _packed(prompts, order, len(prefix)):
            tree = _tree([prompts[row] for row in rows], len(prefix))
            self._branches.append(self._record(tree, len(prefix), _Keys(keys.seen)))
        self._place = torch.tensor(order).argsort()
        self.clean_QD = self._in_order([branch.last_QD for branch in self._branches])

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
        keys = _Keys({})
        with ablated(self._parts, later, means):
            if self._trunk is not None:
                self._resume(self._trunk, start, keep_ND, mean, keys)
            return self._in_order([self._resume(branch, start, keep_ND, mean, _Keys(keys.seen))
                                   for branch in self._branches])

    def _resume(
        self, branch: _Branch, start: int, keep_ND: torch.Tensor, mean: torch.Tensor | None,
        keys: _Keys,
    ) -> torch.Tensor:
        parts, last = self._parts, self._parts.n_layers - 1
        x = branch.inputs[start].expand(len(keep_ND), -1, -1)
        added = parts.projection(start)(overwrite(branch.outputs[start], keep_ND, mean))
        for layer in range(start, last + 1):
            if layer > start:
                added = parts.attend(layer, x, branch.rotary, branch.mask, keys)
            if layer == last:
                x, added = x[:, branch.leaves], added[:, branch.leaves]
            x = parts.finish(layer, x, added)
        return parts.final_norm(x)

    @torch.inference_mode()
    def _record(self, tree: _Tree, offset: int, keys: _Keys) -> _Branch:
        parts, device = self._parts, self._parts.base.device
        ids_1T = torch.tensor([tree.tokens], device=device)
        trunk = torch.ones(len(tree.tokens), offset, dtype=torch.bool)
        mask = torch.cat([trunk, tree.sees()], dim=1)[None, None].to(device)
        x = parts.base.get_input_embeddings()(ids_1T)
        positions = offset + torch.tensor([tree.depths()], device=device)
        rotary = parts.base.get_submodule("rotary_emb")(x, positions)
        inputs: list[torch.Tensor] = []
        outputs: list[torch.Tensor] = []
        for layer in range(parts.n_layers):
            inputs.append(x)
            with parts.projection(layer).register_forward_pre_hook(
                lambda _, args: outputs.append(args[0])
            ):
                added = parts.attend(layer, x, rotary, mask, keys)
            x = parts.finish(layer, x, added)
        last_QD = parts.final_norm(x)[0, tree.leaves]
        return _Branch(inputs, outputs, mask, rotary, tree.leaves, last_QD)

    def _in_order(self, branches: Sequence[torch.Tensor]) -> torch.Tensor:
        """Hidden states [..., prompts of a branch, D] in the order of the caller's prompts."""
        return torch.cat(list(branches), dim=-2)[..., self._place, :]


def _tree(prompts: Sequence[Sequence[int]], offset: int) -> _Tree:
    """The tree of the prompts' tokens from `offset` on, beginnings in common standing once."""
    tree = _Tree([], [], [])
    known: dict[tuple[int, ...], int] = {}
    for prompt in prompts:
        parent = -1
        for end in range(offset + 1, len(prompt) + 1):
            path = tuple(prompt[offset:end])
            if path not in known:
                known[path] = len(tree.tokens)
                tree.tokens.append(path[-1])
                tree.parents.append(parent)
            parent = known[path]
        tree.leaves.append(parent)
    return tree


def _packed(
    prompts: Sequence[Sequence[int]], order: Sequence[int], offset: int
) -> Iterator[list[int]]:
    """Neighbours in `order`, as many as fit into a branch."""
    rows: list[int] = []
    for row in order:
        if rows and len(_tree([prompts[r] for r in (*rows, row)], offset).tokens) > (
            _TOKENS_OF_BRANCH
        ):
            yield rows
            rows = []
        rows.append(row)
    yield rows
