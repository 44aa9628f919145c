"""How large a model is, known without fetching it: for estimates of what a run costs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder, from the model's published configuration. gated: whether its MLP has a
    third matrix. tied: whether it unembeds by its embedding. head_width: None for d_model / heads.
    """

    layers: int
    d_model: int
    heads: int
    kv_heads: int
    d_ff: int
    vocabulary: int
    gated: bool = True
    tied: bool = True
    head_width: int | None = None

    @property
    def block_parameters(self) -> int:
        """Weights of one block's matrices."""
        width = self.head_width or self.d_model // self.heads
        attention = 2 * self.d_model * width * (self.heads + self.kv_heads)
        return attention + (3 if self.gated else 2) * self.d_model * self.d_ff

    @property
    def parameters(self) -> int:
        """Weights of all matrices."""
        embeddings = (1 if self.tied else 2) * self.vocabulary * self.d_model
        return self.layers * self.block_parameters + embeddings

    @property
    def flops_of_token(self) -> float:
        """Floating-point operations by which one token goes through all blocks; the attention's own
        products, small for prompts of a hundred tokens, left out."""
        return 2.0 * self.layers * self.block_parameters

    @property
    def flops_of_logits(self) -> float:
        """Those by which one position gets its logits."""
        return 2.0 * self.d_model * self.vocabulary

