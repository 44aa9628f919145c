"""The values and tables of §18."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from deception_saes.analysis.bootstrap import mean_interval
from deception_saes.analysis.folds import subset
from deception_saes.analysis.probe_scores import bootstrap, interval, scenario_auroc
from deception_saes.saes.tags import layer_at_same_depth
from deception_saes.sections.probing import (
    MEASURES,
    NAME,
    SCALE,
    UNIT,
    columns,
    differences,
    values_of,
)
from deception_saes.sections.results import Value
from deception_saes.sections.s18 import (
    PENALTIES,
    POOLINGS,
    STUDY_LAYERS,
    Controls,
    Params,
    Sweep,
    resampling_seed,
)

if TYPE_CHECKING:
    from deception_saes.models.spec import ModelSpec

_STUDIED = {"smollm2": ("R-01", "R-02", "R-03"), "smollm2it": ("R-01", "R-02", "R-03"),
            "tinyllama": ("R-06", None, None), "pythia160m": ("R-07", None, None)}
"""Peak balanced accuracy, AUROC and layer, as other cards have them of the same model."""

_TOLD = {"words": "the words alone", "length": "the length alone",
         "words_of_scenario": "the words, each also as a word of its scenario"}


def answers_primary(model: ModelSpec) -> bool:
    """Whether a value of this model may answer a claim about the study's primary model: it is
    that model, or none of the study's, which stands in for it."""
    return model.slug == "llama" or not model.of_the_study


def tables(
    sweeps: Sequence[Sweep], primary: Sweep, beside: Controls, params: Params
) -> dict[str, pd.DataFrame]:
    """What the figures are drawn from. Balanced accuracies are in percent."""
    of, data = primary.data.design, primary.data
    scores = pd.DataFrame({
        "completion": data.ids, "scenario": [of.scenarios[s] for s in of.scenario_N],
        "label": np.where(of.deceptive_N, "deceptive", "honest"), "fold": of.fold_N,
        "group": of.group_N, "score": primary.nested_N})
    nested = pd.DataFrame([{"round": s.round, "pooling": s.pooling, "fold": fold, "layer": layer}
                           for s in sweeps for fold, layer in enumerate(s.layer_F)])
    probes = {"nested": (primary.nested, 0), **{name: (a, 0) for name, a in beside.text.items()},
              **{f"L{layer}": (primary.layers, _layer(primary, layer)) for layer in STUDY_LAYERS}}
    return {
        "layers": pd.DataFrame([row for s in sweeps for row in _by_layer(s)]),
        "nested": nested,
        "baselines": pd.DataFrame([{"probe": name, **columns(a, i)}
                                   for name, (a, i) in probes.items()]),
        "transfer": pd.DataFrame(list(_transfer(beside, params))),
        "scenarios": pd.DataFrame(list(_by_scenario(primary, beside, params))),
        "penalties": pd.DataFrame([{"probe": name, "c": c, **columns(of_name, i)}
                                   for name, of_name in beside.penalties.items()
                                   for i, c in enumerate(PENALTIES)]),
        "prompt_end": pd.DataFrame({"layer": range(len(beside.prompt_end_L)),
                                    "auroc": beside.prompt_end_L}),
        "scores": scores,
    }


def values(
    sweeps: Sequence[Sweep], primary: Sweep, beside: Controls, params: Params
) -> Iterator[Value]:
    """Peaks of every sweep; the rest of the main round's primary one."""
    model = params.behaviour.model
    base, about = f"s18.{model.slug}", dict[str, Any](model=model.slug)
    of_study = answers_primary(model)
    for s in sweeps:
        yield from _peak(s, base, about, s is primary and of_study, of_study)
    yield from _peak_of_all(sweeps, base, about, of_study)
    yield from _other_cards(primary, base, about, model)
    n = len(primary.data.ids)
    for study in STUDY_LAYERS:
        layer = _layer(primary, study)
        yield from values_of(primary.layers, layer, f"{base}.depth_of_L{study}",
                             f"a probe at the relative depth of the study's L{study}", n,
                             {**about, "layer": layer})
        yield from _transferred(beside, layer, f"{base}.transfer.depth_of_L{study}", params,
                                {**about, "layer": layer})
    yield from _text(primary, beside, base, about)
    yield Value(f"{base}.prompt_end.least", "lowest AUROC over layers at the prompt's last token",
                float(beside.prompt_end_L.min()), "auroc", n=n, **about)
    yield Value(f"{base}.prompt_end.most", "highest AUROC over layers at the prompt's last token",
                float(beside.prompt_end_L.max()), "auroc", n=n, **about)
    yield Value(f"{base}.scenarios", "scenarios with both labels",
                float(len(primary.data.design.scenarios)), "count", **about)
    yield Value(f"{base}.groups", "completions in the balanced set, near-duplicates counted once",
                float(len(np.unique(primary.data.design.group_N))), "count", n=n, **about)


def _peak(s: Sweep, base: str, about: dict[str, Any], answers: bool, of_study: bool
          ) -> Iterator[Value]:
    """The best layer of a sweep, as a maximum over layers and without that maximum's bias."""
    id, n, peak = f"{base}.{s.round}.{s.pooling}", len(s.data.ids), s.peak
    claims = {"accuracy": "B-03", "auroc": "B-04"} if answers else None
    yield from values_of(s.nested, 0, f"{id}.nested", "probes whose layer was chosen without the "
                         "fold they are scored on", n, about, claims)
    for what in MEASURES:
        found = getattr(s.layers.found, what)
        best = int(found.argmax()) if what == "auroc" else peak
        _, p_max = s.null.p(what)
        null = getattr(s.null.permuted, what).max(axis=1)
        of_null = {**about, "n": len(null)}
        yield Value(f"{id}.peak.{what}", f"{NAME[what]} of the best layer, a maximum over layers",
                    SCALE[what] * float(found[best]), UNIT[what], n=n, layer=best, **about)
        yield Value(f"{id}.ridge.{what}", f"highest {NAME[what]} of the ridge probe",
                    SCALE[what] * float(getattr(s.null.ridge, what).max()), UNIT[what], n=n,
                    **about)
        yield Value(f"{id}.null.{what}", f"highest {NAME[what]} of the ridge probe over layers "
                    "with permuted labels, 95% quantile", SCALE[what] * float(
                        np.quantile(null, 0.95)), UNIT[what], **of_null)
        yield Value(f"{id}.p.{what}", f"p of the ridge probe's highest {NAME[what]}, corrected "
                    "for the number of layers", float(p_max.min()), "p", **of_null)
        yield Value(f"{id}.significant.{what}", f"layers with p below 0.05 after correction, "
                    f"{NAME[what]}", float((p_max < 0.05).sum()), f"of {len(found)}", **of_null)
    low, high = np.quantile(s.layers.resampled.peak, [0.025, 0.975])
    claim = {"R3": "B-06", "R2": "B-07"}.get(s.round) if s.pooling == POOLINGS[0] else None
    yield Value(f"{id}.peak.layer", f"layer of highest balanced accuracy in round {s.round}",
                float(peak), "layer", claim=claim if of_study else None, ci_low=float(low),
                ci_high=float(high), n=n, layer=peak, **about)
    shares = np.bincount(s.layers.resampled.peak, minlength=len(s.scores_LN))
    yield Value(f"{id}.peak.share", "resamples in which this layer is the best",
                100 * float(shares[peak]) / shares.sum(), "percent", n=int(shares.sum()),
                layer=peak, **about)
    yield Value(f"{id}.widening", "factor by which the nested probe's intervals are wider than "
                "those of a fixed probe", float(s.nested.widen_L[0]), "ratio",
                n=len(s.null.permuted.accuracy), **about)


def _peak_of_all(sweeps: Sequence[Sweep], base: str, about: dict[str, Any], of_study: bool
                 ) -> Iterator[Value]:
    """The best layer by the mean of all rounds."""
    of = [s for s in sweeps if s.pooling == POOLINGS[0]]
    peak = int(np.mean([s.layers.found.accuracy for s in of], axis=0).argmax())
    drawn = np.mean([s.layers.resampled.accuracy for s in of], axis=0).argmax(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    yield Value(f"{base}.all.peak.layer", "layer of highest balanced accuracy, mean of the rounds",
                float(peak), "layer", claim="B-05" if of_study else None, ci_low=float(low),
                ci_high=float(high), n=sum(len(s.data.ids) for s in of), layer=peak, **about)


def _other_cards(primary: Sweep, base: str, about: dict[str, Any], model: ModelSpec
                 ) -> Iterator[Value]:
    """The same numbers as answers to what other cards of the study claim of this model."""
    accuracy, auroc, layer = _STUDIED.get(model.slug, (None, None, None))
    claims = {what: claim for what, claim in (("accuracy", accuracy), ("auroc", auroc)) if claim}
    if not claims:
        return
    n = len(primary.data.ids)
    yield from values_of(primary.nested, 0, f"{base}.card", "probes whose layer was chosen "
                         "without the fold they are scored on", n, about, claims)
    if layer:
        low, high = np.quantile(primary.layers.resampled.peak, [0.025, 0.975])
        yield Value(f"{base}.card.layer", "layer of highest balanced accuracy in the main round",
                    float(primary.peak), "layer", claim=layer, ci_low=float(low),
                    ci_high=float(high), n=n, layer=primary.peak, **about)


def _text(primary: Sweep, beside: Controls, base: str, about: dict[str, Any]) -> Iterator[Value]:
    n = len(primary.data.ids)
    for name, assessed in beside.text.items():
        yield from values_of(assessed, 0, f"{base}.{name}", f"a probe on {_TOLD[name]}", n, about)
    layers = {study: _layer(primary, study) for study in STUDY_LAYERS}
    for name in ("words", "words_of_scenario"):
        words, less = beside.text[name], f"less that of {_TOLD[name]}"
        yield from differences(primary.nested, 0, words, 0, f"{base}.nested_minus_{name}",
                               f"the nested probe {less}", n, about)
        for study, layer in layers.items():
            yield from differences(primary.layers, layer, words, 0,
                                   f"{base}.depth_of_L{study}_minus_{name}",
                                   f"the probe at the depth of L{study} {less}", n,
                                   {**about, "layer": layer})
    yield from differences(beside.text["words"], 0, beside.text["length"], 0,
                           f"{base}.words_minus_length", "the probe on words less that on length",
                           n, about)


def _by_layer(s: Sweep) -> Iterator[dict[str, Any]]:
    peaks = np.bincount(s.layers.resampled.peak, minlength=len(s.scores_LN))
    p, p_max = s.null.p("accuracy")
    null_LQ = 100 * np.quantile(s.null.permuted.accuracy, [0.025, 0.975], axis=0).T
    for layer in range(len(s.scores_LN)):
        yield {"round": s.round, "pooling": s.pooling, "layer": layer, "n": len(s.data.ids),
               **columns(s.layers, layer), "ridge_accuracy": 100 * s.null.ridge.accuracy[layer],
               "ridge_auroc": s.null.ridge.auroc[layer], "null_low": null_LQ[layer, 0],
               "null_high": null_LQ[layer, 1], "p": p[layer], "p_max": p_max[layer],
               "peak": layer == s.peak, "peak_share": peaks[layer] / peaks.sum()}


def _transfer(beside: Controls, params: Params) -> Iterator[dict[str, Any]]:
    """Means over left-out scenarios, resampled as wholes: what carries over to another one."""
    for layer, auroc_S in enumerate(beside.transfer_SL.T):
        row: dict[str, Any] = {"layer": layer}
        for what, of_S in (("auroc", auroc_S),
                           ("accuracy", 100 * beside.transfer_accuracy_SL[:, layer])):
            found = mean_interval(of_S, params.bootstrap_draws, params.seed)
            row |= {what: found.mean, f"{what}_low": found.low, f"{what}_high": found.high}
        yield row


def _transferred(beside: Controls, layer: int, id: str, params: Params, about: dict[str, Any]
                 ) -> Iterator[Value]:
    of_layer = list(_transfer(beside, params))[layer]
    for what in MEASURES:
        yield Value(f"{id}.{what}", f"{NAME[what]} in scenarios left out of training, mean and "
                    "interval over scenarios", of_layer[what], UNIT[what],
                    ci_low=of_layer[f"{what}_low"], ci_high=of_layer[f"{what}_high"],
                    n=len(beside.transfer_SL), **about)


def _by_scenario(primary: Sweep, beside: Controls, params: Params) -> Iterator[dict[str, Any]]:
    """AUROC of each scenario, within it and left out; the latter at the depth of the study's L6."""
    of, layer = primary.data.design, _layer(primary, STUDY_LAYERS[0])
    within_S = scenario_auroc(primary.nested_N, of)
    for s, scenario in enumerate(of.scenarios):
        rows = np.flatnonzero(of.scenario_N == s)
        drawn = bootstrap(primary.nested_N[None, rows], subset(of, rows), params.bootstrap_draws,
                          resampling_seed(params.seed, primary.round)).auroc[:, 0]
        low, high = interval(float(within_S[s]), drawn, primary.nested.widen_L[0])
        yield {"scenario": scenario, "n": len(rows), "auroc": within_S[s], "auroc_low": low,
               "auroc_high": high, "transfer": beside.transfer_SL[s, layer],
               "transfer_accuracy": 100 * beside.transfer_accuracy_SL[s, layer]}


def _layer(s: Sweep, study: int) -> int:
    return layer_at_same_depth(study, len(s.scores_LN))
