"""§19: the probe of §18 on a few principal components."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deception_saes.sections import behaviour

if TYPE_CHECKING:
    from deception_saes.activations.completions import Pooling
    from deception_saes.analysis.folds import Design
    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.behaviour import BehaviourParams
    from deception_saes.sections.probing import Assessed, Null
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, Work

DATA = behaviour.DATA
NEEDS = (18,)
LIBRARIES = ("scikit-learn", "scipy")

COMPONENTS = (1, 2, 5, 10, 20, 50, 100)
"""And all dimensions."""
STUDY_SATURATION = 5
POOLING: Pooling = "mean"


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`."""

    behaviour: BehaviourParams
    bootstrap_draws: int
    permutations: int
    seed: int


@dataclass(frozen=True)
class Ladder:
    """Probes on ever more components of one choice of layers: "nested", each fold's own, or a
    fixed one. counts: numbers of components, the last being all dimensions. explained: share of
    the variance that the components have, a mean over folds. One probe each in the rest."""

    name: str
    layer_F: np.ndarray
    counts: tuple[int, ...]
    explained: tuple[float, ...]
    probes: Assessed
    null: Null


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section."""
    from deception_saes.sections.behaviour import behaviour_params
    from deception_saes.sections.run import NotRun, params_from

    of = behaviour_params(profile, seed, models, missing)
    return of if isinstance(of, NotRun) else params_from(Params, profile, seed, behaviour=of)


def compute(params: Params, work: Work) -> Output:
    """The main round's balanced set at the layers of §18's nested choice, and at two layers that
    no data chose."""
    import pandas as pd
    from tqdm import tqdm

    from deception_saes.analysis.probes import one_thread
    from deception_saes.saes.tags import layer_at_same_depth
    from deception_saes.sections.behaviour import MAIN_ROUND, labelled
    from deception_saes.sections.run import Output
    from deception_saes.sections.s18 import STUDY_LAYERS

    data = labelled(params.behaviour, MAIN_ROUND, work)
    if data is None:
        raise RuntimeError(f"§18 has run, yet round {MAIN_ROUND} has no labels")
    x_LND, of = data.activations.of(data.ids, POOLING), data.design
    choices = {"nested": _nested(work)}
    for study in STUDY_LAYERS:
        layer = layer_at_same_depth(study, len(x_LND))
        choices[f"depth_of_L{study}"] = np.full(len(choices["nested"]), layer)
    with one_thread():
        ladders = [ladder(name, x_LND, of, layer_F, params)
                   for name, layer_F in tqdm(choices.items(), desc="components", unit="layer")]
    table = pd.DataFrame([row for of_one in ladders for row in _rows(of_one)])
    drawn = pd.DataFrame([row for of_one in ladders for row in _saturations(of_one)])
    return Output(list(_values(ladders, len(data.ids), params)),
                  {"components": table, "saturation": drawn})


def ladder(
    name: str, x_LND: np.ndarray, of: Design, layer_F: np.ndarray, params: Params
) -> Ladder:
    """Probes on 1, 2, 5 … components, then on all dimensions; components are found on the training
    folds. Numbers that a training set or the width does not reach are left out."""
    from deception_saes.analysis.folds import splits
    from deception_saes.analysis.permutation import principal, ridge_scores, standardised
    from deception_saes.analysis.probes import activation_probe, at_layers, held_out_scores
    from deception_saes.sections.behaviour import MAIN_ROUND
    from deception_saes.sections.probing import assess, labellings, null_of
    from deception_saes.sections.s18 import resampling_seed

    width = x_LND.shape[-1]
    most = min(width, *(len(train) for train, _ in splits(of, of.fold_N)))
    steps: list[int | None] = [k for k in COMPONENTS if k < most]
    seed = resampling_seed(params.seed, MAIN_ROUND)
    labels_PN = labellings(of, params.permutations, seed)

    def scores(k: int | None) -> np.ndarray:
        def held_out(x_ND: np.ndarray) -> np.ndarray:
            return held_out_scores(lambda: activation_probe(components=k), x_ND, of)

        return at_layers(held_out, x_LND, of, layer_F)

    def ridge(k: int | None) -> np.ndarray:
        prepare = standardised if k is None else principal(k)
        return at_layers(lambda x_ND: ridge_scores(x_ND, of, labels_PN, prepare), x_LND, of,
                         layer_F)

    null = null_of((ridge(k) for k in (*steps, None)), labels_PN, of, seed)
    scores_KN = np.stack([scores(k) for k in (*steps, None)])
    counts = (*COMPONENTS[: len(steps)], width)
    return Ladder(name, layer_F, counts, tuple(_explained(x_LND, of, layer_F, counts)),
                  assess(scores_KN, of, null.widen_L, params.bootstrap_draws, seed), null)


def _nested(work: Work) -> np.ndarray:
    from deception_saes.sections.behaviour import MAIN_ROUND

    table = work.needed[18].table("nested")
    rows = table[(table["round"] == MAIN_ROUND) & (table["pooling"] == POOLING)]
    return np.asarray(rows.sort_values("fold")["layer"])


def _explained(
    x_LND: np.ndarray, of: Design, layer_F: np.ndarray, counts: tuple[int, ...]
) -> Iterator[float]:
    from deception_saes.analysis.folds import splits
    from deception_saes.analysis.permutation import standardised

    shares = []
    for layer, (train, _) in zip(layer_F, splits(of, of.fold_N), strict=True):
        z_ND, _ = standardised(x_LND[layer, train], x_LND[layer, train])
        variance_K = np.linalg.svd(z_ND, compute_uv=False) ** 2
        shares.append(np.cumsum(variance_K) / variance_K.sum())
    for k in counts:
        yield float(np.mean([share_K[min(k, len(share_K)) - 1] for share_K in shares]))


def _rows(of: Ladder) -> Iterator[dict[str, Any]]:
    from deception_saes.sections.probing import columns

    null_QK = 100 * np.quantile(of.null.permuted.accuracy, [0.025, 0.975], axis=0)
    for i, k in enumerate(of.counts):
        yield {"layers": of.name, "components": k, "all": k == of.counts[-1],
               "explained": of.explained[i], **columns(of.probes, i),
               "ridge_accuracy": 100 * of.null.ridge.accuracy[i], "null_low": null_QK[0, i],
               "null_high": null_QK[1, i]}


def _saturations(of: Ladder) -> Iterator[dict[str, Any]]:
    """In how many resamples each number of components is the saturation point."""
    from deception_saes.analysis.saturation import saturation

    drawn_R = saturation(of.counts, of.probes.resampled.accuracy)
    for k in of.counts:
        yield {"layers": of.name, "components": k, "share": float((drawn_R == k).mean())}


def _values(ladders: list[Ladder], n: int, params: Params) -> Iterator[Value]:
    from deception_saes.sections.layer_tables import answers_primary
    from deception_saes.sections.probing import difference, values_of
    from deception_saes.sections.results import Value

    model = params.behaviour.model
    about = dict[str, Any](model=model.slug)
    for of in ladders:
        base, where = f"s19.{model.slug}.{of.name}", dict(about)
        if len(set(of.layer_F)) == 1:
            where["layer"] = int(of.layer_F[0])
        told = of.name == "nested" and answers_primary(model)
        for i, k in enumerate(of.counts):
            last = i == len(of.counts) - 1
            claim = "B-09" if last else "B-08" if k == STUDY_SATURATION else None
            what = "all dimensions" if last else f"{k} principal components"
            yield from values_of(of.probes, i, f"{base}.{'all' if last else f'pc{k}'}",
                                 f"a probe on {what}", n, where,
                                 {"accuracy": claim} if told and claim else None)
        few = of.counts.index(STUDY_SATURATION)
        found, low, high = difference(of.probes, few, of.probes, -1, "accuracy")
        yield Value(f"{base}.pc{STUDY_SATURATION}_minus_all", f"balanced accuracy on "
                    f"{STUDY_SATURATION} components less that on all dimensions", found, "pp",
                    ci_low=low, ci_high=high, n=n, **where)
        yield _saturation(of, base, n, where, "B-10" if told else None)


def _saturation(of: Ladder, base: str, n: int, where: dict[str, Any], claim: str | None) -> Value:
    """Not given where the interval of all dimensions includes chance: there is no gain to share."""
    from deception_saes.analysis.saturation import saturation
    from deception_saes.sections.results import Value

    quantity = "principal components at which the probe has 95% of the gain over chance of all " \
               "dimensions"
    if of.probes.ends("accuracy", -1)[0] <= 50:
        return Value(f"{base}.saturation", quantity, None, "count", claim=claim, n=n, **where)
    low, high = np.quantile(saturation(of.counts, of.probes.resampled.accuracy), [0.025, 0.975],
                            method="nearest")
    return Value(f"{base}.saturation", quantity,
                 float(saturation(of.counts, of.probes.found.accuracy)), "count", claim=claim,
                 ci_low=float(low), ci_high=float(high), n=n, **where)
