"""What an SAE makes of completions, token by token.

Shape suffixes: N completions, T token rows, D d_in, S d_sae.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from deception_saes.activations.completions import TokenRows
    from deception_saes.saes.sae import Sae

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class CompletionFeatures:
    """mean_NS: mean of each feature over a completion's tokens, float32. fires_NS: whether it is
    active on one of them at least."""

    mean_NS: np.ndarray
    fires_NS: np.ndarray


@torch.inference_mode()
def completion_features(
    sae: Sae, rows: TokenRows, layer: int, ids: Sequence[str]
) -> CompletionFeatures:
    """Features of these completions, in this order.

    Raises ValueError, naming it, for a completion of which there is no token.
    """
    place = {id: n for n, id in enumerate(ids)}
    kept = rows.of(ids)
    completion_T = torch.tensor([place[id] for id in rows.completion[kept]], dtype=torch.long)
    tokens_N = torch.bincount(completion_T, minlength=len(ids))
    if (tokens_N == 0).any():
        lacking = ids[int((tokens_N == 0).nonzero()[0, 0])]
        raise ValueError(f"there is no activation of completion {lacking}; leave it out")
    sum_NS = torch.zeros(len(ids), sae.config.d_sae, dtype=torch.float64)
    fires_NS = torch.zeros(len(ids), sae.config.d_sae, dtype=torch.bool)
    x_TD = rows.x_by_layer[layer][torch.from_numpy(kept)]
    for x_BD, completion_B in zip(x_TD.split(_ROWS_AT_ONCE), completion_T.split(_ROWS_AT_ONCE),
                                  strict=True):
        f_BS = sae.encode(x_BD)
        sum_NS.index_add_(0, completion_B, f_BS.double())
        of_token, feature = (f_BS > 0).nonzero(as_tuple=True)
        fires_NS[completion_B[of_token], feature] = True
    return CompletionFeatures((sum_NS / tokens_N[:, None]).float().numpy(), fires_NS.numpy())
