"""What an SAE is and how it is trained, as plain data. Loads no library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deception_saes.errors import OneLine


class SaeError(OneLine, ValueError):
    """A sparse autoencoder's configuration, weights, file or training data are wrong. The message
    names the value, what was expected and what to do."""


@dataclass(frozen=True)
class SaeConfig:
    """What an SAE's weights mean."""

    architecture: str
    """A name of `saes.registry.ARCHITECTURES`."""
    d_in: int
    """Width of the residual stream."""
    d_sae: int
    """Number of features."""
    k: int | None = None
    """Features of a TopK row, None elsewhere."""
    apply_b_dec_to_input: bool = True
    """Whether `b_dec` is taken off the input before encoding."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Where the SAE belongs and what it was trained on: plain JSON data, by the names that SAELens
    gives (`model_name`, `hook_name`, …)."""


@dataclass(frozen=True)
class Recipe:
    """How an SAE is trained. The loss is the mean squared error per coordinate of inputs scaled to
    a mean square of 1, plus the architecture's sparsity penalty.

    Raises SaeError, naming the field, for a value that cannot be.
    """

    epochs: int
    """Passes over the training rows, rows shuffled anew in each, the last rows short of a batch
    left out."""
    batch_size: int = 128
    """Rows a step."""
    learning_rate: float = 3e-4
    """Of Adam."""
    clip: float = 1.0
    """Largest norm of a step's gradient, of the squared error summed over coordinates (as in
    SAELens). Without it the first, large gradients rule Adam's second moments for the whole of a
    short run."""
    threshold_rate: float = 1.0
    """By how much a JumpReLU threshold learns faster than the other weights."""
    decay: float = 0.0
    """Share of the steps at the end over which the learning rate falls to zero."""
    l1: float = 1e-3
    """Weight of the L1 norm of a gated SAE's gate."""
    l0: float = 1e-3
    """Weight of a JumpReLU's L0."""
    target_l0: float | None = None
    """None: the L0 penalty is linear. A number T: it is T (L0 / T - 1)^2, which pulls L0 towards T
    (the form of Gemma Scope 2), and thresholds start where L0 is T."""
    learn_threshold: bool = True
    """False leaves every JumpReLU threshold at 0: the study's SAEs before its fix."""
    bandwidth: float = 0.1
    """Width of the Gaussian kernel of the straight-through estimator, in units of the scaled
    input."""
    initial_threshold: float = 0.1
    """Of a JumpReLU without `target_l0`, in the same units, for encoder columns of unit length."""
    dead_window: float = 0.1
    """Share of the run's rows in which a feature must stay silent to count as dead."""
    aux_weight: float = 1 / 32
    """Weight of TopK's auxiliary loss, by which dead features learn the residual."""
    frozen_decoder: bool = False
    """Whether the decoder's rows stay the random directions that they start as, so that only the
    encoder, biases and thresholds learn."""
    bfloat16: bool = False
    """Whether products and their gradients are bfloat16 (`torch.autocast`), on a GPU; weights,
    their sums and Adam's moments stay float32."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise SaeError(f"recipe: {name} is {getattr(self, name)}; it must be at least 1")
        for name in ("learning_rate", "clip", "threshold_rate", "bandwidth", "dead_window"):
            if not 0 < getattr(self, name) < math.inf:
                raise SaeError(f"recipe: {name} is {getattr(self, name)}; it must be positive")
        for name in ("l1", "l0", "initial_threshold", "aux_weight", "decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SaeError(f"recipe: {name} is {getattr(self, name)}; it must not be negative")
        if self.decay > 1:
            raise SaeError(f"recipe: decay is {self.decay}; it is a share of the steps, at most 1")
        if self.target_l0 is not None and not 0 < self.target_l0 < math.inf:
            raise SaeError(f"recipe: target_l0 is {self.target_l0}; it must be positive, or None")
