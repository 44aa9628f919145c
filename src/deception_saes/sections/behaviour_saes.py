"""The behavioural SAEs: trained on tokens of completions, those of other rounds than §21 and §22
score on.

They see the rounds R1 and R2 alone, less the near-duplicates of any completion of R3. So nothing
that is measured on R3 was seen in training, neither its activations nor, by the choice of training
sets, its labels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from deception_saes.models.load import weights_hash
from deception_saes.sections import behaviour
from deception_saes.sections.banks import kept_bank
from deception_saes.store.files import PACKAGE_DIR
from deception_saes.store.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import DataclassInstance

    from deception_saes.activations.completions import TokenRows
    from deception_saes.models.spec import ModelSpec
    from deception_saes.saes.jobs import Bank
    from deception_saes.saes.recipe import Recipe
    from deception_saes.saes.sae import Sae
    from deception_saes.saes.tags import SaeTag
    from deception_saes.saes.training import Job, Trained
    from deception_saes.sections.behaviour import BehaviourParams
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.run import NotRun, Work

P = TypeVar("P", bound="DataclassInstance")

TRAIN_ROUNDS = ("R1", "R2")
TRAIN_SETS = {"honest_only": ("honest",), "deceptive_only": ("deceptive",),
              "mixed": ("honest", "deceptive")}
"""The labels whose completions train an SAE; ambiguous completions train none."""


@dataclass(frozen=True)
class BehaviourSaeParams:
    """What decides the behavioural SAEs; see `sections.profiles.Profile`."""

    behaviour: BehaviourParams
    recipe: Recipe
    seed: int


def behaviour_sae_params(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> BehaviourSaeParams | NotRun:
    """The part of a profile that decides these SAEs, or NotRun as `behaviour_params` says."""
    of = behaviour.behaviour_params(profile, seed, models, missing)
    if not isinstance(of, behaviour.BehaviourParams):
        return of
    return BehaviourSaeParams(of, profile.behaviour_recipe or profile.sae_recipe, seed)


def section_params(
    params: type[P], profile: Profile, seed: int, models: tuple[ModelSpec, ...],
    missing: dict[str, str],
) -> P | NotRun:
    """Parameters of a section about these SAEs, which are its field `behaviour_saes`."""
    from deception_saes.sections.run import params_from

    of = behaviour_sae_params(profile, seed, models, missing)
    if not isinstance(of, BehaviourSaeParams):
        return of
    return params_from(params, profile, seed, behaviour_saes=of)


def token_rows(params: BehaviourSaeParams, rounds: tuple[str, ...], work: Work) -> TokenRows:
    """resid_post at every token of all completions of these rounds, at the three layers."""
    from deception_saes.activations.completions import joined

    return joined([behaviour.token_activations(params.behaviour, round, work) for round in rounds])


def trained_on(params: BehaviourSaeParams, train_set: str) -> list[str]:
    """Ids of the completions that train an SAE of this set, near-duplicates of R3 left out."""
    import numpy as np

    from deception_saes.tasks.labels import duplicate_groups

    given = behaviour.labels(params.behaviour)
    drawn = behaviour.completions(params.behaviour)
    kept: list[str] = []
    for scenario in dict.fromkeys(completion.scenario for completion in drawn):
        of = [completion for completion in drawn if completion.scenario == scenario]
        groups = duplicate_groups([completion.text for completion in of])
        main = np.array([completion.round == behaviour.MAIN_ROUND for completion in of])
        held_out = set(groups[main])
        kept += [completion.id for completion, group in zip(of, groups, strict=True)
                 if group not in held_out and given.get(completion.id) in TRAIN_SETS[train_set]]
    return kept


def behaviour_bank_spec(params: BehaviourSaeParams, depth: int, fixed: bool = True) -> Spec:
    """What decides a bank's files. depth: one of `behaviour.DEPTHS`."""
    folder = _folder(fixed)
    return Spec(f"{folder}-{params.behaviour.model.slug}-completions-D{depth}",
                {"bank": params, "depth": depth, "fixed": fixed}, sources=(__name__,),
                data=tuple(PACKAGE_DIR / name for name in behaviour.DATA),
                inputs=weights_hash(params.behaviour.model), pinned=True)


def behaviour_bank(
    params: BehaviourSaeParams, depth: int, work: Work, fixed: bool = True
) -> Bank:
    """The SAEs of one depth, trained unless they have been.

    fixed: False for the JumpReLUs as the study had them before its fix, thresholds at 0.
    Raises SaeError if one of them cannot be trained.
    """
    model = params.behaviour.model
    tags = [tag for tag in _tags(model, depth) if fixed or tag.architecture == "jumprelu"]
    return kept_bank(work.tree, _folder(fixed), behaviour_bank_spec(params, depth, fixed), tags,
                     model.shape.d_model, partial(_train, params, tags, work, fixed))


def _train(
    params: BehaviourSaeParams, tags: list[SaeTag], work: Work, fixed: bool, checkpoints: Path
) -> dict[str, Trained]:
    import torch

    from deception_saes.saes.bank import train_bank

    torch.set_num_threads(params.behaviour.threads)
    rows = token_rows(params, TRAIN_ROUNDS, work)
    x_ND = rows.x_by_layer[tags[0].layer].to(params.behaviour.device)
    return train_bank(list(_jobs(params, tags, rows, work, fixed)), x_ND, params.seed, checkpoints,
                      f"behavioural SAEs L{tags[0].layer}")


def untrained_sae(params: BehaviourSaeParams, tag: SaeTag, work: Work) -> Sae:
    """The SAE from which the training of this tag starts: a random dictionary."""
    from deception_saes.saes.training import untrained

    rows = token_rows(params, TRAIN_ROUNDS, work)
    (job,) = _jobs(params, [tag], rows, work, fixed=True)
    return untrained(job, rows.x_by_layer[tag.layer], params.seed)


def _folder(fixed: bool) -> str:
    return "saes" if fixed else "saes-prefix"


def _tags(model: ModelSpec, depth: int) -> list[SaeTag]:
    from deception_saes.saes.tags import behavioural_tags, layer_at_same_depth

    n_layers = model.shape.layers
    layer = layer_at_same_depth(depth, n_layers)
    return [tag for tag in behavioural_tags(model.slug, n_layers) if tag.layer == layer]


def _jobs(
    params: BehaviourSaeParams, tags: list[SaeTag], rows: TokenRows, work: Work, fixed: bool
) -> Iterator[Job]:
    from deception_saes.saes.jobs import path_of_blocks, training_job

    model = params.behaviour.model
    blocks = path_of_blocks(model, work.artifacts)
    recipe = dataclasses.replace(params.recipe, learn_threshold=fixed)
    rows_of = {train_set: rows.of(trained_on(params, train_set))
               for train_set in dict.fromkeys(tag.train_set for tag in tags)}
    for tag in tags:
        yield training_job(model, blocks, tag, recipe, rows_of[tag.train_set], rows.position,
                           params.seed)
