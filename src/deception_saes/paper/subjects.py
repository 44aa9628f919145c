"""From a profile to what experiments take: subjects, tasks, SAEs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deception_saes.experiments.behavioural_saes import BehaviouralSaes
from deception_saes.experiments.reading import Reading
from deception_saes.experiments.saes import SaeSet, released
from deception_saes.experiments.task import Subject, Task, subject
from deception_saes.models.load import at_commit
from deception_saes.models.spec import ModelSpec
from deception_saes.saes.tags import behavioural_tags, is_compared, is_swapped, sandbagging_tags
from deception_saes.tasks.completions import Completion, load_completions
from deception_saes.tasks.framings import FRAMINGS, Framing
from deception_saes.tasks.labels import load_labels
from deception_saes.tasks.scenarios import load_scenarios
from deception_saes.tasks.trivia import Question, load_questions, spread

if TYPE_CHECKING:
    from deception_saes.paper.profiles import Behaviour, Profile


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
    """The SAEs of a task by the profile's recipe: for the primary model under the circuit's framing
    the whole release or what of it is compared, else those whose features are swapped."""
    model = task.subject.model
    primary = (task.framing.name == profile.circuit_framing
               and model.slug == profile.models[0].slug)
    tags = tuple(tag for tag in sandbagging_tags(model.slug, model.shape.layers)
                 if is_swapped(tag)
                 or (primary and (profile.whole_release or is_compared(tag))))
    return SaeSet(task, tags, profile.sae_recipe, released(profile.sae_source))


def reading_of(profile: Profile, seed: int, model: ModelSpec, judge: str) -> Reading:
    """A model's reading of the completions that the profile names, with this judge's labels. The
    profile has a `behaviour`."""
    of = profile.behaviour
    assert of is not None
    return Reading(subject_of(profile, model), read_under(of), judge,
                   load_labels().get(judge, {}), seed)


def read_under(of: Behaviour) -> tuple[Completion, ...]:
    """The completions that are read, in the order of their file."""
    asked = {scenario.id for scenario in load_scenarios()[: of.scenarios]}
    kept: list[Completion] = []
    seen: dict[tuple[str, str], int] = {}
    for completion in load_completions():
        if completion.model != of.sampled_by or completion.scenario not in asked:
            continue
        place = (completion.scenario, completion.round)
        seen[place] = seen.get(place, 0) + 1
        most = of.completions_per_scenario
        if most is None or seen[place] <= most:
            kept.append(completion)
    return tuple(kept)


def why_not_read(profile: Profile) -> str | None:
    """Why there is nothing to read or no label of it; None if there is."""
    of = profile.behaviour
    if of is None:
        return (f"profile {profile.name} names no model for behavioural deception (field "
                "`behaviour`)")
    drawn = {completion.id for completion in read_under(of)}
    if not drawn:
        return (f"there are no completions of {of.sampled_by}: draw them with `make resample`, "
                f"then label them in tasks/data/labels.csv, by judge {of.judge}")
    if not drawn & load_labels().get(of.judge, {}).keys():
        return (f"no completion of {of.sampled_by} has a label of judge {of.judge}: read "
                "the completions, or have them judged, into tasks/data/labels.csv")
    return None


def behavioural_saes_of(profile: Profile, reading: Reading) -> BehaviouralSaes:
    """The SAEs of a reading by the profile's recipe."""
    model = reading.subject.model
    tags = sorted(behavioural_tags(model.slug, model.shape.layers), key=lambda tag: tag.layer)
    return BehaviouralSaes(reading, tuple(tags), profile.behaviour_recipe or profile.sae_recipe)
