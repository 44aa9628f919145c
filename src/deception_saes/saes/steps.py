"""The steps of a training: on a CPU by gradients written out by hand; on a GPU by the loss itself,
differentiated and compiled by torch, a whole step then captured as a CUDA graph, as at the study's
sizes launching a step's kernels one by one takes longer than running them.

Shape suffixes: N rows of the activation matrix, B rows of a batch, M batches of an epoch, D d_in,
S d_sae, E dead features.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from threading import Lock

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from deception_saes.saes.config import Recipe
from deception_saes.saes.sae import Loss, TrainingRule, Weights

_EPSILON = 1e-8  # of Adam, for a squared error that is summed over coordinates
_WARM_UP = 3  # steps before one is captured: libraries and kernels are made ready in them
_SETTING_UP = Lock()  # a capture is broken by whatever waits for the whole GPU, as compiling does


@dataclass(frozen=True)
class Scaled:
    """Rows to train on, and what scales them."""

    x_ND: torch.Tensor
    mean_D: torch.Tensor
    scale: float


class Steps(ABC):
    """The state of a training, and what moves it on."""

    def __init__(self, rule: TrainingRule, data: Scaled, batches: int) -> None:
        """batches: of an epoch."""
        self.rule, self.recipe, self.data, self.batches = rule, rule.recipe, data, batches
        self.steps = self.recipe.epochs * batches
        # rows in which a feature must stay silent to count as dead
        self.window = max(1, math.ceil(
            self.recipe.dead_window * self.recipe.epochs * batches * self.recipe.batch_size))
        self.largest = self.recipe.clip / rule.config.d_in
        self.optimised = {name: _in_memory_order(rule, name, rule.weights)
                          for name in rule.trained}
        self.optimiser = self._adam()
        self.silent_S = torch.zeros(rule.config.d_sae, dtype=torch.int32,
                                    device=data.x_ND.device)

    @abstractmethod
    def epoch(self, order_MB: torch.Tensor, done: int) -> float:
        """One step a batch; the mean squared error, a mean over them.

        order_MB: rows of the activation matrix. done: steps before this epoch.
        """

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that changes between epochs, by name, as the very tensors in use. Before the
        first step."""
        state = {"silent": self.silent_S}
        for name, weight in self.optimised.items():
            moments = self.optimiser.state[weight]
            moments["step"] = torch.zeros((), device=weight.device)
            moments["exp_avg"] = torch.zeros_like(weight)
            moments["exp_avg_sq"] = torch.zeros_like(weight)
            state |= {f"{name}.{moment}": tensor for moment, tensor in moments.items()}
            state[name] = weight
        return state

    def _adam(self) -> torch.optim.Adam:
        recipe, weights = self.recipe, dict(self.optimised)
        faster = [weights.pop("threshold")] if "threshold" in weights else []
        groups = [{"params": [*weights.values()], "rate": recipe.learning_rate},
                  {"params": faster, "rate": recipe.learning_rate * recipe.threshold_rate}]
        return torch.optim.Adam(
            [group for group in groups if group["params"]], eps=_EPSILON / self.rule.config.d_in,
            fused=True, capturable=self.data.x_ND.is_cuda)


class StepsByHand(Steps):
    """By the gradients that the rule gives."""

    def epoch(self, order_MB: torch.Tensor, done: int) -> float:
        rule, x_ND = self.rule, self.data.x_ND
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
                norm = get_total_norm(rule.gradients.values())
                if float(norm) > self.largest:
                    clip_grads_with_norm_(self.optimised.values(), self.largest, norm)
                self.optimiser.step()
                rule.project()
                self.silent_S.add_(len(rows)).masked_fill_(rule.fired, 0)
        return float(total) / self.batches


class CapturedSteps(Steps):
    """By the rule's loss. The first steps are warm-up; then a step is captured and replayed.

    Compiling needs a C compiler; TORCHDYNAMO_DISABLE=1 does without. On another device than a GPU,
    for tests, nothing is compiled nor captured.
    """

    def __init__(self, rule: TrainingRule, data: Scaled, batches: int) -> None:
        super().__init__(rule, data, batches)
        self.weights = list(self.optimised.values())
        for weight in self.weights:
            weight.requires_grad_()
        device, on_gpu = data.x_ND.device, data.x_ND.is_cuda
        self.loss = _compiled(type(rule)) if on_gpu else rule.loss
        for group in self.optimiser.param_groups:
            group["lr"] = torch.zeros((), device=device)
        self.left_of_rate = torch.tensor(
            [rate_left(self.recipe, step, self.steps) for step in range(self.steps)],
            device=device)
        self.order_MB = torch.zeros(batches, self.recipe.batch_size, dtype=torch.long,
                                    device=device)
        self.step_1 = torch.zeros(1, dtype=torch.long, device=device)
        self.batch_1 = torch.zeros_like(self.step_1)
        self.total = torch.zeros((), device=device)
        self.stream = torch.cuda.Stream(device) if on_gpu else None
        self.graphs: dict[bool, torch.cuda.CUDAGraph] = {}

    def epoch(self, order_MB: torch.Tensor, done: int) -> float:
        if self.stream:
            self.stream.wait_stream(torch.cuda.current_stream(order_MB.device))
        with torch.cuda.stream(self.stream):
            self.order_MB.copy_(order_MB)
            self.step_1.fill_(done)
            self.batch_1.zero_()
            self.total.zero_()
            # whether a feature may come to count as dead before the epoch ends
            oldest = int(self.silent_S.max()) + (self.batches - 1) * self.recipe.batch_size
            self._advance(self.rule.revives and oldest >= self.window)
            return float(self.total) / self.batches

    def _advance(self, reviving: bool) -> None:
        left = self.batches
        if reviving not in self.graphs:
            with _SETTING_UP:
                for _ in range(min(left, _WARM_UP)):
                    self._step(reviving)
                    left -= 1
                if self.stream and left:
                    self.graphs[reviving] = self._captured(reviving)
        for _ in range(left):
            if self.stream:
                self.graphs[reviving].replay()
            else:
                self._step(reviving)

    def _captured(self, reviving: bool) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            self._step(reviving)
        return graph

    def _step(self, reviving: bool) -> None:
        rule, data = self.rule, self.data
        rows = self.order_MB.index_select(0, self.batch_1)[0]
        x_BD = (data.x_ND.index_select(0, rows) - data.mean_D) / data.scale
        weights = {**rule.weights, **{
            name: weight if rule.weights[name].is_contiguous() else weight.T
            for name, weight in self.optimised.items()}}
        with torch.autocast(x_BD.device.type, torch.bfloat16, enabled=self.recipe.bfloat16,
                            cache_enabled=False):
            loss = self.loss(rule.config, self.recipe, weights, x_BD,
                             self.silent_S >= self.window if reviving else None)
        gradients = torch.autograd.grad(loss.total, self.weights, materialize_grads=True)
        with torch.no_grad():
            left = self.left_of_rate.index_select(0, self.step_1)[0]
            for group in self.optimiser.param_groups:
                group["lr"].copy_(group["rate"] * left)
            for weight, gradient in zip(self.weights, gradients, strict=True):
                weight.grad = gradient.contiguous()
            clip_grads_with_norm_(self.weights, self.largest, get_total_norm(gradients))
            self.optimiser.step()
            rule.project()
            self.silent_S.add_(len(rows)).masked_fill_(loss.fired_S, 0)
            self.total += loss.mse
            self.step_1 += 1
            self.batch_1 += 1


def rate_left(recipe: Recipe, step: int, steps: int) -> float:
    """The share of the learning rate at one step: 1, then falling to zero over the last steps."""
    falling = recipe.decay * steps
    return min(1.0, (steps - step) / falling) if falling else 1.0


@cache
def _compiled(rule: type[TrainingRule]) -> Callable[..., Loss]:
    return torch.compile(rule.loss, fullgraph=True)


def _in_memory_order(rule: TrainingRule, name: str, among: Weights) -> torch.Tensor:
    """A weight, or its gradient, turned as the weight lies in memory: the optimiser's fused step
    takes both for contiguous."""
    turned = among[name] if rule.weights[name].is_contiguous() else among[name].T
    return turned.contiguous()
