"""What every architecture has in common: what runs, and what trains it.

Shape suffixes: B rows of a batch, D d_in, S d_sae.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch

from deception_saes.saes.config import Recipe, SaeConfig, SaeError
from deception_saes.saes.products import Products

Weights = dict[str, torch.Tensor]


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


def projected(weights: Weights, x_BD: torch.Tensor) -> torch.Tensor:
    """(x - b_dec) W_enc, so written that its gradient by b_dec is no product with the batch."""
    encoder_DS, bias_D = weights["W_enc"], weights["b_dec"].detach()
    product_BS = (x_BD - bias_D) @ encoder_DS
    # 0, but with that gradient
    by_bias_S = ((bias_D - weights["b_dec"])[:, None] * encoder_DS.detach()).sum(0)
    return product_BS + by_bias_S.to(product_BS.dtype)


def autoencoder_shapes(config: SaeConfig) -> dict[str, tuple[int, ...]]:
    """The weights that all architectures share. Raises SaeError for sizes below 1."""
    if config.d_in < 1 or config.d_sae < 1:
        raise SaeError(f"d_in {config.d_in} and d_sae {config.d_sae} must be at least 1")
    return {"W_enc": (config.d_in, config.d_sae), "W_dec": (config.d_sae, config.d_in),
            "b_dec": (config.d_in,)}


class Loss(NamedTuple):
    """What training minimises on a batch, and what else it asks of one."""

    total: torch.Tensor
    """0-dim, for autograd to differentiate."""
    mse: torch.Tensor
    """Mean squared error per coordinate, 0-dim."""
    fired_S: torch.Tensor
    """True for the features that are active in the batch."""


class TrainingRule(ABC):
    """How one architecture is trained: `loss` is what is minimised, as its paper writes it, and
    `step` its gradients at the present weights, written out by hand because autograd takes up to
    two and a half times as long on a CPU. A test compares the two.

    Weights and inputs are in the scaled space of `saes.training`. Every buffer is made once: at
    these sizes allocating costs more than an element-wise pass.
    """

    trained: ClassVar[tuple[str, ...]]
    """The weights that gradients are given for."""
    in_units_of_input: ClassVar[tuple[str, ...]]
    """The weights that grow with the input's scale: biases and thresholds."""
    revives: ClassVar[bool] = False
    """Whether the loss does something about dead features."""

    weights: Weights
    """Changed by the optimiser between steps."""
    gradients: Weights
    """Filled by `step`, by the same names."""
    fired: torch.Tensor
    """[S], True for the features that were active in the last batch."""

    def __init__(self, config: SaeConfig, recipe: Recipe, weights: Weights) -> None:
        self.config, self.recipe, self.weights = config, recipe, weights
        self.gradients = {name: torch.zeros_like(weights[name]) for name in self.trained}
        rows, d_in, d_sae = recipe.batch_size, config.d_in, config.d_sae
        self.scale = 2 / (rows * d_in)
        encoder = weights["W_enc"]
        self.x_BD, self.error_BD = encoder.new_empty(rows, d_in), encoder.new_empty(rows, d_in)
        self.pre_BS, self.back_BS = encoder.new_empty(rows, d_sae), encoder.new_empty(rows, d_sae)
        self.ones_B = encoder.new_ones(rows)
        self.fired = torch.zeros(d_sae, dtype=torch.bool, device=encoder.device)

    @staticmethod
    @abstractmethod
    def loss(
        config: SaeConfig, recipe: Recipe, weights: Weights, x_BD: torch.Tensor,
        dead_S: torch.Tensor | None,
    ) -> Loss:
        """What training minimises on a batch.

        dead_S: true for the features that count as dead; None: nothing is done about any.
        """

    @staticmethod
    @abstractmethod
    def initial(config: SaeConfig, recipe: Recipe, tied: Weights, sample: torch.Tensor) -> Weights:
        """All weights to start from. tied: W_enc, W_dec, b_dec; sample: scaled rows [rows, D]."""

    @abstractmethod
    def step(self, x_BD: torch.Tensor, dead_E: torch.Tensor) -> torch.Tensor:
        """Fill `gradients`, those of `loss`, and `fired`; return the mean squared error per
        coordinate, 0-dim.

        dead_E: indices of the features that count as dead.
        """

    def project(self) -> None:
        """Bring the weights back to where they are allowed after an optimiser's step."""
        if self.recipe.frozen_decoder:
            return
        decoder = self.weights["W_dec"]
        decoder.div_(torch.linalg.vector_norm(decoder, dim=1, keepdim=True))

    def encode_into(self, x_BD: torch.Tensor) -> torch.Tensor:
        """(x - b_dec) W_enc in `pre_BS`."""
        torch.sub(x_BD, self.weights["b_dec"], out=self.x_BD)
        return torch.mm(self.x_BD, self.weights["W_enc"], out=self.pre_BS)

    def squared_error(self) -> torch.Tensor:
        """Mean square of `error_BD`, which then holds the gradient by the reconstruction."""
        error = self.error_BD.view(-1)
        loss = torch.dot(error, error) / len(error)
        self.error_BD.mul_(self.scale)
        return loss

    def summed(self, of_BS: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """The sum over the batch; as a product it takes half the time."""
        return torch.mv(of_BS.T, self.ones_B, out=out)

    def decoder_gradient(self, products: Products, f_BS: torch.Tensor) -> None:
        """Gradient of W_dec by `error_BD`."""
        self.gradients["W_dec"] = products.by_feature(
            f_BS, self.error_BD, self.gradients["W_dec"])

    def encoder_gradients(
        self, back_BS: torch.Tensor, products: Products, biases: tuple[str, ...]
    ) -> None:
        """Gradients of W_enc, of the biases added to x W_enc, and of b_dec by both its ways.

        products: with matrices that may differ from 0 wherever `back_BS` does.
        """
        self.gradients["W_enc"] = products.by_feature(
            back_BS, self.x_BD, self.gradients["W_enc"].T).T
        by_feature = self.summed(back_BS)
        for name in biases:
            self.gradients[name].copy_(by_feature)
        self.summed(self.error_BD, self.gradients["b_dec"])
        self.gradients["b_dec"].sub_(torch.mv(self.weights["W_enc"], by_feature))
