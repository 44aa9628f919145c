"""Tables of features: in which completions they fire, and what steering along one does.

Apart from what runs the SAEs and the model, so that a statistic that is edited makes no run stale.

Shape suffixes: N completions, S features, P permutations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy

from deception_saes.analysis.bootstrap import empirical_p, mean_interval
from deception_saes.analysis.folds import Design, permuted_labels
from deception_saes.analysis.separation import (
    newcombe,
    rate_differences,
    remeasured,
    wilson,
    within_scenario_p,
)
from deception_saes.cache import cached
from deception_saes.experiments.steered import FEATURE, MEAN
from deception_saes.saes.tags import SaeTag
from deception_saes.tidy import VALUE_AND_UNIT, described, with_ends

_FALSE = 0.05  # share of false discoveries


@cached(libraries=("scipy",))
def largest_differences(
    fires: Mapping[str, np.ndarray], tags: Sequence[SaeTag], of: Design, *, permutations: int,
    seed: int,
) -> pd.DataFrame:
    """Of every SAE the feature of the largest difference of rates, deceptive less honest, the same
    maximum under labels permuted within scenarios, and what is left of it where it was not picked.
    fires: [N, S] by tag, as `on_completions.fires` gives them."""
    labels_PN = permuted_labels(of, permutations, seed)
    n_yes, n_no = int(of.deceptive_N.sum()), int((~of.deceptive_N).sum())
    rows = []
    for tag in tags:
        fires_NS = fires[tag.name]
        difference_S = rate_differences(fires_NS, of.deceptive_N[None])[0]
        top = int(difference_S.argmax())
        null_P = rate_differences(fires_NS, labels_PN).max(axis=1)
        picked, fires_N = remeasured(fires_NS, of)
        yes, no = (int(fires_N[of.deceptive_N == label].sum()) for label in (True, False))
        low, high = newcombe(yes, n_yes, no, n_no)
        rows.append({
            "sae": tag.name, "layer": tag.layer, "architecture": tag.architecture,
            "train_set": tag.train_set, "firing": int(fires_NS.any(axis=0).sum()), "feature": top,
            "difference": 100 * float(difference_S[top]),
            "null_95": 100 * float(np.quantile(null_P, 0.95)),
            "p": empirical_p(float(difference_S[top]), null_P), "permutations": permutations,
            "remeasured": 100 * (yes / n_yes - no / n_no), "remeasured_low": 100 * float(low),
            "remeasured_high": 100 * float(high), "n": len(fires_N), "picked": len(set(picked)),
            "discoveries": int((_adjusted_p(fires_NS, of) <= _FALSE).sum())})
    return described(
        pd.DataFrame(rows), "a behavioural SAE a row: its feature of the largest difference",
        firing=("count", "features that fire in at least one completion"),
        feature=("", "index of the feature"),
        difference=("pp", "its difference of rates, a maximum over features"),
        null_95=("pp", "95% quantile of that maximum under labels permuted within scenarios"),
        p=("p", "of the difference: (1 + permutations whose maximum is at least as large) / "
                "(permutations + 1)"),
        permutations=("count", "labellings drawn"),
        **with_ends("remeasured", "pp", "the difference of the feature picked on four folds, on "
                    "the fifth", "Newcombe's 95% interval"),
        picked=("count", "different features picked over the folds"),
        discoveries=("count", "features with a false discovery rate of at most 5%"))


def _adjusted_p(fires_NS: np.ndarray, of: Design) -> np.ndarray:
    """Of the features that fire at all, corrected for their number."""
    p_S = within_scenario_p(fires_NS, of)[fires_NS.any(axis=0)]
    return np.asarray(scipy.stats.false_discovery_control(p_S))


def feature_table(fires_NS: np.ndarray, of: Design) -> pd.DataFrame:
    """Every feature of an SAE that fires at all, the largest difference first."""
    n_yes, n_no = int(of.deceptive_N.sum()), int((~of.deceptive_N).sum())
    difference_S = rate_differences(fires_NS, of.deceptive_N[None])[0]
    firing, q_S = np.flatnonzero(fires_NS.any(axis=0)), _adjusted_p(fires_NS, of)
    hits_S, other_S = (fires_NS[of.deceptive_N == label].sum(axis=0) for label in (True, False))
    rows = []
    for place in np.argsort(-difference_S[firing], kind="stable"):
        feature = int(firing[place])
        hits, other = int(hits_S[feature]), int(other_S[feature])
        low, high = newcombe(hits, n_yes, other, n_no)
        row: dict[str, Any] = {
            "feature": feature, "difference": 100 * float(difference_S[feature]),
            "difference_low": 100 * float(low), "difference_high": 100 * float(high),
            "q": float(q_S[place])}
        for label, k, n in (("deceptive", hits, n_yes), ("honest", other, n_no)):
            low, high = wilson(k, n)
            row |= {label: 100 * k / n, f"{label}_low": 100 * float(low),
                    f"{label}_high": 100 * float(high)}
        rows.append(row)
    wilsons = "Wilson's 95% interval"
    return described(
        pd.DataFrame(rows), "features of one SAE, those that fire at all, the largest differences "
        "first",
        feature=("", "index of the feature"),
        **with_ends("difference", "pp", "rate at which it fires in deceptive completions, less "
                    "that in honest ones", "Newcombe's 95% interval"),
        q=("p", "Mantel-Haenszel test within scenarios, adjusted for the false discovery rate by "
                "Benjamini and Hochberg"),
        **with_ends("deceptive", "percent", "deceptive completions in which it fires", wilsons),
        **with_ends("honest", "percent", "honest completions in which it fires", wilsons))


def first_feature(features: pd.DataFrame, largest: pd.Series, tag: SaeTag) -> pd.DataFrame:
    """What the feature of the largest difference comes to. features: of `feature_table`; largest:
    the SAE's row of `largest_differences`."""
    first, n = features.iloc[0], int(largest["n"])
    named = f"feature {largest['feature']}"
    rows: list[dict[str, Any]] = [
        *({"measure": f"rate.{label}", "value": first[label], "ci_low": first[f"{label}_low"],
           "ci_high": first[f"{label}_high"], "unit": "percent", "n": n // 2,
           "quantity": f"{label} completions in which {named} fires, the one of the largest "
                       "difference"} for label in ("deceptive", "honest")),
        {"measure": "difference", "value": first["difference"], "unit": "pp", "n": n,
         "ci_low": first["difference_low"], "ci_high": first["difference_high"],
         "quantity": f"difference of the two rates of {named}, a maximum over features"},
        {"measure": "difference.null_95", "value": largest["null_95"], "unit": "pp",
         "n": largest["permutations"],
         "quantity": "95% quantile of the largest difference under permuted labels"},
        {"measure": "difference.p", "value": largest["p"], "unit": "p",
         "n": largest["permutations"], "quantity": "p of the largest difference"},
        {"measure": "remeasured", "value": largest["remeasured"], "unit": "pp", "n": n,
         "ci_low": largest["remeasured_low"], "ci_high": largest["remeasured_high"],
         "quantity": "difference of the rates of the feature picked on four folds, on the fifth"},
        {"measure": "discoveries", "value": largest["discoveries"], "n": largest["firing"],
         "unit": f"of {largest['firing']}",
         "quantity": "features whose rate depends on the label within scenarios, false discovery "
                     "rate 5%"}]
    return described(
        _of_sae(rows, tag), "the feature of the largest difference of one SAE",
        measure=("", "rate.deceptive, rate.honest: completions in which it fires; difference: of "
                     "the two, with the 95% quantile of the same under permuted labels and its p; "
                     "remeasured: picked on four folds, on the fifth; discoveries: features that "
                     "depend on the label"),
        **VALUE_AND_UNIT)


def effects(replies: pd.DataFrame, name: str, strength: float) -> np.ndarray:
    """By scenario, how much steering to one side rather than the other favours the deceptive
    reply over the honest one: half the difference of log p(deceptive) − log p(honest), in nats a
    token, between this strength and its opposite."""
    favour = replies.assign(favour=replies["deceptive"] - replies["honest"]).pivot(
        index="scenario", columns=["direction", "strength"], values="favour")
    return np.asarray((favour[(name, strength)] - favour[(name, -strength)]) / 2)


def steering_effects(
    replies: pd.DataFrame, tag: SaeTag, *, strength: float, margin: float, draws: int, seed: int
) -> pd.DataFrame:
    """Effects of a strength on the replies, means over scenarios, along the feature, the mean
    difference and random features, and the gap between the first and the last.

    replies: of `steered_replies`. margin: what counts as no effect, as a share of that along the
    mean difference. draws, seed: of the bootstrap.
    """
    random = np.stack([effects(replies, name, strength)
                       for name in replies["direction"].unique() if name.startswith("random")])
    of = {FEATURE: effects(replies, FEATURE, strength), MEAN: effects(replies, MEAN, strength),
          "random": random.mean(axis=0)}
    what = "on log p(deceptive reply) − log p(honest reply)"
    gap = mean_interval(of[FEATURE] - of["random"], draws, seed, 0.9)
    rows = [{"measure": name.replace(" ", "_"), "condition": name, "unit": "nats",
             "quantity": f"steering along {along}, {what}",
             **mean_interval(of[name], draws, seed).columns()}
            for name, along in ((FEATURE, "the feature"), (MEAN, "the mean difference"),
                                ("random", "random features"))]
    rows += [
        {"measure": "gap", "unit": "effect", **gap.columns(),
         "quantity": f"steering along the feature less along random ones, {what} in nats a token, "
                     "with a 90% interval"},
        {"measure": "gap.margin", "unit": "effect", "n": gap.n,
         "value": margin * float(of[MEAN].mean()),
         "quantity": "what counts as no effect of steering: a share of that along the mean "
                     "difference"},
        {"measure": "random.sd", "unit": "nats", "n": len(random),
         "value": float(random.mean(axis=1).std(ddof=1)),
         "quantity": "SD over random features of the mean effect"}]
    return described(
        _of_sae(rows, tag), "what steering does to the two reference replies",
        measure=("", "feature, mean_difference, random: along what; gap: the feature less random "
                     "ones, with a 90% interval; gap.margin: what counts as none; random.sd: SD "
                     "over random features"),
        condition=("", "along what"), **VALUE_AND_UNIT)


def steered_means(
    generated: pd.DataFrame, tag: SaeTag, *, draws: int, seed: int
) -> pd.DataFrame:
    """What the sampled completions are like that have a text, by direction and side. generated: of
    `steered_completions`. draws, seed: of the bootstrap."""
    sides = {-1.0: "minus", 0.0: "clean", 1.0: "plus"}
    rows: list[dict[str, Any]] = []
    for (name, strength), of in generated.dropna(subset=["cross_entropy"]).groupby(
            ["direction", "strength"]):
        rows += [{"along": name.replace(" ", "_"), "side": sides[float(np.sign(strength))],
                  "measure": column, "layer": tag.layer, "condition": f"{name} {strength:+g}",
                  "unit": unit, "quantity": quantity,
                  **mean_interval(of[column], draws, seed).columns()}
                 for column, unit, quantity in (
                    ("cross_entropy", "nats", "cross-entropy of the steered completions, unsteered "
                                              "model"),
                    ("p_deceptive", "probability", "probability of “deceptive” by the embedded "
                                                   "judge, mean"))]
    return described(
        pd.DataFrame(rows), "what completions sampled under steering are like",
        along=("", "direction of the vector"), side=("", "minus, clean (no vector) or plus"),
        measure=("", "cross_entropy or p_deceptive, means over completions"),
        condition=("", "direction and strength"), **VALUE_AND_UNIT)


def _of_sae(rows: list[dict[str, Any]], tag: SaeTag) -> pd.DataFrame:
    return pd.DataFrame(rows).assign(layer=tag.layer, tag=tag.name, train_set=tag.train_set)
