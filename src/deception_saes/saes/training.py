"""Train one SAE on rows of an activation matrix.

Inputs are scaled: the rows' mean is taken off, and what is left divided by its root mean square.
Both are folded into the finished weights, which take and give residuals as they are.

Shape suffixes: N rows, D d_in, S d_sae.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from deception_saes.rng import generator, subseed
from deception_saes.saes.config import Recipe, SaeConfig, SaeError
from deception_saes.saes.registry import architecture
from deception_saes.saes.sae import Sae, TrainingRule, Weights
from deception_saes.saes.steps import CapturedSteps, Scaled, StepsByHand, own_stream
from deception_saes.store.files import write_atomic

SECONDS_BETWEEN_CHECKPOINTS = 60
_SAMPLE = 4096  # rows that initial weights are scaled by


@dataclass(frozen=True)
class Job:
    """One SAE to train."""

    name: str
    """Seeds its weights and its order of rows."""
    config: SaeConfig
    recipe: Recipe
    rows: np.ndarray
    """[n] indices into the activation matrix."""


@dataclass(frozen=True)
class Trained:
    """What a training gave."""

    sae: Sae
    seconds: float
    """Of training, all sessions of it together."""
    mse: float
    """Mean squared error per coordinate of the scaled input, over the last epoch."""


def check(job: Job, x_ND: torch.Tensor) -> None:
    """Raise SaeError, naming the SAE, if it cannot be trained on these rows."""
    recipe, config = job.recipe, job.config
    try:
        architecture(config.architecture).sae.shapes(config)
    except SaeError as error:
        raise SaeError(f"{job.name}: {error}") from None
    if x_ND.ndim != 2 or x_ND.shape[1] != config.d_in:
        raise SaeError(f"{job.name}: activations of shape {list(x_ND.shape)}; expected "
                       f"[rows, {config.d_in}]")
    if recipe.bfloat16 and not x_ND.is_cuda:
        raise SaeError(f"{job.name}: its recipe asks for bfloat16, and is to be trained on "
                       f"{x_ND.device.type}; train it on a GPU, or without bfloat16")
    if len(job.rows) < recipe.batch_size:
        raise SaeError(f"{job.name}: {len(job.rows)} training rows are fewer than a batch of "
                       f"{recipe.batch_size}; ask more questions or lower the batch size")
    rows_ND = x_ND[torch.from_numpy(job.rows)]
    if not torch.isfinite(rows_ND).all():
        raise SaeError(f"{job.name}: {int((~torch.isfinite(rows_ND)).any(1).sum())} training rows "
                       "hold a number that is not finite; look at the model or the capture")
    if not float(rows_ND.double().var(0).sum()) > 0:
        raise SaeError(f"{job.name}: all {len(job.rows)} training rows are the same; there is "
                       "nothing to learn from them")


def train(
    job: Job, x_ND: torch.Tensor, seed: int, checkpoint: Path | None = None,
    progress: Callable[[int], object] = lambda steps: None,
) -> Trained:
    """Train by Adam on the rule's gradients, decoder rows kept at unit norm.

    x_ND: the activation matrix, on the device to train on. checkpoint: a file in which progress is
    kept; a run that finds its own there goes on from it, on a CPU to the same bits. progress:
    called with the number of steps just done.
    Raises SaeError before training if the job cannot be trained, and in the epoch in which it
    diverges.
    """
    check(job, x_ND)
    with own_stream(x_ND.device):
        return _train(job, x_ND, seed, checkpoint, progress)


def _train(
    job: Job, x_ND: torch.Tensor, seed: int, checkpoint: Path | None,
    progress: Callable[[int], object],
) -> Trained:
    data = _scaled(job, x_ND)
    rule, batches = _rule(job, data, seed), len(job.rows) // job.recipe.batch_size
    steps = (CapturedSteps if x_ND.is_cuda else StepsByHand)(rule, data, batches)
    state, identity = steps.state(), _identity(job, x_ND, seed)
    first, seconds, mse = _read_checkpoint(checkpoint, identity, state)
    saved = time.perf_counter()
    order_MB = _order(job, seed, first)
    for epoch in range(first, job.recipe.epochs):
        began = time.perf_counter()
        running = steps.epoch(order_MB.to(x_ND.device), epoch * batches)
        order_MB = _order(job, seed, epoch + 1)  # meanwhile, if it is a GPU that is running
        mse = float(running)
        progress(batches)
        now = time.perf_counter()
        if not math.isfinite(mse):
            raise SaeError(f"{job.name}: its training diverged in epoch {epoch + 1}; lower the "
                           f"learning rate of {job.recipe.learning_rate}")
        seconds += now - began
        if checkpoint and (epoch == job.recipe.epochs - 1
                           or now - saved > SECONDS_BETWEEN_CHECKPOINTS):
            _write_checkpoint(checkpoint, identity, state, epoch + 1, seconds, mse)
            saved = now
    return Trained(architecture(job.config.architecture).sae(job.config, fold(rule, data)),
                   seconds, mse)


def untrained(job: Job, x_ND: torch.Tensor, seed: int) -> Sae:
    """The SAE that `train` would start from: random features at the rows' own scale.

    Raises SaeError as `train` does before training.
    """
    check(job, x_ND)
    data = _scaled(job, x_ND)
    return architecture(job.config.architecture).sae(
        job.config, fold(_rule(job, data, seed), data))


def _order(job: Job, seed: int, epoch: int) -> torch.Tensor:
    """The rows of an epoch's batches, [batches, rows]."""
    size = job.recipe.batch_size
    order = generator(seed, "rows", job.name, str(epoch)).permutation(job.rows)
    return torch.from_numpy(order[: len(order) // size * size]).view(-1, size)


@torch.no_grad()
def fold(rule: TrainingRule, data: Scaled) -> Weights:
    """Weights that take unscaled residuals: with x = scale x' + mean, features are scale times
    those of x', so every bias and threshold is scaled and the encoder stays as it is."""
    folded = {name: weight * data.scale if name in rule.in_units_of_input else weight.clone(
        memory_format=torch.contiguous_format) for name, weight in rule.weights.items()}
    folded["b_dec"] += data.mean_D
    return folded


def _scaled(job: Job, x_ND: torch.Tensor) -> Scaled:
    chosen_ND = x_ND[torch.from_numpy(job.rows)].double()
    mean_D = chosen_ND.mean(0)
    return Scaled(x_ND, mean_D.float(), float((chosen_ND - mean_D).square().mean().sqrt()))


def _rule(job: Job, data: Scaled, seed: int) -> TrainingRule:
    x_ND = data.x_ND
    random = torch.Generator().manual_seed(subseed(seed, "weights", job.name))
    decoder_SD = torch.randn(job.config.d_sae, job.config.d_in, generator=random).to(x_ND.device)
    decoder_SD /= torch.linalg.vector_norm(decoder_SD, dim=1, keepdim=True)
    # its rows are features in memory too, as its gradient's are
    tied = {"W_enc": decoder_SD.clone().T, "W_dec": decoder_SD,
            "b_dec": torch.zeros(job.config.d_in, device=x_ND.device)}
    few = x_ND[torch.from_numpy(job.rows[:: max(1, len(job.rows) // _SAMPLE)])]
    sample = (few - data.mean_D) / data.scale
    of = architecture(job.config.architecture)
    weights = of.rule.initial(job.config, job.recipe, tied, sample)
    _shrink(of.sae(job.config, weights), of.rule, sample)
    return of.rule(job.config, job.recipe, weights)


def _shrink(start: Sae, rule: type[TrainingRule], sample: torch.Tensor) -> None:
    """Multiply the features by the one number with which they reconstruct best. Random directions
    overlap, so that tied weights reconstruct too much, and the first steps would go to that."""
    decoded = start.decode(start.encode(sample))
    power = float(decoded.square().sum())
    if power > 0:
        best = float((decoded * sample).sum()) / power
        for name in ("W_enc", *rule.in_units_of_input):
            start.weights[name].mul_(best)


def _identity(job: Job, x_ND: torch.Tensor, seed: int) -> str:
    """Tells this training from any other."""
    about = hashlib.sha256(repr((job.name, job.config, job.recipe, seed)).encode())
    about.update(job.rows.tobytes())
    about.update(x_ND[torch.from_numpy(job.rows)].cpu().numpy().tobytes())
    return about.hexdigest()


def _write_checkpoint(
    path: Path, run: str, state: dict[str, torch.Tensor], epochs: int, seconds: float, mse: float
) -> None:
    """Keep the state after this many epochs. run: tells this training from any other."""
    standing = {"run": run, "epochs": str(epochs), "seconds": repr(seconds), "mse": repr(mse)}
    write_atomic(path, to_bytes({name: tensor.detach().cpu() for name, tensor in state.items()},
                                metadata=standing))


@torch.no_grad()
def _read_checkpoint(
    path: Path | None, run: str, state: dict[str, torch.Tensor]
) -> tuple[int, float, float]:
    """Copy what the file holds into `state`; epochs done, seconds spent, last mean squared error.

    0, 0 and NaN if there is no file. Raises SaeError if it is not this run's.
    """
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
