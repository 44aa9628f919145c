"""The trained SAEs of one model under one framing, and the activations they are about.

Both are kept in the profile's tree, the SAEs as one bank a depth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deception_saes.models.load import weights_hash
from deception_saes.sections.banks import Bank, kept_bank, path_of_blocks, training_job
from deception_saes.store.ensure import ensure
from deception_saes.store.pinned import run_pinned
from deception_saes.store.spec import Spec

if TYPE_CHECKING:
    from deception_saes.activations.capture import Activations, Positions
    from deception_saes.models.spec import ModelSpec
    from deception_saes.saes.recipe import Recipe
    from deception_saes.saes.sae import Sae
    from deception_saes.saes.tags import SaeTag
    from deception_saes.saes.training import Job, Trained
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.run import SectionRun
    from deception_saes.tasks.framings import Condition

DEPTHS = (4, 8, 12)
"""The layers of the study's model; on another, those at the same relative depth."""

CONDITIONS: tuple[Condition, ...] = ("genuine", "sandbag")
TRAIN_SETS: dict[str, tuple[Condition, ...]] = {
    "genuine_only": ("genuine",), "sandbagging_only": ("sandbag",), "mixed": CONDITIONS}


@dataclass(frozen=True)
class SaeParams:
    """What decides the SAEs of one model under one framing; see `sections.profiles.Profile`.

    folder: of the profile's tree, in which each has a folder of its own.
    complete: whether all of the release's tags are trained, or those alone that §24 swaps.
    """

    model: ModelSpec
    framing: str
    folder: str
    complete: bool
    sae_source: str | None
    sae_recipe: Recipe
    batch_size: int
    device: str
    threads: int
    seed: int


@dataclass(frozen=True)
class Source:
    """Where a bank is made from and kept. task: §23, whose answerable questions are asked."""

    artifacts: Path
    tree: Path
    task: SectionRun


def sae_params(profile: Profile, seed: int, model: ModelSpec, framing: str) -> SaeParams:
    """The SAEs of a model under a framing, by the profile's recipe. The zoo, the complete set, is
    of the primary model under the circuit's framing."""
    from deception_saes.sections.run import params_from

    usual = framing == profile.circuit_framing
    return params_from(SaeParams, profile, seed, model=model, framing=framing,
                       folder="saes" if usual else f"saes-{framing}",
                       complete=usual and model == profile.models[0])


def bank_spec(params: SaeParams, depth: int, task_hash: str) -> Spec:
    """What decides a bank's files. depth: one of DEPTHS."""
    return Spec(f"{params.folder}-{params.model.slug}-D{depth}",
                {"bank": params, "depth": depth}, sources=(__name__,),
                inputs=(task_hash, *weights_hash(params.model)), pinned=True)


def bank(params: SaeParams, depth: int, source: Source) -> Bank:
    """The SAEs of one depth: trained unless they have been, or those of `sae_source`. A killed
    training goes on where each SAE's last checkpoint left it.

    Raises SaeError if one of them cannot be trained.
    """
    tags, d_in = _tags(params, depth), params.model.shape.d_model
    if params.sae_source:
        return Bank(tags, params.sae_source, d_in, {})
    return kept_bank(source.tree, params.folder, bank_spec(params, depth, source.task.hash), tags,
                     d_in, partial(_train, params, tags, source))


def _train(
    params: SaeParams, tags: list[SaeTag], source: Source, checkpoints: Path
) -> dict[str, Trained]:
    import torch

    from deception_saes.saes.bank import train_bank

    torch.set_num_threads(params.threads)
    rows = activations(params, "choosing", "suffix", source)
    x_ND = rows.x_by_layer[tags[0].layer].to(params.device)
    jobs = _jobs(params, tags, rows, source)
    return train_bank(list(jobs), x_ND, params.seed, checkpoints,
                      f"SAEs of {params.model.slug} L{tags[0].layer}, {params.framing}")


def untrained(params: SaeParams, tag: SaeTag, source: Source) -> Sae:
    """The SAE from which the training of this tag starts."""
    from deception_saes.saes.training import untrained

    rows = activations(params, "choosing", "suffix", source)
    (job,) = _jobs(params, [tag], rows, source)
    return untrained(job, rows.x_by_layer[tag.layer], params.seed)


def reseeded(
    params: SaeParams, depth: int, architecture: str, seeds: int, source: Source
) -> tuple[int, list[Sae]]:
    """The layer of this depth, and the SAE that §24 swaps there trained so many times anew, each
    with weights and an order of rows of its own. These are not kept."""
    return run_pinned(_reseeded, params, depth, architecture, seeds, source)


def _reseeded(
    params: SaeParams, depth: int, architecture: str, seeds: int, source: Source
) -> tuple[int, list[Sae]]:
    import torch

    from deception_saes.saes.bank import train_bank

    torch.set_num_threads(params.threads)
    rows = activations(params, "choosing", "suffix", source)
    tag = next(tag for tag in _tags(params, depth)
               if is_swapped(tag) and tag.architecture == architecture)
    (job,) = _jobs(params, [tag], rows, source)
    jobs = [dataclasses.replace(job, name=f"{tag.name} again {n}") for n in range(1, seeds + 1)]
    trained = train_bank(jobs, rows.x_by_layer[tag.layer].to(params.device), params.seed,
                         label=f"{tag.name}, {seeds} seeds")
    return tag.layer, [of.sae for of in trained.values()]


def activations(
    params: SaeParams, half: str, positions: Positions, source: Source
) -> Activations:
    """resid_post at every depth, under genuine and sandbag, of one half of the answerable
    questions."""
    from deception_saes.activations.files import read_activations

    unit = f"activations-{params.model.slug}-{params.framing}-{half}-{positions}"
    run_by = ("model", "framing", "batch_size", "device", "threads")
    spec = Spec(unit, {"half": half, "positions": positions,
                       **{name: getattr(params, name) for name in run_by}},
                sources=(__name__,), inputs=(source.task.hash, *weights_hash(params.model)),
                pinned=True)
    name = f"activations/{unit.removeprefix('activations-')}.safetensors"
    ensure(source.tree, spec, partial(_capture, params, half, positions, source, name))
    return read_activations(source.tree / name)


def _capture(
    params: SaeParams, half: str, positions: Positions, source: Source, name: str, out: Path
) -> None:
    import torch

    from deception_saes.activations.capture import capture
    from deception_saes.activations.files import write_activations
    from deception_saes.models.load import load
    from deception_saes.sections.halves import half_of

    torch.set_num_threads(params.threads)
    lm = load(params.model, source.artifacts, params.device)
    layers = [_tags(params, depth)[0].layer for depth in DEPTHS]
    asked = half_of(source.task, lm, params.framing, half)
    write_activations(out / name, capture(lm.model, asked, CONDITIONS, half, layers, positions,
                                          params.batch_size))


def is_swapped(tag: SaeTag) -> bool:
    """Whether §24 swaps this SAE: the release's usual size, trained on both conditions."""
    usual = tag.expansion == 4 and tag.k in (None, 64)
    return usual and tag.train_set == "mixed"


def _tags(params: SaeParams, depth: int) -> list[SaeTag]:
    from deception_saes.saes.tags import layer_at_same_depth, sandbagging_tags

    n_layers = params.model.shape.layers
    layer = layer_at_same_depth(depth, n_layers)
    return [tag for tag in sandbagging_tags(params.model.slug, n_layers)
            if tag.layer == layer and (params.complete or is_swapped(tag))]


def _jobs(
    params: SaeParams, tags: list[SaeTag], rows: Activations, source: Source
) -> Iterator[Job]:
    blocks = path_of_blocks(params.model, source.artifacts)
    for tag in tags:
        of = np.flatnonzero(np.isin(rows.condition, TRAIN_SETS[tag.train_set]))
        yield training_job(params.model, blocks, tag, params.sae_recipe, of, rows.position,
                           params.seed, framing=params.framing)
