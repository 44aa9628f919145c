"""What every sparse autoencoder has in common at inference.

Shape suffixes: B rows, D d_in, S d_sae.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from deception_saes.saes.errors import SaeError


@dataclass(frozen=True)
class SaeConfig:
    """What an SAE's weights mean.

    architecture: a name of `saes.registry.ARCHITECTURES`. d_in, d_sae: width of the residual
    stream, number of features. k: features of a TopK row, None elsewhere.
    apply_b_dec_to_input: whether `b_dec` is taken off the input before encoding.
    metadata: where the SAE belongs and what it was trained on; plain JSON data, by the names that
        SAELens gives (`model_name`, `hook_name`, …).
    """

    architecture: str
    d_in: int
    d_sae: int
    k: int | None = None
    apply_b_dec_to_input: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Sae(ABC):
    """A sparse autoencoder: `decode(encode(x))` approximates x [..., D].

    Raises SaeError if `weights` are not exactly those of the architecture, in shape, or if one is
    not finite.
    """

    def __init__(self, config: SaeConfig, weights: Mapping[str, torch.Tensor]) -> None:
        expected = self.shapes(config)
        if weights.keys() != expected.keys():
            raise SaeError(f"a {config.architecture} SAE has the weights {', '.join(expected)}; "
                           f"got {', '.join(sorted(weights))}")
        for name, shape in expected.items():
            if tuple(weights[name].shape) != shape:
                raise SaeError(f"{name} has shape {list(weights[name].shape)}; d_in {config.d_in} "
                               f"and d_sae {config.d_sae} ask for {list(shape)}")
            if not torch.isfinite(weights[name]).all():
                raise SaeError(f"{name} holds a number that is not finite; the file is broken or "
                               "its training diverged")
        self.config = config
        self.weights = dict(weights)

    @staticmethod
    @abstractmethod
    def shapes(config: SaeConfig) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight, by SAELens's names.

        Raises SaeError for a configuration that the architecture does not allow.
        """

    @abstractmethod
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Features [..., S] of the residuals x [..., D]."""

    def decode(self, features: torch.Tensor) -> torch.Tensor:
        """Residuals [..., D] of the features [..., S]."""
        return features @ self.weights["W_dec"] + self.weights["b_dec"]

    def projected(self, x: torch.Tensor) -> torch.Tensor:
        """x W_enc, of x with the decoder's bias taken off if the configuration says so."""
        if self.config.apply_b_dec_to_input:
            x = x - self.weights["b_dec"]
        return x @ self.weights["W_enc"]

    def to(self, device: str) -> Sae:
        """The same SAE on another torch device."""
        return type(self)(self.config, {n: w.to(device) for n, w in self.weights.items()})


def autoencoder_shapes(config: SaeConfig) -> dict[str, tuple[int, ...]]:
    """The weights that all architectures share."""
    if config.d_in < 1 or config.d_sae < 1:
        raise SaeError(f"d_in {config.d_in} and d_sae {config.d_sae} must be at least 1")
    return {"W_enc": (config.d_in, config.d_sae), "W_dec": (config.d_sae, config.d_in),
            "b_dec": (config.d_in,)}
