"""The behavioural SAEs: trained on tokens of completions, those of other rounds than probes and
features are measured on.

They see the rounds R1 and R2 alone, less the near-duplicates of any completion of R3. So nothing
that is measured on R3 was seen in training, neither its activations nor, by the choice of training
sets, its labels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from deception_saes.activations.completions import TokenRows
from deception_saes.cache import Folder, cached_files
from deception_saes.errors import UserError
from deception_saes.experiments.reading import MAIN_ROUND, SCENARIO_DATA, Reading
from deception_saes.saes.bank import (
    Bank,
    path_of_blocks,
    read_bank,
    save_bank,
    train_bank,
    training_job,
)
from deception_saes.saes.config import Recipe
from deception_saes.saes.sae import Sae
from deception_saes.saes.tags import SaeTag, TaggedSaes
from deception_saes.saes.training import Job
from deception_saes.saes.training import untrained as untrained_sae
from deception_saes.store.files import artifacts_root
from deception_saes.tasks.labels import duplicate_groups

TRAIN_ROUNDS = ("R1", "R2")
LABELS_OF_TRAIN_SET = {"honest_only": ("honest",), "deceptive_only": ("deceptive",),
              "mixed": ("honest", "deceptive")}
"""The labels whose completions train an SAE; ambiguous completions train none."""


@dataclass(frozen=True)
class BehaviouralSaes(TaggedSaes):
    """The SAEs of a reading: what decides their weights."""

    reading: Reading
    tags: tuple[SaeTag, ...]
    recipe: Recipe
    """How each is trained."""

    def tag(self, layer: int, architecture: str, train_set: str) -> SaeTag:
        """That of one SAE. Raises UserError if there is none such."""
        found = [tag for tag in self.at(layer)
                 if (tag.architecture, tag.train_set) == (architecture, train_set)]
        if not found:
            raise UserError(f"there is no SAE {architecture}, L{layer}, {train_set}; choose one of "
                            f"{', '.join(tag.name for tag in self.tags)}")
        return found[0]

    def before_fix(self, layers: Collection[int]) -> BehaviouralSaes:
        """Their JumpReLUs as the study had them before its fix, thresholds at 0."""
        return dataclasses.replace(
            self, tags=tuple(tag for tag in self.tags if tag.architecture == "jumprelu"
                             and tag.layer in layers),
            recipe=dataclasses.replace(self.recipe, learn_threshold=False))

    def bank(self, layer: int) -> Bank:
        """The SAEs of a layer, trained unless they have been. Raises SaeError."""
        return read_bank(train_behavioural(self, layer), self.at(layer),
                         self.reading.subject.model.shape.d_model)

    def load(self, device: str = "cpu") -> Iterator[tuple[SaeTag, Sae]]:
        """Every SAE with its tag, layer by layer. Raises SaeError."""
        for layer in self.layers:
            bank = self.bank(layer)
            for tag in bank.tags:
                yield tag, bank.sae(tag, device)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds that each SAE took to train, by tag; they differ from training to training."""
        return {name: of for layer in self.layers
                for name, of in self.bank(layer).seconds.items()}


def trained_on(reading: Reading, train_set: str) -> list[str]:
    """Ids of the completions that train an SAE of this set, near-duplicates of the main round left
    out."""
    drawn = reading.completions
    kept: list[str] = []
    for scenario in dict.fromkeys(completion.scenario for completion in drawn):
        of = [completion for completion in drawn if completion.scenario == scenario]
        groups = duplicate_groups([completion.text for completion in of])
        main = np.array([completion.round == MAIN_ROUND for completion in of])
        held_out = set(groups[main])
        kept += [completion.id for completion, group in zip(of, groups, strict=True)
                 if group not in held_out
                 and reading.labels.get(completion.id) in LABELS_OF_TRAIN_SET[train_set]]
    return kept


@cached_files(pinned=True, data=SCENARIO_DATA, libraries=("scipy",))
def train_behavioural(to: Folder, saes: BehaviouralSaes, layer: int) -> None:
    """The SAEs of one layer, each in a folder of its own. A killed training goes on where each
    SAE's last checkpoint left it. Raises SaeError if one of them cannot be trained."""
    reading, tags = saes.reading, saes.at(layer)
    torch.set_num_threads(reading.subject.threads)
    rows = reading.tokens(*TRAIN_ROUNDS)
    x_ND = rows.x_by_layer[layer].to(reading.subject.device)
    trained = train_bank(list(_jobs(saes, tags, rows)), x_ND, reading.seed, to.checkpoints,
                         f"behavioural SAEs L{layer}")
    save_bank(trained, to.out)


def untrained(saes: BehaviouralSaes, layer: int, rows: TokenRows) -> list[Sae]:
    """The SAEs from which the training of a layer's starts: random dictionaries, in the order of
    `saes.at`. rows: the tokens of TRAIN_ROUNDS."""
    return [untrained_sae(job, rows.x_by_layer[layer], saes.reading.seed)
            for job in _jobs(saes, saes.at(layer), rows)]


def _jobs(saes: BehaviouralSaes, tags: Sequence[SaeTag], rows: TokenRows) -> Iterator[Job]:
    reading = saes.reading
    model = reading.subject.model
    blocks = path_of_blocks(model, artifacts_root())
    rows_of = {train_set: rows.of(trained_on(reading, train_set))
               for train_set in dict.fromkeys(tag.train_set for tag in tags)}
    for tag in tags:
        yield training_job(model, blocks, tag, saes.recipe, rows_of[tag.train_set], rows.position,
                           reading.seed)
