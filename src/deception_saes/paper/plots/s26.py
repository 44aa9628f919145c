"""§26: the full-SAE-swap."""

from deception_saes.paper.plots import swap
from deception_saes.paper.plots.swap_captions import FIGURES, SUMMARY, TABLES

__all__ = ["FIGURES", "SUMMARY", "TABLES", "swap"]
