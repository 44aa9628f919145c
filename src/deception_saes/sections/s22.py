"""§22: features that fire more in deceptive completions, and steering along the first of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deception_saes.sections import behaviour

if TYPE_CHECKING:
    import pandas as pd

    from deception_saes.activations.completions import TokenRows
    from deception_saes.models.spec import ModelSpec
    from deception_saes.saes.sae import Sae
    from deception_saes.saes.tags import SaeTag
    from deception_saes.sections.behaviour import Labelled
    from deception_saes.sections.behaviour_saes import BehaviourSaeParams
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, Work

DATA = behaviour.DATA
NEEDS = ()
LIBRARIES = ("scipy",)

STUDY_SAE = (4, "jumprelu", "honest_only")
"""Depth, architecture and training set of the SAE whose feature the study reports: fixed by it,
not by anything found here."""
STRONGEST = 8
"""Completions shown of the first feature."""


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`."""

    behaviour_saes: BehaviourSaeParams
    bootstrap_draws: int
    permutations: int
    equivalence_share: float
    seed: int


@dataclass(frozen=True)
class Fired:
    """One SAE on the main round's balanced set. fires_NS: whether a feature fires in a completion.
    top: the feature of the largest difference, deceptive less honest."""

    tag: SaeTag
    sae: Sae
    fires_NS: np.ndarray
    difference_S: np.ndarray

    @property
    def top(self) -> int:
        return int(self.difference_S.argmax())


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section."""
    from deception_saes.sections.behaviour_saes import section_params

    return section_params(Params, profile, seed, models, missing)


def compute(params: Params, work: Work) -> Output:
    """Rates of all 18 SAEs; features, strongest completions and steering of the study's one."""
    import pandas as pd

    from deception_saes.sections.behaviour_saes import token_rows
    from deception_saes.sections.run import Output
    from deception_saes.sections.steered import steered_rows, steering_values
    from deception_saes.store.pinned import run_pinned

    saes = params.behaviour_saes
    data = behaviour.labelled_or_raise(saes.behaviour, behaviour.MAIN_ROUND, work)
    rows = token_rows(saes, (behaviour.MAIN_ROUND,), work)
    fired = list(_fired(saes, data, rows, work))
    study = next(of for of in fired if _is_the_studys(of.tag, fired))
    firing_S = np.asarray(study.fires_NS.any(axis=0))
    replies, generated = map(pd.DataFrame, run_pinned(
        steered_rows, saes, study.sae, study.tag.layer, study.top, firing_S, work))
    saes_table = pd.DataFrame([_sae_row(of, data, params) for of in fired])
    features = pd.DataFrame(_feature_rows(study, data))
    values = [*_values(study, saes_table, features, data, params),
              *steering_values(replies, generated, saes.behaviour.model.slug, study.tag,
                               params.equivalence_share, params.bootstrap_draws, params.seed)]
    return Output(values, {
        "saes": saes_table, "features": features,
        "strongest": pd.DataFrame(_strongest(study, data, rows, saes, work)),
        "replies": replies, "generated": generated})


def _fired(
    params: BehaviourSaeParams, data: Labelled, rows: TokenRows, work: Work
) -> Iterator[Fired]:
    from tqdm import tqdm

    from deception_saes.analysis.completion_features import completion_features
    from deception_saes.analysis.rates import rate_differences
    from deception_saes.sections.behaviour_saes import behaviour_bank

    banks = [behaviour_bank(params, depth, work) for depth in behaviour.DEPTHS]
    pairs = [(bank, tag) for bank in banks for tag in bank.tags]
    for source, tag in tqdm(pairs, desc="rates", unit="SAE"):
        sae = source.sae(tag)
        fires_NS = completion_features(sae, rows, tag.layer, data.ids).fires_NS
        yield Fired(tag, sae, fires_NS,
                    rate_differences(fires_NS, data.design.deceptive_N[None])[0])


def _is_the_studys(tag: SaeTag, fired: list[Fired]) -> bool:
    layers = sorted({of.tag.layer for of in fired})
    depth, architecture, train_set = STUDY_SAE
    return (tag.layer, tag.architecture, tag.train_set) == (
        layers[behaviour.DEPTHS.index(depth)], architecture, train_set)


def _sae_row(of: Fired, data: Labelled, params: Params) -> dict[str, Any]:
    """The largest difference, its null, and what is left of it where it was not picked."""
    from scipy.stats import false_discovery_control

    from deception_saes.analysis.circuit import empirical_p
    from deception_saes.analysis.folds import permuted_labels
    from deception_saes.analysis.rates import (
        newcombe,
        rate_differences,
        remeasured,
        within_scenario_p,
    )

    design = data.design
    labels_PN = permuted_labels(design, params.permutations, params.seed)
    null_P = rate_differences(of.fires_NS, labels_PN).max(axis=1)
    picked, fires_N = remeasured(of.fires_NS, design)
    yes, no = (int(fires_N[design.deceptive_N == label].sum()) for label in (True, False))
    n_yes = int(design.deceptive_N.sum())
    n_no = len(fires_N) - n_yes
    low, high = newcombe(yes, n_yes, no, n_no)
    firing = of.fires_NS.any(axis=0)
    q_S = false_discovery_control(within_scenario_p(of.fires_NS, design)[firing])
    return {"sae": of.tag.name, "layer": of.tag.layer, "architecture": of.tag.architecture,
            "train_set": of.tag.train_set, "firing": int(firing.sum()), "feature": of.top,
            "difference": 100 * float(of.difference_S[of.top]),
            "null_95": 100 * float(np.quantile(null_P, 0.95)),
            "p": empirical_p(float(of.difference_S[of.top]), null_P),
            "remeasured": 100 * (yes / n_yes - no / n_no), "remeasured_low": 100 * float(low),
            "remeasured_high": 100 * float(high), "picked": len(set(picked)),
            "discoveries": int((q_S <= 0.05).sum())}


def _feature_rows(of: Fired, data: Labelled) -> Iterator[dict[str, Any]]:
    """Every feature that fires at all, the largest difference first."""
    from scipy.stats import false_discovery_control

    from deception_saes.analysis.rates import newcombe, wilson, within_scenario_p

    deceptive_N = data.design.deceptive_N
    n = int(deceptive_N.sum())
    firing = np.flatnonzero(of.fires_NS.any(axis=0))
    q_S = false_discovery_control(within_scenario_p(of.fires_NS, data.design)[firing])
    hits_S, other_S = (of.fires_NS[deceptive_N == label].sum(axis=0) for label in (True, False))
    for place in np.argsort(-of.difference_S[firing], kind="stable"):
        feature = int(firing[place])
        hits, other = int(hits_S[feature]), int(other_S[feature])
        ends = newcombe(hits, n, other, len(deceptive_N) - n)
        row: dict[str, Any] = {"feature": feature,
                               "difference": 100 * float(of.difference_S[feature]),
                               "difference_low": 100 * float(ends[0]),
                               "difference_high": 100 * float(ends[1]), "q": float(q_S[place])}
        for label, k, m in (("deceptive", hits, n), ("honest", other, len(deceptive_N) - n)):
            low, high = wilson(k, m)
            row |= {label: 100 * k / m, f"{label}_low": 100 * float(low),
                    f"{label}_high": 100 * float(high)}
        yield row


def _strongest(
    of: Fired, data: Labelled, rows: TokenRows, params: BehaviourSaeParams, work: Work
) -> Iterator[dict[str, Any]]:
    """The first feature's strongest completions, token by token."""
    import torch

    with torch.inference_mode():
        kept = rows.of(data.ids)
        x_TD = rows.x_by_layer[of.tag.layer][torch.from_numpy(kept)]
        active_T = of.sae.encode(x_TD)[:, of.top].numpy()
    peak = {id: float(active_T[rows.completion[kept] == id].max()) for id in data.ids}
    label = dict(zip(data.ids, data.design.deceptive_N, strict=True))
    read = behaviour.read(params.behaviour, (behaviour.MAIN_ROUND,), work)
    tokens = {completion.id: completion.tokens for completion in read.completions}
    for id in sorted(data.ids, key=lambda id: -peak[id])[:STRONGEST]:
        active = active_T[rows.completion[kept] == id]
        for place, (token, strength) in enumerate(zip(tokens[id], active, strict=True)):
            yield {"completion": id, "label": "deceptive" if label[id] else "honest",
                   "place": place, "token": str(read.lm.tokenizer.decode([token])),
                   "activation": float(strength)}


def _values(
    of: Fired, table: pd.DataFrame, features: pd.DataFrame, data: Labelled, params: Params
) -> Iterator[Value]:
    from deception_saes.sections.results import Value

    model = params.behaviour_saes.behaviour.model.slug
    about: dict[str, Any] = {"model": model, "layer": of.tag.layer, "tag": of.tag.name,
                             "train_set": of.tag.train_set}
    base, n = f"s22.{model}", len(data.ids)
    first, row = features.iloc[0], table[table["sae"] == of.tag.name].iloc[0]
    for label, claim in (("deceptive", "B-18"), ("honest", "B-19")):
        yield Value(f"{base}.rate.{label}", f"{label} completions in which feature "
                    f"{of.top} fires, the one of the largest difference", first[label], "percent",
                    claim=claim, ci_low=first[f"{label}_low"], ci_high=first[f"{label}_high"],
                    n=n // 2, **about)
    yield Value(f"{base}.difference", f"difference of the two rates of feature {of.top}, a maximum "
                "over features", first["difference"], "pp",
                ci_low=first["difference_low"], ci_high=first["difference_high"], n=n, **about)
    yield Value(f"{base}.difference.null_95", "95% quantile of the largest difference under "
                "permuted labels", row["null_95"], "pp", n=params.permutations, **about)
    yield Value(f"{base}.difference.p", "p of the largest difference", row["p"], "p",
                n=params.permutations, **about)
    yield Value(f"{base}.remeasured", "difference of the rates of the feature picked on four "
                "folds, on the fifth", row["remeasured"], "pp", claim="B-20",
                ci_low=row["remeasured_low"], ci_high=row["remeasured_high"], n=n, **about)
    yield Value(f"{base}.discoveries", "features whose rate depends on the label within scenarios, "
                "false discovery rate 5%", float(row["discoveries"]), f"of {row['firing']}",
                n=int(row["firing"]), **about)
    yield Value(f"{base}.saes.above_null", "SAEs whose largest difference has p at most 0.05",
                float((table["p"] <= 0.05).sum()), f"of {len(table)}", n=len(table), model=model)
    yield Value(f"{base}.saes.remeasured", "SAEs whose re-measured difference has an interval "
                "above 0", float((table["remeasured_low"] > 0).sum()), f"of {len(table)}",
                n=len(table), model=model)
