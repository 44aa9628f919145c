"""Where a training run stands, in a file that is whole or absent."""

from __future__ import annotations

from pathlib import Path

import torch

from deception_saes.saes.errors import SaeError
from deception_saes.store.files import write_atomic


def write_checkpoint(
    path: Path, run: str, state: dict[str, torch.Tensor], epochs: int, seconds: float, mse: float
) -> None:
    """Keep the state after this many epochs. run: tells this training from any other."""
    from safetensors.torch import save

    standing = {"run": run, "epochs": str(epochs), "seconds": repr(seconds), "mse": repr(mse)}
    write_atomic(path, save({name: tensor.detach().cpu() for name, tensor in state.items()},
                            metadata=standing))


def read_checkpoint(
    path: Path | None, run: str, state: dict[str, torch.Tensor]
) -> tuple[int, float, float]:
    """Copy what the file holds into `state`; epochs done, seconds spent, last mean squared error.

    0, 0 and NaN if there is no file. Raises SaeError if it is not this run's.
    """
    from safetensors import SafetensorError, safe_open

    if path is None or not path.is_file():
        return 0, 0.0, float("nan")
    try:
        with safe_open(path, framework="pt") as file:
            standing = file.metadata()
            kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if standing["run"] != run:
            raise ValueError("it is of another SAE, recipe, seed or data")
        for name, tensor in state.items():
            tensor.copy_(kept[name])
        return int(standing["epochs"]), float(standing["seconds"]), float(standing["mse"])
    except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise SaeError(f"{path}: not the checkpoint of this training ({error}); delete it to "
                       "train from the beginning") from None
