"""Tables of probes on SAE features: which are above the raw probe of their layer, what chance
gives, and which training sets and thresholds are better.

Apart from what fits the probes, so that a statistic that is edited makes no run stale.

Shape suffixes: N completions, L probes, P permutations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from deception_saes.analysis.bootstrap import percentiles
from deception_saes.analysis.equivalence import holm
from deception_saes.analysis.folds import Design
from deception_saes.analysis.probe_scores import (
    TIE,
    Paired,
    interval,
    least_detectable,
    paired,
)
from deception_saes.analysis.probes import one_thread
from deception_saes.experiments.probing import (
    PROBE_COLUMNS,
    Assessed,
    Null,
    assess,
    columns,
    difference,
)
from deception_saes.tidy import VALUE_AND_UNIT, described, with_ends

RIVALS = {"raw": "the raw probe of their layer",
          "components": "that of the principal components of the layer",
          "untrained": "that of their own random start"}
"""What the probe of a trained SAE is compared with."""


@dataclass(frozen=True)
class Grid:
    """Probes on the same completions and folds."""

    probes: pd.DataFrame
    """A row a probe, as `score_probes` gives them; the rest is in their order."""
    scores_LN: np.ndarray
    design: Design
    assessed: Assessed
    null: Null

    def places(self, kind: str, train_set: str | None = None) -> list[int]:
        """Of the probes of a kind, of SAEs of one training set or of all."""
        which = self.probes["kind"] == kind
        if train_set is not None:
            which &= self.probes["train_set"] == train_set
        return [int(place) for place in np.flatnonzero(which)]

    def rivals(self, kind: str, of: list[int]) -> list[int]:
        """For each of these probes of SAEs, that of a kind: of its layer, or of its own SAE."""
        by = "layer" if kind in ("raw", "components") else "name"
        place = {self.probes[by][i]: i for i in self.places(kind)}
        return [place[self.probes[by][i]] for i in of]

    def against(self, kind: str, *, permutations: int, seed: int) -> Paired:
        """The probes of trained SAEs beside their rivals of a kind."""
        trained = self.places("trained")
        return paired(self.scores_LN[trained], self.scores_LN[self.rivals(kind, trained)],
                      self.design, permutations, seed)

    def mean_difference(self, first: list[int], second: list[int]) -> tuple[float, float, float]:
        """Mean difference of balanced accuracy of pairs of probes, with its interval, in pp."""
        of = self.assessed
        found = float((of.found.accuracy[first] - of.found.accuracy[second]).mean())
        resampled_R = (of.resampled.accuracy[:, first]
                       - of.resampled.accuracy[:, second]).mean(axis=1)
        widen = float(of.widen_L[[*first, *second]].max())
        low, high = interval(found, resampled_R, widen, (-1, 1))
        return 100 * found, 100 * low, 100 * high


def assess_grid(scored: Mapping[str, Any], design: Design, *, draws: int, seed: int) -> Grid:
    """What `score_probes` gave, with intervals over completions. draws, seed: of the bootstrap."""
    null = Null.of(scored["null"])
    with one_thread():
        assessed = assess(scored["scores"], design, null.widen_L, draws, seed)
    return Grid(scored["probes"], scored["scores"], design, assessed, null)


def probe_table(grid: Grid, against: Mapping[str, Paired]) -> pd.DataFrame:
    """A row a probe; of an SAE with its difference from the raw probe, of a trained one with p
    against permuted labels and against the exchange of the two. against: by kind of RIVALS."""
    trained, n = grid.places("trained"), len(grid.design.deceptive_N)
    p_L = grid.null.p("accuracy")[0]
    raw = against["raw"]
    p_holm, p_raw_holm = holm(p_L[trained]), holm(raw.p_L)
    rows: list[dict[Any, Any]] = []
    for i, probe in enumerate(grid.probes.to_dict("records")):
        row: dict[Any, Any] = {**probe, **columns(grid.assessed, i), "n": n,
               "ridge_accuracy": 100 * grid.null.ridge.accuracy[i],
               "null_95": 100 * float(np.quantile(grid.null.permuted.accuracy[:, i], 0.95))}
        if isinstance(probe["tag"], str):
            (rival,) = grid.rivals("raw", [i])
            row |= dict(zip(("minus_raw", "minus_raw_low", "minus_raw_high"),
                            difference(grid.assessed, i, grid.assessed, rival, "accuracy"),
                            strict=True))
        if i in trained:
            q = trained.index(i)
            row |= {"p": p_L[i], "p_holm": p_holm[q], "p_raw": raw.p_L[q],
                    "p_raw_holm": p_raw_holm[q],
                    **{f"minus_{kind}": 100 * of.difference_L[q]
                       for kind, of in against.items() if kind != "raw"}}
        rows.append(row)
    table = pd.DataFrame(rows)
    of_trained = table["accuracy"].where(table["kind"] == "trained")
    return described(
        table.assign(best=table.index == of_trained.idxmax()),
        "a probe a row, on round R3: SAEs, raw residuals, components, untrained SAEs",
        kind=("", "trained, prefix (JumpReLU with thresholds at 0), untrained, raw (the residual) "
                  "or components (its principal components)"),
        name=("", "the SAE's tag, or the layer"), **PROBE_COLUMNS,
        null_95=("percent", "95% quantile of the ridge probe's balanced accuracy under permuted "
                            "labels"),
        **with_ends("minus_raw", "pp", "balanced accuracy less that of the raw probe of its layer"),
        p=("p", "of the ridge probe's balanced accuracy under permuted labels; trained SAEs alone"),
        p_holm=("p", "the same, corrected for the number of SAEs by Holm"),
        p_raw=("p", "two-sided, of the difference from the raw probe, when the two are exchanged "
                    "at random"),
        p_raw_holm=("p", "the same, corrected by Holm"),
        minus_components=("pp", "balanced accuracy less that of the probe on the layer's principal "
                                "components"),
        minus_untrained=("pp", "balanced accuracy less that of the probe on the same SAE before "
                               "training"),
        best=("", "whether it is the best of the trained SAEs"))


def exchanged(raw: Paired) -> pd.DataFrame:
    """How many probes of trained SAEs are above the raw probe when the two are exchanged."""
    return described(
        pd.DataFrame({"better": raw.better_P}), "the number of SAE probes above the raw one when "
        "both are exchanged at random, a draw a row",
        better=("count", f"SAE probes above, of {len(raw.difference_L)}"))


def counts(grid: Grid, probes: pd.DataFrame, raw: Paired) -> pd.DataFrame:
    """Of the probes of trained SAEs, how many are above their rivals or tell something, what of
    that chance gives, and how unlikely the best is by chance. probes: of `probe_table`."""
    of = probes[probes["kind"] == "trained"]
    place, n = int(of.index[of["best"]][0]), len(of)
    low, high = percentiles(raw.better_P)
    number, draws = f"of {n}", len(raw.better_P)
    above = f"SAE probes above {RIVALS['raw']}"
    rows: list[dict[str, Any]] = [
        {"measure": "beats_raw", "value": raw.better, "unit": number, "n": n, "quantity": above},
        {"measure": "beats_raw.share", "value": 100 * raw.better / n, "unit": "percent", "n": n,
         "quantity": f"share of {above}"},
        {"measure": "beats_raw.chance", "value": raw.better_P.mean(), "ci_low": low,
         "ci_high": high, "unit": number, "n": draws,
         "quantity": "SAE probes above the raw probe where the two are exchanged at random, with "
                     "the middle 95% of exchanges"},
        *({"measure": f"beats_{kind}", "value": (of[f"minus_{kind}"] > 100 * TIE).sum(),
           "unit": number, "n": n, "quantity": f"SAE probes above {RIVALS[kind]}"}
          for kind in ("untrained", "components")),
        *({"measure": measure, "value": (of[column] <= 0.05).sum(), "unit": number, "n": n,
           "quantity": f"SAE probes {what}, Holm-corrected p at most 0.05"}
          for measure, column, what in (
            ("signal", "p_holm", "above permuted labels"),
            ("differs", "p_raw_holm", "that differ from the raw probe of their layer"))),
        {"measure": "best.p", "value": grid.null.p("accuracy")[1][place], "unit": "p",
         "n": draws, **of.loc[place, ["layer", "tag", "train_set"]].to_dict(),
         "quantity": "p of the best SAE probe against the largest of all probes under permuted "
                     "labels"}]
    return described(
        pd.DataFrame(rows), "how many SAE probes are above their rivals, and what chance gives",
        measure=("", "beats_raw, beats_components, beats_untrained: above the probe on the layer's "
                     "residual, on its components, on the SAE before training; beats_raw.chance: "
                     "when the two are exchanged; signal: above permuted labels; differs: from "
                     "the raw probe; best.p: of the best against the largest under permuted "
                     "labels"),
        **VALUE_AND_UNIT)


def power(probes: pd.DataFrame, *, studied: int) -> pd.DataFrame:
    """The difference from the raw probe that is found with 80% power, a median over SAEs: with
    these completions and with as many as were `studied`."""
    of = probes[probes["kind"] == "trained"]
    n = int(of["n"].iloc[0])
    error = float(((of["minus_raw_high"] - of["minus_raw_low"]) / (2 * 1.96)).median())
    return described(
        pd.DataFrame([{"completions": name, "n": other,
                       "difference": least_detectable(error, n, other)}
                      for name, other in (("here", n), ("study", studied))]),
        "what difference from the raw probe would be found",
        completions=("", "here: those of this test; study: as many as the study tested"),
        difference=("pp", "found with 80% power, a median over SAEs"))


def trainings(grid: Grid) -> pd.DataFrame:
    """Pairs of SAEs that differ in one thing, mean difference of their probes: in the training set,
    honest_only less each other; in the architecture, JumpReLU less TopK; and learned thresholds
    less thresholds at 0."""
    by = {of: grid.places("trained", of)
          for of in ("honest_only", "deceptive_only", "mixed")}
    prefix = grid.places("prefix")
    pairs = [(f"honest_minus_{other}", by["honest_only"], by[other],
              f"SAEs trained on honest_only less {other}, same layer and architecture, mean")
             for other in ("deceptive_only", "mixed")]
    jumprelu, topk = ({(probe.layer, probe.train_set): place for place, probe in
                       grid.probes.iloc[grid.places("trained")].iterrows()
                       if probe.architecture == name} for name in ("jumprelu", "topk"))
    pairs.append(("jumprelu_minus_topk", list(jumprelu.values()), [topk[of] for of in jumprelu],
                  "JumpReLU SAEs less TopK, same layer and training set, mean"))
    pairs.append(("fix", grid.rivals("trained", prefix), prefix,
                  "JumpReLU SAEs with learned thresholds less those at 0, mean"))
    rows: list[dict[str, Any]] = []
    for name, first, second, what in pairs:
        found, low, high = grid.mean_difference(first, second)
        rows.append({"measure": name, "value": found, "ci_low": low, "ci_high": high, "unit": "pp",
                     "n": len(grid.design.deceptive_N),
                     "quantity": f"balanced accuracy of {what}"})
    accuracy = grid.assessed.found.accuracy
    wins = [accuracy[h] > max(accuracy[d], accuracy[m])
            for h, d, m in zip(*by.values(), strict=True)]
    rows.append({"measure": "honest_best", "value": sum(wins), "unit": f"of {len(wins)}",
                 "n": len(wins),
                 "quantity": "layers and architectures at which honest_only is best"})
    return described(
        pd.DataFrame(rows), "what training set, architecture and learned thresholds change for a "
        "probe",
        measure=("", "honest_minus_deceptive_only, honest_minus_mixed, jumprelu_minus_topk, fix: "
                     "mean differences; honest_best: layers and architectures at which "
                     "honest_only is best"),
        **VALUE_AND_UNIT)
