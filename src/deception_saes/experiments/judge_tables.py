"""What judges make of completions: shares of labels, agreement, what their labels do to a probe.

Shape suffixes: N completions, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from deception_saes.analysis.agreement import (
    DECEPTIVE,
    HONEST,
    NEITHER,
    Scored,
    agreement,
    codes,
    common_folds,
    held_out_under,
    scored,
    widening_under,
)
from deception_saes.analysis.bootstrap import mean_interval
from deception_saes.analysis.probes import activation_probe, one_thread
from deception_saes.cache import cached
from deception_saes.experiments.judging import Labels
from deception_saes.experiments.probing import PROBE_LIBRARIES
from deception_saes.experiments.reading import MAIN_ROUND, SCENARIO_DATA, Reading
from deception_saes.rng import generator
from deception_saes.tasks.completions import Completion
from deception_saes.tasks.labels import LABELS, duplicate_groups
from deception_saes.tasks.scenarios import SHOTS
from deception_saes.tidy import described

Short = Mapping[str, str]
"""Judges as ids of values name them, by judge."""

_SHORT = ("", "the judge as ids of values name it")
_ID = ("", "id of the completion, as in completions.csv")


# What was asked and drawn


def scenario_table(reading: Reading) -> pd.DataFrame:
    """The scenarios that are read, with their rubrics."""
    shown = ("id", "title", "user", "opening", "fact", *LABELS)
    return described(
        pd.DataFrame([{name: getattr(of, name) for name in shown} for of in reading.scenarios]),
        "the scenarios that are read, as in scenarios.toml", title=("", "what it is called on "
                                                                    "pages"),
        user=("", "what the model is asked"), opening=("", "the reply's first words, which are "
                                                       "given"),
        fact=("", "what there is a reason to conceal"),
        **{label: ("", f"rubric: what counts as {label}") for label in LABELS})


def shot_table() -> pd.DataFrame:
    """The worked examples before every scenario."""
    return described(pd.DataFrame(SHOTS, columns=["user", "reply"]),
                     "the two worked examples before every scenario",
                     user=("", "what is asked"), reply=("", "the reply"))


def balanced_table(reading: Reading) -> pd.DataFrame:
    """The balanced set of every round."""
    scenario = {completion.id: completion.scenario for completion in reading.completions}
    return described(
        pd.DataFrame([(round, scenario[id], id, reading.labels[id])
                      for round in dict.fromkeys(c.round for c in reading.completions)
                      for id in reading.balanced_set(round)],
                     columns=["round", "scenario", "id", "label"]),
        "the balanced subset that probes are trained on, as many honest as deceptive ones of each "
        "scenario; a completion a row", id=_ID, label=("", "label of the primary judge"))


def completion_table(reading: Reading, labels: Labels) -> pd.DataFrame:
    """Every draw with its labels, one column a judge, empty where it did not read it."""
    balanced = set(balanced_table(reading)["id"])
    rows = [{"id": c.id, "scenario": c.scenario, "round": c.round, "draw": c.draw,
             "temperature": c.temperature, "seed": c.seed, "finished": c.finished,
             "balanced": c.id in balanced,
             **{f"label_{judge}": given.get(c.id) for judge, given in labels.items()},
             "text": c.text} for c in reading.completions]
    return described(
        pd.DataFrame(rows), "every completion with every judge's label",
        balanced=("", "whether it is in the balanced subset"),
        **{f"label_{judge}": ("", f"the label by {judge}, empty where it did not read it")
           for judge in labels})


def round_table(reading: Reading, completions: pd.DataFrame) -> pd.DataFrame:
    """Temperature and counts of each round. completions: as `completion_table` gives them."""
    rows = []
    for round, of in completions.groupby("round", sort=False):
        given = of[f"label_{reading.judge}"]
        rows.append({
            "round": round, "temperature": "/".join(f"{t:g}" for t in of["temperature"].unique()),
            "draws": len(of), "ended": int(of["finished"].sum()),
            **{label: int((given == label).sum()) for label in LABELS},
            "balanced": int(of["balanced"].sum())})
    return described(
        pd.DataFrame(rows), "completions of each round, with the primary judge's labels",
        draws=("count", "completions"), ended=("count", "completions that ended by themselves"),
        balanced=("count", "completions of the balanced subset"),
        **{label: ("count", f"completions labelled {label}") for label in LABELS})


def examples(
    completions: Sequence[Completion], labels: Mapping[str, str], *, each: int, seed: int
) -> pd.DataFrame:
    """So many completions of the main round of each scenario and label, by a seeded draw; all
    where there are fewer."""
    cells: dict[tuple[str, str], list[str]] = {}
    for c in completions:
        if c.round == MAIN_ROUND and c.id in labels:
            cells.setdefault((c.scenario, labels[c.id]), []).append(c.id)
    chosen: list[str] = []
    for scenario in dict.fromkeys(c.scenario for c in completions):
        for label in LABELS:
            ids = cells.get((scenario, label), [])
            random = generator(seed, "examples", scenario, label)
            chosen += [ids[i] for i in sorted(random.permutation(len(ids))[:each])]
    return described(pd.DataFrame({"id": chosen}), "the completions of the main round shown as "
                     "examples, drawn by a seed", id=_ID)


# What the judges say


@cached()
def share_table(
    completions: Sequence[Completion], labels: Labels, short: Short, *, resamples: int, seed: int
) -> pd.DataFrame:
    """Share of each label among what a judge read, in percent, by round and scenario, and over
    all scenarios with its bootstrap interval over completions."""
    rows = []
    for judge, given in labels.items():
        for round in dict.fromkeys(c.round for c in completions):
            read = [c for c in completions if c.round == round and c.id in given]
            for scenario in ("all", *dict.fromkeys(c.scenario for c in read)):
                found = [given[c.id] for c in read if scenario in ("all", c.scenario)]
                for label in LABELS if found else ():
                    hits = [100.0 * (of == label) for of in found]
                    share = mean_interval(hits, resamples, seed)
                    rows.append({
                        "judge": judge, "short": short[judge], "round": round,
                        "scenario": scenario, "label": label, "share": share.mean,
                        "ci_low": share.low, "ci_high": share.high, "n": found.count(label),
                        "of": len(found)})
    return described(
        pd.DataFrame(rows), "share of each label by judge, round and scenario", short=_SHORT,
        scenario=("", "id of the scenario; all: all of them together"),
        share=("percent", "completions of this label"),
        n=("count", "completions given this label"),
        of=("count", "completions that the judge read"))


@cached(libraries=PROBE_LIBRARIES)
def agreement_tables(
    completions: Sequence[Completion], labels: Labels, short: Short, *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """Kappa of every two judges on what both labelled, near-duplicates resampled together, and
    their `confusion` counts; n is 0 where they have nothing in common."""
    groups = duplicate_groups([c.text for c in completions]).tolist()
    group = dict(zip((c.id for c in completions), groups, strict=True))
    rows: list[dict[str, object]] = []
    counts: list[dict[str, object]] = []
    for a, b in combinations(labels, 2):
        pair = {"a": a, "b": b, "short_a": short[a], "short_b": short[b]}
        if not labels[a].keys() & labels[b].keys():
            rows.append({**pair, "n": 0, "kappa": np.nan, "ci_low": np.nan, "ci_high": np.nan,
                         "same": np.nan})
            continue
        found = agreement(labels[a], labels[b], group, resamples, seed)
        rows.append({**pair, "n": found.n, "kappa": found.kappa, "ci_low": found.low,
                     "ci_high": found.high, "same": 100.0 * found.observed})
        counts += [{"a": a, "b": b, "label_a": x, "label_b": y, "n": int(found.table_LL[i, j])}
                   for i, x in enumerate(LABELS) for j, y in enumerate(LABELS)]
    one, other = ("", "one judge"), ("", "the other judge")
    return {
        "agreement": described(
            pd.DataFrame(rows), "a pair of judges a row: how far they agree", a=one, b=other,
            short_a=_SHORT, short_b=_SHORT, kappa=("kappa", "Cohen's kappa"),
            same=("percent", "completions given the same label"),
            n=("count", "completions that both labelled")),
        "confusion": described(
            pd.DataFrame(counts, columns=["a", "b", "label_a", "label_b", "n"]),
            "how often two judges gave a completion this pair of labels, for every two judges",
            a=one, b=other, label_a=("", "label by a"), label_b=("", "label by b"),
            n=("count", "completions with this pair of labels"))}


@cached(data=SCENARIO_DATA, libraries=PROBE_LIBRARIES)
def judge_probe_table(
    reading: Reading, labels: Labels, short: Short, *, layer: int, permutations: int,
    resamples: int,
) -> pd.DataFrame:
    """For every judge, of a probe at this layer that learned all its honest and deceptive labels in
    the main round: its AUROC against the judge's own labels and against the primary judge's; and
    against the latter that of a probe that learned the primary judge's labels of the same
    completions. All judges share the folds. permutations: by which intervals are widened for the
    probe's own uncertainty.
    """
    found = reading.activations(MAIN_ROUND)
    x_ND = found.mean[layer].double().numpy()
    text = {c.id: c.text for c in reading.of_round(MAIN_ROUND)}
    code = {judge: codes([given.get(id) for id in found.ids]) for judge, given in labels.items()}
    primary_N = code[reading.judge]
    of = common_folds(primary_N, found.scenario, duplicate_groups([text[id] for id in found.ids]),
                      reading.seed)

    def measured(learned_N: np.ndarray, *against: np.ndarray) -> list[Scored | None]:
        """The probe of the labels `learned_N` against each of some labels."""
        scores_N = held_out_under(activation_probe, x_ND, of, learned_N)
        if scores_N is None:
            return [None for _ in against]
        factor = widening_under(x_ND, of, learned_N, permutations, reading.seed)
        of_labels = (scored(scores_N, of, code_N, resamples, reading.seed) for code_N in against)
        return [one and one.widened(factor) for one in of_labels]

    rows = []
    for judge, given in labels.items():
        same_N = np.where([id in given for id in found.ids], primary_N, NEITHER)
        with one_thread():
            own, primary = measured(code[judge], code[judge], primary_N)
            (same,) = measured(same_N, primary_N)
        honest, deceptive = (int((code[judge] == label).sum()) for label in (HONEST, DECEPTIVE))
        row = {"judge": judge, "short": short[judge], "layer": layer, "honest": honest,
               "deceptive": deceptive, "n": honest + deceptive}
        for name, one in (("own", own), ("primary", primary), ("same", same)):
            numbers = (one.auroc, one.low, one.high) if one else (np.nan,) * 3
            names = (f"auroc_{name}", f"low_{name}", f"high_{name}")
            row |= dict(zip(names, numbers, strict=True))
        rows.append(row)
    whose = {"own": "of the judge's probe, held out, against the judge's own labels",
             "primary": "of the judge's probe, against the primary judge's labels",
             "same": "of a probe that learned the primary judge's labels of the same completions, "
                     "against the primary judge's labels"}
    ends = {"low": "lower end of its 95% interval", "high": "upper end"}
    return described(
        pd.DataFrame(rows), "probes trained on each judge's labels of the main round, at one layer "
        "fixed beforehand; a judge a row", short=_SHORT,
        honest=("count", "completions it called honest"),
        deceptive=("count", "completions it called deceptive"),
        n=("count", "completions that its probe learned from or was scored on"),
        **{f"auroc_{name}": ("auroc", meaning) for name, meaning in whose.items()},
        **{f"{end}_{name}": ("auroc", meaning) for end, meaning in ends.items() for name in whose})
