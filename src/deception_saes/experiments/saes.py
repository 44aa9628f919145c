"""SAEs trained on what a model makes of the choosing half of its questions, and the activations
that they are about."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from deception_saes.activations.capture import (
    Activations,
    Positions,
    capture,
    read_activations,
    write_activations,
)
from deception_saes.cache import Folder, cached_files
from deception_saes.experiments.task import AskedHalf, Task
from deception_saes.saes.bank import (
    Bank,
    path_of_blocks,
    read_bank,
    save_bank,
    train_bank,
    training_job,
)
from deception_saes.saes.config import Recipe
from deception_saes.saes.files import load as load_sae
from deception_saes.saes.files import save
from deception_saes.saes.hub import content
from deception_saes.saes.sae import Sae
from deception_saes.saes.tags import SaeTag, TaggedSaes
from deception_saes.saes.training import Job
from deception_saes.saes.training import untrained as untrained_sae
from deception_saes.store.files import artifacts_root
from deception_saes.tasks.framings import Condition

TRAIN_CONDITIONS: tuple[Condition, ...] = ("genuine", "sandbag")
CONDITIONS_OF_TRAIN_SET: dict[str, tuple[Condition, ...]] = {
    "genuine_only": ("genuine",), "sandbagging_only": ("sandbag",), "mixed": TRAIN_CONDITIONS}

_FILE = "activations.safetensors"


@dataclass(frozen=True)
class SaeSet(TaggedSaes):
    """The SAEs of one task: what decides their weights."""

    task: Task
    tags: tuple[SaeTag, ...]
    recipe: Recipe
    """How each is trained."""
    release: tuple[str, str] | None = None
    """None: they are trained here; else a hub repository "organisation/name" or a folder that they
    are taken from, with its content, see `released`."""

    def bank(self, layer: int) -> Bank:
        """The SAEs of a layer, trained unless they have been. Raises SaeError."""
        d_in = self.task.subject.model.shape.d_model
        if self.release:
            return Bank(self.at(layer), self.release[0], d_in, {})
        return read_bank(train_saes(self, layer), self.at(layer), d_in)


def released(source: str | None) -> tuple[str, str] | None:
    """For `SaeSet.release`: where a release is, and what it holds."""
    return None if source is None else (source, content(source))


@dataclass(frozen=True)
class TrainedSae:
    """One SAE of a set, before it is loaded."""

    saes: SaeSet
    tag: SaeTag
    seed: int | None = None
    """None: the set's; a number from 0: trained anew, with weights and an order of rows of its
    own."""
    of: int | None = None
    """How many seeds it is trained anew with."""

    def load(self) -> Sae:
        """The SAE, trained unless it has been. Raises SaeError."""
        device = self.saes.task.subject.device
        if self.seed is None or self.of is None:
            return self.saes.bank(self.tag.layer).sae(self.tag, device)
        folder = train_again(self.saes, self.tag, self.of)
        return load_sae(folder / str(self.seed)).to(device)


@dataclass(frozen=True)
class UntrainedSae:
    """The SAE from which the training of one of a set starts."""

    saes: SaeSet
    tag: SaeTag

    def load(self) -> Sae:
        """The SAE. Raises SaeError as training would before its first step."""
        return untrained(self.saes, self.tag).to(self.saes.task.subject.device)


def with_frozen_decoder(saes: SaeSet, tag: SaeTag) -> TrainedSae:
    """The SAE of this tag, trained here from the same start with its decoder left as it starts.

    It is of a set that holds it alone at its layer; at other layers the set's tags stay, by whose
    layers the activations are kept that it is trained on.
    """
    tags = tuple(of for of in saes.tags if of == tag or of.layer != tag.layer)
    recipe = dataclasses.replace(saes.recipe, frozen_decoder=True)
    return TrainedSae(dataclasses.replace(saes, tags=tags, recipe=recipe, release=None), tag)


@cached_files(pinned=True)
def activations(
    to: Folder, half: AskedHalf, layers: tuple[int, ...], positions: Positions
) -> None:
    """resid_post at these layers, under genuine and sandbag, of a half's questions; `read` gives
    them. positions: the question's own tokens ("suffix"), or the prompt's last ("last")."""
    lm = half.task.subject.load()
    found = capture(lm.model, half.prompts, TRAIN_CONDITIONS, half.half, layers, positions,
                    half.task.subject.batch_size)
    write_activations(to.out / _FILE, found)


def read(folder: Path, layers: Sequence[int] | None = None) -> Activations:
    """What `activations` wrote, at these layers or at all."""
    return read_activations(folder / _FILE, layers)


@cached_files(pinned=True)
def train_saes(to: Folder, saes: SaeSet, layer: int) -> None:
    """The set's SAEs of one layer, each in a folder of its own. A killed training goes on where
    each SAE's last checkpoint left it. Raises SaeError if one of them cannot be trained."""
    task, tags = saes.task, saes.at(layer)
    rows = read(activations(task.choosing, saes.layers, "suffix"), [layer])
    torch.set_num_threads(task.subject.threads)
    trained = train_bank(list(_jobs(saes, tags, rows)),
                         rows.x_by_layer[layer].to(task.subject.device), task.seed, to.checkpoints,
                         f"SAEs of {task.model} L{layer}, {task.framing.name}")
    save_bank(trained, to.out)


@cached_files(pinned=True)
def train_again(to: Folder, saes: SaeSet, tag: SaeTag, seeds: int) -> None:
    """One of the set's SAEs trained so many times anew, numbered from 0: only the weights it starts
    from and the order of its rows differ."""
    task = saes.task
    rows = read(activations(task.choosing, saes.layers, "suffix"), [tag.layer])
    torch.set_num_threads(task.subject.threads)
    (job,) = _jobs(saes, [tag], rows)
    jobs = [dataclasses.replace(job, name=f"{tag.name} again {n}") for n in range(1, seeds + 1)]
    trained = train_bank(jobs, rows.x_by_layer[tag.layer].to(task.subject.device), task.seed,
                         label=f"{tag.name}, {seeds} seeds")
    for number, of in enumerate(trained.values()):
        save(of.sae.to("cpu"), to.out / str(number))


def untrained(saes: SaeSet, tag: SaeTag) -> Sae:
    """The SAE from which the training of this tag starts."""
    rows = read(activations(saes.task.choosing, saes.layers, "suffix"))
    (job,) = _jobs(saes, [tag], rows)
    return untrained_sae(job, rows.x_by_layer[tag.layer], saes.task.seed)


def _jobs(saes: SaeSet, tags: Sequence[SaeTag], rows: Activations) -> Iterator[Job]:
    task = saes.task
    blocks = path_of_blocks(task.subject.model, artifacts_root())
    for tag in tags:
        of = np.flatnonzero(np.isin(rows.condition, CONDITIONS_OF_TRAIN_SET[tag.train_set]))
        yield training_job(task.subject.model, blocks, tag, saes.recipe, of, rows.position,
                           task.seed, framing=task.framing.name)
