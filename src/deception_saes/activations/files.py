"""Activations as one safetensors file: written whole or not at all, each layer read by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from deception_saes.activations.capture import Activations
from deception_saes.store.files import write_atomic

_TEXTS = ("question", "condition", "half")


def write_activations(path: Path, activations: Activations) -> None:
    """Write a file that `read_activations` reads; replaces one that is there."""
    from safetensors.torch import save

    tensors = {str(layer): x_ND.contiguous() for layer, x_ND in activations.x_by_layer.items()}
    tensors["position"] = torch.from_numpy(activations.position)
    texts = {name: json.dumps(getattr(activations, name).tolist()) for name in _TEXTS}
    write_atomic(path, save(tensors, texts))


def read_activations(path: Path, layers: Sequence[int] | None = None) -> Activations:
    """The activations of a file, at these layers only, or at all of them if None.

    Raises ValueError, naming the layers that the file has, for one that it has not.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        stored = sorted(int(name) for name in file.keys() if name != "position")  # noqa: SIM118
        wanted = stored if layers is None else layers
        missing = sorted(set(wanted) - set(stored))
        if missing:
            raise ValueError(f"{path} has no layer {missing[0]}; it has {stored}")
        texts = {name: np.array(json.loads(file.metadata()[name])) for name in _TEXTS}
        return Activations(
            x_by_layer={layer: file.get_tensor(str(layer)) for layer in wanted},
            position=file.get_tensor("position").numpy(),
            **texts,
        )
