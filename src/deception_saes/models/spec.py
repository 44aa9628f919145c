"""What a language model is and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deception_saes.errors import OneLine
from deception_saes.models.shapes import Shape


class ModelUnavailable(OneLine, RuntimeError):
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

    shape: its sizes; the embedding has further rows if the tokenizer has more tokens than that.
    corpus: file below this package whose lines train the tokenizer.
    """

    family: Literal["llama", "gpt_neox"]
    shape: Shape
    seed: int
    corpus: str


@dataclass(frozen=True)
class ModelSpec:
    """One language model.

    slug: its name in tags, ids and file names.
    name: its name on pages.
    source: where it comes from.
    of_the_study: whether the original study used this very model (a verdict can then be
        "reproduced"; on any other model a claim can only agree or disagree).
    licence: of the weights.
    sizes: from the published configuration; None where the source says them.
    """

    slug: str
    name: str
    source: GgufWheel | GgufParts | HubModel | RandomWeights
    of_the_study: bool
    licence: str
    sizes: Shape | None = None

    @property
    def shape(self) -> Shape:
        """How large it is. Raises ValueError if its entry does not say."""
        if isinstance(self.source, RandomWeights):
            return self.source.shape
        if self.sizes is None:
            raise ValueError(f"the sizes of {self.slug} are not known; give its entry in "
                             "models/registry.py `sizes`")
        return self.sizes
