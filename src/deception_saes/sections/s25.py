"""§25: the 42 sparse autoencoders of the release, trained on this model, and how good they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from deception_saes.experiments.saes import SaeSet
    from deception_saes.experiments.swaps import Effects
    from deception_saes.models.spec import ModelSpec
    from deception_saes.saes.tags import SaeTag
    from deception_saes.sections.held_out import Measured
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, Work

DATA = ()
NEEDS = ()


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`. saes: how the SAEs are trained."""

    saes: SaeSet
    bootstrap_draws: int
    seed: int


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section."""
    from deception_saes.sections.run import NotRun, params_from
    from deception_saes.sections.subjects import saes_of, task_of

    if profile.models[0] not in models:
        return NotRun(missing)
    task = task_of(profile, seed, profile.models[0], profile.circuit_framing)
    return params_from(Params, profile, seed, saes=saes_of(profile, task))


def compute(params: Params, work: Work) -> Output:
    """Every SAE of the release: its quality on the evaluating half, and what its training cost."""
    import pandas as pd
    from tqdm import tqdm

    from deception_saes.experiments.swaps import undrawn_effects
    from deception_saes.interventions.swap import AddDifference, Edit, Reconstruct, SwapTo, SwapTop
    from deception_saes.sections.held_out import held_out, measure
    from deception_saes.sections.run import Output

    saes, device = params.saes, params.saes.task.subject.device
    edits: dict[str, Edit] = {"E2": Reconstruct(), "E6": SwapTo("genuine"), "E4": SwapTo("sandbag"),
             "E6Δ": AddDifference("genuine"), "E4Δ": AddDifference("sandbag"),
             "E5.16": SwapTop(16)}
    # all are trained before the runs are made, which want memory
    banks = {layer: saes.bank(layer) for layer in saes.layers}
    half = held_out(saes)
    every = half.prompts(params.seed)
    rows: list[dict[str, object]] = []
    values: list[Value] = []
    for layer, of_layer in banks.items():
        mean_D = half.mean_D[layer]
        replaced_Q = half.divergence(layer, mean_D.expand_as)
        for tag in tqdm(of_layer.tags, desc=f"quality at L{layer}", unit="SAE"):
            sae = of_layer.sae(tag, device)
            found = measure(sae, layer, tag.train_set, half, replaced_Q, params.bootstrap_draws,
                            params.seed)
            row = _row(tag, found, of_layer.seconds.get(tag.name, float("nan")))
            swaps = list(_swaps(tag, undrawn_effects(edits, every, sae, layer, "sandbag"), params))
            rows.append(row | {value.id.rpartition(".swap.")[2]: value.value for value in swaps})
            values += [*_values(tag, found, params), *swaps]
    table = pd.DataFrame(rows)
    return Output([*values, *_summary(table, params)], {"saes": table})


def _row(tag: SaeTag, found: Measured, seconds: float) -> dict[str, object]:
    return {
        "tag": tag.name, "architecture": tag.architecture, "layer": tag.layer,
        "train_set": tag.train_set, "k": tag.k, "expansion": tag.expansion,
        "l0": found.tokens.l0, "explained_variance": found.explained_variance.mean,
        "explained_variance_own": found.own.explained_variance,
        "explained_variance_last": found.explained_variance_last.mean, "l0_last": found.last.l0,
        "mse": found.tokens.mse, "dead_share": found.tokens.dead_share,
        "kl_recovered": found.kl_recovered.mean, "seconds": seconds,
    }


def _values(tag: SaeTag, found: Measured, params: Params) -> Iterator[Value]:
    from deception_saes.sections.results import Value

    task = params.saes.task
    about = dict[str, Any](model=task.model, framing=task.framing.name,
                           layer=tag.layer, tag=tag.name, train_set=tag.train_set)
    base = f"s25.{task.model}.{tag.name}"
    intervals = {
        "explained_variance": ("explained variance, question tokens", found.explained_variance),
        "explained_variance_last": ("explained variance, last prompt position",
                                    found.explained_variance_last),
        "kl_recovered": ("KL recovered at the last prompt position", found.kl_recovered),
    }
    for id, (quantity, interval) in intervals.items():
        yield Value(f"{base}.{id}", quantity, interval.mean, "share", ci_low=interval.low,
                    ci_high=interval.high, n=interval.n, **about)
    plain = {
        "explained_variance_own": ("explained variance, tokens of its training condition",
                                   found.own, found.own.explained_variance, "share"),
        "mse": ("mean squared error per coordinate, question tokens", found.tokens,
                found.tokens.mse, "squared residual"),
        "l0": ("L0, question tokens", found.tokens, found.tokens.l0, "features"),
        "l0_last": ("L0, last prompt position", found.last, found.last.l0, "features"),
        "dead_share": ("features active on no question token", found.tokens,
                       100 * found.tokens.dead_share, "percent"),
    }
    for id, (quantity, rows, value, unit) in plain.items():
        yield Value(f"{base}.{id}", quantity, value, unit, n=len(rows.error_N), **about)


def _swaps(tag: SaeTag, effects: Effects, params: Params) -> Iterator[Value]:
    """Effects of the swaps on sandbag prompts, and the gaps of E6 against E4 and E2, in pp."""
    from deception_saes.analysis.bootstrap import mean_interval
    from deception_saes.sections.results import Value

    task = params.saes.task
    of = {name: effects_NQ[0] for name, effects_NQ in effects.items()}
    gaps = {"E6-E4": of["E6"] - of["E4"], "E6Δ-E4Δ": of["E6Δ"] - of["E4Δ"],
            "E6-E2": of["E6"] - of["E2"]}
    for name, per_question in {**of, **gaps}.items():
        found = mean_interval(per_question, params.bootstrap_draws, params.seed)
        yield Value(f"s25.{task.model}.{tag.name}.swap.{name}",
                    f"{'gap' if name in gaps else 'effect of'} {name} on sandbag prompts",
                    found.mean, "pp", ci_low=found.low, ci_high=found.high, n=found.n,
                    model=task.model, framing=task.framing.name, layer=tag.layer,
                    tag=tag.name, train_set=tag.train_set,
                    condition=None if name in gaps else name)


def _summary(table: pd.DataFrame, params: Params) -> Iterator[Value]:
    """How many there are, by architecture how good, and what training cost."""
    from deception_saes.sections.results import Value

    slug, framing = params.saes.task.model, params.saes.task.framing.name
    base, about = f"s25.{slug}", dict[str, Any](model=slug, framing=framing)
    yield Value(f"{base}.n_saes", "SAEs trained", float(len(table)), "count", claim="S-01",
                n=len(table), **about)
    seconds = {}
    for architecture, of in table.groupby("architecture"):
        # of one size, so that the architecture alone differs
        same_size = of[of["expansion"] == of["expansion"].min()]
        seconds[architecture] = float(same_size["seconds"].median())
        yield Value(f"{base}.timing.{architecture}", f"median seconds to train one {architecture} "
                    "SAE", seconds[architecture], "s", n=len(same_size), **about)
        for measure in ("explained_variance", "kl_recovered", "l0"):
            yield Value(f"{base}.{architecture}.{measure}", f"median {measure.replace('_', ' ')} "
                        f"of the {architecture} SAEs", float(same_size[measure].median()),
                        "features" if measure == "l0" else "share", n=len(same_size), **about)
    usual = table[(table["expansion"] == table["expansion"].min())
                  & ((table["k"] == 64) | (table["architecture"] == "jumprelu"))]
    cost = usual.pivot_table(index=["layer", "train_set"], columns="architecture",
                             values="seconds")
    ratio = (cost["jumprelu"] / cost["topk"]).median()
    yield Value(f"{base}.timing.jumprelu_over_topk", "median training time of JumpReLU over TopK "
                "(k = 64), matched layer and condition", float(ratio), "ratio", claim="S-03",
                n=len(cost), **about)
