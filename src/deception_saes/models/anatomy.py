"""Where each model family keeps its blocks, its attention output projection and its heads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Family:
    """Names inside one Hugging Face architecture."""

    base: str
    """The base model, whose `layers` are the blocks."""
    attention: str
    """The attention module in a block."""
    projection: str
    """Its output projection."""
    norm: str
    """The final norm in the base model."""
    cache_argument: str
    """The argument in which attention takes its key-value cache."""
    resumable: bool
    """Whether `Anatomy.finish` is this family's block, so that a run may start anywhere."""


FAMILIES: dict[str, Family] = {
    "llama": Family("model", "self_attn", "o_proj", "norm", "past_key_values", resumable=True),
    "gpt_neox": Family("gpt_neox", "attention", "dense", "final_layer_norm", "layer_past",
                       resumable=True),
    "gemma3_text": Family("model", "self_attn", "o_proj", "norm", "past_key_values",
                          resumable=False),
}


@dataclass(frozen=True)
class Anatomy:
    """The parts of one loaded model."""

    family: Family
    base: PreTrainedModel
    blocks: list[nn.Module]
    n_heads: int
    head_dim: int

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    def attention(self, layer: int) -> nn.Module:
        """The attention module of a block."""
        return self.blocks[layer].get_submodule(self.family.attention)

    def projection(self, layer: int) -> nn.Module:
        """The attention output projection of a block; its input is the heads side by side."""
        return self.attention(layer).get_submodule(self.family.projection)

    def attend(
        self, layer: int, x: torch.Tensor, rotary: Any, mask: torch.Tensor | None, cache: Any
    ) -> torch.Tensor:
        """What attention adds to the residual x [B, T, D]."""
        normed = self._module(layer, "input_layernorm")(x)
        options = {self.family.cache_argument: cache}
        added: torch.Tensor = self.attention(layer)(
            hidden_states=normed, attention_mask=mask, position_embeddings=rotary, **options
        )[0]
        return added

    def finish(self, layer: int, x: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        """The block's output from its input x and what attention added, position by position."""
        norm, mlp = self._module(layer, "post_attention_layernorm"), self._module(layer, "mlp")
        middle = x + attention
        parallel = getattr(self.blocks[layer], "use_parallel_residual", False)
        out: torch.Tensor = middle + mlp(norm(x if parallel else middle))
        return out

    def final_norm(self, x: torch.Tensor) -> torch.Tensor:
        """The norm before the unembedding."""
        normed: torch.Tensor = self.base.get_submodule(self.family.norm)(x)
        return normed

    def _module(self, layer: int, name: str) -> nn.Module:
        return self.blocks[layer].get_submodule(name)


@dataclass(frozen=True, order=True)
class Head:
    """One attention (query) head, 0-based."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"


def parse_head(text: str) -> Head:
    """"L0H6" as a Head; ValueError for anything else."""
    found = re.fullmatch(r"L(\d+)H(\d+)", text)
    if found is None:
        raise ValueError(f"{text!r} is not a head; write layer and head like L0H6")
    return Head(int(found[1]), int(found[2]))


def anatomy(model: PreTrainedModel) -> Anatomy:
    """The parts of a model.

    Raises ValueError, naming the known families, for an unknown one, and for a model whose
    attention does not read a boolean mask as what may be attended to.
    """
    config = model.config
    if config._attn_implementation != "sdpa":
        raise ValueError(f"attention is {config._attn_implementation!r}, which would add the "
                         "engines' boolean masks instead of masking by them; load the model with "
                         "attn_implementation=\"sdpa\", as models.load does")
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ValueError(f"the model family {config.model_type!r} is not known here; known: "
                         f"{', '.join(FAMILIES)}. Add it to FAMILIES in models/anatomy.py")
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    base: Any = model.base_model
    return Anatomy(family, base, list(base.layers), heads, head_dim)
