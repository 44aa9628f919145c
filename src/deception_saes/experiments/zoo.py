"""What each SAE of a set makes of questions that it was not trained on: how well it reconstructs
their activations, and what that, and swapping features through it, does to predictions.

Shape suffixes: N rows, Q questions, D d_model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from deception_saes.activations.capture import Activations
from deception_saes.cache import cached
from deception_saes.experiments.saes import CONDITIONS_OF_TRAIN_SET, SaeSet, activations, read
from deception_saes.experiments.swaps import Prompts, run_clean, undrawn_effects
from deception_saes.interventions.swap import (
    AddDifference,
    Edit,
    Reconstruct,
    SwapTo,
    SwapTop,
)
from deception_saes.models.forward import log_probabilities
from deception_saes.saes.quality import Quality, divergence, quality
from deception_saes.saes.sae import Sae
from deception_saes.tasks.framings import Condition

SWAPS: dict[str, Edit] = {
    "E2": Reconstruct(), "E6": SwapTo("genuine"), "E4": SwapTo("sandbag"),
    "E6Δ": AddDifference("genuine"), "E4Δ": AddDifference("sandbag"), "E5.16": SwapTop(16)}
"""The edits that the book makes through every SAE."""


@dataclass(frozen=True)
class HeldOut:
    """The evaluating half at one layer."""

    layer: int
    prompts: Prompts
    """Run clean."""
    clean_QV: dict[Condition, torch.Tensor]
    """By condition, their log-probabilities of the next token."""
    tokens: Activations
    """Of question tokens."""
    last: Activations
    """Of last prompt positions."""
    mean_D: torch.Tensor
    """The mean training row."""

    def divergence(self, edit: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        """KL(clean ‖ edited) of each question in nats, summed over conditions, if resid_post at the
        last prompt position becomes `edit` of it; [Q, D] to [Q, D]."""
        total_Q = np.zeros(len(self.prompts.fold_Q))
        for condition, run in self.prompts.runs.items():
            hidden_NQD = run.final_hidden(self.layer, edit(run.residual(self.layer))[None])
            edited_QV = log_probabilities(self.prompts.lm.model, hidden_NQD[0])
            total_Q += divergence(self.clean_QV[condition], edited_QV)
        return total_Q


def held_out(saes: SaeSet, layer: int) -> HeldOut:
    """The evaluating half of the SAEs' task, run clean."""
    task = saes.task
    lm = task.subject.load()
    prompts = run_clean(task.evaluating, None)
    training = read(activations(task.choosing, saes.layers, "suffix"), [layer])
    return HeldOut(
        layer, prompts,
        {c: log_probabilities(lm.model, run.clean_QD) for c, run in prompts.runs.items()},
        tokens=read(activations(task.evaluating, saes.layers, "suffix"), [layer]),
        last=read(activations(task.evaluating, saes.layers, "last"), [layer]),
        mean_D=training.x_by_layer[layer].mean(0).to(task.subject.device))


@cached()
def quality_at(
    saes: SaeSet, layer: int, edits: Mapping[str, Edit]
) -> dict[str, dict[str, Any]]:
    """What `measure` finds of each SAE of a layer, by tag; beside it `kl_replaced`, the KL with the
    mean training row in the residual's place, [Q], and `effects`, those of the edits on sandbag
    prompts, by name, see `swaps.undrawn_effects`."""
    bank = saes.bank(layer)  # trained before the prompts are run, which wants memory
    of = held_out(saes, layer)
    replaced_Q = of.divergence(of.mean_D.expand_as)
    found = {}
    for tag in tqdm(bank.tags, desc=f"quality at L{layer}", unit="SAE"):
        sae = bank.sae(tag, saes.task.subject.device)
        found[tag.name] = {
            **measure(sae, tag.train_set, of), "kl_replaced": replaced_Q,
            "effects": undrawn_effects(edits, of.prompts, sae, layer, "sandbag")}
    return found


def measure(sae: Sae, train_set: str, of: HeldOut) -> dict[str, Any]:
    """Quality of an SAE on `tokens`, question tokens under both conditions; on `own`, those of the
    conditions that it was trained on; on `last`, last prompt positions. And `kl`, KL(clean ‖ with
    its reconstruction at the last prompt position) of each question, [Q]."""
    with torch.inference_mode():
        with_sae_Q = of.divergence(lambda x_QD: sae.decode(sae.encode(x_QD)))
    device = sae.weights["W_enc"].device
    x_ND, last_ND = (rows.x_by_layer[of.layer].to(device) for rows in (of.tokens, of.last))
    own_N = np.isin(of.tokens.condition, CONDITIONS_OF_TRAIN_SET[train_set])
    ids = of.prompts.asked.ids
    return {"tokens": _summed(quality(sae, x_ND), of.tokens.question, ids),
            "own": _summed(quality(sae, x_ND[torch.from_numpy(own_N).to(device)]),
                           of.tokens.question[own_N], ids),
            "last": _summed(quality(sae, last_ND), of.last.question, ids), "kl": with_sae_Q}


def _summed(found: Quality, question_N: np.ndarray, ids: Sequence[str]) -> dict[str, Any]:
    """spread, kept: variance of each question's rows about the mean of all rows, and how much of it
    the reconstruction keeps, [Q], in the order of `ids`; rows: their number."""
    place_of = {question: place for place, question in enumerate(ids)}
    place_N = [place_of[question] for question in question_N]
    kept_Q, spread_Q = (np.bincount(place_N, weights=of_N, minlength=len(ids))
                        for of_N in (found.spread_N - found.error_N, found.spread_N))
    return {"kept": kept_Q, "spread": spread_Q, "rows": len(found.error_N), "l0": found.l0,
            "explained_variance": found.explained_variance, "mse": found.mse,
            "dead_share": found.dead_share}
