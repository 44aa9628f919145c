"""§20: the grid of behavioural SAEs, and what learning the JumpReLU threshold changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from deception_saes.sections import behaviour

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from deception_saes.activations.completions import TokenRows
    from deception_saes.models.spec import ModelSpec
    from deception_saes.saes.sae import Sae
    from deception_saes.saes.tags import SaeTag
    from deception_saes.sections.behaviour_saes import BehaviourSaeParams
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, Work

DATA = behaviour.DATA
NEEDS = ()

KL_COMPLETIONS = 1
"""Completions of each scenario on which KL is measured: the main round's first labelled ones."""
BINS = 24


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`."""

    behaviour_saes: BehaviourSaeParams
    bootstrap_draws: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """fixed: whether thresholds are learned; False for the JumpReLUs as the study first had them.
    seconds: of training."""

    tag: SaeTag
    sae: Sae
    fixed: bool
    seconds: float
    rows: int


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section."""
    from deception_saes.sections.behaviour_saes import section_params

    return section_params(Params, profile, seed, models, missing)


def compute(params: Params, work: Work) -> Output:
    """Quality on every token of the main round, which trained none of the SAEs."""
    import pandas as pd
    from tqdm import tqdm

    from deception_saes.saes.quality import quality
    from deception_saes.sections.behaviour_saes import token_rows
    from deception_saes.sections.run import Output

    saes = list(_trained(params.behaviour_saes, work))
    rows = token_rows(params.behaviour_saes, (behaviour.MAIN_ROUND,), work)
    kl = pd.DataFrame(_kl_rows(params.behaviour_saes, saes, rows, work))
    table = []
    for of in tqdm(saes, desc="quality", unit="SAE"):
        found = quality(of.sae, rows.x_by_layer[of.tag.layer])
        table.append({
            "sae": of.tag.name, "fixed": of.fixed, "architecture": of.tag.architecture,
            "layer": of.tag.layer, "train_set": of.tag.train_set, "rows": of.rows,
            "d_sae": of.sae.config.d_sae, "l0": found.l0,
            "explained_variance": found.explained_variance, "mse": found.mse,
            "dead_share": found.dead_share,
            "density_median": float(np.median(found.density_S)),
            "kl_recovered": _recovered(kl, of), "seconds": of.seconds,
            "threshold_median": _median_threshold(of.sae), "tokens": len(rows.completion)})
    quality_table = pd.DataFrame(table)
    return Output(list(_values(quality_table, kl, params)), {
        "saes": quality_table, "kl": kl, "thresholds": pd.DataFrame(_threshold_rows(saes))})


def _trained(params: BehaviourSaeParams, work: Work) -> Iterator[Trained]:
    from deception_saes.sections.behaviour_saes import (
        TRAIN_ROUNDS,
        TRAIN_SETS,
        behaviour_bank,
        token_rows,
        trained_on,
    )

    seen = token_rows(params, TRAIN_ROUNDS, work)
    n_rows = {train_set: len(seen.of(trained_on(params, train_set))) for train_set in TRAIN_SETS}
    for fixed in (True, False):
        for depth in behaviour.DEPTHS:
            bank = behaviour_bank(params, depth, work, fixed)
            for tag in bank.tags:
                yield Trained(tag, bank.sae(tag), fixed, bank.seconds[tag.name],
                              n_rows[tag.train_set])


def _kl_rows(
    params: BehaviourSaeParams, saes: list[Trained], rows: TokenRows, work: Work
) -> Iterator[dict[str, Any]]:
    """Mean KL over each completion's tokens, with the residual replaced by what an SAE makes of it,
    and by the mean residual."""
    from tqdm import tqdm

    from deception_saes.interventions.replaced_kl import replaced_kl
    from deception_saes.interventions.steering import prefilled

    of = params.behaviour
    given = behaviour.labels(of)
    read = behaviour.read(of, (behaviour.MAIN_ROUND,), work)
    chosen = [completion for scenario in read.prompts
              for completion in [c for c in read.completions
                                 if c.scenario == scenario and c.id in given][:KL_COMPLETIONS]]
    for completion in tqdm(chosen, desc="KL", unit="completion"):
        prompt = read.prompts[completion.scenario]
        cache = prefilled(read.lm.model, prompt)
        for layer, x_ND in rows.x_by_layer.items():
            here = [sae for sae in saes if sae.tag.layer == layer]
            kl_BT = replaced_kl(read.lm.model, cache, prompt[-1], completion.tokens, layer, [
                partial(_always, x_ND.mean(dim=0)),
                *(partial(_reconstructed, one.sae) for one in here)])
            names = [("mean", True), *((one.tag.name, one.fixed) for one in here)]
            for (name, fixed), kl_T in zip(names, kl_BT, strict=True):
                yield {"completion": completion.id, "layer": layer, "sae": name, "fixed": fixed,
                       "tokens": len(kl_T), "kl": float(kl_T.mean())}


def _always(mean_D: torch.Tensor, x_TD: torch.Tensor) -> torch.Tensor:
    return mean_D.expand_as(x_TD)


def _reconstructed(sae: Sae, x_TD: torch.Tensor) -> torch.Tensor:
    return sae.decode(sae.encode(x_TD))


def _recovered(kl: pd.DataFrame, of: Trained) -> float:
    """1 − KL with the SAE / KL with the mean, both summed over tokens."""
    total = (kl["kl"] * kl["tokens"]).groupby([kl["layer"], kl["sae"], kl["fixed"]]).sum()
    return float(1 - total[(of.tag.layer, of.tag.name, of.fixed)]
                 / total[(of.tag.layer, "mean", True)])


def _median_threshold(sae: Sae) -> float | None:
    threshold = sae.weights.get("threshold")
    return None if threshold is None else float(threshold.median())


def _threshold_rows(saes: list[Trained]) -> Iterator[dict[str, Any]]:
    """Histograms of the thresholds of each layer, in one set of bins for all."""
    thresholds = {(of.tag.layer, of.fixed, of.tag.name): of.sae.weights["threshold"].numpy()
                  for of in saes if "threshold" in of.sae.weights}
    for layer in sorted({layer for layer, *_ in thresholds}):
        mine = {key: of for key, of in thresholds.items() if key[0] == layer}
        most = max(float(np.quantile(of, 0.995)) for of in mine.values())
        edges = np.linspace(0, most if most > 0 else 1.0, BINS + 1)
        for fixed in (True, False):
            pooled = np.concatenate([of for key, of in mine.items() if key[1] == fixed])
            counts, _ = np.histogram(np.minimum(pooled, edges[-1]), edges)
            for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
                yield {"layer": layer, "fixed": fixed, "low": float(low), "high": float(high),
                       "share": float(count / len(pooled))}


def _values(table: pd.DataFrame, kl: pd.DataFrame, params: Params) -> Iterator[Value]:
    from deception_saes.analysis.bootstrap import mean_interval
    from deception_saes.sections.results import Value

    model = params.behaviour_saes.behaviour.model.slug
    base, about = f"s20.{model}", dict[str, Any](model=model)
    fixed, before = table[table["fixed"]], table[~table["fixed"]]
    jumprelu = fixed[fixed["architecture"] == "jumprelu"]
    n = int(table["tokens"].iloc[0])
    yield Value(f"{base}.saes", "SAEs in the grid", float(len(fixed)), "count", claim="B-11",
                n=len(fixed), **about)
    # the largest, so that one learned threshold would show
    yield Value(f"{base}.prefix.threshold", "largest median threshold of the pre-fix JumpReLUs",
                float(before["threshold_median"].max()), "threshold", claim="B-12", n=len(before),
                **about)
    for name, of in (("prefix", before), ("learned", jumprelu)):
        share = mean_interval(100 * of["l0"] / of["d_sae"], params.bootstrap_draws, params.seed)
        yield Value(f"{base}.{name}.l0_share", f"L0 as a share of d_sae, {_NAMES[name]}, mean over "
                    "SAEs", share.mean, "percent", claim="B-13" if name == "prefix" else None,
                    ci_low=share.low, ci_high=share.high, n=share.n, **about)
    groups = {"topk": fixed[fixed["architecture"] == "topk"], "learned": jumprelu, "prefix": before}
    for name, of in groups.items():
        for column, quantity, unit in (("l0", "L0", "features"),
                                       ("explained_variance", "explained variance", "share"),
                                       ("dead_share", "dead share", "share"),
                                       ("kl_recovered", "KL recovered", "share"),
                                       ("seconds", "training", "s")):
            yield Value(f"{base}.{name}.{column}", f"{quantity}, {_NAMES[name]}, median over SAEs",
                        float(of[column].median()), unit,
                        n=kl["completion"].nunique() if column == "kl_recovered" else
                        n if column != "seconds" else len(of), **about)


_NAMES = {"prefix": "JumpReLU with thresholds at 0", "learned": "JumpReLU with learned thresholds",
          "topk": "TopK"}
