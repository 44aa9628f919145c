"""What every training rule has in common: a loss and its gradients, written out by hand.

Weights and inputs are in the scaled space of `saes.training`. Every buffer is made once: at these
sizes allocating costs more than an element-wise pass.

Shape suffixes: B rows of a batch, D d_in, S d_sae.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from deception_saes.saes.products import Products
from deception_saes.saes.recipe import Recipe
from deception_saes.saes.sae import SaeConfig

Weights = dict[str, torch.Tensor]


class TrainingRule(ABC):
    """Gradients of one architecture's loss at its present weights.

    weights: changed by the optimiser between steps. gradients: filled by `step`, by the same names.
    fired: [S], True for the features that were active in the last batch.
    """

    trained: ClassVar[tuple[str, ...]]
    """The weights that gradients are given for."""
    in_units_of_input: ClassVar[tuple[str, ...]]
    """The weights that grow with the input's scale: biases and thresholds."""
    revives: ClassVar[bool] = False
    """Whether `step` does something about dead features."""

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
    def initial(config: SaeConfig, recipe: Recipe, tied: Weights, sample: torch.Tensor) -> Weights:
        """All weights to start from. tied: W_enc, W_dec, b_dec; sample: scaled rows [rows, D]."""

    @abstractmethod
    def step(self, x_BD: torch.Tensor, dead: torch.Tensor) -> torch.Tensor:
        """Fill `gradients` and `fired`; return the mean squared error per coordinate, 0-dim.

        dead: indices of the features that count as dead.
        """

    def project(self) -> None:
        """Bring the weights back to where they are allowed after an optimiser's step."""
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
