"""SAE interventions at one layer, last prompt position: effects on P(correct).

Shape suffixes: N edits, Q questions, D d_model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from deception_saes.cache import cached
from deception_saes.experiments.saes import (
    SaeSet,
    TrainedSae,
    UntrainedSae,
    activations,
    read,
    with_frozen_decoder,
)
from deception_saes.experiments.task import AskedHalf
from deception_saes.interventions.swap import (
    DrawnEdit,
    Draws,
    Edit,
    Training,
    relabellings,
)
from deception_saes.models.forward import token_mass
from deception_saes.models.last_position import LastPositionRun
from deception_saes.models.load import LanguageModel
from deception_saes.saes.sae import Sae
from deception_saes.saes.tags import LLAMA, SaeTag, StudyDepths, depth_name, swapped_at
from deception_saes.tasks.framings import Condition
from deception_saes.tasks.prompts import PromptSet
from deception_saes.tasks.trivia import deal_clusters
from deception_saes.tidy import described

SWAP_CONDITIONS: tuple[Condition, ...] = ("sandbag", "genuine")
FOLDS = 5
PLAIN = "no SAE"

_EDITS_AT_ONCE = 32

AnySae = TrainedSae | UntrainedSae
EffectsByName = dict[str, np.ndarray]
"""By intervention, P(correct) under it minus P(correct), in pp: [N, questions], N draws or 1."""


@dataclass(frozen=True)
class Prompts:
    """Questions of a half, run clean under both conditions."""

    asked: PromptSet
    lm: LanguageModel
    runs: dict[Condition, LastPositionRun]
    fold_Q: np.ndarray
    """The fold of each question; what edits one is learned from the other folds."""
    clean: dict[Condition, np.ndarray]
    """By condition, P(correct) in percent, [Q]."""

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


@lru_cache(maxsize=2)
def run_clean(half: AskedHalf, count: int | None) -> Prompts:
    """So many questions of a half, evenly spread, run clean once for edits at any layer."""
    lm = half.task.subject.load()
    ids = [question.id for question in half.questions]
    folds = question_folds(dict(zip(ids, half.clusters, strict=True)), half.task.seed)
    asked = half.spread(count).prompts
    layers = range(lm.model.config.num_hidden_layers)
    runs = {c: LastPositionRun(lm.model, asked.prompts[c], layers) for c in SWAP_CONDITIONS}
    clean = {c: 100 * token_mass(lm.model, run.clean_QD, asked.correct[c])
             for c, run in runs.items()}
    return Prompts(asked, lm, runs, np.array([folds[id] for id in asked.ids]), clean)


def question_folds(cluster_of: Mapping[str, str], seed: int) -> dict[str, int]:
    """A fold for every question, by id, at random by seed, see `trivia.deal_clusters`.

    Raises ValueError for questions of a single cluster, as an edit is learned from other ones.
    """
    if len(set(cluster_of.values())) < 2:
        raise ValueError(f"{len(cluster_of)} answerable questions to edit, of one template: at "
                         "least 2 that share none are needed, as an edit is learned from other "
                         "questions; ask more questions")
    return deal_clusters(cluster_of, FOLDS, seed, "question folds")


@cached()
def edit_effects(
    half: AskedHalf, layer: int, sae: AnySae | None, edits: Mapping[str, Edit],
    drawn: Mapping[str, DrawnEdit], *, draws: int, draw_questions: int | None,
    conditions: tuple[Condition, ...] = SWAP_CONDITIONS, reference: AnySae | None = None,
) -> dict[str, Any]:
    """Effects of edits of resid_post at a layer, last position, by condition and name; beside them
    `clean`, P(correct) in percent by condition, [Q], `drawn_subset`, the places of the questions
    that drawn edits are run on, and `clusters`, the label of each question's.

    What edits a question is learned from questions of other folds. sae: None for edits without one.
    drawn: edits that are drawn at random, so many `draws` of each, an even number; these are run on
    `draw_questions` of the half, evenly spread (None: on all). All SAEs of a layer are given the
    same draws. reference: the SAE whose edits `AtNormOf` makes those without draws as long as.
    """
    all_questions, drawn_subset = run_clean(half, None), run_clean(half, draw_questions)
    learned, of_reference = (of.load() if of is not None else None for of in (sae, reference))
    halves_NQ = relabellings(all_questions.fold_Q, draws, half.task.seed)
    found: dict[str, Any] = {}
    label = f"{sae.tag.name if sae is not None else 'edits without an SAE'}, L{layer}"
    for condition in tqdm(conditions, desc=label, unit="condition"):
        found[condition] = undrawn_effects(edits, all_questions, learned, layer, condition,
                                           of_reference)
        if drawn:
            found[condition] |= _drawn_effects(drawn, all_questions, drawn_subset, learned, layer,
                                               condition, halves_NQ, half.task.seed)
    places = [all_questions.asked.ids.index(id) for id in drawn_subset.asked.ids]
    return {**found, "clean": {c: all_questions.clean[c] for c in conditions},
            "drawn_subset": np.array(places), "clusters": half.clusters}


def undrawn_effects(
    edits: Mapping[str, Edit], prompts: Prompts, sae: Sae | None, layer: int, condition: Condition,
    reference: Sae | None = None,
) -> EffectsByName:
    """Effects of edits without draws on the prompts of one condition, by name."""
    other_QD = prompts.runs[_other(condition)].residual(layer)

    def apply(edit: Edit, training: Training, x_QD: torch.Tensor, rows: torch.Tensor, _: int
              ) -> torch.Tensor:
        return edit(training, x_QD, other_QD[rows])[None]

    edited = _by_fold(edits, apply, prompts, prompts, sae, layer, condition, reference)
    return _run(edited, condition, layer, prompts)


def _drawn_effects(
    edits: Mapping[str, DrawnEdit], all_questions: Prompts, drawn_subset: Prompts,
    sae: Sae | None, layer: int, condition: Condition, halves_NQ: torch.Tensor, seed: int,
) -> EffectsByName:
    def apply(edit: DrawnEdit, training: Training, x_QD: torch.Tensor, _: torch.Tensor, fold: int
              ) -> torch.Tensor:
        learned_from = halves_NQ[:, torch.from_numpy(all_questions.fold_Q != fold)].to(x_QD.device)
        return edit(training, x_QD, Draws(learned_from, seed, (f"L{layer}",)))

    edited = _by_fold(edits, apply, all_questions, drawn_subset, sae, layer, condition)
    return _run(edited, condition, layer, drawn_subset)


def _by_fold(
    edits: Mapping[str, Any], apply: Callable[..., torch.Tensor], learned_from: Prompts,
    edited: Prompts, sae: Any, layer: int, condition: Condition, reference: Sae | None = None,
) -> dict[str, torch.Tensor]:
    """By name, the edits of all questions, [N, Q, D], each learned from the other folds."""
    x_QD = edited.runs[condition].residual(layer)
    whole: dict[str, torch.Tensor] = {}
    for fold in range(FOLDS):
        rows = torch.from_numpy(np.flatnonzero(edited.fold_Q == fold)).to(x_QD.device)
        training = learned_without(fold, learned_from, sae, layer, reference)
        for name, edit in edits.items():
            part_NQD = apply(edit, training, x_QD[rows], rows, fold)
            if name not in whole:
                whole[name] = x_QD.new_empty(len(part_NQD), *x_QD.shape)
            whole[name][:, rows] = part_NQD
    return whole


def learned_without(
    fold: int, prompts: Prompts, sae: Any, layer: int, reference: Sae | None = None
) -> Training:
    """The questions of the other folds."""
    genuine_QD, sandbag_QD = (prompts.runs[c].residual(layer) for c in ("genuine", "sandbag"))
    others = torch.from_numpy(np.flatnonzero(prompts.fold_Q != fold)).to(genuine_QD.device)
    return Training(sae, genuine_QD[others], sandbag_QD[others], reference)


def _run(
    edits: dict[str, torch.Tensor], condition: Condition, layer: int, prompts: Prompts
) -> EffectsByName:
    """Effects of all edits, run as one list: a batch of many costs less an edit than one alone."""
    if not edits:
        return {}
    effects_NQ = prompts.effects(condition, layer, torch.cat(list(edits.values())))
    ends = np.cumsum([len(of) for of in edits.values()])
    return dict(zip(edits, np.split(effects_NQ, ends[:-1]), strict=True))


@cached()
def effects_of_chosen(
    half: AskedHalf, layer: int, sae: AnySae, edits: Mapping[str, Edit], reference: AnySae
) -> EffectsByName:
    """Effects, [1, Q] by name, on sandbag prompts of edits of resid_post at a layer, last position,
    that are learned from all questions of the task's choosing half. reference: as for
    `edit_effects`."""
    prompts = run_clean(half, None)
    x_QD, other_QD = (prompts.runs[c].residual(layer) for c in ("sandbag", "genuine"))
    rows = read(activations(half.task.choosing, sae.saes.layers, "last"), [layer])
    genuine_TD, sandbag_TD = (rows.x_by_layer[layer][torch.from_numpy(rows.condition == c)].to(x_QD)
                              for c in ("genuine", "sandbag"))
    training = Training(sae.load(), genuine_TD, sandbag_TD, reference.load())
    edited = {name: edit(training, x_QD, other_QD)[None] for name, edit in edits.items()}
    return _run(edited, "sandbag", layer, prompts)


def _other(condition: Condition) -> Condition:
    return "genuine" if condition == "sandbag" else "sandbag"


@cached()
def centre_sizes(half: AskedHalf, layer: int, sae: TrainedSae) -> dict[str, float]:
    """L0 of a sandbag prompt and of the medians and means over all questions, and the norms of
    the steps between those."""
    all_questions = run_clean(half, None)
    training = Training(sae.load(), all_questions.runs["genuine"].residual(layer),
                        all_questions.runs["sandbag"].residual(layer))

    def norm(x_D: torch.Tensor) -> float:
        return float(torch.linalg.vector_norm(x_D))

    return {"l0_prompt": float((training.sandbag_TS > 0).sum(1).float().mean()),
            "l0_m_G": float((training.m_G > 0).sum()), "l0_m_S": float((training.m_S > 0).sum()),
            "l0_mean_G": float((training.typical("genuine", "mean") > 0).sum()),
            "step_median": norm(training.step()), "step_mean": norm(training.step("mean")),
            "mean_difference": norm(training.mean_difference_D)}


@cached()
def step_against_mean(half: AskedHalf, layer: int, sae: AnySae) -> dict[str, float]:
    """How near the SAE's step (m_G − m_S) W_dec is to the mean difference of the residuals: their
    cosine, and the step's norm over the mean difference's, each a mean over folds, as edits are
    learned. NaN where one of them is 0 in a fold."""
    prompts, learned = run_clean(half, None), sae.load()
    cosines, ratios = [], []
    for fold in range(FOLDS):
        training = learned_without(fold, prompts, learned, layer)
        step_D, mean_D = training.step().double(), training.mean_difference_D.double()
        norm, of_mean = (float(torch.linalg.vector_norm(of)) for of in (step_D, mean_D))
        if norm == 0 or of_mean == 0:
            return {"cosine": np.nan, "norm_ratio": np.nan}
        cosines.append(float(step_D @ mean_D) / (norm * of_mean))
        ratios.append(norm / of_mean)
    return {"cosine": float(np.mean(cosines)), "norm_ratio": float(np.mean(ratios))}


@dataclass(frozen=True)
class Cell:
    """One SAE, or none, at one layer, on the prompts of one condition."""

    name: str
    """The SAE's architecture, or PLAIN."""
    depth: str
    """Name of the layer in ids."""
    layer: int
    condition: Condition
    effects: EffectsByName
    clean_Q: np.ndarray
    """P(correct) in percent without intervention."""
    drawn_subset: np.ndarray
    """Which of all questions the drawn edits were run on."""
    clusters: tuple[str, ...]
    """The cluster of each question, see `Question.cluster`."""

    @property
    def about(self) -> dict[str, object]:
        return {"architecture": self.name, "depth": self.depth, "layer": self.layer,
                "prompts": self.condition}


def cells_of(
    found: Mapping[str, Any], *, architecture: str = PLAIN, depth: str, layer: int
) -> list[Cell]:
    """What `edit_effects` found, a cell a condition."""
    return [Cell(architecture, depth, layer, condition, found[condition], clean_Q,
                 found["drawn_subset"], found["clusters"])
            for condition, clean_Q in found["clean"].items()]


def effects_at(
    half: AskedHalf, layers: Sequence[int], saes: SaeSet, edits: Mapping[str, Edit],
    drawn: Mapping[str, DrawnEdit], without_sae: Mapping[str, Edit],
    drawn_without_sae: Mapping[str, DrawnEdit], *, untrained: Mapping[str, Edit], k: int,
    draws: int, draw_questions: int | None, on_sandbag: Mapping[str, Edit] | None = None,
    frozen_decoder: Mapping[str, Edit] | None = None, frozen_at: int | None = None,
    depths: StudyDepths = LLAMA,
) -> tuple[list[Cell], pd.DataFrame, pd.DataFrame]:
    """Every edit at every layer, on both conditions' prompts: without an SAE, and through each of
    the set that is swapped there (see `saes.tags.is_swapped`). Beside these, in the same cells,
    drawn edits and those of `on_sandbag`, on sandbag prompts alone; the edits `untrained` through
    the SAE that its training starts from, and `frozen_decoder` through one trained with the decoder
    left as it starts: a JumpReLU at the layer `frozen_at`, if that is not None. The cells; how much
    of a prompt the medians of each SAE keep; and how near each SAE's step is to the mean
    difference. draws, draw_questions: as for `edit_effects`. depths: what names the layers. Raises
    UserError for a layer at which no SAE of the set is swapped."""
    n_layers = half.task.subject.model.shape.layers
    cells: list[Cell] = []
    sizes, steps = [], []
    for layer in layers:
        depth = depth_name(layer, n_layers, depths)
        swapped = swapped_at(saes.tags, layer, k=k)
        how: dict[str, Any] = {"draws": draws, "draw_questions": draw_questions}
        plain = _on_both(half, layer, None, without_sae, {}, drawn_without_sae, how)
        cells += cells_of(plain, depth=depth, layer=layer)
        for tag in swapped:
            about: dict[str, Any] = {"architecture": tag.architecture, "depth": depth,
                                     "layer": layer}
            own = TrainedSae(saes, tag)
            found = _on_both(half, layer, own, edits, on_sandbag or {}, drawn, how)
            for name, sae, of_sae in _through(saes, tag, edits, untrained, frozen_decoder,
                                              frozen_at):
                if name != "trained":
                    effects = edit_effects(half, layer, sae, of_sae, {}, reference=own, **how)
                    found |= {c: found[c] | effects[c] for c in SWAP_CONDITIONS}
                steps.append({**about, "sae": name, **step_against_mean(half, layer, sae)})
            cells += cells_of(found, **about)
            sizes.append({**about, **centre_sizes(half, layer, own)})
    return cells, described(
        pd.DataFrame(sizes), "how much of a prompt the medians keep; an SAE a row, all evaluating "
        "questions",
        l0_prompt=("features", "active features of a sandbag prompt, mean"),
        l0_m_G=("features", "features that are not 0 in the median of genuine prompts, m_G"),
        l0_m_S=("features", "the same in the median of sandbag prompts, m_S"),
        l0_mean_G=("features", "the same in the mean of genuine prompts"),
        step_median=("residual", "norm of the decoded step from m_S to m_G"),
        step_mean=("residual", "the same from mean to mean of the features"),
        mean_difference=("residual", "norm of the mean genuine residual less the mean sandbag "
                                     "one")), described(
        pd.DataFrame(steps), "how near the SAE's step from m_S to m_G is to the mean difference of "
        "the residuals; an SAE a row, means over folds of the evaluating questions",
        sae=("", "trained; untrained, where its training starts; frozen decoder: trained, with the "
                 "decoder left as it starts"),
        cosine=("cosine", "of the decoded step with the mean genuine residual less the mean "
                          "sandbag one; empty where one of them is 0 in a fold"),
        norm_ratio=("ratio", "norm of the decoded step over that of the mean difference"))


def _on_both(
    half: AskedHalf, layer: int, sae: TrainedSae | None, edits: Mapping[str, Edit],
    on_sandbag: Mapping[str, Edit], drawn: Mapping[str, DrawnEdit], how: Mapping[str, Any],
) -> dict[str, Any]:
    """What `edit_effects` finds of edits on both conditions' prompts, and of the others, drawn ones
    among them, on sandbag prompts."""
    found = edit_effects(half, layer, sae, edits, {}, **how)
    if not (on_sandbag or drawn):
        return {**found}
    alone = edit_effects(half, layer, sae, on_sandbag, drawn, conditions=("sandbag",), **how)
    return {**found, "sandbag": found["sandbag"] | alone["sandbag"]}


def chosen_effects_at(
    half: AskedHalf, layers: Sequence[int], saes: SaeSet, edits: Mapping[str, Edit], *,
    untrained: Mapping[str, Edit], k: int, frozen_decoder: Mapping[str, Edit] | None = None,
    frozen_at: int | None = None, depths: StudyDepths = LLAMA,
) -> list[Cell]:
    """Edits of sandbag prompts that are learned from all of the choosing half, at the layers and
    through the SAEs of `effects_at`, a cell an SAE. Raises UserError as that does."""
    cells = []
    clean_Q = run_clean(half, None).clean["sandbag"]
    for layer in layers:
        for tag in swapped_at(saes.tags, layer, k=k):
            found: EffectsByName = {}
            for _, sae, of_sae in _through(saes, tag, edits, untrained, frozen_decoder, frozen_at):
                found |= effects_of_chosen(half, layer, sae, of_sae, TrainedSae(saes, tag))
            depth = depth_name(layer, half.task.subject.model.shape.layers, depths)
            cells.append(Cell(tag.architecture, depth, layer, "sandbag", found, clean_Q,
                              np.arange(len(clean_Q)), half.clusters))
    return cells


def _through(
    saes: SaeSet, tag: SaeTag, edits: Mapping[str, Edit], untrained: Mapping[str, Edit],
    frozen_decoder: Mapping[str, Edit] | None, frozen_at: int | None,
) -> Iterator[tuple[str, AnySae, Mapping[str, Edit]]]:
    """The SAE of a tag, the one that its training starts from, and if there is one, that with a
    frozen decoder: a name, the SAE and what is edited through it."""
    yield "trained", TrainedSae(saes, tag), edits
    yield "untrained", UntrainedSae(saes, tag), untrained
    if frozen_decoder and (tag.architecture, tag.layer) == ("jumprelu", frozen_at):
        yield "frozen decoder", with_frozen_decoder(saes, tag), frozen_decoder


def effects_by_seed(
    half: AskedHalf, layer: int, saes: SaeSet, edits: Mapping[str, Edit],
    drawn: Mapping[str, DrawnEdit], *, seeds: int, draws: int, draw_questions: int | None,
) -> list[Cell]:
    """Edits on sandbag prompts through JumpReLU SAEs of a layer that differ in their training seed
    alone, a cell a seed."""
    cells: list[Cell] = []
    for number in range(seeds):
        (tag,) = swapped_at(saes.tags, layer, "jumprelu")
        found = edit_effects(half, layer, TrainedSae(saes, tag, seed=number, of=seeds), edits,
                             drawn, conditions=("sandbag",), draws=draws,
                             draw_questions=draw_questions)
        cells += cells_of(found, architecture="jumprelu", layer=layer,
                          depth=depth_name(layer, half.task.subject.model.shape.layers))
    return cells
