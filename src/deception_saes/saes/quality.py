"""How well an SAE describes activations it was not trained on.

Shape suffixes: N rows, Q prompts, V vocabulary, D d_in, S d_sae.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deception_saes.saes.config import SaeError
from deception_saes.saes.sae import Sae

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Quality:
    """How well some rows are described."""

    error_N: np.ndarray
    """Squared error of each row."""
    spread_N: np.ndarray
    """Its squared distance from the rows' mean."""
    active_N: np.ndarray
    """Its active features."""
    density_S: np.ndarray
    """Share of the rows in which each feature is active."""
    d_in: int

    @property
    def explained_variance(self) -> float:
        """1 − squared error / squared distance from the mean: 0 for predicting the mean."""
        return float(1 - self.error_N.sum() / self.spread_N.sum())

    @property
    def mse(self) -> float:
        """Mean squared error per coordinate."""
        return float(self.error_N.mean() / self.d_in)

    @property
    def l0(self) -> float:
        """Mean number of active features of a row."""
        return float(self.active_N.mean())

    @property
    def dead_share(self) -> float:
        """Share of the features that are active in no row."""
        return float((self.density_S == 0).mean())


@torch.inference_mode()
def quality(sae: Sae, x_ND: torch.Tensor) -> Quality:
    """Quality on rows [N, D], summed in float64 as they stream through.

    Raises SaeError if there are fewer than two rows, or if all are the same.
    """
    if x_ND.ndim != 2 or len(x_ND) < 2:
        raise SaeError(f"quality needs at least two rows, got activations of shape "
                       f"{list(x_ND.shape)}")
    mean_D = torch.stack([x_BD.double().sum(0) for x_BD in x_ND.split(_ROWS_AT_ONCE)]).sum(0)
    mean_D /= len(x_ND)
    errors, spreads, actives = [], [], []
    density_S = torch.zeros(sae.config.d_sae, dtype=torch.float64, device=x_ND.device)
    for x_BD in x_ND.split(_ROWS_AT_ONCE):
        features_BS = sae.encode(x_BD)
        errors.append((x_BD.double() - sae.decode(features_BS).double()).square().sum(1))
        spreads.append((x_BD.double() - mean_D).square().sum(1))
        actives.append((features_BS > 0).sum(1))
        density_S += (features_BS > 0).sum(0)
    found = Quality(torch.cat(errors).cpu().numpy(), torch.cat(spreads).cpu().numpy(),
                    torch.cat(actives).cpu().numpy(), (density_S / len(x_ND)).cpu().numpy(),
                    x_ND.shape[1])
    if not found.spread_N.sum() > 0:
        raise SaeError(f"all {len(x_ND)} rows are the same; no share of their variance can be "
                       "explained")
    return found


def divergence(log_p_clean: torch.Tensor, log_p_other: torch.Tensor) -> np.ndarray:
    """KL(clean ‖ other) in nats of each prompt, [Q], of log-probabilities [Q, V]."""
    kl_Q: np.ndarray = (log_p_clean.exp() * (log_p_clean - log_p_other)).sum(-1).cpu().numpy()
    return kl_Q
