"""The steps of a training: on a CPU by gradients written out by hand; on a GPU by the loss itself,
differentiated and compiled by torch, a whole step then captured as a CUDA graph, as at the study's
sizes launching a step's kernels one by one takes longer than running them.

Shape suffixes: N rows of the activation matrix, B rows of a batch, M batches of an epoch, T steps
of a training, D d_in, S d_sae, E dead features.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from deception_saes.saes.config import Recipe
from deception_saes.saes.sae import Loss, TrainingRule, Weights

_EPSILON = 1e-8  # of Adam, for a squared error that is summed over coordinates
_BETAS = (0.9, 0.999)  # of Adam, as torch has them
_NOT_ZERO = 1e-6  # under a gradient's norm, as torch has it
_SIZES = 256  # kinds and sizes of SAEs that a process may compile for
_WARM_UP = 3  # steps before one is captured: libraries and kernels are made ready in them
_SETTING_UP = Lock()  # a capture is broken by whatever waits for the whole GPU, as compiling does


@dataclass(frozen=True)
class Scaled:
    """Rows to train on, and what scales them."""

    x_ND: torch.Tensor
    mean_D: torch.Tensor
    scale: float


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """On a GPU, a stream of its own: steps cannot be captured on the default one, and trainings
    side by side need one each."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


class Steps(ABC):
    """The state of a training, and what moves it on."""

    def __init__(self, rule: TrainingRule, data: Scaled, batches: int) -> None:
        """batches: of an epoch."""
        self.rule, self.recipe, self.data, self.batches = rule, rule.recipe, data, batches
        self.steps = self.recipe.epochs * batches
        # rows in which a feature must stay silent to count as dead
        self.window = max(1, math.ceil(
            self.recipe.dead_window * self.recipe.epochs * batches * self.recipe.batch_size))
        self.optimised = {name: _in_memory_order(rule, name, rule.weights)
                          for name in rule.trained
                          if not (name == "W_dec" and rule.recipe.frozen_decoder)}
        self.moments = {name: {"step": torch.zeros((), device=weight.device),
                               "exp_avg": torch.zeros_like(weight),
                               "exp_avg_sq": torch.zeros_like(weight)}
                        for name, weight in self.optimised.items()}
        """Adam's, by weight."""
        self.silent_S = torch.zeros(rule.config.d_sae, dtype=torch.int32,
                                    device=data.x_ND.device)

    @abstractmethod
    def epoch(self, order_MB: torch.Tensor, done: int) -> torch.Tensor:
        """One step a batch; the mean squared error, a mean over them, 0-dim.

        order_MB: rows of the activation matrix. done: steps before this epoch.
        """

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that changes between epochs, by name, as the very tensors in use."""
        state = {"silent": self.silent_S}
        for name, weight in self.optimised.items():
            state |= {f"{name}.{of}": tensor for of, tensor in self.moments[name].items()}
            state[name] = weight
        return state


class StepsByHand(Steps):
    """By the gradients that the rule gives."""

    def __init__(self, rule: TrainingRule, data: Scaled, batches: int) -> None:
        super().__init__(rule, data, batches)
        self.optimiser = torch.optim.Adam(
            [{"params": [weight], "rate": _rate(self.recipe, name)}
             for name, weight in self.optimised.items()],
            eps=_EPSILON / rule.config.d_in, fused=True)
        for name, weight in self.optimised.items():
            self.optimiser.state[weight] = self.moments[name]

    def epoch(self, order_MB: torch.Tensor, done: int) -> torch.Tensor:
        rule, x_ND, largest = self.rule, self.data.x_ND, _largest_norm(self.rule)
        x_BD = x_ND.new_empty(order_MB.shape[1], x_ND.shape[1])
        total = torch.zeros((), device=x_ND.device)
        for step, rows in enumerate(order_MB, start=done):
            with torch.no_grad():
                torch.index_select(x_ND, 0, rows, out=x_BD)
                x_BD.sub_(self.data.mean_D).div_(self.data.scale)
                dead_E = ((self.silent_S >= self.window).nonzero()[:, 0] if rule.revives
                          else self.silent_S[:0])
                total += rule.step(x_BD, dead_E)
                left = rate_left(self.recipe, step, self.steps)
                for group in self.optimiser.param_groups:
                    group["lr"] = group["rate"] * left
                for name, weight in self.optimised.items():
                    weight.grad = _in_memory_order(rule, name, rule.gradients)
                norm = get_total_norm([rule.gradients[name] for name in self.optimised])
                if float(norm) > largest:
                    clip_grads_with_norm_(self.optimised.values(), largest, norm)
                self.optimiser.step()
                rule.project()
                self.silent_S.add_(len(rows)).masked_fill_(rule.fired, 0)
        return total / self.batches


class CapturedSteps(Steps):
    """By the rule's loss. The first steps are warm-up; then a step is captured, on the present
    stream, and replayed.

    Compiling needs a C compiler and Python's headers; TORCHDYNAMO_DISABLE=1 does without. On
    another device than a GPU, for tests, nothing is compiled nor captured.
    """

    def __init__(self, rule: TrainingRule, data: Scaled, batches: int) -> None:
        super().__init__(rule, data, batches)
        device, self.on_gpu = data.x_ND.device, data.x_ND.is_cuda
        self.loss = _compiled(_loss) if self.on_gpu else _loss
        self.update = _compiled(_update) if self.on_gpu else _update
        self.scale = torch.tensor(data.scale, device=device)  # as a number it is compiled in
        self.rates_T = torch.tensor([rate_left(self.recipe, step, self.steps)
                                     for step in range(self.steps)], device=device)
        self.order_MB = torch.zeros(batches, self.recipe.batch_size, dtype=torch.long,
                                    device=device)
        self.step_1 = torch.zeros(1, dtype=torch.long, device=device)
        self.batch_1 = torch.zeros_like(self.step_1)
        self.total = torch.zeros((), device=device)
        self.leaves: Weights = {}
        self.graphs: dict[bool, torch.cuda.CUDAGraph] = {}

    def epoch(self, order_MB: torch.Tensor, done: int) -> torch.Tensor:
        if not self.leaves:  # not before a checkpoint has been read
            self.leaves = {name: weight.to(_precision(self.recipe, weight), copy=True)
                           .requires_grad_() for name, weight in self.optimised.items()}
        self.order_MB.copy_(order_MB)
        self.step_1.fill_(done)
        self.batch_1.zero_()
        self.total.zero_()
        # whether a feature may come to count as dead before the epoch ends
        oldest = self.rule.revives and int(self.silent_S.max()) + self.order_MB[1:].numel()
        self._advance(reviving=self.rule.revives and oldest >= self.window)
        return self.total / self.batches

    def _advance(self, reviving: bool) -> None:
        left = self.batches
        if reviving not in self.graphs:
            with _SETTING_UP:
                for _ in range(min(left, _WARM_UP)):
                    self._step(reviving)
                    left -= 1
                if self.on_gpu and left:
                    self.graphs[reviving] = self._captured(reviving)
        for _ in range(left):
            if self.on_gpu:
                self.graphs[reviving].replay()
            else:
                self._step(reviving)

    def _captured(self, reviving: bool) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(),
                              capture_error_mode="thread_local"):
            self._step(reviving)
        return graph

    def _step(self, reviving: bool) -> None:
        device = self.data.x_ND.device
        weights = {name: leaf if self.rule.weights[name].is_contiguous() else leaf.T
                   for name, leaf in self.leaves.items()}
        if self.recipe.frozen_decoder:
            weights["W_dec"] = self.rule.weights["W_dec"]
        # with dead features torch 2.11 to 2.13 compile TopK's loss into a wrong one, all features 0
        loss_of = _loss if reviving else self.loss
        with torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.bfloat16,
                            cache_enabled=False):
            loss = loss_of(self.rule, weights, self.data.x_ND, self.data.mean_D, self.scale,
                           self.order_MB.index_select(0, self.batch_1)[0],
                           self.silent_S >= self.window if reviving else None)
        gradients = torch.autograd.grad(loss.total, [*self.leaves.values()],
                                        materialize_grads=True)
        with torch.no_grad():
            self.update(self, loss, gradients, self.rates_T.index_select(0, self.step_1)[0])


def _loss(
    rule: TrainingRule, weights: Weights, x_ND: torch.Tensor, mean_D: torch.Tensor,
    scale: torch.Tensor, rows: torch.Tensor, dead_S: torch.Tensor | None,
) -> Loss:
    x_BD = (x_ND.index_select(0, rows) - mean_D) / scale
    return rule.loss(rule.config, rule.recipe, weights, x_BD, dead_S)


def _update(
    of: CapturedSteps, loss: Loss, gradients: Sequence[torch.Tensor], left: torch.Tensor
) -> None:
    """Adam's step (Kingma & Ba 2014, arXiv:1412.6980, algorithm 1), as `torch.optim.Adam` takes it,
    of clipped gradients, and all that follows: torch's own needs gradients in float32, and passes
    of its own to clip them."""
    (first, second), rule = _BETAS, of.rule
    norm = torch.stack([gradient.float().square().sum() for gradient in gradients]).sum().sqrt()
    clip = (_largest_norm(rule) / (norm + _NOT_ZERO)).clamp(max=1)
    for (name, weight), gradient in zip(of.optimised.items(), gradients, strict=True):
        moments = of.moments[name]
        clipped = gradient.float() * clip
        step = moments["step"].add_(1)
        mean = moments["exp_avg"].lerp_(clipped, 1 - first)
        square = moments["exp_avg_sq"].mul_(second).addcmul_(clipped, clipped, value=1 - second)
        spread = (square / (1 - second**step)).sqrt() + _EPSILON / rule.config.d_in
        weight.sub_(_rate(of.recipe, name) * left / (1 - first**step) * mean / spread)
    rule.project()
    for name, leaf in of.leaves.items():
        leaf.copy_(of.optimised[name])
    of.silent_S.add_(of.recipe.batch_size).masked_fill_(loss.fired_S, 0)
    of.total.add_(loss.mse)
    of.step_1.add_(1)
    of.batch_1.add_(1)


def _rate(recipe: Recipe, name: str) -> float:
    return recipe.learning_rate * (recipe.threshold_rate if name == "threshold" else 1)


def _largest_norm(rule: TrainingRule) -> float:
    return rule.recipe.clip / rule.config.d_in


def _precision(recipe: Recipe, weight: torch.Tensor) -> torch.dtype:
    """Of a weight in products: its gradient too is then read and written in half of the bytes."""
    return torch.bfloat16 if recipe.bfloat16 and weight.ndim == 2 else torch.float32


def rate_left(recipe: Recipe, step: int, steps: int) -> float:
    """The share of the learning rate at one step: 1, then falling to zero over the last steps."""
    falling = recipe.decay * steps
    return min(1.0, (steps - step) / falling) if falling else 1.0


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # sizes written into the code: to compile for any takes a minute in place of seconds
    compiled = torch.compile(function, fullgraph=True, dynamic=False)
    # of the thread that calls it, as torch's settings are
    patched: Callable[..., Any] = torch._dynamo.config.patch(recompile_limit=_SIZES)(compiled)
    return patched


def _in_memory_order(rule: TrainingRule, name: str, among: Weights) -> torch.Tensor:
    """A weight, or its gradient, turned as the weight lies in memory: the optimiser's fused step
    takes both for contiguous."""
    turned = among[name] if rule.weights[name].is_contiguous() else among[name].T
    return turned.contiguous()
