"""The architectures. A new one is a file beside this one and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from deception_saes.saes.config import SaeConfig, SaeError
from deception_saes.saes.gated import Gated, GatedRule
from deception_saes.saes.jumprelu import JumpReLU, JumpReLURule
from deception_saes.saes.sae import Sae, TrainingRule
from deception_saes.saes.topk import TopK, TopKRule


@dataclass(frozen=True)
class Architecture:
    """What there is of one architecture."""

    sae: type[Sae]
    """What runs."""
    rule: type[TrainingRule]
    """What trains it."""


ARCHITECTURES = {
    "topk": Architecture(TopK, TopKRule),
    "jumprelu": Architecture(JumpReLU, JumpReLURule),
    "gated": Architecture(Gated, GatedRule),
}


def architecture(name: str) -> Architecture:
    """The architecture of this name; SaeError naming the known ones if there is none."""
    if name not in ARCHITECTURES:
        raise SaeError(f"no SAE architecture {name!r}; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def build(config: SaeConfig, weights: Mapping[str, torch.Tensor]) -> Sae:
    """An SAE of these weights. Raises SaeError if they are not what `config` asks for."""
    return architecture(config.architecture).sae(config, weights)
