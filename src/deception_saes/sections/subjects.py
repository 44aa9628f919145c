"""From a profile to what experiments take: subjects, tasks, SAEs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deception_saes.experiments.saes import SaeSet, released
from deception_saes.experiments.task import Subject, Task, subject
from deception_saes.models.load import at_commit
from deception_saes.models.spec import ModelSpec
from deception_saes.saes.tags import is_swapped, sandbagging_tags
from deception_saes.tasks.framings import Framing
from deception_saes.tasks.trivia import Question, load_questions, spread
from deception_saes.tasks.wordings import FRAMINGS

if TYPE_CHECKING:
    from deception_saes.sections.profiles import Profile


def subject_of(profile: Profile, model: ModelSpec) -> Subject:
    """The model, run as the profile runs models."""
    return subject(at_commit(model), device=profile.device, threads=profile.threads,
                   batch_size=profile.batch_size)


def asked_under(
    profile: Profile, framing: str, questions: list[Question] | None = None
) -> tuple[Question, ...]:
    """The questions that the profile asks under this framing; of these, by default the shipped
    ones."""
    primary = framing in profile.primary_framings
    count = profile.questions if primary else profile.secondary_questions
    return tuple(spread(questions or load_questions(), count))


def task_of(
    profile: Profile, seed: int, model: ModelSpec, framing: Framing | str,
    questions: list[Question] | None = None,
) -> Task:
    """A model's task under a framing, or one of the book's framings by name."""
    given = FRAMINGS[framing] if isinstance(framing, str) else framing
    return Task(subject_of(profile, model), given, asked_under(profile, given.name, questions),
                profile.answerable_min_p, seed)


def saes_of(profile: Profile, task: Task) -> SaeSet:
    """The SAEs of a task by the profile's recipe: the whole release for the primary model under the
    circuit's framing, else those of it whose features are swapped."""
    model = task.subject.model
    whole = (task.framing.name == profile.circuit_framing
             and model.slug == profile.models[0].slug)
    tags = tuple(tag for tag in sandbagging_tags(model.slug, model.shape.layers)
                 if whole or is_swapped(tag))
    return SaeSet(task, tags, profile.sae_recipe, released(profile.sae_source))
