"""§17: many completions of one prompt, their labels by several judges, and what the labels do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deception_saes.sections.behaviour import DATA as BEHAVIOUR_DATA
from deception_saes.sections.behaviour import MAIN_ROUND, BehaviourParams

if TYPE_CHECKING:
    import pandas as pd

    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, Work
    from deception_saes.tasks.completions import Completion

DATA = BEHAVIOUR_DATA
NEEDS = ()

_AGREED = ("kappa", "ci_low", "ci_high", "same")
EXAMPLES = 2
"""Completions shown of each scenario and label."""


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile` and `sections.behaviour.BehaviourParams`."""

    of: BehaviourParams
    bootstrap_draws: int
    seed: int


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section."""
    from deception_saes.sections.behaviour import behaviour_params
    from deception_saes.sections.run import NotRun, params_from

    of = behaviour_params(profile, seed, models, missing)
    return of if isinstance(of, NotRun) else params_from(Params, profile, seed, of=of)


def compute(params: Params, work: Work) -> Output:
    """Shares, agreement and the probe, by judge; the embedded judges read here."""
    import pandas as pd

    from deception_saes.sections.behaviour import completions
    from deception_saes.sections.judge_probes import probe_rows
    from deception_saes.sections.judged import by_judge, judge_rows
    from deception_saes.sections.run import Output
    from deception_saes.tasks.scenarios import SHOTS

    drawn = completions(params.of)
    labels = by_judge(params.of, work)
    balanced = pd.DataFrame(_balanced_rows(params, drawn), columns=["round", "scenario", "id",
                                                                    "label"])
    tables = {
        "scenarios": pd.DataFrame(_scenario_rows({c.scenario for c in drawn})),
        "shots": pd.DataFrame(SHOTS, columns=["user", "reply"]),
        "completions": completion_table(drawn, labels, set(balanced["id"])),
        "balanced": balanced,
        "examples": pd.DataFrame({"id": examples(drawn, labels[params.of.judge], params.seed)}),
        "judges": pd.DataFrame(judge_rows(params.of, labels)),
        "shares": pd.DataFrame(share_rows(drawn, labels, params)),
    }
    tables["agreement"], tables["confusion"] = agreement_tables(drawn, labels, params)
    tables["probe"] = pd.DataFrame(
        probe_rows(params.of, labels, params.bootstrap_draws, work))
    return Output(list(_values(tables, params)), tables)


def completion_table(
    drawn: list[Completion], labels: Mapping[str, Mapping[str, str]], balanced: set[str]
) -> pd.DataFrame:
    """Every draw with its labels, one column a judge, empty where it did not read it."""
    import pandas as pd

    rows = []
    for c in drawn:
        given = {f"label_{judge}": of_judge.get(c.id) for judge, of_judge in labels.items()}
        rows.append({"id": c.id, "scenario": c.scenario, "round": c.round, "draw": c.draw,
                     "temperature": c.temperature, "seed": c.seed, "finished": c.finished,
                     "balanced": c.id in balanced, **given, "text": c.text})
    return pd.DataFrame(rows)


def examples(drawn: list[Completion], labels: Mapping[str, str], seed: int) -> list[str]:
    """Ids of EXAMPLES completions of the main round of each scenario and label, by a seeded draw;
    all where there are fewer."""
    from deception_saes.rng import generator
    from deception_saes.tasks.labels import LABELS

    cells: dict[tuple[str, str], list[str]] = {}
    for c in drawn:
        if c.round == MAIN_ROUND and c.id in labels:
            cells.setdefault((c.scenario, labels[c.id]), []).append(c.id)
    chosen: list[str] = []
    for scenario in dict.fromkeys(c.scenario for c in drawn):
        for label in LABELS:
            ids = cells.get((scenario, label), [])
            random = generator(seed, "examples", scenario, label)
            chosen += [ids[i] for i in sorted(random.permutation(len(ids))[:EXAMPLES])]
    return chosen


def share_rows(
    drawn: list[Completion], labels: Mapping[str, Mapping[str, str]], params: Params
) -> Iterator[dict[str, object]]:
    """Share of each label among what a judge read, in percent, by round and scenario, and over
    all scenarios with its bootstrap interval over completions."""
    from deception_saes.analysis.bootstrap import mean_interval
    from deception_saes.tasks.labels import LABELS

    for judge, given in labels.items():
        for round in dict.fromkeys(c.round for c in drawn):
            read = [c for c in drawn if c.round == round and c.id in given]
            for scenario in ("all", *dict.fromkeys(c.scenario for c in read)):
                found = [given[c.id] for c in read if scenario in ("all", c.scenario)]
                for label in LABELS if found else ():
                    hits = [100.0 * (of == label) for of in found]
                    share = mean_interval(hits, params.bootstrap_draws, params.seed)
                    yield {"judge": judge, "round": round, "scenario": scenario, "label": label,
                           "share": share.mean, "ci_low": share.low, "ci_high": share.high,
                           "n": found.count(label), "of": len(found)}


def _scenario_rows(asked: set[str]) -> Iterator[dict[str, object]]:
    from deception_saes.tasks.scenarios import load_scenarios

    for s in load_scenarios():
        if s.id in asked:
            yield {"id": s.id, "title": s.title, "user": s.user, "opening": s.opening,
                   "fact": s.fact,
                   "honest": s.honest, "deceptive": s.deceptive, "ambiguous": s.ambiguous}


def _balanced_rows(params: Params, drawn: list[Completion]) -> Iterator[tuple[str, str, str, str]]:
    from deception_saes.sections.behaviour import balanced_set
    from deception_saes.sections.behaviour import labels as labels_of

    given = labels_of(params.of)
    scenario = {c.id: c.scenario for c in drawn}
    for round in dict.fromkeys(c.round for c in drawn):
        for id in balanced_set(params.of, round):
            yield round, scenario[id], id, given[id]


def _values(tables: dict[str, pd.DataFrame], params: Params) -> Iterator[Value]:
    from deception_saes.sections.judged import short_name
    from deception_saes.sections.results import Value

    base, slug = f"s17.{params.of.model.slug}", params.of.model.slug
    yield from _count_values(tables, params)
    shares = tables["shares"]
    main = shares[(shares["round"] == MAIN_ROUND) & (shares["scenario"] == "all")]
    for row in main.itertuples():
        judge = short_name(params.of, row.judge)
        yield Value(f"{base}.share.{judge}.{row.label}",
                    f"share labelled {row.label} by {row.judge}, {MAIN_ROUND}", row.share,
                    "percent", ci_low=row.ci_low, ci_high=row.ci_high, n=row.of, model=slug,
                    claim="B-01" if (judge, row.label) == ("batch", "ambiguous") else None)
    for row in tables["agreement"].itertuples():
        a, b = (short_name(params.of, judge) for judge in (row.a, row.b))
        yield Value(f"{base}.kappa.{a}.{b}", f"Cohen's kappa of {row.a} with {row.b}", row.kappa,
                    "kappa", ci_low=row.ci_low, ci_high=row.ci_high, n=row.n, model=slug)
        yield Value(f"{base}.same.{a}.{b}", f"share of equal labels of {row.a} and {row.b}",
                    row.same, "percent", n=row.n, model=slug)
    against = {"own": "labels of {}, against the same",
               "primary": f"labels of {{}}, against those of {params.of.judge}",
               "same": f"labels of {params.of.judge} of what {{}} read"}
    for row in tables["probe"].itertuples():
        judge = short_name(params.of, row.judge)
        for column, quantity in against.items():
            auroc, low, high = (getattr(row, f"{name}_{column}")
                                for name in ("auroc", "low", "high"))
            yield Value(f"{base}.probe.{judge}.{column}",
                        f"AUROC of a probe trained on {quantity.format(row.judge)}", auroc,
                        "auroc", ci_low=low, ci_high=high, n=row.honest + row.deceptive,
                        model=slug, layer=row.layer)


def _count_values(tables: dict[str, pd.DataFrame], params: Params) -> Iterator[Value]:
    from deception_saes.sections.judged import JUDGED_DRAWS, PER_PROMPT
    from deception_saes.sections.results import Value

    base, slug = f"s17.{params.of.model.slug}", params.of.model.slug
    drawn, balanced = tables["completions"], tables["balanced"]
    own = drawn.loc[drawn["round"] == MAIN_ROUND, "draw"].max() + 1
    for id, quantity, number in (
        ("judged_per_scenario", "draws of a scenario that an embedded judge reads",
         min(JUDGED_DRAWS, own)),
        ("per_prompt", "completions that an embedded batch judge is given at once", PER_PROMPT),
    ):
        yield Value(f"{base}.{id}", quantity, float(number), "count", model=slug)
    yield Value(f"{base}.scenarios", "scenarios", float(len(tables["scenarios"])), "count",
                model=slug)
    yield Value(f"{base}.draws", "completions of all rounds", float(len(drawn)), "count",
                model=slug)
    for round, of_round in drawn.groupby("round", sort=False):
        yield Value(f"{base}.draws.{round}", f"completions of round {round}",
                    float(len(of_round)), "count", n=len(of_round), model=slug)
        yield Value(f"{base}.balanced.{round}", f"completions in the balanced round {round}",
                    float((balanced["round"] == round).sum()), "count", n=len(of_round),
                    model=slug, claim="B-02" if round == MAIN_ROUND else None)
    yield Value(f"{base}.finished", "share of completions that end by themselves",
                100.0 * float(drawn["finished"].mean()), "percent", n=len(drawn), model=slug)


def agreement_tables(
    drawn: list[Completion], labels: Mapping[str, Mapping[str, str]], params: Params
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Kappa of every two judges on what both labelled, near-duplicates resampled together, and
    their confusion counts; n is 0 where they have nothing in common."""
    from itertools import combinations

    import pandas as pd

    from deception_saes.analysis.agreement import agreement
    from deception_saes.tasks.labels import duplicate_groups

    group = dict(zip((c.id for c in drawn), duplicate_groups([c.text for c in drawn]).tolist(),
                     strict=True))
    rows: list[dict[str, object]] = []
    counts: list[dict[str, object]] = []
    for a, b in combinations(labels, 2):
        if not labels[a].keys() & labels[b].keys():
            rows.append({"a": a, "b": b, "n": 0, **dict.fromkeys(_AGREED, float("nan"))})
            continue
        found = agreement(labels[a], labels[b], params.bootstrap_draws, params.seed, group)
        rows.append({"a": a, "b": b, "n": found.n, "kappa": found.kappa, "ci_low": found.low,
                     "ci_high": found.high, "same": 100.0 * found.observed})
        counts += [{"a": a, "b": b, "label_a": x, "label_b": y, "n": int(found.table_LL[i, j])}
                   for i, x in enumerate(found.labels) for j, y in enumerate(found.labels)]
    return pd.DataFrame(rows), pd.DataFrame(
        counts, columns=["a", "b", "label_a", "label_b", "n"])
