"""What a language model is and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


class ModelUnavailable(RuntimeError):
    """A model cannot be had here. The message names it, says why and what to do."""


@dataclass(frozen=True)
class GgufWheel:
    """A GGUF file that a Python package carries as data.

    distribution, version: the package and the one version whose file is known.
    file: path of the GGUF below site-packages.
    sha256: of that file.
    """

    distribution: str
    version: str
    file: str
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
    """A GGUF file that is too large for one package and comes in parts, each in its own.

    file: the name of the whole. parts: in the order in which they are joined.
    requirements: the file beside the README that pins these packages.
    sha256: of the whole.
    """

    file: str
    parts: tuple[WheelFile, ...]
    requirements: str
    sha256: str


@dataclass(frozen=True)
class HubModel:
    """A model of the Hugging Face hub, read from the local hub cache that `hub.fetch` fills.

    repo: "organisation/name". gated: whether its licence must be accepted there first.
    revision: a branch, tag or commit.
    """

    repo: str
    gated: bool = False
    revision: str = "main"


@dataclass(frozen=True)
class RandomWeights:
    """A model with seeded random weights, and a tokenizer trained on a shipped text.

    corpus: file below this package whose lines train the tokenizer.
    d_ff: width of the MLP; None: twice d_model. vocabulary: rows of the embedding, of which the
        tokenizer may use the first few only; None: as many as the tokenizer has tokens.
    tied: whether the model unembeds by its embedding.
    """

    family: Literal["llama", "gpt_neox"]
    layers: int
    heads: int
    kv_heads: int
    d_model: int
    seed: int
    corpus: str
    d_ff: int | None = None
    vocabulary: int | None = None
    tied: bool = False


@dataclass(frozen=True)
class ModelSpec:
    """One language model.

    slug: its name in tags, ids and file names.
    name: its name on pages.
    source: where it comes from.
    of_the_study: whether the original study used this very model (a verdict can then be
        "reproduced"; on any other model a claim can only agree or disagree).
    licence: of the weights.
    """

    slug: str
    name: str
    source: GgufWheel | GgufParts | HubModel | RandomWeights
    of_the_study: bool
    licence: str
