"""The evaluating half of a model's questions under one framing, and what an SAE makes of it.

Shape suffixes: Q questions, D d_model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from deception_saes.activations.capture import Activations
from deception_saes.analysis.bootstrap import Interval, ratio_interval
from deception_saes.experiments.saes import CONDITIONS, TRAIN_SETS, SaeSet, activations, read
from deception_saes.experiments.swaps import Prompts, prompts_of, question_folds
from deception_saes.models.forward import log_probabilities
from deception_saes.models.last_position import LastPositionRun
from deception_saes.models.load import LanguageModel
from deception_saes.saes.quality import Quality, divergence, quality
from deception_saes.saes.sae import Sae
from deception_saes.tasks.framings import Condition
from deception_saes.tasks.prompts import PromptSet


@dataclass(frozen=True)
class HeldOut:
    """The evaluating half.

    tokens, last: activations of its question tokens, and of its last prompt positions.
    runs, clean_QV: by condition, the prompts' run, and log-probabilities of the next token.
    mean_D: by layer, the mean training row.
    """

    lm: LanguageModel
    asked: PromptSet
    tokens: Activations
    last: Activations
    runs: dict[Condition, LastPositionRun]
    clean_QV: dict[Condition, torch.Tensor]
    mean_D: dict[int, torch.Tensor]

    def divergence(
        self, layer: int, edit: Callable[[torch.Tensor], torch.Tensor]
    ) -> np.ndarray:
        """KL(clean ‖ edited) of each question in nats, summed over conditions, if resid_post of
        `layer` at the last prompt position becomes `edit` of it; [Q, D] to [Q, D]."""
        total_Q = np.zeros(len(self.clean_QV[CONDITIONS[0]]))
        for condition, run in self.runs.items():
            hidden_NQD = run.final_hidden(layer, edit(run.residual(layer))[None])
            edited_QV = log_probabilities(self.lm.model, hidden_NQD[0])
            total_Q += divergence(self.clean_QV[condition], edited_QV)
        return total_Q

    def prompts(self, seed: int) -> Prompts:
        """The same runs as swaps take them."""
        return prompts_of(self.lm, self.asked, self.runs, question_folds(self.asked.ids, seed))


@dataclass(frozen=True)
class Measured:
    """An SAE on the evaluating half; intervals over questions.

    own: on the tokens of the conditions it was trained on.
    """

    tokens: Quality
    last: Quality
    own: Quality
    explained_variance: Interval
    explained_variance_last: Interval
    kl_recovered: Interval


def held_out(saes: SaeSet) -> HeldOut:
    """The evaluating half of the SAEs' task, run clean."""
    task = saes.task
    lm, asked = task.subject.load(), task.evaluating.prompts
    training = read(activations(task.choosing, saes.layers, "suffix")).x_by_layer
    runs = {c: LastPositionRun(lm.model, asked.prompts[c], list(training)) for c in CONDITIONS}
    return HeldOut(
        lm,
        asked,
        tokens=read(activations(task.evaluating, saes.layers, "suffix")),
        last=read(activations(task.evaluating, saes.layers, "last")),
        runs=runs,
        clean_QV={c: log_probabilities(lm.model, run.clean_QD) for c, run in runs.items()},
        mean_D={layer: x_ND.mean(0).to(task.subject.device) for layer, x_ND in training.items()},
    )


def measure(
    sae: Sae, layer: int, train_set: str, half: HeldOut, replaced_Q: np.ndarray, draws: int,
    seed: int,
) -> Measured:
    """Quality of an SAE. replaced_Q: KL(clean ‖ mean-replaced) of each question."""
    with torch.inference_mode():
        with_sae_Q = half.divergence(layer, lambda x_QD: sae.decode(sae.encode(x_QD)))
    device = sae.weights["W_enc"].device
    x_ND = half.tokens.x_by_layer[layer].to(device)
    own_N = torch.from_numpy(np.isin(half.tokens.condition, TRAIN_SETS[train_set]))
    tokens, last = quality(sae, x_ND), quality(sae, half.last.x_by_layer[layer].to(device))

    def explained(found: Quality, rows: Activations) -> Interval:
        names, place_N = np.unique(rows.question, return_inverse=True)
        kept_Q, spread_Q = (np.bincount(place_N, weights=of_N, minlength=len(names))
                            for of_N in (found.spread_N - found.error_N, found.spread_N))
        return ratio_interval(kept_Q, spread_Q, draws, seed)

    return Measured(
        tokens, last, quality(sae, x_ND[own_N.to(device)]),
        explained(tokens, half.tokens), explained(last, half.last),
        ratio_interval(replaced_Q - with_sae_Q, replaced_Q, draws, seed),
    )
