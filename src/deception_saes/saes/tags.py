"""The release's 60 tags: which sparse autoencoders there are, by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deception_saes.errors import UserError

SAE_DEPTHS = (4, 8, 12)
"""The layers of Llama-3.2-1B that the sandbagging release reads; on another model, those at the
same relative depth."""

READING_DEPTHS = (2, 4, 6)
"""Those that the behavioural release reads."""

_LAYERS_OF_STUDY = 16  # of Llama-3.2-1B, whose layers stand below


@dataclass(frozen=True)
class StudyDepths:
    """The layers of a model of the study that the sandbagging release reads."""

    slug: str
    name: str
    layers: tuple[int, ...]
    """Ascending, as many as SAE_DEPTHS, which name them: "D4" is the first."""
    n_layers: int

    def moved(self, n_layers: int) -> tuple[int, ...]:
        """The layers of a model of `n_layers` at the same relative depths.

        Raises ValueError if two of them fall together.
        """
        found = tuple(layer * n_layers // self.n_layers for layer in self.layers)
        if len(set(found)) < len(found):
            raise ValueError(f"{_listed(self.layers)} of {self.name} would be {_listed(found)} "
                             f"among {n_layers} layers: two fall together, so these depths need a "
                             "deeper model")
        return found


LLAMA = StudyDepths("llama", "Llama-3.2-1B", SAE_DEPTHS, _LAYERS_OF_STUDY)
TINYLLAMA = StudyDepths("tinyllama", "TinyLlama", (5, 11, 16), 22)

_EXPANSION = 4
K = 64
"""The usual k of a TopK SAE."""

_SANDBAGGING = ("genuine_only", "mixed", "sandbagging_only")
_BEHAVIOURAL = ("deceptive_only", "honest_only", "mixed")


@dataclass(frozen=True)
class SaeTag:
    """One sparse autoencoder of the release, or the same one of another model."""

    name: str
    model: str
    """Slug of the model."""
    architecture: str
    """A name of `saes.registry.ARCHITECTURES`."""
    layer: int
    """0-based; its resid_post is what the SAE reads."""
    train_set: str
    """The condition whose activations train it."""
    k: int | None
    """Features of a TopK row, None elsewhere."""
    expansion: int
    """d_sae / d_in."""


@dataclass(frozen=True)
class _Kind:
    """SAEs that differ in layer and training set only. layers: of Llama-3.2-1B."""

    architecture: str
    layers: tuple[int, ...]
    train_sets: tuple[str, ...]
    k: int | None = None
    expansion: int = _EXPANSION

    @property
    def name(self) -> str:
        """The `{arch}` of a tag; the usual k and expansion go unsaid."""
        if self.expansion != _EXPANSION:
            return f"x{self.expansion}_" + (f"k{self.k}" if self.k else self.architecture)
        return self.architecture + (f"_k{self.k}" if self.k not in (None, K) else "")


_SANDBAGGING_KINDS = (
    _Kind("jumprelu", SAE_DEPTHS, _SANDBAGGING),
    _Kind("topk", SAE_DEPTHS, _SANDBAGGING, k=K),
    _Kind("topk", SAE_DEPTHS, _SANDBAGGING, k=256),
    *(_Kind("topk", (8,), _SANDBAGGING, k=k) for k in (16, 32, 128)),
    _Kind("gated", (8,), _SANDBAGGING),
    *(_Kind("topk", (8,), ("mixed",), k=k, expansion=8) for k in (64, 256)),
    _Kind("gated", (8,), ("mixed",), expansion=8),
)
_BEHAVIOURAL_KINDS = (
    _Kind("jumprelu", READING_DEPTHS, _BEHAVIOURAL),
    _Kind("topk", READING_DEPTHS, _BEHAVIOURAL, k=K),
)


def layer_at_same_depth(layer_of_16: int, n_layers: int) -> int:
    """The layer of a model of `n_layers` that stands where this one does in Llama-3.2-1B.

    Raises ValueError if Llama-3.2-1B has no such layer, or for a model without layers.
    """
    if not 0 <= layer_of_16 < _LAYERS_OF_STUDY:
        raise ValueError(f"layer {layer_of_16} is not one of Llama-3.2-1B; expected 0 to "
                         f"{_LAYERS_OF_STUDY - 1}")
    if n_layers < 1:
        raise ValueError(f"n_layers is {n_layers}; expected at least 1")
    return layer_of_16 * n_layers // _LAYERS_OF_STUDY


def sandbagging_tags(model: str, n_layers: int) -> list[SaeTag]:
    """The 42 SAEs of the sandbagging release, for a model of this slug and number of layers.

    Raises ValueError, naming the layers, if two of them fall together on a model of few layers.
    """
    return _tags(_SANDBAGGING_KINDS, f"v4_{model}", model, n_layers)


def behavioural_tags(model: str, n_layers: int) -> list[SaeTag]:
    """The 18 SAEs of the behavioural release; model, n_layers and errors as `sandbagging_tags`."""
    return _tags(_BEHAVIOURAL_KINDS, model, model, n_layers)


def _tags(kinds: tuple[_Kind, ...], prefix: str, model: str, n_layers: int) -> list[SaeTag]:
    of_study = sorted({layer for kind in kinds for layer in kind.layers})
    moved = {layer: layer_at_same_depth(layer, n_layers) for layer in of_study}
    if len(set(moved.values())) < len(moved):
        raise ValueError(f"the study's layers {_listed(moved)} would be {_listed(moved.values())} "
                         f"among the {n_layers} of {model!r}: two fall together, so these SAEs "
                         "need a deeper model")
    return [
        SaeTag(f"{prefix}_{kind.name}_L{moved[layer]}_{train_set}", model, kind.architecture,
               moved[layer], train_set, kind.k, kind.expansion)
        for kind in kinds for layer in kind.layers for train_set in kind.train_sets
    ]


def _listed(layers: Iterable[int]) -> str:
    return ", ".join(f"L{layer}" for layer in layers)


class TaggedSaes:
    """SAEs by their tags; a base for dataclasses that say what decides their weights."""

    tags: tuple[SaeTag, ...]
    """In ascending order of layers."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that they read, in ascending order."""
        return tuple(sorted({tag.layer for tag in self.tags}))

    def at(self, layer: int) -> tuple[SaeTag, ...]:
        """The tags of a layer."""
        return tuple(tag for tag in self.tags if tag.layer == layer)


def is_swapped(tag: SaeTag, k: int = K) -> bool:
    """Whether the features of this SAE are swapped: of the release's usual size, trained on both
    conditions, and if it is a TopK, with this k."""
    return tag.expansion == _EXPANSION and tag.k in (None, k) and tag.train_set == "mixed"


def is_compared(tag: SaeTag) -> bool:
    """Whether this SAE is trained where not the whole sandbagging release is: of the usual size,
    JumpReLU and TopK with the usual k, which are compared in pairs, and of other kinds those that
    both conditions trained."""
    paired = tag.architecture == "jumprelu" or tag.k == K
    return tag.expansion == _EXPANSION and (paired or tag.train_set == "mixed")


def swapped_at(
    tags: Iterable[SaeTag], layer: int, architecture: str | None = None, k: int = K
) -> list[SaeTag]:
    """Those of these SAEs at a layer that are swapped, see `is_swapped`; of one architecture, if it
    is named.

    Raises UserError, naming the layers that have one, if there is none.
    """
    swapped = [tag for tag in tags
               if is_swapped(tag, k) and architecture in (None, tag.architecture)]
    found = [tag for tag in swapped if tag.layer == layer]
    if not found:
        layers = _listed(sorted({tag.layer for tag in swapped})) or "none"
        raise UserError(f"no {architecture or 'SAE'} is swapped at L{layer}, of these layers: "
                        f"{layers}. Swapped are SAEs trained on both conditions, TopK with k {k}; "
                        f"choose one of these layers, or give L{layer} a tag in saes/tags.py")
    return found


def tags_at(model: str, layers: Iterable[int], k: int = K) -> list[SaeTag]:
    """SAEs like the swapped ones at any layers of a model: JumpReLU, and TopK with this k."""
    return [SaeTag(f"v4_{model}_{kind.name}_L{layer}_mixed", model, kind.architecture, layer,
                   "mixed", kind.k, kind.expansion)
            for layer in sorted(layers)
            for kind in (_Kind("jumprelu", (), ()), _Kind("topk", (), (), k=k))]


def depth_name(layer: int, n_layers: int, depths: StudyDepths = LLAMA) -> str:
    """The layer by the study's layer of the same relative depth, "D8"; one that has none of those
    that the sandbagging release reads is named "L14". depths: of which model of the study."""
    moved = (layer * n_layers // depths.n_layers for layer in depths.layers)
    names = {at: f"D{depth}" for at, depth in zip(moved, SAE_DEPTHS, strict=True)}
    return names.get(layer, f"L{layer}")
