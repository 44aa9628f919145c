"""At how many components a probe is as good as on all dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SHARE = 0.95
"""A probe is saturated where it has this share of what all dimensions gain over chance."""
CHANCE = 0.5


def saturation(components: Sequence[int], accuracy: np.ndarray) -> np.ndarray:
    """The smallest number of components whose balanced accuracy is at least that share of the way
    from chance to that of all dimensions, integers [...].

    components: ascending, the last being all dimensions. accuracy: from 0 to 1, [..., components].
    Where all dimensions are no better than chance there is nothing to share and the number, which
    always exists, means nothing.
    """
    accuracy = np.asarray(accuracy)
    if list(components) != sorted(components) or accuracy.shape[-1] != len(components):
        raise ValueError(f"{accuracy.shape[-1]} accuracies for components {list(components)}; "
                         "expected one for each, the numbers ascending")
    enough = CHANCE + SHARE * (accuracy[..., -1:] - CHANCE)
    enough = np.minimum(enough, accuracy[..., -1:])  # below chance, all dimensions must do
    # two accuracies that differ by less differ by rounding
    first = np.argmax(accuracy >= enough - 1e-9, axis=-1)
    return np.asarray(np.asarray(components)[first])
