"""What §24, §26 and §31 share: every SAE intervention, its controls, and the gaps between them.

Shape suffixes: N edits, Q questions, D d_model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from tqdm import tqdm

from deception_saes.interventions.swap import (
    Training,
    drawn_edits,
    plain_edits,
    random_directions,
    relabellings,
    single_edits,
)
from deception_saes.models.forward import token_mass
from deception_saes.models.last_position import LastPositionRun
from deception_saes.models.load import LanguageModel
from deception_saes.rng import generator
from deception_saes.saes.sae import Sae
from deception_saes.tasks.framings import Condition
from deception_saes.tasks.prompts import PromptSet

CONDITIONS: tuple[Condition, ...] = ("sandbag", "genuine")
FOLDS = 5
_EDITS_AT_ONCE = 32

Effects = dict[str, np.ndarray]
"""By intervention, P(correct) under it minus P(correct), in pp: [N, questions], N draws or 1."""
Named = Iterator[tuple[str, torch.Tensor]]
ZOO_EDITS = ("E2", "E6", "E4", "E6Δ", "E4Δ", "E5.16")
_SWAPS = ("E6", "E4", "E6Δ", "E4Δ")


@dataclass(frozen=True)
class Prompts:
    """Questions of the evaluating half, run clean under both conditions.

    fold_Q: the fold of each question; what edits one is learned from the other folds.
    clean: by condition, P(correct) in percent, [Q].
    """

    asked: PromptSet
    lm: LanguageModel
    runs: dict[Condition, LastPositionRun]
    fold_Q: np.ndarray
    clean: dict[Condition, np.ndarray] = field(default_factory=dict)

    def p_correct(
        self, condition: Condition, layer: int, x_NQD: torch.Tensor
    ) -> np.ndarray:
        """P(correct) in percent, [N, Q], if resid_post of `layer` at the last position is x."""
        run, correct = self.runs[condition], self.asked.correct[condition]
        parts = [token_mass(self.lm.model, run.final_hidden(layer, part), correct)
                 for part in x_NQD.split(_EDITS_AT_ONCE)]
        p_NQ: np.ndarray = 100 * np.concatenate(parts)
        return p_NQ

    def effects(self, condition: Condition, layer: int, x_NQD: torch.Tensor) -> np.ndarray:
        """As `p_correct`, less the clean P(correct)."""
        effects_NQ: np.ndarray = self.p_correct(condition, layer, x_NQD) - self.clean[condition]
        return effects_NQ


def run_clean(
    lm: LanguageModel, asked: PromptSet, layers: Sequence[int], folds: dict[str, int]
) -> Prompts:
    """The prompts' clean runs. folds: of every question, by id."""
    runs = {c: LastPositionRun(lm.model, asked.prompts[c], layers) for c in CONDITIONS}
    return prompts_of(lm, asked, runs, folds)


def prompts_of(
    lm: LanguageModel, asked: PromptSet, runs: dict[Condition, LastPositionRun],
    folds: dict[str, int],
) -> Prompts:
    """Prompts that have been run already."""
    clean = {c: 100 * token_mass(lm.model, run.clean_QD, asked.correct[c])
             for c, run in runs.items()}
    return Prompts(asked, lm, runs, np.array([folds[id] for id in asked.ids]), clean)


def question_folds(ids: Sequence[str], seed: int) -> dict[str, int]:
    """A fold for every question, at random by seed, of sizes as equal as can be.

    Raises ValueError for a single question, as an edit is learned from other ones.
    """
    if len(ids) < 2:
        raise ValueError(f"{len(ids)} answerable question to edit: at least 2 are needed, as an "
                         "edit is learned from other questions; ask more (`questions` of the "
                         "profile)")
    order = generator(seed, "question folds").permutation(sorted(ids))
    return {str(id): place % FOLDS for place, id in enumerate(order)}


def sae_effects(
    sae: Sae, layer: int, every: Prompts, few: Prompts, draws: int, top: Sequence[int], seed: int,
    label: str,
) -> dict[Condition, Effects]:
    """Effects of every intervention through one SAE, by condition.

    The edits without draws are run on `every` question, also with means in the place of medians
    ("E6.mean"); the drawn ones on `few` of them. All SAEs of one layer are given the same draws.
    """

    def single(training: Training, x_QD: torch.Tensor, fold: int) -> Named:
        return ((name, edit_QD[None]) for name, edit_QD in single_edits(training, x_QD, top))

    def by_means(training: Training, x_QD: torch.Tensor, fold: int) -> Named:
        with_means = dataclasses.replace(training, centre="mean")
        return ((f"{name}.mean", edit_QD[None])
                for name, edit_QD in single_edits(with_means, x_QD, ()) if name in _SWAPS)

    halves_NQ = relabellings(every.fold_Q, draws, seed)

    def drawn(training: Training, x_QD: torch.Tensor, fold: int) -> Named:
        return drawn_edits(training, x_QD, _learned_from(halves_NQ, every, fold), seed,
                           f"L{layer}")

    found: dict[Condition, Effects] = {}
    for condition in tqdm(CONDITIONS, desc=label, unit="condition"):
        at = partial(_by_fold, every, sae, layer, condition)
        found[condition] = {
            **_run({**at(every, single), **at(every, by_means)}, condition, layer, every),
            **_run(at(few, drawn), condition, layer, few)}
    return found


def plain_effects(
    sae: Sae, layer: int, every: Prompts, few: Prompts, draws: int, seed: int
) -> dict[Condition, Effects]:
    """Effects of the edits without an SAE, by condition; the random directions on `few` questions.
    On genuine prompts the patch is the sandbag residual. sae: one of this layer, not used."""
    found: dict[Condition, Effects] = {}
    for condition, other in zip(CONDITIONS, reversed(CONDITIONS), strict=True):
        other_QD = every.runs[other].residual(layer)

        def single(
            training: Training, x_QD: torch.Tensor, fold: int, other_QD: torch.Tensor = other_QD
        ) -> Named:
            of_fold = other_QD[_of_fold(every, fold).to(other_QD.device)]
            return ((name, edit_QD[None])
                    for name, edit_QD in plain_edits(training, x_QD, of_fold))

        def drawn(training: Training, x_QD: torch.Tensor, fold: int) -> Named:
            return random_directions(training, x_QD, draws, seed, f"L{layer}")

        at = partial(_by_fold, every, sae, layer, condition)
        found[condition] = {**_run(at(every, single), condition, layer, every),
                            **_run(at(few, drawn), condition, layer, few)}
    return found


def zoo_effects(sae: Sae, layer: int, every: Prompts) -> Effects:
    """Effects on sandbag prompts of the edits without draws that §25 compares all SAEs by."""

    def single(training: Training, x_QD: torch.Tensor, fold: int) -> Named:
        return ((name, edit_QD[None]) for name, edit_QD in single_edits(training, x_QD, (16,))
                if name in ZOO_EDITS)

    return _run(_by_fold(every, sae, layer, "sandbag", every, single), "sandbag", layer, every)


def _of_fold(prompts: Prompts, fold: int) -> torch.Tensor:
    return torch.from_numpy(np.flatnonzero(prompts.fold_Q == fold))


def _learned_from(halves_NQ: torch.Tensor, every: Prompts, fold: int) -> torch.Tensor:
    """Of relabellings of all questions, the part that this fold's edits are learned from."""
    device = every.runs["genuine"].clean_QD.device
    return halves_NQ[:, torch.from_numpy(every.fold_Q != fold)].to(device)


def _by_fold(
    learned_from: Prompts, sae: Sae, layer: int, condition: Condition, edited: Prompts,
    edits: Callable[[Training, torch.Tensor, int], Named],
) -> dict[str, torch.Tensor]:
    """By name, the edits of all questions, [N, Q, D], each learned from the other folds."""
    x_QD = edited.runs[condition].residual(layer)
    whole: dict[str, torch.Tensor] = {}
    for fold in range(FOLDS):
        rows = _of_fold(edited, fold).to(x_QD.device)
        others = torch.from_numpy(np.flatnonzero(learned_from.fold_Q != fold)).to(x_QD.device)
        training = Training(sae, learned_from.runs["genuine"].residual(layer)[others],
                            learned_from.runs["sandbag"].residual(layer)[others])
        for name, part_NQD in edits(training, x_QD[rows], fold):
            if name not in whole:
                whole[name] = x_QD.new_empty(len(part_NQD), *x_QD.shape)
            whole[name][:, rows] = part_NQD
    return whole


def _run(
    edits: dict[str, torch.Tensor], condition: Condition, layer: int, prompts: Prompts
) -> Effects:
    """Effects of all edits, run as one list: a batch of many costs less an edit than one alone."""
    effects_NQ = prompts.effects(condition, layer, torch.cat(list(edits.values())))
    ends = np.cumsum([len(of) for of in edits.values()])
    return dict(zip(edits, np.split(effects_NQ, ends[:-1]), strict=True))


def headline_effects(
    sae: Sae, layer: int, every: Prompts, few: Prompts, draws: int, seed: int
) -> Effects:
    """Effects of E6, E4 and E1 on sandbag prompts."""

    def single(training: Training, x_QD: torch.Tensor, fold: int) -> Named:
        return ((name, edit_QD[None]) for name, edit_QD in single_edits(training, x_QD, ())
                if name in {"E6", "E4"})

    halves_NQ = relabellings(every.fold_Q, draws, seed)

    def drawn(training: Training, x_QD: torch.Tensor, fold: int) -> Named:
        halves_NT = _learned_from(halves_NQ, every, fold)
        return ((name, edits_NQD) for name, edits_NQD in drawn_edits(
            training, x_QD, halves_NT, seed, f"L{layer}") if name == "E1")

    at = partial(_by_fold, every, sae, layer, "sandbag")
    return {**_run(at(every, single), "sandbag", layer, every),
            **_run(at(few, drawn), "sandbag", layer, few)}
