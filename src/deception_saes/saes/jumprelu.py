"""JumpReLU: a pre-activation above its feature's threshold passes unchanged, any other is zero
(Rajamanoharan et al. 2024, arXiv:2407.14435).

Shape suffixes: B rows, D d_in, S d_sae.
"""

from __future__ import annotations

import math

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

_FAINTEST = -30.0  # exponent of the kernel beyond which it counts as e^-30 of its height


class JumpReLU(Sae):
    """f = z where z > threshold, else 0; z = ReLU(x W_enc + b_enc)."""

    @staticmethod
    def shapes(config: SaeConfig) -> dict[str, tuple[int, ...]]:
        return {**autoencoder_shapes(config), "b_enc": (config.d_sae,),
                "threshold": (config.d_sae,)}

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        pre = self.projected(x) + self.weights["b_enc"]
        return pre.relu() * (pre > self.weights["threshold"])


class JumpReLURule(TrainingRule):
    """Squared error plus a penalty on L0, by straight-through estimates for the thresholds."""

    trained = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
    in_units_of_input = ("b_enc", "b_dec", "threshold")

    @staticmethod
    def loss(
        config: SaeConfig, recipe: Recipe, weights: Weights, x_BD: torch.Tensor,
        dead_S: torch.Tensor | None,
    ) -> Loss:
        """|x − x̂|², a mean over coordinates, + λ L0 or λ T (L0 / T − 1)² (arXiv:2407.14435, section
        3; the second form is Gemma Scope 2's).

        With K the standard normal density, e the bandwidth, z the pre-activation and θ the
        threshold, d f / d θ = −(θ / e) K((z − θ) / e) and d L0 / d θ = −(1 / e) K((z − θ) / e)
        (eqs. 11 and 12, where the kernel is a rectangle). L0 moves thresholds only.
        """
        pre_BS = projected(weights, x_BD) + weights["b_enc"]
        threshold_S = weights["threshold"]
        if not recipe.learn_threshold:
            threshold_S = threshold_S.detach()
        above_BS = (pre_BS > threshold_S).to(pre_BS.dtype)
        # 0, but with the gradient of `above_BS` made smooth
        distance_BS = (pre_BS - threshold_S).detach() / recipe.bandwidth
        density_BS = torch.exp(-0.5 * distance_BS.square()) / math.sqrt(2 * math.pi)
        estimate_BS = density_BS * (threshold_S.detach() - threshold_S) / recipe.bandwidth
        features_BS = pre_BS * above_BS + threshold_S.detach() * estimate_BS
        error_BD = x_BD - (features_BS @ weights["W_dec"] + weights["b_dec"])
        active_S = (above_BS + estimate_BS).sum(0)
        l0, target = active_S.sum() / len(x_BD), recipe.target_l0
        penalty = l0 if target is None else target * (l0 / target - 1) ** 2
        mse = error_BD.square().mean()
        return Loss(mse + recipe.l0 * penalty, mse, active_S > 0)

    def __init__(self, config: SaeConfig, recipe: Recipe, weights: Weights) -> None:
        super().__init__(config, recipe, weights)
        self.above_BS = torch.empty_like(self.pre_BS)
        self.kernel_BS = torch.empty_like(self.pre_BS)

    @staticmethod
    def initial(config: SaeConfig, recipe: Recipe, tied: Weights, sample: torch.Tensor) -> Weights:
        start = recipe.initial_threshold if recipe.learn_threshold else 0.0
        if recipe.learn_threshold and recipe.target_l0 is not None:
            pre = (sample - tied["b_dec"]) @ tied["W_enc"]
            active = min(config.d_sae, max(1, round(recipe.target_l0)))
            start = max(0.0, float(pre.topk(active, dim=-1).values[:, -1].mean()))
        zeros = torch.zeros(config.d_sae, device=sample.device)
        return {**tied, "b_enc": zeros, "threshold": torch.full_like(zeros, start)}

    def step(self, x_BD: torch.Tensor, dead_E: torch.Tensor) -> torch.Tensor:
        """The gradients of `loss`, written out by hand."""
        weights, recipe = self.weights, self.recipe
        pre_BS = self.encode_into(x_BD).add_(weights["b_enc"])
        torch.sub(pre_BS, weights["threshold"], out=self.kernel_BS)
        products = Products(self.kernel_BS > 0)
        pre_BS.mul_(self.above_BS.copy_(products.on_BS))
        torch.add(products.by_row(pre_BS, weights["W_dec"], self.error_BD), weights["b_dec"],
                  out=self.error_BD).sub_(x_BD)
        loss = self.squared_error()
        self.decoder_gradient(products, pre_BS)
        torch.mm(self.error_BD, weights["W_dec"].T, out=self.back_BS)
        active_S = self.summed(self.above_BS)
        torch.gt(active_S, 0, out=self.fired)
        if recipe.learn_threshold:
            self._threshold_gradient(float(active_S.sum()) / recipe.batch_size)
        self.encoder_gradients(self.back_BS.mul_(self.above_BS), products, ("b_enc",))
        return loss

    def _threshold_gradient(self, l0: float) -> None:
        recipe, width = self.recipe, self.recipe.bandwidth
        pull = recipe.l0 / recipe.batch_size
        if recipe.target_l0 is not None:
            pull *= 2 * (l0 / recipe.target_l0 - 1)
        # the floor keeps numbers too small for fast arithmetic out of the products
        kernel_BS = self.kernel_BS.square_().mul_(-0.5 / width**2).clamp_(min=_FAINTEST).exp_()
        near_S = self.summed(kernel_BS)
        self.summed(kernel_BS.mul_(self.back_BS), self.gradients["threshold"])
        self.gradients["threshold"].mul_(self.weights["threshold"]).add_(near_S, alpha=pull)
        self.gradients["threshold"].mul_(-1 / (width * math.sqrt(2 * math.pi)))

    def project(self) -> None:
        super().project()
        self.weights["threshold"].clamp_(min=0)
