"""What a section is run with: the profile's, or a person's own where a notebook names something
else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from deception_saes.errors import UserError
from deception_saes.experiments.behavioural_saes import BehaviouralSaes
from deception_saes.experiments.reading import MAIN_ROUND, Reading
from deception_saes.experiments.saes import SaeSet
from deception_saes.experiments.task import Subject, Task
from deception_saes.models.load import why_unavailable
from deception_saes.models.registry import MODELS
from deception_saes.models.spec import ModelSpec, ModelUnavailable
from deception_saes.paper.catalogue import DECEPTION, SECTIONS, Section
from deception_saes.paper.profiles import Profile
from deception_saes.paper.subjects import (
    asked_under,
    behavioural_saes_of,
    reading_of,
    saes_of,
    subject_of,
    why_not_read,
)
from deception_saes.saes.tags import LLAMA, TINYLLAMA, K, StudyDepths, is_swapped, tags_at
from deception_saes.tasks.framings import FRAMINGS, Framing, reworded
from deception_saes.tasks.labels import load_labels
from deception_saes.tasks.trivia import Question, load_questions

PARAMETERS = ("model", "framing", "questions", "sandbag_instruction", "judge", "layers", "k",
              "n_heads", "draws", "permutations", "resamples")
"""What a notebook's parameters cell may name beside profile and seed; None is the profile's."""

PRIMARY = "llama"
"""Slug of the study's primary model."""

_CHECKED_BY = {"questions": "_questions", "sandbag_instruction": "_instruction"}
_MOST_HEADS = 10
_OF_TASK = {"model", "framing", "questions", "sandbag_instruction"}


class Settings:
    """What a section is run with. Attributes of parameters give the person's own value, or the
    profile's. `own`: the person's own, by name."""

    def __init__(
        self, number: int, profile: Profile, seed: int, own: Mapping[str, Any] | None = None
    ) -> None:
        """Raises UserError for a parameter that does not exist or a value that cannot be used."""
        self.section: Section = SECTIONS[number]
        self.profile, self.seed = profile, seed
        self.own = {name: value for name, value in (own or {}).items() if value is not None}
        unknown = sorted(self.own.keys() - set(PARAMETERS))
        if unknown:
            raise UserError(f"no parameter {unknown[0]!r}; known: {', '.join(PARAMETERS)}")
        if self.why_not_run is None:
            for name in self.own:
                getattr(self, _CHECKED_BY.get(name, name))

    # Subjects

    @cached_property
    def model(self) -> ModelSpec | None:
        """The model that the section is about; None if the profile has none for it."""
        if "model" in self.own:
            return _model_named(str(self.own["model"]))
        if self.reads:
            of = self.profile.behaviour
            return next((model for model in self.profile.models
                         if of and model.slug == of.model), None)
        if self.is_swap:
            slug = self.profile.swaps.get(self.section.number, (None, None))[0]
            return next((model for model in self.profile.models if model.slug == slug), None)
        return self.profile.models[0]

    @property
    def is_swap(self) -> bool:
        """Whether the section is one of those that the profile names a model and a framing for."""
        return self.section.number in (24, 26, 31)

    @property
    def reads(self) -> bool:
        """Whether the section is about completions that a model reads."""
        return self.section.part == DECEPTION

    @cached_property
    def missing(self) -> dict[str, str]:
        """The reasons why models of the profile are unavailable, by slug; none for a model of one's
        own."""
        if "model" in self.own:
            return {}
        reasons = {model.slug: why_unavailable(model) for model in self.profile.models}
        return {slug: reason for slug, reason in reasons.items() if reason is not None}

    @cached_property
    def why_not_run(self) -> str | None:
        """Why the section cannot be run; None if it can."""
        if self.reads and (why := why_not_read(self.profile)):
            return why
        if self.model is None:
            return (f"the profile {self.profile.name} has no model for §{self.section.number}; the "
                    f"study's models are in the profile paper{self._stand_in}")
        if self.section.number == 23 and "model" not in self.own:
            everyone = len(self.missing) == len(self.profile.models)
            return "; ".join(self.missing.values()) if everyone else None
        why = why_unavailable(self.model)
        return why if why is None else why + self._stand_in

    @property
    def _stand_in(self) -> str:
        """Of a swap that cannot be run, behind the reason: where the same is asked of models that
        are none of the study's; "" if nowhere."""
        if not self.is_swap:
            return ""
        by_slug = {model.slug: model for model in self.profile.models
                   if not model.of_the_study and why_unavailable(model) is None}
        asked: dict[str, list[str]] = {}
        for number, (slug, _) in self.profile.swaps.items():
            if number != self.section.number and slug in by_slug:
                asked.setdefault(by_slug[slug].name, []).append(f"§{number}")
        told = ", ".join(f"{name} in {' and '.join(sections)}"
                         for name, sections in asked.items())
        return f"; stand-in: {told}" if told else ""

    @property
    def subject(self) -> Subject:
        """The model as it is run. Raises ModelUnavailable."""
        if self.model is None or self.why_not_run:
            raise ModelUnavailable(self.why_not_run)
        return subject_of(self.profile, self.model)

    @property
    def subjects(self) -> list[Subject]:
        """All models of the profile that are available, or the person's own alone."""
        if "model" in self.own:
            return [self.subject]
        return [subject_of(self.profile, model) for model in self.profile.models
                if model.slug not in self.missing]

    # What is asked

    @property
    def framing(self) -> Framing:
        """The framing of the section, with the person's own instruction if there is one."""
        if "framing" in self.own:
            name = self._one_of("framing", FRAMINGS)
        elif self.is_swap and self.section.number in self.profile.swaps:
            name = self.profile.swaps[self.section.number][1]
        else:
            name = self.profile.circuit_framing
        return reworded(FRAMINGS[name], self._instruction)

    @property
    def framings(self) -> list[Framing]:
        """All framings of the profile, or the person's own alone."""
        if "framing" in self.own:
            return [self.framing]
        return [reworded(FRAMINGS[name], self._instruction) for name in self.profile.framings]

    @property
    def primary_framings(self) -> list[Framing]:
        """The co-primary framings of the profile, with the person's own instruction if there is
        one."""
        return [reworded(FRAMINGS[name], self._instruction)
                for name in self.profile.primary_framings]

    @property
    def arms(self) -> dict[str, Framing]:
        """What heads are chosen under: the section's framing, `section`, the same-prefix one, and
        where the instruction alone differs, by their names; less one that is the section's. All
        in the first wording: under the framing `instruction_alone`, in another, none is chosen."""
        same_prefix, alone = FRAMINGS["two_shot_same_prefix"], FRAMINGS["instruction_alone"]
        others = (same_prefix, replace(alone, instructions=same_prefix.instructions))
        return {"section": self.framing, **{of.name: reworded(of, self._instruction)
                                            for of in others if of.name != self.framing.name}}

    @property
    def _instruction(self) -> str | None:
        given = self.own.get("sandbag_instruction")
        if given is not None and not str(given).strip():
            raise UserError("sandbag_instruction is empty; write a sentence that asks for wrong "
                            "answers, or None for the book's")
        return None if given is None else str(given)

    @cached_property
    def _questions(self) -> list[Question]:
        if "questions" not in self.own:
            return load_questions()
        path = Path(str(self.own["questions"])).expanduser()
        if not path.is_file():
            raise UserError(f"questions: there is no file {path}; give the path of a CSV with the "
                            "columns id, topic, question, answer, aliases, foil")
        return load_questions(path)

    def questions(self, framing: Framing) -> tuple[Question, ...]:
        """The questions that are asked under a framing."""
        return asked_under(self.profile, framing.name, self._questions)

    @property
    def task(self) -> Task:
        """The questions that the section's model can answer under its framing, in halves. Raises
        ModelUnavailable."""
        return self.task_of(self.subject, self.framing)

    def task_of(self, subject: Subject, framing: Framing) -> Task:
        """The questions that a subject can answer under a framing, in halves."""
        return Task(subject, framing, self.questions(framing), self.least_p_correct, self.seed)

    @property
    def least_p_correct(self) -> float:
        """Least P(correct | genuine) of an answerable question."""
        return self.profile.answerable_min_p

    # What is read

    @property
    def judge(self) -> str:
        """Whose labels tell honest completions from deceptive ones."""
        if "judge" in self.own:
            return self._one_of("judge", load_labels())
        assert self.profile.behaviour is not None
        return self.profile.behaviour.judge

    @cached_property
    def reading(self) -> Reading:
        """The completions that the section's model reads, with their labels. Raises
        ModelUnavailable, and UserError for a judge of the person's own without labels of them."""
        found = reading_of(self.profile, self.seed, self.subject.model, self.judge)
        if "judge" in self.own and not found.balanced_set(MAIN_ROUND):
            raise UserError(f"judge is {self.judge!r}, who called none of the completions of "
                            f"{MAIN_ROUND} honest, or none deceptive; name another, or None")
        return found

    @property
    def stands_in(self) -> bool:
        """Whether the section's model answers claims about the study's primary model: it is that
        model, or none of the study's."""
        return self.model is not None and (self.model.slug == PRIMARY
                                           or not self.model.of_the_study)

    @cached_property
    def behavioural_saes(self) -> BehaviouralSaes:
        """The SAEs that are trained on the reading. Raises ModelUnavailable."""
        return behavioural_saes_of(self.profile, self.reading)

    # SAEs

    @property
    def depths(self) -> StudyDepths:
        """The study's layers at whose relative depths the section's are: Llama's, of which those of
        its other models are moved ones too; in §31, where §24's model stands in for TinyLlama,
        TinyLlama's, which are other layers of that model."""
        primary, _ = self.profile.swaps.get(24, (None, None))
        stands_in = self.model is not None and self.model.slug == primary
        return TINYLLAMA if self.section.number == 31 and stands_in else LLAMA

    @property
    def described_subject(self) -> str:
        """The model, the layers that are edited, and what it stands in for, if it does."""
        assert self.model is not None
        at = ", ".join(f"L{layer}" for layer in self.layers)
        if self.depths == LLAMA:
            return f"{self.model.name}, {at}"
        of_study = ", ".join(f"L{layer}" for layer in self.depths.layers)
        return (f"{self.model.name}, {at}, as a stand-in for {self.depths.name}, whose {of_study} "
                "are at the same relative depths. No number here is of that model")

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The layers that are edited, ascending."""
        n_layers = self.subject.model.shape.layers
        if "layers" not in self.own:
            return self.depths.moved(n_layers)
        given = self.own["layers"]
        parts = given.replace(",", " ").split() if isinstance(given, str) else (
            [given] if isinstance(given, int) else list(given))
        try:
            layers = sorted({int(layer) for layer in parts})
        except (TypeError, ValueError):
            layers = []
        if not layers or layers[0] < 0 or layers[-1] >= n_layers:
            raise UserError(f"layers is {given!r}; expected layers of {self.subject.model.slug}, "
                            f"which has 0 to {n_layers - 1}, like 14 or [7, 14]")
        return tuple(layers)

    @property
    def middle(self) -> int:
        """The middle one of the layers."""
        return self.layers[len(self.layers) // 2]

    @property
    def k(self) -> int:
        """Features of a TopK SAE that may be active."""
        return self._count("k", K)

    @cached_property
    def saes(self) -> SaeSet:
        """The SAEs of the task: the profile's, or at the person's own layers, with their own k,
        JumpReLU and TopK SAEs trained for them."""
        found = saes_of(self.profile, self.task)
        if _OF_TASK & self.own.keys():  # none of the zoo's are there, and the swapped ones do
            found = replace(found, tags=tuple(tag for tag in found.tags if is_swapped(tag)))
        if set(self.layers) <= set(found.layers) and self.k == K:
            return found
        tags = tags_at(self.subject.model.slug, self.layers, self.k)
        return replace(found, tags=tuple(tags), release=None)

    @property
    def training_seeds(self) -> int:
        """How many times the SAE of the middle layer is trained anew."""
        seeds_compared = self.section.number == 24 and not self.profile.sae_source
        return self.profile.training_seeds if seeds_compared else 0

    @property
    def frozen_at(self) -> int | None:
        """The layer of the JumpReLU that is trained with its decoder frozen too; None where none is
        trained anew."""
        return self.middle if self.training_seeds else None

    # How much

    @property
    def n_heads(self) -> int:
        """Suppressor heads that are ablated together."""
        n_heads = self._count("n_heads", self.profile.circuit_size)
        if n_heads > _MOST_HEADS:
            raise UserError(f"n_heads is {n_heads}; expected at most {_MOST_HEADS}, since every "
                            "subset of the heads is run")
        return n_heads

    @property
    def draws(self) -> int:
        """Draws of each kind of random edit or random heads; of edits an even number, since they
        come in complements."""
        if not self.is_swap:
            return self._count("draws", self.profile.random_draws)
        draws = self._count("draws", self.profile.swap_draws)
        if draws % 2:
            raise UserError(f"draws is {draws}; give an even number, since the draws of edits come "
                            "in complements")
        return draws

    @property
    def draw_questions(self) -> int | None:
        """Evaluating questions that random edits or random heads are run on; None: all."""
        return self.profile.swap_draw_questions if self.is_swap else self.profile.draw_questions

    @property
    def permutations(self) -> int:
        """Permutations of labels, or flips of signs, behind every p."""
        return self._count("permutations", self.profile.permutations)

    @property
    def resamples(self) -> int:
        """Bootstrap resamples behind every interval."""
        return self._count("resamples", self.profile.bootstrap_draws)

    def _count(self, name: str, of_profile: int) -> int:
        given = self.own.get(name, of_profile)
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise UserError(f"{name} is {given!r}; expected a whole number of at least 1, or None "
                            f"for the profile's, {of_profile}")
        return given

    def _one_of(self, name: str, known: Mapping[str, Any]) -> str:
        given = str(self.own[name])
        if given not in known:
            raise UserError(f"{name} is {given!r}; expected one of {', '.join(known)}")
        return given


def _model_named(slug: str) -> ModelSpec:
    if slug not in MODELS:
        raise UserError(f"model is {slug!r}; expected one of {', '.join(sorted(MODELS))}")
    return MODELS[slug]
