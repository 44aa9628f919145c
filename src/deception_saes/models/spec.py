"""What a language model is, how large, and where it comes from. Loads no library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deception_saes.errors import OneLine, UserError


class ModelUnavailable(OneLine, RuntimeError):
    """A model is not available here. The message names it, says why and what to do."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder, from the model's published configuration: known without fetching it, for
    estimates of what a run costs."""

    layers: int
    d_model: int
    heads: int
    kv_heads: int
    d_ff: int
    vocabulary: int
    gated: bool = True
    """Whether its MLP has a third matrix."""
    tied: bool = True
    """Whether it unembeds by its embedding."""
    head_width: int | None = None
    """None for d_model / heads."""

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


@dataclass(frozen=True)
class GgufWheel:
    """A GGUF file that a Python package carries as data."""

    distribution: str
    version: str
    """The one version whose file is known."""
    file: str
    """Path of the GGUF below site-packages."""
    sha256: str


@dataclass(frozen=True)
class WheelFile:
    """One data file of a Python package: the package, its one known version, the file's path
    below site-packages."""

    distribution: str
    version: str
    file: str


@dataclass(frozen=True)
class GgufParts:
    """A GGUF file that is too large for one package and comes in parts, each in its own."""

    file: str
    """Name of the whole."""
    parts: tuple[WheelFile, ...]
    """In the order in which they are joined."""
    requirements: str
    """Path in the checkout of the file that pins these packages."""
    sha256: str
    """Of the whole."""


@dataclass(frozen=True)
class HubModel:
    """A model of the Hugging Face hub, read from the local hub cache that `hub.fetch` fills."""

    repo: str
    """"organisation/name"."""
    gated: bool = False
    """Whether its licence must be accepted there first."""
    revision: str = "main"
    """A branch, tag or commit."""


@dataclass(frozen=True)
class RandomWeights:
    """A model with seeded random weights, and a tokenizer trained on a shipped text."""

    family: Literal["llama", "gpt_neox"]
    shape: Shape
    """The embedding has further rows if the tokenizer has more tokens than that."""
    seed: int
    corpus: str
    """File below this package whose lines train the tokenizer."""


@dataclass(frozen=True)
class ModelSpec:
    """One language model."""

    slug: str
    """Its name in tags, ids and file names."""
    name: str
    """Its name on pages."""
    source: GgufWheel | GgufParts | HubModel | RandomWeights
    of_the_study: bool
    """Whether the original study used this very model: a verdict can then be "reproduced"; on any
    other model a claim can only agree or disagree."""
    licence: str
    """Of the weights."""
    sizes: Shape | None = None
    """From the published configuration; None where the source says them."""

    @property
    def shape(self) -> Shape:
        """How large it is. Raises UserError if its entry does not say."""
        if isinstance(self.source, RandomWeights):
            return self.source.shape
        if self.sizes is None:
            raise UserError(f"the sizes of {self.slug} are not known; give its entry in "
                            "models/registry.py `sizes`")
        return self.sizes
