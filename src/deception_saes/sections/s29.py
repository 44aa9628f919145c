"""§29: the same ablation on genuine prompts, and what it costs a neutral text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from deception_saes.experiments.task import Task
    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, Work

DATA = ("tasks/data/neutral_text.txt",)
NEEDS = ()


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`."""

    task: Task
    circuit_size: int
    sweep_sandbag_questions: int | None
    bootstrap_draws: int
    seed: int


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section; it is about the primary model."""
    from deception_saes.sections.run import NotRun, params_from
    from deception_saes.sections.subjects import task_of

    if profile.models[0] not in models:
        return NotRun(missing)
    return params_from(Params, profile, seed,
                       task=task_of(profile, seed, profile.models[0], profile.circuit_framing))


def compute(params: Params, work: Work) -> Output:
    """Question by question, by the calls of the circuit's section; the neutral text is run here."""
    import pandas as pd

    from deception_saes.experiments.circuits import strongest
    from deception_saes.experiments.heads import p_correct, sweep
    from deception_saes.interventions.ablation import collateral_damage
    from deception_saes.sections.run import Output
    from deception_saes.tasks.neutral import neutral_passages

    task = params.task
    swept = sweep(task.choosing.spread(params.sweep_sandbag_questions), "sandbag")
    chosen = strongest(swept, params.circuit_size)
    p_SQ = {condition: p_correct(task.evaluating, condition, [(), chosen]) / 100
            for condition in ("genuine", "sandbag")}
    effects = pd.DataFrame({
        "question": [question.id for question in task.evaluating.questions],
        **{condition: 100 * (zero_Q - clean_Q) for condition, (clean_Q, zero_Q) in p_SQ.items()}})
    effects["p_correct_genuine"] = p_SQ["genuine"][0]
    lm = task.subject.load()
    rows = []
    for number, passage in enumerate(neutral_passages(lm.tokenizer), start=1):
        clean, ablated = collateral_damage(lm.model, passage, [(), chosen], f"passage {number}")
        rows.append({"passage": number, "tokens": len(passage), "clean": clean.cross_entropy,
                     "ablated": ablated.cross_entropy, "kl": ablated.kl})
    cost = pd.DataFrame(rows)
    return Output(list(_values(effects, cost, params)), {"effects": effects, "cost": cost})


def _values(effects: pd.DataFrame, cost: pd.DataFrame, params: Params) -> Iterator[Value]:
    from deception_saes.analysis.bootstrap import mean_interval
    from deception_saes.sections.results import Value

    about: dict[str, Any] = {"model": params.task.model,
                             "framing": params.task.framing.name}

    def value(id: str, quantity: str, per_question: Any, unit: str, condition: str,
              claim: str | None = None) -> Value:
        found = mean_interval(per_question, params.bootstrap_draws, params.seed)
        return Value(f"s29.{params.task.model}.{id}", quantity, found.mean, unit,
                     ci_low=found.low, ci_high=found.high, n=found.n, condition=condition,
                     claim=claim, **about)

    yield value("effect.genuine", "effect of the ablation on genuine prompts", effects["genuine"],
                "pp", "genuine", claim="S-13")
    yield value("effect.sandbag", "restoration", effects["sandbag"], "pp", "sandbag")
    yield value("portion", "sandbagging-specific portion, restoration − effect on genuine prompts",
                effects["sandbag"] - effects["genuine"], "pp", "sandbag")
    for condition in ("genuine", "sandbag"):
        yield value(f"improved.{condition}", "share of questions that the ablation improves",
                    100.0 * (effects[condition] > 0), "percent", condition)
    weights = (cost["tokens"] - 1) / (cost["tokens"] - 1).sum()
    for column, quantity in (("clean", "cross-entropy of the neutral text, clean"),
                             ("ablated", "cross-entropy of the neutral text, heads ablated"),
                             ("kl", "mean KL(clean ‖ ablated) on the neutral text")):
        yield Value(f"s29.{params.task.model}.text.{column}", quantity,
                    float((weights * cost[column]).sum()), "nats",
                    n=int((cost["tokens"] - 1).sum()), **about)
