"""How large the models are, known without fetching them: for estimates of what a run costs."""

from __future__ import annotations

from dataclasses import dataclass

from deception_saes.models.spec import ModelSpec, RandomWeights


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


_SHAPES = {
    "smollm2it": Shape(30, 576, 9, 3, 1536, 49152),
    "smollm2": Shape(30, 576, 9, 3, 1536, 49152),
    "llama": Shape(16, 2048, 32, 8, 8192, 128256),
    "tinyllama": Shape(22, 2048, 32, 4, 5632, 32000, tied=False),
    "pythia160m": Shape(12, 768, 12, 12, 3072, 50304, gated=False, tied=False),
    "pythia410m": Shape(24, 1024, 16, 16, 4096, 50304, gated=False, tied=False),
    "gemma270m": Shape(18, 640, 4, 1, 2048, 262144, head_width=256),
}


def shape(model: ModelSpec) -> Shape:
    """The model's sizes. Raises KeyError for a model of the registry that has no entry here."""
    if isinstance(model.source, RandomWeights):
        made = model.source
        return Shape(made.layers, made.d_model, made.heads, made.kv_heads,
                     made.d_ff or 2 * made.d_model, made.vocabulary or 4096,
                     gated=made.family == "llama", tied=made.tied)
    if model.slug not in _SHAPES:
        raise KeyError(f"the sizes of {model.slug} are not known; add them to models/shapes.py")
    return _SHAPES[model.slug]
