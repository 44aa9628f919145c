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
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from deception_saes.rng import generator, subseed
from deception_saes.saes.config import Recipe, SaeConfig, SaeError
from deception_saes.saes.registry import architecture
from deception_saes.saes.sae import Sae, TrainingRule, Weights
from deception_saes.store.files import write_atomic

SECONDS_BETWEEN_CHECKPOINTS = 60
_EPSILON = 1e-8  # of Adam, for a squared error that is summed over coordinates
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
    kept; a run that finds its own there goes on from it to the same bits. progress: called with
    the number of steps just done.
    Raises SaeError before training if the job cannot be trained, and in the epoch in which it
    diverges.
    """
    check(job, x_ND)
    recipe = job.recipe
    mean_D, scale = _scaling(x_ND, job.rows)
    rule = _rule(job, (x_ND, mean_D, scale), seed)
    optimised = {name: _in_memory_order(rule, name, rule.weights) for name in rule.trained}
    largest = recipe.clip / job.config.d_in
    optimiser = torch.optim.Adam(
        [{"params": [weight], "rate": recipe.learning_rate * (
            recipe.threshold_rate if name == "threshold" else 1)}
         for name, weight in optimised.items()],
        eps=_EPSILON / job.config.d_in, fused=True)
    silent_S = torch.zeros(job.config.d_sae, dtype=torch.int32, device=x_ND.device)
    state, identity = _state(optimised, optimiser, silent_S), _identity(job, x_ND, seed)
    first, seconds, mse = _read_checkpoint(checkpoint, identity, state)
    batches = len(job.rows) // recipe.batch_size
    window = max(1, math.ceil(recipe.dead_window * recipe.epochs * batches * recipe.batch_size))
    x_BD, saved = x_ND.new_empty(recipe.batch_size, job.config.d_in), time.perf_counter()
    for epoch in range(first, recipe.epochs):
        began = time.perf_counter()
        total = torch.zeros((), device=x_ND.device)
        order = generator(seed, "rows", job.name, str(epoch)).permutation(job.rows)
        for batch, rows in enumerate(torch.from_numpy(order).to(x_ND.device).split(
                recipe.batch_size)[:batches]):
            with torch.no_grad():
                torch.index_select(x_ND, 0, rows, out=x_BD).sub_(mean_D).div_(scale)
                dead = (silent_S >= window).nonzero()[:, 0] if rule.revives else silent_S[:0]
                total += rule.step(x_BD, dead)
                left = rate_left(recipe, epoch * batches + batch, recipe.epochs * batches)
                for group in optimiser.param_groups:
                    group["lr"] = group["rate"] * left
                for name, weight in optimised.items():
                    weight.grad = _in_memory_order(rule, name, rule.gradients)
                norm = get_total_norm(rule.gradients.values())
                if float(norm) > largest:
                    clip_grads_with_norm_(optimised.values(), largest, norm)
                optimiser.step()
                rule.project()
                silent_S.add_(recipe.batch_size).masked_fill_(rule.fired, 0)
        progress(batches)
        mse, now = float(total) / batches, time.perf_counter()
        if not math.isfinite(mse):
            raise SaeError(f"{job.name}: its training diverged in epoch {epoch + 1}; lower the "
                           f"learning rate of {recipe.learning_rate}")
        seconds += now - began
        if checkpoint and (epoch == recipe.epochs - 1
                           or now - saved > SECONDS_BETWEEN_CHECKPOINTS):
            _write_checkpoint(checkpoint, identity, state, epoch + 1, seconds, mse)
            saved = now
    folded = fold(rule, mean_D, scale)
    return Trained(architecture(job.config.architecture).sae(job.config, folded), seconds, mse)


def untrained(job: Job, x_ND: torch.Tensor, seed: int) -> Sae:
    """The SAE that `train` would start from: random features at the rows' own scale.

    Raises SaeError as `train` does before training.
    """
    check(job, x_ND)
    mean_D, scale = _scaling(x_ND, job.rows)
    folded = fold(_rule(job, (x_ND, mean_D, scale), seed), mean_D, scale)
    return architecture(job.config.architecture).sae(job.config, folded)


def rate_left(recipe: Recipe, step: int, steps: int) -> float:
    """The share of the learning rate at one step: 1, then falling to zero over the last steps."""
    falling = recipe.decay * steps
    return min(1.0, (steps - step) / falling) if falling else 1.0


def fold(rule: TrainingRule, mean_D: torch.Tensor, scale: float) -> Weights:
    """Weights that take unscaled residuals: with x = scale x' + mean, features are scale times
    those of x', so every bias and threshold is scaled and the encoder stays as it is."""
    folded = {name: weight * scale if name in rule.in_units_of_input else weight.clone(
        memory_format=torch.contiguous_format) for name, weight in rule.weights.items()}
    folded["b_dec"] += mean_D
    return folded


def _in_memory_order(rule: TrainingRule, name: str, among: Weights) -> torch.Tensor:
    """A weight, or its gradient, turned as the weight lies in memory: the optimiser's fused step
    takes both for contiguous."""
    turned = among[name] if rule.weights[name].is_contiguous() else among[name].T
    return turned.contiguous()


def _scaling(x_ND: torch.Tensor, rows: np.ndarray) -> tuple[torch.Tensor, float]:
    chosen_ND = x_ND[torch.from_numpy(rows)].double()
    mean_D = chosen_ND.mean(0)
    return mean_D.float(), float((chosen_ND - mean_D).square().mean().sqrt())


def _rule(job: Job, data: tuple[torch.Tensor, torch.Tensor, float], seed: int) -> TrainingRule:
    x_ND, mean_D, scale = data
    random = torch.Generator().manual_seed(subseed(seed, "weights", job.name))
    decoder_SD = torch.randn(job.config.d_sae, job.config.d_in, generator=random).to(x_ND.device)
    decoder_SD /= torch.linalg.vector_norm(decoder_SD, dim=1, keepdim=True)
    # its rows are features in memory too, as its gradient's are
    tied = {"W_enc": decoder_SD.clone().T, "W_dec": decoder_SD,
            "b_dec": torch.zeros(job.config.d_in, device=x_ND.device)}
    few = x_ND[torch.from_numpy(job.rows[:: max(1, len(job.rows) // _SAMPLE)])]
    sample = (few - mean_D) / scale
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


def _state(
    optimised: Weights, optimiser: torch.optim.Adam, silent_S: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Everything that changes between epochs, by name, as the very tensors in use."""
    state = {"silent": silent_S}
    for name, weight in optimised.items():
        moments = optimiser.state[weight]
        moments["step"] = torch.zeros((), device=weight.device)
        moments["exp_avg"] = torch.zeros_like(weight)
        moments["exp_avg_sq"] = torch.zeros_like(weight)
        state |= {f"{name}.{moment}": tensor for moment, tensor in moments.items()}
        state[name] = weight
    return state


def _write_checkpoint(
    path: Path, run: str, state: dict[str, torch.Tensor], epochs: int, seconds: float, mse: float
) -> None:
    """Keep the state after this many epochs. run: tells this training from any other."""
    standing = {"run": run, "epochs": str(epochs), "seconds": repr(seconds), "mse": repr(mse)}
    write_atomic(path, to_bytes({name: tensor.detach().cpu() for name, tensor in state.items()},
                                metadata=standing))


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
