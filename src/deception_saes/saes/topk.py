"""TopK: the k largest pre-activations of a row are its features (Gao et al. 2024,
arXiv:2406.04093).

Shape suffixes: B rows, D d_in, S d_sae, K active features of a row.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from deception_saes.saes.config import Recipe, SaeConfig, SaeError
from deception_saes.saes.products import Products
from deception_saes.saes.sae import (
    Loss,
    Sae,
    TrainingRule,
    Weights,
    autoencoder_shapes,
    projected,
)


class TopK(Sae):
    """f = ReLU(TopK(x W_enc + b_enc))."""

    @staticmethod
    def shapes(config: SaeConfig) -> dict[str, tuple[int, ...]]:
        if config.k is None:
            raise SaeError("a TopK SAE needs k, the number of features of a row; its "
                           "configuration has none, and guessing one would change every feature")
        if not 1 <= config.k <= config.d_sae:
            raise SaeError(f"k is {config.k}; it must be from 1 to d_sae, {config.d_sae}")
        return {**autoencoder_shapes(config), "b_enc": (config.d_sae,)}

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return _topk(self.projected(x) + self.weights["b_enc"], self.config.k or 0)


def _topk(pre: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest of each row, rectified, all others 0."""
    values, indices = pre.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(pre).scatter_(-1, indices, values.relu())


def _masked(pre: torch.Tensor, k: int) -> torch.Tensor:
    """The same as `_topk`, which autograd goes back through in one pass."""
    places = pre.topk(k, dim=-1, sorted=False).indices
    return pre.relu() * torch.zeros_like(pre).scatter(-1, places, 1.0)


def _largest(pre: torch.Tensor, k: int) -> torch.Tensor:
    """Indices of the k largest of each row. On a CPU numpy finds them sooner; they are put in
    order, as its own depends on the processor, and the last bits of sums on that."""
    if pre.device.type != "cpu":
        return pre.topk(k, dim=-1, sorted=False).indices
    return torch.from_numpy(np.sort(np.argpartition(pre.numpy(), -k, axis=-1)[:, -k:], axis=-1))


class TopKRule(TrainingRule):
    """Squared error, plus an auxiliary loss by which dead features learn what is left over."""

    trained = ("W_enc", "W_dec", "b_enc", "b_dec")
    in_units_of_input = ("b_enc", "b_dec")
    revives = True

    @staticmethod
    def loss(
        config: SaeConfig, recipe: Recipe, weights: Weights, x_BD: torch.Tensor,
        dead_S: torch.Tensor | None,
    ) -> Loss:
        """|x − x̂|² (Gao et al. 2024, section 2.3) + α |e − ê|² with e = x − x̂, which is not trained
        by this term, and ê the reconstruction by the largest dead features (appendix A.2); each
        square a mean over coordinates."""
        projected_BS = projected(weights, x_BD)
        # in the products' precision, as nothing finer is known of it
        pre_BS = (projected_BS + weights["b_enc"]).to(projected_BS.dtype)
        features_BS = _masked(pre_BS, config.k or 0)
        error_BD = x_BD - (features_BS @ weights["W_dec"] + weights["b_dec"])
        loss = mse = error_BD.square().mean()
        if dead_S is not None:
            dead_BS = _masked(pre_BS.masked_fill(~dead_S, -torch.inf),
                              _most_revived(config, config.d_sae))
            left_BD = error_BD.detach() - dead_BS @ weights["W_dec"]
            loss = mse + recipe.aux_weight * left_BD.square().mean()
        return Loss(loss, mse, (features_BS > 0).any(0))

    def __init__(self, config: SaeConfig, recipe: Recipe, weights: Weights) -> None:
        super().__init__(config, recipe, weights)
        self.features_BS = torch.empty_like(self.pre_BS)
        self.left_BD = torch.empty_like(self.error_BD)

    @staticmethod
    def initial(config: SaeConfig, recipe: Recipe, tied: Weights, sample: torch.Tensor) -> Weights:
        return {**tied, "b_enc": torch.zeros(config.d_sae, device=sample.device)}

    def step(self, x_BD: torch.Tensor, dead_E: torch.Tensor) -> torch.Tensor:
        """The gradients of `loss`, written out by hand."""
        weights = self.weights
        pre_BS = self.encode_into(x_BD).add_(weights["b_enc"])
        indices_BK = _largest(pre_BS, self.config.k or 0)
        values_BK = pre_BS.gather(1, indices_BK).relu_()
        # only K rows of W_dec matter to a row: summing them beats the dense product
        decoded_BD = embedding_bag(indices_BK, weights["W_dec"], per_sample_weights=values_BK,
                                   mode="sum")
        torch.add(decoded_BD, weights["b_dec"], out=self.error_BD).sub_(x_BD)
        torch.neg(self.error_BD, out=self.left_BD)
        loss = self.squared_error()
        self.features_BS.zero_().scatter_(1, indices_BK, values_BK)
        products = Products(self.features_BS > 0)
        products.back(self.error_BD, weights["W_dec"], self.back_BS).mul_(products.on_BS)
        self.decoder_gradient(products, self.features_BS)
        torch.gt(self.summed(self.features_BS), 0, out=self.fired)
        if len(dead_E):
            self._revive(dead_E)
            products = Products(self.back_BS != 0)
        self.encoder_gradients(self.back_BS, products, ("b_enc",))
        return loss

    def _revive(self, dead_E: torch.Tensor) -> None:
        """Add the auxiliary loss's gradients by the dead features E."""
        rows, decoder_ED = self.recipe.batch_size, self.weights["W_dec"][dead_E]
        features_BE = _topk(self.pre_BS[:, dead_E], _most_revived(self.config, len(dead_E)))
        error_BD = (features_BE @ decoder_ED).sub_(self.left_BD)
        error_BD.mul_(self.recipe.aux_weight * 2 / (rows * self.config.d_in))
        self.gradients["W_dec"].index_add_(0, dead_E, features_BE.T @ error_BD)
        back_BE = (error_BD @ decoder_ED.T).mul_(features_BE > 0)
        self.back_BS[:, dead_E] += back_BE


def _most_revived(config: SaeConfig, dead: int) -> int:
    """How many dead features may reconstruct one row: half of its width, as in the paper."""
    return min(dead, max(1, config.d_in // 2))
