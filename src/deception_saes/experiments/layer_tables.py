"""Tables of probes at layers, beside those on words and in other scenarios.

Shape suffixes: N completions, L layers, S scenarios, F folds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from deception_saes.activations.completions import Pooling
from deception_saes.analysis.bootstrap import mean_interval, percentiles
from deception_saes.analysis.folds import subset
from deception_saes.analysis.probe_scores import bootstrap, interval, scenario_auroc
from deception_saes.experiments.layer_probes import (
    chosen_layers,
    fit_layers,
    fit_penalties,
    fit_texts,
    prompt_end_auroc,
)
from deception_saes.experiments.probing import (
    MEASURES,
    NAME,
    PROBE_COLUMNS,
    SCALE,
    UNIT,
    Assessed,
    Null,
    assess_round,
    columns,
    difference,
    resampling_seed,
)
from deception_saes.experiments.reading import Reading
from deception_saes.experiments.task import Subject
from deception_saes.saes.tags import layer_at_same_depth
from deception_saes.tidy import described, with_ends

_NESTED = "probes whose layer was chosen without the fold they are scored on"
_READS = {"words": "the words alone", "length": "the length alone",
          "words_of_scenario": "the words, each also as a word of its scenario"}
_PROBE = ("", "nested: the residual, its layer chosen without the fold; words, words_of_scenario: "
              "tf-idf of the words, in the latter each also as a word of its scenario; length: "
              "lengths alone; depth_of_L6: the residual at the relative depth of that layer of the "
              "study's model, and others like it")
_POOLING = ("", "mean over the completion's tokens, or its last token")


def depths(subject: Subject, study_layers: Sequence[int]) -> dict[str, int]:
    """Layers at the relative depth of layers of the study's model, by name: no data of this book
    chose them."""
    n_layers = subject.model.shape.layers
    return {f"depth_of_L{layer}": layer_at_same_depth(layer, n_layers) for layer in study_layers}


@dataclass(frozen=True)
class Sweep:
    """A probe at every layer, of one round under one pooling."""

    round: str
    pooling: Pooling
    scores_LN: np.ndarray
    """Held-out logits."""
    layers: Assessed
    null: Null
    nested: Assessed
    """Probes whose layer was chosen without the completions they are scored on, one a fold, taken
    as one probe."""
    layer_F: np.ndarray
    """Their layers."""
    nested_N: np.ndarray
    """Their scores."""

    @property
    def n(self) -> int:
        """Completions behind it."""
        return len(self.nested_N)

    @property
    def peak(self) -> int:
        """The layer of highest balanced accuracy."""
        return int(self.layers.found.peak)


def sweep_layers(
    reading: Reading, round: str, pooling: Pooling, *, permutations: int, resamples: int
) -> Sweep:
    """A probe at every layer of a round's balanced set, with intervals over completions."""
    fits = fit_layers(reading, round, pooling, permutations=permutations)
    null = Null.of(fits["null"])
    return Sweep(
        round, pooling, fits["scores"],
        assess_round(reading, round, fits["scores"], null.widen_L, resamples), null,
        assess_round(reading, round, fits["nested"][None], fits["nested_widen"], resamples),
        chosen_layers(reading, round, pooling), fits["nested"])


def text_probes(
    reading: Reading, round: str, *, permutations: int, resamples: int
) -> dict[str, Assessed]:
    """Probes that see no activation, on words and on lengths, in the same folds and resamples."""
    fits = fit_texts(reading, round, permutations=permutations)
    return {name: assess_round(reading, round, fit["scores"][None], fit["widen"], resamples)
            for name, fit in fits.items()}


def layer_table(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """A row a sweep and layer."""
    rows = []
    for s in sweeps:
        peaks = np.bincount(s.layers.resampled.peak, minlength=len(s.scores_LN))
        p, p_max = s.null.p("accuracy")
        null_2L = s.null.band()
        rows += [{"round": s.round, "pooling": s.pooling, "layer": layer, "n": s.n,
                  **columns(s.layers, layer), "ridge_accuracy": 100 * s.null.ridge.accuracy[layer],
                  "ridge_auroc": s.null.ridge.auroc[layer], "null_low": null_2L[0, layer],
                  "null_high": null_2L[1, layer], "p": p[layer], "p_max": p_max[layer],
                  "peak": layer == s.peak, "peak_share": peaks[layer] / peaks.sum()}
                 for layer in range(len(s.scores_LN))]
    return described(
        pd.DataFrame(rows), "the sweep: a round, a pooling and a layer a row", pooling=_POOLING,
        **PROBE_COLUMNS,
        p=("p", "of the ridge probe's balanced accuracy, under permuted labels, of this layer "
                "alone"),
        p_max=("p", "of the ridge probe's balanced accuracy, against the largest over layers under "
                    "permuted labels"),
        peak=("", "whether this layer has the highest balanced accuracy of its sweep"),
        peak_share=("share", "bootstrap resamples in which it has"))


def sweep_table(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """Every sweep in numbers: its best layer, as a maximum over layers and without that maximum's
    bias."""
    return described(
        pd.DataFrame([{"round": s.round, "pooling": s.pooling, **row}
                      for s in sweeps for row in _of_sweep(s)]),
        "every sweep in numbers", pooling=_POOLING,
        statistic=("", "nested: the probe whose layer was chosen without the scored fold; peak: "
                       "the best layer; ridge: the best of the ridge probe; null: 95% quantile of "
                       "the same under permuted labels; p: of the ridge probe's best; significant: "
                       "layers with p below 0.05; widening: of the nested probe's intervals"),
        value=("", "in `unit`"), unit=("", "unit of value and interval"),
        n=("count", "completions, permutations or resamples behind it"))


def _of_sweep(s: Sweep) -> Iterator[dict[str, Any]]:
    row, layers = columns(s.nested, 0), len(s.scores_LN)
    draws = len(s.null.permuted.accuracy)

    def found(statistic: str, quantity: str, value: float, unit: str, n: int, **more: Any
              ) -> dict[str, Any]:
        return {"statistic": statistic, "value": value, "unit": unit, "n": n,
                "quantity": quantity, **more}

    for what in MEASURES:
        yield found(f"nested.{what}", f"{NAME[what]} of {_NESTED}", row[what], UNIT[what], s.n,
                    ci_low=row[f"{what}_low"], ci_high=row[f"{what}_high"])
    for what in MEASURES:
        by_layer = getattr(s.layers.found, what)
        best = int(by_layer.argmax()) if what == "auroc" else s.peak
        _, p_max = s.null.p(what)
        largest = getattr(s.null.permuted, what).max(axis=1)
        yield found(f"peak.{what}", f"{NAME[what]} of the best layer, a maximum over layers",
                    SCALE[what] * float(by_layer[best]), UNIT[what], s.n, layer=best)
        yield found(f"ridge.{what}", f"highest {NAME[what]} of the ridge probe",
                    SCALE[what] * float(getattr(s.null.ridge, what).max()), UNIT[what], s.n)
        yield found(f"null.{what}", f"highest {NAME[what]} of the ridge probe over layers with "
                    "permuted labels, 95% quantile",
                    SCALE[what] * float(np.quantile(largest, 0.95)), UNIT[what], draws)
        yield found(f"p.{what}", f"p of the ridge probe's highest {NAME[what]}, corrected for the "
                    "number of layers", float(p_max.min()), "p", draws)
        yield found(f"significant.{what}", f"layers with p below 0.05 after correction, "
                    f"{NAME[what]}", float((p_max < 0.05).sum()), f"of {layers}", draws)
    low, high = percentiles(s.layers.resampled.peak)
    yield found("peak.layer", f"layer of highest balanced accuracy in round {s.round}",
                float(s.peak), "layer", s.n, ci_low=low, ci_high=high, layer=s.peak)
    shares = np.bincount(s.layers.resampled.peak, minlength=layers)
    yield found("peak.share", "resamples in which this layer is the best",
                100 * float(shares[s.peak]) / shares.sum(), "percent", int(shares.sum()),
                layer=s.peak)
    yield found("widening", "factor by which the nested probe's intervals are wider than those of "
                "a fixed probe", float(s.nested.widen_L[0]), "ratio", draws)


def peak_of_all(sweeps: Sequence[Sweep]) -> dict[str, float]:
    """The best layer by the mean of these sweeps: value, layer, ci_low, ci_high and n."""
    peak = int(np.mean([s.layers.found.accuracy for s in sweeps], axis=0).argmax())
    drawn = np.mean([s.layers.resampled.accuracy for s in sweeps], axis=0).argmax(axis=1)
    low, high = percentiles(drawn)
    return {"value": float(peak), "layer": peak, "ci_low": low, "ci_high": high,
            "n": sum(s.n for s in sweeps)}


def nested_table(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """The layer that every sweep chose without each fold."""
    return described(
        pd.DataFrame([{"round": s.round, "pooling": s.pooling, "fold": fold, "layer": layer}
                      for s in sweeps for fold, layer in enumerate(s.layer_F)]),
        "the layer that is best on the training folds, chosen without each fold", pooling=_POOLING,
        fold=("", "the fold left out"))


def baseline_table(
    primary: Sweep, text: Mapping[str, Assessed], depths: Mapping[str, int]
) -> pd.DataFrame:
    """A sweep's probes beside those that see no activation, a row a probe. depths: layers that no
    data chose, by name."""
    rows = [{"probe": "nested", "what": _NESTED, "n": primary.n, **columns(primary.nested, 0)}]
    rows += [{"probe": name, "what": f"a probe on {_READS[name]}", "n": primary.n,
              **columns(of, 0)} for name, of in text.items()]
    rows += [{"probe": name, "what": f"a probe at the relative {depth_in_words(name)}",
              "n": primary.n, "layer": layer, **columns(primary.layers, layer)}
             for name, layer in depths.items()]
    return described(pd.DataFrame(rows), "probes on the main round and what they are compared "
                     "with, a probe a row", probe=_PROBE, what=("", "the same in words"),
                     **PROBE_COLUMNS)


def difference_table(
    primary: Sweep, text: Mapping[str, Assessed], depths: Mapping[str, int]
) -> pd.DataFrame:
    """Probes on activations less those on words, paired by completion, and words less length."""
    pairs: list[tuple[str, str, str, int | None, Assessed, int]] = []
    for name in ("words", "words_of_scenario"):
        less = f"less that of {_READS[name]}"
        pairs.append(("nested", name, f"the nested probe {less}", None, primary.nested, 0))
        pairs += [(depth, name, f"the probe at the {depth.replace('_', ' ')} {less}", layer,
                   primary.layers, layer) for depth, layer in depths.items()]
    pairs.append(("words", "length", "the probe on words less that on length", None,
                  text["words"], 0))
    rows = []
    for first, second, what, layer, of, place in pairs:
        row: dict[str, Any] = {"first": first, "second": second, "what": what, "layer": layer,
                               "n": primary.n}
        for measure in MEASURES:
            ends = difference(of, place, text[second], 0, measure)
            row |= dict(zip((measure, f"{measure}_low", f"{measure}_high"), ends, strict=True))
        rows.append(row)
    return described(
        pd.DataFrame(rows), "two probes, paired by completion: the first less the second",
        first=_PROBE, second=("", "a probe as in `first`"), what=("", "the difference in words"),
        **with_ends("accuracy", "pp", "difference of their balanced accuracies"),
        **with_ends("auroc", "", "difference of their AUROCs"))


def depth_in_words(depth: str) -> str:
    """"depth_of_L6", as `depths` names layers, in words."""
    return f"depth of the study's {depth.removeprefix('depth_of_')}"


def transfer_table(
    left_out: Mapping[str, np.ndarray], *, resamples: int, seed: int
) -> pd.DataFrame:
    """Means over left-out scenarios, resampled as wholes: what carries over to another one. A row a
    layer."""
    rows = []
    for layer in range(left_out["auroc"].shape[1]):
        row: dict[str, float] = {"layer": layer, "n": len(left_out["auroc"])}
        for what in ("auroc", "accuracy"):
            found = mean_interval(SCALE[what] * left_out[what][:, layer], resamples, seed)
            row |= {what: found.mean, f"{what}_low": found.low, f"{what}_high": found.high}
        rows.append(row)
    each = "in the scenario left out, mean over scenarios, each by a probe trained on the others"
    over = "its 95% interval over scenarios"
    return described(
        pd.DataFrame(rows), "probes tested on a scenario left out of training, a layer a row",
        **with_ends("auroc", "auroc", f"AUROC {each}", over),
        **with_ends("accuracy", "percent", f"balanced accuracy {each}", over),
        n=("count", "scenarios"))


def scenario_auroc_table(
    reading: Reading, primary: Sweep, left_out: Mapping[str, np.ndarray], layer: int, *,
    resamples: int,
) -> pd.DataFrame:
    """AUROC of each scenario, within it and left out; the latter at this layer."""
    of = reading.balanced_of(primary.round).design
    within_S = scenario_auroc(primary.nested_N, of)
    rows = []
    for s, scenario in enumerate(of.scenarios):
        some = np.flatnonzero(of.scenario_N == s)
        drawn = bootstrap(primary.nested_N[None, some], subset(of, some), resamples,
                          resampling_seed(reading.seed, primary.round)).auroc[:, 0]
        low, high = interval(float(within_S[s]), drawn, primary.nested.widen_L[0])
        rows.append({"scenario": scenario, "n": len(some), "auroc": within_S[s], "auroc_low": low,
                     "auroc_high": high, "transfer": left_out["auroc"][s, layer],
                     "transfer_accuracy": 100 * left_out["accuracy"][s, layer]})
    return described(
        pd.DataFrame(rows), "a scenario a row, the main round",
        **with_ends("auroc", "auroc", "of the nested probe within this scenario"),
        transfer=("auroc", "of a probe trained on the other scenarios, at a layer that no data "
                           "chose"),
        transfer_accuracy=("percent", "balanced accuracy of that probe"))


def penalty_table(
    reading: Reading, primary: Sweep, text: Mapping[str, Assessed], penalties: Sequence[float], *,
    resamples: int,
) -> pd.DataFrame:
    """The same probes with other strengths of regularisation; intervals are widened as at the
    reported one. A row a probe and penalty."""
    fits = fit_penalties(reading, primary.round, primary.pooling, penalties)
    rows = []
    for name, scores_CN in fits.items():
        widen_1 = (primary.nested if name == "nested" else text[name]).widen_L
        found = assess_round(reading, primary.round, scores_CN, widen_1, resamples)
        rows += [{"probe": name, "c": c, "n": primary.n, **columns(found, place)}
                 for place, c in enumerate(penalties)]
    return described(pd.DataFrame(rows), "the same probes under other penalties", probe=_PROBE,
                     c=("", "inverse strength of the penalty, scikit-learn's C"), **PROBE_COLUMNS)


def score_table(reading: Reading, primary: Sweep) -> pd.DataFrame:
    """Held-out score of every completion, nested probe."""
    data = reading.balanced_of(primary.round)
    of = data.design
    return described(
        pd.DataFrame({"completion": data.ids, "scenario": [of.scenarios[s] for s in of.scenario_N],
                      "label": np.where(of.deceptive_N, "deceptive", "honest"), "fold": of.fold_N,
                      "group": of.group_N, "score": primary.nested_N}),
        "held-out score of every completion of the balanced main round, nested probe",
        fold=("", "fold it was held out in"),
        group=("", "number of its group of near-duplicates"),
        score=("logits", "decision value of the probe, above 0 is deceptive"))


def prompt_end_table(reading: Reading, round: str) -> pd.DataFrame:
    """AUROC by layer at the prompt's last token."""
    auroc_L = prompt_end_auroc(reading, round)
    return described(pd.DataFrame({"layer": range(len(auroc_L)), "auroc": auroc_L}),
                     "sanity check: a probe on the prompt's last token, which cannot know the "
                     "reply")
