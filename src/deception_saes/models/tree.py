"""Prompts laid out as a tree: what several of them begin with is run once.

What all prompts begin with is the trunk. Behind it each beginning that several prompts share
stands once in a branch, a sequence in which every token sees the trunk and its own ancestors only
(tree attention: Miao et al. 2023, arXiv:2305.09781).

Shape suffixes: T tokens of a branch, Q prompts, D d_model, K keys of attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import transformers

from deception_saes.models.anatomy import Anatomy
from deception_saes.models.forward import log_probabilities, repeated, shared_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LayerKeys = Mapping[int, tuple[torch.Tensor, torch.Tensor]]
"""By layer, keys and values, each [B, key heads, K, head_dim]."""

TOKENS_OF_BRANCH = 128
"""Measured on two cores with SmolLM2-135M: longer branches waste attention, shorter ones sharing.
"""


@dataclass
class Keys:
    """Stands in for a key-value cache: attention hands its keys and values to `update`."""

    before: Sequence[LayerKeys] = ()
    """What stands in front of them, in order."""
    seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    """Those handed over."""

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of `before` and of this call, along the third dimension."""
        self.seen[layer] = (keys, values)
        if not self.before:
            return keys, values
        parts = [*(of_layer[layer] for of_layer in self.before), (keys, values)]
        return torch.cat([k for k, _ in parts], dim=2), torch.cat([v for _, v in parts], dim=2)


@dataclass(frozen=True)
class Tree:
    """Tokens, each behind its parent; a parent comes before its children."""

    tokens: list[int]
    parents: list[int]
    """Index of the parent, -1 for what follows the trunk."""
    leaves: list[int]
    """Last token of each prompt."""

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


def tree_of(prompts: Sequence[Sequence[int]], offset: int) -> Tree:
    """The tree of the prompts' tokens from `offset` on, beginnings in common standing once."""
    tree = Tree([], [], [])
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


@dataclass(frozen=True)
class Forest:
    """Prompts laid out as a trunk and the branches behind it."""

    prefix: list[int]
    """The trunk's tokens, perhaps none."""
    trees: list[Tree]
    """The branches."""
    rows: list[list[int]]
    """By branch, the index of the prompt that ends at each leaf."""

    def in_order(self, branches: Sequence[torch.Tensor]) -> torch.Tensor:
        """By branch tensors [..., leaves, D]; all of them as [..., Q, D], in the order of the
        prompts."""
        place = torch.tensor([row for rows in self.rows for row in rows]).argsort()
        return torch.cat(list(branches), dim=-2)[..., place, :]


def forest_of(prompts: Sequence[Sequence[int]], largest: int) -> Forest:
    """The layout of prompts, token ids, with branches of at most `largest` tokens.

    A prompt that is longer behind the trunk has a branch of its own.
    Raises ValueError if there is no prompt or an empty one.
    """
    prefix = shared_prefix(prompts)
    rows = list(_packed(prompts, len(prefix), largest))
    trees = [tree_of([prompts[row] for row in of_branch], len(prefix)) for of_branch in rows]
    return Forest(prefix, trees, rows)


def _packed(
    prompts: Sequence[Sequence[int]], offset: int, largest: int
) -> Iterator[list[int]]:
    """Neighbours in alphabetical order, as many as fit into a branch."""
    rows: list[int] = []
    for row in sorted(range(len(prompts)), key=lambda row: list(prompts[row])):
        if rows and len(tree_of([prompts[r] for r in (*rows, row)], offset).tokens) > largest:
            yield rows
            rows = []
        rows.append(row)
    yield rows


@dataclass(frozen=True)
class Layout:
    """A tree made ready for the blocks of a model."""

    x_1TD: torch.Tensor
    """Token embeddings."""
    mask: torch.Tensor
    """What each token may attend to, bool [1, 1, T, trunk + T]."""
    rotary: Any
    """Position embeddings."""


def lay_out(parts: Anatomy, tree: Tree, offset: int) -> Layout:
    """The tree behind a trunk of `offset` tokens."""
    ids_1T, mask, positions_1T = _behind(tree, offset, parts.base.device)
    x_1TD = parts.base.get_input_embeddings()(ids_1T)
    return Layout(x_1TD, mask, parts.base.get_submodule("rotary_emb")(x_1TD, positions_1T))


def _behind(
    tree: Tree, offset: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Behind a trunk of `offset` tokens: token ids [1, T], mask as in `Layout`, positions [1, T].
    """
    trunk = torch.ones(len(tree.tokens), offset, dtype=torch.bool)
    mask = torch.cat([trunk, tree.sees()], dim=1)[None, None]
    positions_1T = offset + torch.tensor([tree.depths()])
    return (torch.tensor([tree.tokens], device=device), mask.to(device), positions_1T.to(device))


@torch.inference_mode()
def final_states(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]]
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Final hidden states at the last tokens of all prompts, by the model's own forward pass, so
    for every family.

    prompts: token ids; one may be the beginning of another.
    Yields, branch by branch, the indices of its prompts and their states [rows, D].
    Raises ValueError as `forest_of` does.
    """
    forest = forest_of(prompts, TOKENS_OF_BRANCH)
    window = getattr(model.config, "sliding_window", None)
    if window and max(map(len, prompts)) > window:  # of which the mask of a tree says nothing
        for row, prompt in enumerate(prompts):
            ids_1T = torch.tensor([list(prompt)], device=model.device)
            yield [row], model.base_model(input_ids=ids_1T).last_hidden_state[:, -1]
        return
    trunk = transformers.DynamicCache(config=model.config)
    if forest.prefix:
        ids_1T = torch.tensor([forest.prefix], device=model.device)
        model.base_model(input_ids=ids_1T, past_key_values=trunk, use_cache=True)
    for rows, tree in zip(forest.rows, forest.trees, strict=True):
        ids_1T, mask, positions_1T = _behind(tree, len(forest.prefix), model.device)
        out = model.base_model(
            input_ids=ids_1T, attention_mask=mask, position_ids=positions_1T,
            past_key_values=repeated(trunk, 1), use_cache=True)
        yield rows, out.last_hidden_state[0, tree.leaves]


@dataclass(frozen=True)
class Block:
    """What went through one block, each [1, T, D]."""

    layer: int
    before: torch.Tensor
    """Its input, the residual."""
    heads: torch.Tensor
    """The input of the attention output projection, D being heads * head_dim."""
    after: torch.Tensor
    """Its output, the residual."""


def clean_blocks(parts: Anatomy, layout: Layout, keys: Keys) -> Iterator[Block]:
    """The blocks of an unedited run in turn, for a family that can be resumed.

    keys: those of the trunk before; takes up the tree's own.
    """
    x = layout.x_1TD
    for layer in range(parts.n_layers):
        heads: list[torch.Tensor] = []
        with parts.projection(layer).register_forward_pre_hook(
            lambda _, args, heads=heads: heads.append(args[0])
        ):
            added = parts.attend(layer, x, layout.rotary, layout.mask, keys)
        after = parts.finish(layer, x, added)
        yield Block(layer, x, heads[0], after)
        x = after


@dataclass(frozen=True)
class Following:
    """What follows one prompt."""

    log_p: list[float]
    """Log-probability of each continuation, in nats."""
    top: int
    """The most probable next token."""


@torch.inference_mode()
def following(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[Sequence[int]]],
    progress: Callable[[int], object] = lambda prompts: None,
) -> list[Following]:
    """What follows each prompt, of its continuations and at all.

    prompts: token ids, of each prompt its `continuations` too, which have at least one token each.
    progress: called with the number of prompts just run.
    Raises ValueError as `forest_of` does; FloatingPointError if a logit is not finite.
    """
    asked = [*map(tuple, prompts)]
    wanted: dict[tuple[int, ...], set[int]] = {prompt: set() for prompt in asked}
    for prompt, of in zip(asked, continuations, strict=True):
        for tokens in of:
            for end, token in enumerate(tokens):
                wanted.setdefault((*prompt, *tokens[:end]), set()).add(token)
    before = [*asked, *sorted(wanted.keys() - set(asked))]
    log_p: dict[tuple[int, ...], dict[int, float]] = {}
    top: dict[tuple[int, ...], int] = {}
    for rows, hidden_BD in final_states(model, before):
        for row, log_p_V in zip(rows, log_probabilities(model, hidden_BD), strict=True):
            of_row = before[row]
            log_p[of_row] = {token: float(log_p_V[token]) for token in wanted[of_row]}
            top[of_row] = int(log_p_V.argmax())
        progress(sum(row < len(asked) for row in rows))
    return [Following([sum(log_p[*prompt, *tokens[:end]][token]
                           for end, token in enumerate(tokens)) for tokens in of],
                      top[prompt])
            for prompt, of in zip(asked, continuations, strict=True)]
