"""Gated: one bias decides whether a feature is on, another how strongly (Rajamanoharan et al. 2024,
arXiv:2404.16014).

Shape suffixes: B rows, D d_in, S d_sae.
"""

from __future__ import annotations

import torch

from deception_saes.saes.config import Recipe, SaeConfig
from deception_saes.saes.products import Products
from deception_saes.saes.sae import (
    Loss,
    Sae,
    TrainingRule,
    Weights,
    autoencoder_shapes,
    projected,
)


class Gated(Sae):
    """f = ReLU(exp(r_mag) x W_enc + b_mag) where x W_enc + b_gate > 0, else 0."""

    @staticmethod
    def shapes(config: SaeConfig) -> dict[str, tuple[int, ...]]:
        return {**autoencoder_shapes(config), "b_gate": (config.d_sae,),
                "b_mag": (config.d_sae,), "r_mag": (config.d_sae,)}

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        projected = self.projected(x)
        magnitude = projected * self.weights["r_mag"].exp() + self.weights["b_mag"]
        return magnitude.relu() * (projected + self.weights["b_gate"] > 0)


class GatedRule(TrainingRule):
    """Squared error, the gate's L1 norm, and an auxiliary error by which the gate learns: the step
    that it makes of its pre-activation has no gradient."""

    trained = ("W_enc", "W_dec", "b_gate", "b_mag", "r_mag", "b_dec")
    in_units_of_input = ("b_gate", "b_mag", "b_dec")

    @staticmethod
    def loss(
        config: SaeConfig, recipe: Recipe, weights: Weights, x_BD: torch.Tensor,
        dead_S: torch.Tensor | None,
    ) -> Loss:
        """|x − x̂(f)|² + λ |ReLU(π)|₁ + |x − x̂_frozen(ReLU(π))|², π being the gate's pre-activation
        and x̂_frozen a decoder that its term does not train (Rajamanoharan et al. 2024, section
        3.2.2); each square a mean over coordinates."""
        projected_BS = projected(weights, x_BD)
        gate_BS = projected_BS + weights["b_gate"]
        magnitude_BS = projected_BS * weights["r_mag"].exp() + weights["b_mag"]
        features_BS = magnitude_BS.relu() * (gate_BS > 0)
        error_BD = x_BD - (features_BS @ weights["W_dec"] + weights["b_dec"])
        gate_error_BD = x_BD - (gate_BS.relu() @ weights["W_dec"].detach()
                                + weights["b_dec"].detach())
        mse = error_BD.square().mean()
        total = mse + recipe.l1 * gate_BS.relu().sum(1).mean() + gate_error_BD.square().mean()
        return Loss(total, mse, (features_BS > 0).any(0))

    def __init__(self, config: SaeConfig, recipe: Recipe, weights: Weights) -> None:
        super().__init__(config, recipe, weights)
        rows = recipe.batch_size
        self.features_2BS = torch.cat([self.pre_BS, self.pre_BS])
        self.back_2BS = torch.empty_like(self.features_2BS)
        self.errors_2BD = torch.cat([self.error_BD, self.error_BD])
        self.error_BD = self.errors_2BD[:rows]
        self.gain_S = torch.empty_like(weights["r_mag"])
        self.open_BS = torch.empty_like(self.pre_BS)

    @staticmethod
    def initial(config: SaeConfig, recipe: Recipe, tied: Weights, sample: torch.Tensor) -> Weights:
        zeros = torch.zeros(config.d_sae, device=sample.device)
        return {**tied, "b_gate": zeros, "b_mag": zeros.clone(), "r_mag": zeros.clone()}

    def step(self, x_BD: torch.Tensor, dead_E: torch.Tensor) -> torch.Tensor:
        """The gradients of `loss`, written out by hand."""
        weights, gradients, rows = self.weights, self.gradients, self.recipe.batch_size
        projected_BS = self.encode_into(x_BD)
        torch.exp(weights["r_mag"], out=self.gain_S)
        features_BS, gate_BS = self.features_2BS[:rows], self.features_2BS[rows:]
        torch.add(projected_BS, weights["b_gate"], out=gate_BS).relu_()
        products = Products(gate_BS > 0)
        self.open_BS.copy_(products.on_BS)
        torch.mul(projected_BS, self.gain_S, out=features_BS).add_(weights["b_mag"]).relu_()
        features_BS.mul_(self.open_BS)
        for f_BS, error_BD in zip((features_BS, gate_BS), self.errors_2BD.split(rows), strict=True):
            torch.add(products.by_row(f_BS, weights["W_dec"], error_BD), weights["b_dec"],
                      out=error_BD)
        self.error_BD.sub_(x_BD)
        self.errors_2BD[rows:].sub_(x_BD).mul_(self.scale)
        loss = self.squared_error()
        self.decoder_gradient(products, features_BS)
        torch.mm(self.errors_2BD, weights["W_dec"].T, out=self.back_2BS)
        through_BS, gate_back_BS = self.back_2BS[:rows], self.back_2BS[rows:]
        through_BS.mul_(features_BS > 0)
        self.summed(through_BS, gradients["b_mag"])
        through_BS.mul_(self.gain_S)
        self.summed(projected_BS.mul_(through_BS), gradients["r_mag"])
        gate_back_BS.add_(self.recipe.l1 / rows).mul_(self.open_BS)
        torch.gt(self.summed(features_BS), 0, out=self.fired)
        self.encoder_gradients(through_BS.add_(gate_back_BS), products, ())
        self.summed(gate_back_BS, gradients["b_gate"])
        return loss
