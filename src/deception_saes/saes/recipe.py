"""How an SAE is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deception_saes.saes.errors import SaeError


@dataclass(frozen=True)
class Recipe:
    """The loss is the mean squared error per coordinate of inputs scaled to a mean square of 1,
    plus the architecture's sparsity penalty.

    epochs: passes over the training rows, rows shuffled anew in each, the last rows short of a
        batch left out.
    batch_size: rows a step. learning_rate: of Adam.
    clip: largest norm of a step's gradient, of the squared error summed over coordinates (as in
        SAELens); without it the first, large gradients rule Adam's second moments for the whole
        of a short run.
    threshold_rate: by how much a JumpReLU threshold learns faster than the other weights.
    decay: share of the steps at the end over which the learning rate falls to zero.
    l1: weight of the L1 norm of a gated SAE's gate. l0: weight of a JumpReLU's L0.
    target_l0: None: the L0 penalty is linear. A number T: it is T (L0 / T - 1)^2, which pulls L0
        towards T (the form of Gemma Scope 2), and thresholds start where L0 is T.
    learn_threshold: False leaves every JumpReLU threshold at 0: the study's SAEs before its fix.
    bandwidth: width of the Gaussian kernel of the straight-through estimator, in units of the
        scaled input. initial_threshold: of a JumpReLU without target_l0, in the same units,
        for encoder columns of unit length.
    dead_window: share of the run's rows in which a feature must stay silent to count as dead.
    aux_weight: weight of TopK's auxiliary loss, by which dead features learn the residual.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 3e-4
    clip: float = 1.0
    threshold_rate: float = 1.0
    decay: float = 0.0
    l1: float = 1e-3
    l0: float = 1e-3
    target_l0: float | None = None
    learn_threshold: bool = True
    bandwidth: float = 0.1
    initial_threshold: float = 0.1
    dead_window: float = 0.1
    aux_weight: float = 1 / 32

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
