"""§30: the sandbagging-specific portion, model by model and under both co-primary framings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deception_saes.experiments.heads import Heads
    from deception_saes.experiments.task import Task
    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, Work
    from deception_saes.tasks.framings import Condition

DATA = ()
NEEDS = ()

CONDITIONS: tuple[Condition, ...] = ("sandbag", "genuine")
PUBLISHED = {"tinyllama": "S-15", "pythia160m": "S-16", "pythia410m": "S-17"}


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`. tasks: by the model's slug, the primary one first, and
    framing. `missing`: reasons by slug of models not to be had."""

    tasks: dict[str, dict[str, Task]]
    missing: dict[str, str]
    framing: str
    primary_framings: tuple[str, ...]
    circuit_size: int
    sweep_sandbag_questions: int | None
    bootstrap_draws: int
    seed: int

    @property
    def primary(self) -> str:
        """Slug of the primary model."""
        return next(iter(self.tasks))


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section."""
    from deception_saes.sections.run import NotRun, params_from
    from deception_saes.sections.subjects import task_of

    if profile.models[0] not in models:
        return NotRun(missing)
    framings = dict.fromkeys((profile.circuit_framing, *profile.primary_framings))
    tasks = {model.slug: {name: task_of(profile, seed, model, name) for name in framings}
             for model in models}
    return params_from(Params, profile, seed, tasks=tasks, missing=missing,
                       framing=profile.circuit_framing)


def compute(params: Params, work: Work) -> Output:
    """Per model: heads chosen under the circuit's framing, measured under both."""
    import pandas as pd

    from deception_saes.sections.run import Output

    values: list[Value] = []
    rows: list[dict[str, object]] = []
    missing = params.missing | unanswered(params)
    for slug, tasks in params.tasks.items():
        if slug in missing:
            continue
        chosen = _circuit(tasks[params.framing], params)
        for framing in params.primary_framings:
            found = list(_portion(tasks[framing], chosen, params))
            values += found
            rows.append({"model": tasks[framing].subject.model.name, "framing": framing,
                         "status": "done", "heads": " ".join(map(str, chosen)),
                         "ids": " ".join(value.id for value in found)})
    rows += [{"model": slug, "framing": "", "status": "not run", "reason": reason}
             for slug, reason in missing.items()]
    return Output(values, {"models": pd.DataFrame(rows)})


def unanswered(params: Params) -> dict[str, str]:
    """Models beside the primary one that answer no question under a framing, with the reason."""
    from deception_saes.experiments.task import has_half

    found = {}
    for slug, tasks in params.tasks.items():
        needed = [tasks[params.framing].choosing,
                  *(tasks[framing].evaluating for framing in params.primary_framings)]
        for half in needed:
            if slug != params.primary and not has_half(half):
                found[slug] = ("none of its questions is answerable under the framing "
                               f"{half.task.framing.name}")
    return found


def _circuit(task: Task, params: Params) -> Heads:
    """The primary model's heads are those of the circuit's section; another model is swept on the
    whole half."""
    from deception_saes.experiments.circuits import strongest
    from deception_saes.experiments.heads import sweep

    primary = task.model == params.primary
    count = params.sweep_sandbag_questions if primary else None
    return strongest(sweep(task.choosing.spread(count), "sandbag"), params.circuit_size)


def _portion(task: Task, chosen: Heads, params: Params) -> Iterator[Value]:
    from deception_saes.analysis.bootstrap import mean_interval
    from deception_saes.experiments.heads import p_correct
    from deception_saes.sections.results import Value

    model, framing = task.model, task.framing.name
    effects = {}
    for condition in CONDITIONS:
        clean, ablated = p_correct(task.evaluating, condition, [(), chosen])
        effects[condition] = ablated - clean
    quantities = {
        "restoration": ("restoration", effects["sandbag"], "sandbag"),
        "genuine": ("effect on genuine prompts", effects["genuine"], "genuine"),
        "portion": ("sandbagging-specific portion", effects["sandbag"] - effects["genuine"],
                    "sandbag"),
    }
    for id, (quantity, per_question, of) in quantities.items():
        found = mean_interval(per_question, params.bootstrap_draws, params.seed)
        answers = id == "portion" and framing == params.framing
        claim = PUBLISHED.get(model, "S-14" if model == params.primary else None)
        yield Value(f"s30.{model}.{framing}.{id}", quantity, found.mean, "pp",
                    ci_low=found.low, ci_high=found.high, n=found.n, model=model,
                    framing=framing, condition=of, claim=claim if answers else None)
