"""§30: the sandbagging-specific portion, model by model and under both co-primary framings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deception_saes.models.anatomy import Head
    from deception_saes.models.load import LanguageModel
    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, SectionRun, Work

DATA = ("tasks/data/questions.csv",)
NEEDS = (23, 27)

PUBLISHED = {"tinyllama": "S-15", "pythia160m": "S-16", "pythia410m": "S-17"}


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`; `missing`: reasons by slug of models not to be had."""

    models: tuple[ModelSpec, ...]
    missing: dict[str, str]
    framing: str
    primary_framings: tuple[str, ...]
    circuit_size: int
    bootstrap_draws: int
    device: str
    seed: int


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section."""
    from deception_saes.sections.run import primary_params

    return primary_params(Params, profile, seed, models, missing)


def compute(params: Params, work: Work) -> Output:
    """Per model: heads chosen under the circuit's framing, measured under both."""
    import pandas as pd

    from deception_saes.models.load import load
    from deception_saes.sections.run import Output

    values: list[Value] = []
    rows: list[dict[str, object]] = []
    missing = params.missing | unanswered(params, work.needed[23])
    for spec in params.models:
        if spec.slug in missing:
            continue
        lm = load(spec, work.artifacts, params.device)
        chosen = _circuit(lm, params, work)
        for framing in params.primary_framings:
            found = list(_portion(lm, framing, chosen, params, work))
            values += found
            rows.append({"model": spec.name, "framing": framing, "status": "done",
                         "heads": " ".join(map(str, chosen)),
                         "ids": " ".join(value.id for value in found)})
    rows += [{"model": slug, "framing": "", "status": "not run", "reason": reason}
             for slug, reason in missing.items()]
    return Output(values, {"models": pd.DataFrame(rows)})


def unanswered(params: Params, task: SectionRun) -> dict[str, str]:
    """Models beside the primary one that answer no question under a framing, with the reason."""
    from deception_saes.sections.halves import has_half

    needed = [(params.framing, "choosing"),
              *((framing, "evaluating") for framing in params.primary_framings)]
    return {spec.slug: f"none of its questions is answerable under the framing {framing}"
            for spec in params.models[1:] for framing, half in needed
            if not has_half(task, spec.slug, framing, half)}


def _circuit(lm: LanguageModel, params: Params, work: Work) -> list[Head]:
    """§27's heads for the primary model; another model is swept here."""
    from deception_saes.sections.halves import half_of
    from deception_saes.sections.sweep import all_heads, circuit, sweep

    if lm.spec == params.models[0]:
        return circuit(work.needed[27].table("heads"), params.circuit_size)
    import pandas as pd

    heads = all_heads(lm)
    asked = half_of(work.needed[23], lm, params.framing, "choosing")
    effects_HQ = sweep(lm, asked, "sandbag", work.tree)
    table = pd.DataFrame({"layer": [h.layer for h in heads], "head": [h.head for h in heads],
                          "effect_sandbag": effects_HQ.mean(axis=1)})
    return circuit(table, params.circuit_size)


def _portion(
    lm: LanguageModel, framing: str, chosen: list[Head], params: Params, work: Work
) -> Iterator[Value]:
    from deception_saes.analysis.bootstrap import mean_interval
    from deception_saes.sections.halves import half_of
    from deception_saes.sections.results import Value
    from deception_saes.sections.sweep import p_correct_under

    asked = half_of(work.needed[23], lm, framing, "evaluating")
    effects = {}
    for condition in ("sandbag", "genuine"):
        clean, ablated = p_correct_under(lm, asked, condition, [(), tuple(chosen)], "circuit")
        effects[condition] = ablated - clean
    quantities = {
        "restoration": ("restoration", effects["sandbag"], "sandbag"),
        "genuine": ("effect on genuine prompts", effects["genuine"], "genuine"),
        "portion": ("sandbagging-specific portion", effects["sandbag"] - effects["genuine"],
                    "sandbag"),
    }
    for id, (quantity, per_question, condition) in quantities.items():
        found = mean_interval(per_question, params.bootstrap_draws, params.seed)
        primary = lm.spec == params.models[0]
        answers = id == "portion" and framing == params.framing
        claim = PUBLISHED.get(lm.spec.slug, "S-14" if primary else None) if answers else None
        yield Value(f"s30.{lm.spec.slug}.{framing}.{id}", quantity, found.mean, "pp",
                    ci_low=found.low, ci_high=found.high, n=found.n, model=lm.spec.slug,
                    framing=framing, condition=condition, claim=claim)
