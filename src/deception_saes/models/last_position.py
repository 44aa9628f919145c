"""Put another residual at the last prompt position and go on from there, many times per prompt.

Nothing stands behind the last position, so an edit of the residual there changes no other
position: the clean run's keys and values serve every edit, and one token alone goes through the
blocks above it.

Shape suffixes: N edits, Q prompts, D d_model, R rows, each one edit of one prompt, K keys.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from deception_saes.models.anatomy import Anatomy, anatomy
from deception_saes.models.forward import cache_before_last, repeated
from deception_saes.models.tree import (
    TOKENS_OF_BRANCH,
    Keys,
    LayerKeys,
    Tree,
    clean_blocks,
    forest_of,
    lay_out,
    tree_of,
)

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

ROWS_AT_ONCE = 384
"""Measured on two cores with SmolLM2-135M: fewer rows waste the reading of weights; more gain
nothing, as every row of a batch is masked from every other."""
ROWS_OF_JOINED = 128
"""Branches are joined up to fewer, as every row is then masked from the other branches' keys too.
"""
COPIED_KEYS_AT_ONCE = 4096
"""Of a family whose runs cannot be resumed."""


class LastPositionRun:
    """The clean run of some prompts, whose last position can go on with another residual.

    prompts: token ids. layers: where edits may be made; what lies below the lowest is not kept.
    clean_QD: final hidden state (after the final norm) at each prompt's last position.
    A family whose runs cannot be resumed in the middle is run through all of its blocks for every
    edit: the same numbers, more slowly.
    Raises ValueError if there is no prompt or an empty one, if there is no layer, or for a layer
    that the model does not have.
    """

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], layers: Collection[int]
    ) -> None:
        parts = anatomy(model)
        unknown = sorted(layer for layer in layers if not 0 <= layer < parts.n_layers)
        if unknown or not layers:
            raise ValueError(f"layers {unknown or 'none'}: name at least one of L0 to "
                             f"L{parts.n_layers - 1}")
        resumable = parts.family.resumable
        self._run: _ResumedRun | _HookedRun = (
            _resumed(parts, prompts, layers) if resumable else _hooked(parts, prompts, layers))
        self.clean_QD = self._run.clean_QD

    def residual(self, layer: int) -> torch.Tensor:
        """The clean resid_post of `layer` at each prompt's last position, [Q, D].

        Raises ValueError for a layer that was not kept.
        """
        if layer not in self._run.residuals:
            kept = ", ".join(f"L{kept}" for kept in sorted(self._run.residuals))
            raise ValueError(f"L{layer} was not kept: this run has {kept}")
        return self._run.residuals[layer]

    @torch.no_grad()
    def final_hidden(self, layer: int, x_NQD: torch.Tensor) -> torch.Tensor:
        """Final hidden states (after the final norm) at the last positions, [N, Q, D], if
        resid_post of `layer` is `x_NQD` there.

        x_NQD: N residuals for every prompt; taken in the model's precision and on its device.
        The clean residual gives `clean_QD` to float tolerance, not to the bit: what a batch
        computes depends in its last digits on its size.
        Raises ValueError for a layer that was not kept or another shape; FloatingPointError for a
        residual that is not finite.
        """
        clean_QD = self.residual(layer)
        if x_NQD.ndim != 3 or x_NQD.shape[1:] != clean_QD.shape:
            raise ValueError(f"residuals of shape {list(x_NQD.shape)} do not fit; give [edits, "
                             f"{', '.join(str(size) for size in clean_QD.shape)}]")
        if not torch.isfinite(x_NQD).all():
            raise FloatingPointError(f"an edited residual of L{layer} is not finite")
        return self._run.go_on(layer, x_NQD.to(clean_QD))


@dataclass(frozen=True)
class _Branch:
    """Last positions that share a tree."""

    trunk: int
    """Tokens of the trunk."""
    keys: list[LayerKeys]
    """Of what stands before the last positions, trunk and tree."""
    sees_QK: torch.Tensor
    """Which of them each last position may attend to; itself it may not, for there the edited token
    stands."""
    positions_Q: torch.Tensor
    """Of the last tokens in their prompts."""
    rows: list[int]
    """Their places among the prompts."""


@dataclass(frozen=True)
class _ResumedRun:
    parts: Anatomy
    branches: list[_Branch]
    clean_QD: torch.Tensor
    residuals: dict[int, torch.Tensor]

    def go_on(self, layer: int, x_NQD: torch.Tensor) -> torch.Tensor:
        hidden_NQD = torch.empty_like(x_NQD)
        for branch in _joined(self.branches, ROWS_OF_JOINED // max(1, len(x_NQD))):
            rows_RD = x_NQD[:, branch.rows].flatten(0, 1)
            done = []
            for first in range(0, len(rows_RD), ROWS_AT_ONCE):
                some_RD = rows_RD[first : first + ROWS_AT_ONCE]
                place_R = torch.arange(first, first + len(some_RD)) % len(branch.rows)
                done.append(self._blocks_above(layer, some_RD, place_R, branch))
            if done:
                hidden_NQD[:, branch.rows] = torch.cat(done).unflatten(0, (-1, len(branch.rows)))
        return hidden_NQD

    def _blocks_above(
        self, layer: int, x_RD: torch.Tensor, place_R: torch.Tensor, branch: _Branch
    ) -> torch.Tensor:
        """Final hidden states, [R, D]; place_R: which of the branch's prompts each row is of."""
        parts = self.parts
        itself = torch.eye(len(x_RD), dtype=torch.bool)
        mask = torch.cat([branch.sees_QK[place_R], itself], dim=1)[None, None].to(x_RD.device)
        positions = branch.positions_Q[place_R][None].to(x_RD.device)
        x = x_RD[None]
        rotary = parts.base.get_submodule("rotary_emb")(x, positions)
        for above in range(layer + 1, parts.n_layers):
            added = parts.attend(above, x, rotary, mask, Keys(branch.keys))
            x = parts.finish(above, x, added)
        return parts.final_norm(x)[0]


@torch.no_grad()
def _resumed(
    parts: Anatomy, prompts: Sequence[Sequence[int]], layers: Collection[int]
) -> _ResumedRun:
    laid = forest_of(prompts, TOKENS_OF_BRANCH)
    offset, trunk = len(laid.prefix), Keys()
    if laid.prefix:
        for _ in clean_blocks(parts, lay_out(parts, tree_of([laid.prefix], 0), 0), trunk):
            pass
    before = [trunk.seen] if laid.prefix else []
    clean: list[torch.Tensor] = []
    residuals: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    branches: list[_Branch] = []
    for tree, rows in zip(laid.trees, laid.rows, strict=True):
        keys = Keys(before)
        for block in clean_blocks(parts, lay_out(parts, tree, offset), keys):
            last_QD = block.after[0, tree.leaves]
            if block.layer in residuals:
                residuals[block.layer].append(last_QD)
        clean.append(parts.final_norm(last_QD))
        above = [_above(min(layers), of_layer) for of_layer in (*before, keys.seen)]
        branches.append(_Branch(offset, above, _sees_before(tree, offset),
                                offset + torch.tensor(tree.depths())[tree.leaves], rows))
    return _ResumedRun(parts, branches, laid.in_order(clean),
                       {layer: laid.in_order(parts) for layer, parts in residuals.items()})


def _joined(branches: Sequence[_Branch], prompts: int) -> Iterator[_Branch]:
    """The branches, neighbours made one as long as that has at most so many prompts."""
    together: list[_Branch] = []
    for branch in branches:
        if together and sum(len(one.rows) for one in (*together, branch)) > prompts:
            yield _as_one(together)
            together = []
        together.append(branch)
    yield _as_one(together)


def _as_one(branches: Sequence[_Branch]) -> _Branch:
    """One branch of all their prompts, none of which sees another's tree."""
    if len(branches) == 1:
        return branches[0]
    trunk = branches[0].trunk
    trees_QK = torch.block_diag(*(branch.sees_QK[:, trunk:] for branch in branches)).bool()
    trunk_QK = torch.cat([branch.sees_QK[:, :trunk] for branch in branches])
    return _Branch(trunk, [*branches[0].keys[:-1], *(branch.keys[-1] for branch in branches)],
                   torch.cat([trunk_QK, trees_QK], dim=1),
                   torch.cat([branch.positions_Q for branch in branches]),
                   [row for branch in branches for row in branch.rows])


def _above(layer: int, keys: LayerKeys) -> LayerKeys:
    return {above: kept for above, kept in keys.items() if above > layer}


def _sees_before(tree: Tree, offset: int) -> torch.Tensor:
    """What each leaf sees of the trunk and the tree, itself left out, bool [Q, offset + T]."""
    before = tree.sees() & ~torch.eye(len(tree.tokens), dtype=torch.bool)
    trunk = torch.ones(len(tree.leaves), offset, dtype=torch.bool)
    return torch.cat([trunk, before[tree.leaves]], dim=1)


@dataclass(frozen=True)
class _HookedRun:
    """The plain way, right for every family: hooks, and a copy of the prompt's cache per edit."""

    parts: Anatomy
    prompts: Sequence[Sequence[int]]
    clean_QD: torch.Tensor
    residuals: dict[int, torch.Tensor]

    def go_on(self, layer: int, x_NQD: torch.Tensor) -> torch.Tensor:
        hidden_NQD = torch.empty_like(x_NQD)
        for row, prompt in enumerate(self.prompts):
            cache = cache_before_last(self.parts.base, prompt)
            at_once = max(1, COPIED_KEYS_AT_ONCE // len(prompt))
            for first in range(0, len(x_NQD), at_once):
                x_RD = x_NQD[first : first + at_once, row]
                # by now the block runs on one position alone
                with self.parts.blocks[layer].register_forward_hook(
                    lambda *_, x_RD=x_RD: x_RD[:, None]
                ):
                    hidden_NQD[first : first + at_once, row] = _last_hidden(
                        self.parts, prompt[-1], cache, len(x_RD))
        return hidden_NQD


@torch.no_grad()
def _hooked(
    parts: Anatomy, prompts: Sequence[Sequence[int]], layers: Collection[int]
) -> _HookedRun:
    if not prompts or any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("there must be at least one prompt, each of at least one token")
    clean: list[torch.Tensor] = []
    residuals: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    for prompt in prompts:
        cache = cache_before_last(parts.base, prompt)
        with ExitStack() as hooks:
            for layer, found in residuals.items():
                hooks.enter_context(parts.blocks[layer].register_forward_hook(
                    lambda _, args, out, found=found: found.append(out[:, -1])))
            clean.append(_last_hidden(parts, prompt[-1], cache, 1))
    return _HookedRun(parts, prompts, torch.cat(clean),
                      {layer: torch.cat(found) for layer, found in residuals.items()})


def _last_hidden(parts: Anatomy, token: int, cache: DynamicCache, copies: int) -> torch.Tensor:
    """Final hidden states at the last position, [copies, D]; leaves the cache as it was."""
    ids_R1 = torch.full((copies, 1), token, device=parts.base.device)
    out = parts.base(input_ids=ids_R1, past_key_values=repeated(cache, copies), use_cache=True)
    hidden_RD: torch.Tensor = out.last_hidden_state[:, -1]
    return hidden_RD
