"""§31: the full-SAE-swap."""

from deception_saes.paper.plots.swap import (
    centres,
    doses,
    forest,
    gaps,
    genuine_effects,
    seeds,
    top_features,
)

__all__ = ["centres", "doses", "forest", "gaps", "genuine_effects", "seeds", "top_features"]
