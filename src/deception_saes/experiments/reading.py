"""Completions that a subject reads, labelled as honest or deceptive.

The words: a *reading* is a subject, the completions that it reads and one judge's labels of them;
its *balanced* set of a round has as many honest as deceptive completions of each scenario.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from deception_saes.activations.completions import (
    CompletionActivations,
    TokenCompletion,
    TokenRows,
    capture_completions,
    joined,
    read_completions,
    read_tokens,
    write_completions,
    write_tokens,
)
from deception_saes.analysis.folds import Design, design
from deception_saes.cache import Folder, cached_files
from deception_saes.errors import UserError
from deception_saes.experiments.task import Subject
from deception_saes.models.load import LanguageModel
from deception_saes.saes.tags import READING_DEPTHS, layer_at_same_depth
from deception_saes.tasks.completions import Completion, completion_ids
from deception_saes.tasks.labels import balanced, duplicate_groups
from deception_saes.tasks.scenarios import Scenario, load_scenarios, prompt_ids

ROUNDS = ("R1", "R2", "R3")
MAIN_ROUND = "R3"

SCENARIO_DATA = ("tasks/data/scenarios.toml",)
"""What prompts are made of, for `cached`'s `data`."""


@dataclass(frozen=True)
class Labelled:
    """The balanced set of a round, ready for probes, in the order of `ids`."""

    reading: Reading
    round: str
    ids: list[str]
    texts: np.ndarray
    """Strings, [N]."""
    design: Design

    @cached_property
    def activations(self) -> CompletionActivations:
        """Also of the completions that are left out."""
        return self.reading.activations(self.round)

    @property
    def n_tokens(self) -> np.ndarray:
        """Of each completion, [N]."""
        return self.activations.n_tokens[self.activations.rows(self.ids)]


@dataclass(frozen=True)
class Readable:
    """Completions as a model reads them."""

    lm: LanguageModel
    prompts: dict[str, list[int]]
    """Token ids by scenario."""
    completions: list[TokenCompletion]


@dataclass(frozen=True)
class Reading:
    """A subject reads completions, which a judge has labelled."""

    subject: Subject
    completions: tuple[Completion, ...]
    """Of all rounds, in the order of their file."""
    judge: str
    labels: Mapping[str, str]
    """The judge's, by completion id."""
    seed: int
    """Of the balanced sets and folds."""

    @property
    def model(self) -> str:
        """Slug of the subject's model."""
        return self.subject.model.slug

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers of which every token is kept, for SAEs: those at READING_DEPTHS, ascending."""
        n_layers = self.subject.model.shape.layers
        return tuple(dict.fromkeys(layer_at_same_depth(depth, n_layers)
                                   for depth in READING_DEPTHS))

    def of_round(self, round: str) -> tuple[Completion, ...]:
        """The completions of one round."""
        return tuple(c for c in self.completions if c.round == round)

    @property
    def scenarios(self) -> list[Scenario]:
        """The scenarios that any completion answers, in the order of their file."""
        asked = {completion.scenario for completion in self.completions}
        return [scenario for scenario in load_scenarios() if scenario.id in asked]

    def balanced_set(self, round: str) -> list[str]:
        """Ids of a round's completions, as many honest as deceptive ones in each scenario."""
        of_round = [c for c in self.of_round(round) if c.id in self.labels]
        return balanced(of_round, {c.id: self.labels[c.id] for c in of_round}, self.seed)

    def balanced_of(self, round: str) -> Labelled:
        """A round's balanced set with its folds. Raises UserError if nothing of it is labelled,
        ValueError if a label is too rare for the folds."""
        ids = self.balanced_set(round)
        if not ids:
            raise UserError(f"round {round} has no balanced set; label some completions of it as "
                            "honest and some as deceptive in tasks/data/labels.csv")
        of_round = {c.id: c for c in self.of_round(round)}
        texts = [of_round[id].text for id in ids]
        folds = _folds(tuple(self.labels[id] == "deceptive" for id in ids),
                       tuple(of_round[id].scenario for id in ids), tuple(texts), self.seed)
        return Labelled(self, round, ids, np.array(texts, dtype=object), folds)

    @property
    def main(self) -> Labelled:
        """The main round's balanced set. Raises what `balanced_of` does."""
        return self.balanced_of(MAIN_ROUND)

    def activations(self, round: str) -> CompletionActivations:
        """resid_post of all completions of a round, pooled, at every layer."""
        return read_completions(self._captured(round) / _POOLED)

    def tokens(self, *rounds: str) -> TokenRows:
        """resid_post at every token of all completions of these rounds, at `layers`."""
        return joined([read_tokens(self._captured(round) / _TOKENS) for round in rounds])

    def readable(self, *rounds: str) -> Readable:
        """What the model needs in order to read these rounds' completions."""
        return readable(self.subject, [c for round in rounds for c in self.of_round(round)])

    def _captured(self, round: str) -> Path:
        return capture(self.subject, self.of_round(round), self.layers)


@lru_cache(maxsize=8)
def _folds(
    deceptive: tuple[bool, ...], scenario: tuple[str, ...], texts: tuple[str, ...], seed: int
) -> Design:
    return design(deceptive, scenario, duplicate_groups(texts), seed)


_POOLED, _TOKENS = "pooled.safetensors", "tokens.safetensors"


@cached_files(pinned=True, data=SCENARIO_DATA)
def capture(
    to: Folder, subject: Subject, completions: tuple[Completion, ...], layers: tuple[int, ...]
) -> None:
    """resid_post of completions, pooled at every layer, and at every token of these layers."""
    of = readable(subject, completions)
    pooled, tokens = capture_completions(of.lm.model, of.prompts, of.completions, list(layers),
                                         subject.batch_size)
    write_completions(to.out / _POOLED, pooled)
    write_tokens(to.out / _TOKENS, tokens)


def readable(subject: Subject, completions: Sequence[Completion]) -> Readable:
    """What a subject needs in order to read completions. One without a token is left out, as it has
    no activation."""
    lm = subject.load()
    tokens = [TokenCompletion(c.id, c.scenario, completion_ids(c, lm.tokenizer))
              for c in completions]
    return Readable(lm, {s.id: prompt_ids(s, lm.tokenizer) for s in load_scenarios()},
                    [of for of in tokens if of.tokens])
