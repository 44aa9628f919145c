"""Random streams that depend on a seed and a purpose, and on nothing else."""

from __future__ import annotations

import hashlib

import numpy as np


def subseed(seed: int, *purpose: str) -> int:
    """A 63-bit seed for one named purpose, so that adding a draw elsewhere moves no other draw."""
    digest = hashlib.sha256("\0".join((str(seed), *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *purpose: str) -> np.random.Generator:
    """A NumPy generator for one named purpose (see `subseed`)."""
    return np.random.default_rng(subseed(seed, *purpose))
