"""How the SAE architectures look in figures. One that stands not here has its own name in ink."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from deception_saes.experiments.swaps import PLAIN


@dataclass(frozen=True)
class Look:
    """name: in legends and tables. colour: a name of the figures' colours. marker: matplotlib's."""

    name: str
    colour: str
    marker: str


_LOOKS = {
    "topk": Look("TopK", "genuine", "o"),
    "jumprelu": Look("JumpReLU", "sandbag", "s"),
    "gated": Look("Gated", "neutral", "^"),
    PLAIN: Look(PLAIN, "ink", "D"),
}


def look(architecture: str) -> Look:
    """That of an architecture, by the name it has in `saes/registry.py`."""
    return _LOOKS.get(architecture, Look(architecture.capitalize(), "ink", "v"))


def present(architectures: Iterable[str]) -> dict[str, Look]:
    """The looks of these architectures, each once, in an order that is the same in all figures."""
    found = set(architectures)
    ordered = [*(name for name in _LOOKS if name in found), *sorted(found - _LOOKS.keys())]
    return {name: look(name) for name in ordered}


def shifts(architectures: Collection[str], width: float) -> dict[str, float]:
    """Where each stands beside the others' common place, evenly from -width / 2 to width / 2."""
    steps = max(1, len(architectures) - 1)
    first = -width / 2 if len(architectures) > 1 else 0.0
    return {name: first + i * width / steps for i, name in enumerate(architectures)}
