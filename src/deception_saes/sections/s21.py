"""§21: probes on the features of the behavioural SAEs, each beside the raw probe of its layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deception_saes.sections import behaviour

if TYPE_CHECKING:
    import pandas as pd

    from deception_saes.analysis.paired_probes import Paired
    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.behaviour import Labelled
    from deception_saes.sections.behaviour_saes import BehaviourSaeParams
    from deception_saes.sections.probe_grid import Grid
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, Work

DATA = behaviour.DATA
NEEDS = ()
LIBRARIES = ("scikit-learn", "scipy")

STUDY_TESTED = 33
"""Completions in the study's permutation test."""
RELATED = ("smollm2", "smollm2it")
"""Models that the study's card of SmolLM2-135M is about, or an instruction-tuned relative of it."""


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`."""

    behaviour_saes: BehaviourSaeParams
    bootstrap_draws: int
    permutations: int
    seed: int


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section."""
    from deception_saes.sections.behaviour_saes import section_params

    return section_params(Params, profile, seed, models, missing)


def compute(params: Params, work: Work) -> Output:
    """The main round's balanced set, which no SAE was trained on."""
    import pandas as pd

    from deception_saes.analysis.paired_probes import paired
    from deception_saes.sections.probe_grid import RIVALS, probe_grid
    from deception_saes.sections.run import Output

    data = behaviour.labelled_or_raise(params.behaviour_saes.behaviour, behaviour.MAIN_ROUND, work)
    grid = probe_grid(params.behaviour_saes, data, params.permutations, params.bootstrap_draws,
                      params.seed, work)
    trained = grid.places("trained")
    against = {
        kind: paired(grid.scores_LN[trained], grid.scores_LN[[
            grid.place(kind, grid.probes[i].layer,
                       grid.probes[i].name if kind == "untrained" else None) for i in trained]],
            data.design, params.permutations, params.seed)
        for kind in (*RIVALS, "untrained")}
    table = pd.DataFrame(_rows(grid, against))
    chance = pd.DataFrame({"better": against["raw"].better_P})
    return Output(list(_values(grid, table, against["raw"], data, params)),
                  {"probes": table, "exchanged": chance})


def _rows(grid: Grid, against: dict[str, Paired]) -> Iterator[dict[str, Any]]:
    from deception_saes.analysis.equivalence import holm
    from deception_saes.sections.probing import columns, difference

    trained = grid.places("trained")
    p_Q = dict(zip(trained, grid.null.p("accuracy")[0][trained], strict=True))
    holm_Q = dict(zip(trained, holm(list(p_Q.values())), strict=True))
    rival_Q = dict(zip(trained, holm(against["raw"].p_L), strict=True))
    for i, probe in enumerate(grid.probes):
        row: dict[str, Any] = {
            "kind": probe.kind, "name": probe.name, "layer": probe.layer,
            "architecture": probe.tag.architecture if probe.tag else None,
            "train_set": probe.tag.train_set if probe.tag else None,
            **columns(grid.assessed, i),
            "ridge_accuracy": 100 * grid.null.ridge.accuracy[i],
            "null_95": 100 * float(np.quantile(grid.null.permuted.accuracy[:, i], 0.95))}
        if probe.tag is not None:
            found, low, high = difference(grid.assessed, i, grid.assessed,
                                          grid.place("raw", probe.layer), "accuracy")
            row |= {"minus_raw": found, "minus_raw_low": low, "minus_raw_high": high}
        if i in p_Q:
            q = trained.index(i)
            row |= {"p": p_Q[i], "p_holm": holm_Q[i], "p_raw": against["raw"].p_L[q],
                    "p_raw_holm": rival_Q[i],
                    **{f"minus_{kind}": 100 * of.difference_L[q]
                       for kind, of in against.items() if kind != "raw"}}
        yield row


def _values(
    grid: Grid, table: pd.DataFrame, against: Paired, data: Labelled, params: Params
) -> Iterator[Value]:
    from deception_saes.analysis.paired_probes import least_detectable
    from deception_saes.sections.probing import answers_primary, columns, values_of
    from deception_saes.sections.results import Value

    model = params.behaviour_saes.behaviour.model
    about, n = dict[str, Any](model=model.slug), len(data.ids)
    base, trained = f"s21.{model.slug}", grid.places("trained")
    told = answers_primary(model)
    for i in grid.places("raw"):
        yield from values_of(grid.assessed, i, f"{base}.raw.L{grid.probes[i].layer}",
                             "the raw probe", n, {**about, "layer": grid.probes[i].layer})
    best = max(trained, key=lambda i: grid.assessed.found.accuracy[i])
    tag = grid.tag(best)
    where = {**about, "layer": tag.layer, "tag": tag.name, "train_set": tag.train_set}
    yield from values_of(grid.assessed, best, f"{base}.best", f"the best of {len(trained)} SAE "
                         "probes", n, where, {"accuracy": "B-14"} if told else None)
    p_max = grid.null.p("accuracy")[1][best]
    yield Value(f"{base}.best.p", "p of the best SAE probe against the largest of all probes under "
                "permuted labels", float(p_max), "p", n=params.permutations, **where)
    chance = against.better_P
    low, high = np.quantile(chance, [0.025, 0.975])
    yield Value(f"{base}.beats_raw", "SAE probes above the raw probe of their layer",
                float(against.better), f"of {len(trained)}", claim="B-15", n=len(trained), **about)
    yield Value(f"{base}.beats_raw.share", "share of SAE probes above the raw probe of their layer",
                100 * against.better / len(trained), "percent", claim="R-16", n=len(trained),
                **about)
    yield Value(f"{base}.beats_raw.chance", "SAE probes above the raw probe where the two are "
                "exchanged at random, with the middle 95% of exchanges", float(chance.mean()),
                f"of {len(trained)}", ci_low=float(low), ci_high=float(high),
                n=params.permutations, **about)
    if model.slug in RELATED:
        row = columns(grid.assessed, best)
        yield Value(f"{base}.related.best", "balanced accuracy of the best SAE probe, beside that "
                    "of the study's base model", row["accuracy"], "percent", claim="R-04",
                    ci_low=row["accuracy_low"], ci_high=row["accuracy_high"], n=n, **where)
        yield Value(f"{base}.related.beats_raw", "SAE probes above the raw probe, beside the count "
                    "of the study's base model", float(against.better), f"of {len(trained)}",
                    claim="R-05", n=len(trained), **about)
    rows = table[table["kind"] == "trained"]
    for column, id, quantity in (
            ("p_holm", "signal", "SAE probes above permuted labels, Holm-corrected p at most 0.05"),
            ("p_raw_holm", "differs", "SAE probes that differ from the raw probe of their layer, "
                                      "Holm-corrected p at most 0.05")):
        yield Value(f"{base}.{id}", quantity, float((rows[column] <= 0.05).sum()),
                    f"of {len(rows)}", n=len(rows), **about)
    for kind in ("untrained", "components"):
        yield Value(f"{base}.beats_{kind}", f"SAE probes above that of {_NAMES[kind]}",
                    float((rows[f"minus_{kind}"] > 1e-7).sum()), f"of {len(rows)}", n=len(rows),
                    **about)
    error = float(((rows["minus_raw_high"] - rows["minus_raw_low"]) / (2 * 1.96)).median())
    for other, id in ((n, "here"), (STUDY_TESTED, "study")):
        yield Value(f"{base}.power.{id}", "difference from the raw probe that is found with 80% "
                    "power, a median over SAEs", least_detectable(error, n, other), "pp", n=other,
                    **about)
    yield Value(f"{base}.tested", "completions in the permutation test", float(n), "count",
                claim="B-17", n=n, **about)
    yield from _training_sets(grid, base, n, about)
    yield from _fix(grid, base, n, about)


_NAMES = {"untrained": "their own random start",
          "components": "the principal components of the layer"}


def _training_sets(grid: Grid, base: str, n: int, about: dict[str, Any]) -> Iterator[Value]:
    """honest_only against the others: means over architectures and layers, and in how many of
    these pairs it is best."""
    from deception_saes.sections.results import Value

    by = {train_set: [i for i in grid.places("trained")
                      if grid.tag(i).train_set == train_set]
          for train_set in ("honest_only", "deceptive_only", "mixed")}
    for other in ("deceptive_only", "mixed"):
        found, low, high = _mean_difference(grid, by["honest_only"], by[other])
        yield Value(f"{base}.honest_minus_{other}", f"balanced accuracy of SAEs trained on "
                    f"honest_only less {other}, same layer and architecture, mean", found, "pp",
                    ci_low=low, ci_high=high, n=n, **about)
    accuracy = grid.assessed.found.accuracy
    pairs = list(zip(by["honest_only"], by["deceptive_only"], by["mixed"], strict=True))
    first = sum(accuracy[h] > max(accuracy[d], accuracy[m]) for h, d, m in pairs)
    yield Value(f"{base}.honest_best", "layers and architectures at which honest_only is best",
                float(first), f"of {len(pairs)}", claim="B-16", n=len(pairs), **about)


def _fix(grid: Grid, base: str, n: int, about: dict[str, Any]) -> Iterator[Value]:
    """Learned thresholds against thresholds at 0."""
    from deception_saes.sections.results import Value

    before = grid.places("prefix")
    after = [grid.place("trained", grid.probes[i].layer, grid.probes[i].name) for i in before]
    found, low, high = _mean_difference(grid, after, before)
    yield Value(f"{base}.fix", "balanced accuracy of JumpReLU SAEs with learned thresholds less "
                "those at 0, mean", found, "pp", ci_low=low, ci_high=high, n=n, **about)


def _mean_difference(
    grid: Grid, first: list[int], second: list[int]
) -> tuple[float, float, float]:
    from deception_saes.analysis.probe_scores import interval

    of = grid.assessed
    found = float((of.found.accuracy[first] - of.found.accuracy[second]).mean())
    resampled_R = (of.resampled.accuracy[:, first] - of.resampled.accuracy[:, second]).mean(axis=1)
    low, high = interval(found, resampled_R, float(of.widen_L[[*first, *second]].max()), (-1, 1))
    return 100 * found, 100 * low, 100 * high

