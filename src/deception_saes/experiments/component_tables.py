"""Tables of probes on ever more principal components.

Shape suffixes: N completions, R resamples, F folds, K numbers of components.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from deception_saes.activations.completions import Pooling
from deception_saes.analysis.probe_scores import saturation
from deception_saes.errors import UserError
from deception_saes.experiments.layer_probes import fit_components
from deception_saes.experiments.probing import (
    PROBE_COLUMNS,
    Assessed,
    Null,
    assess_round,
    columns,
    difference,
)
from deception_saes.experiments.reading import Reading
from deception_saes.tidy import described

_LAYERS = ("", "how the layer was chosen: nested, without the scored fold, or depth_of_L6 and the "
               "like, the relative depth of that layer of the study's model")


@dataclass(frozen=True)
class Ladder:
    """Probes on ever more components, each fold at its own layer; one for each number of them."""

    layer_F: np.ndarray
    counts: Sequence[int]
    """Numbers of components, the last being all dimensions."""
    explained: Sequence[float]
    """Share of the variance that they have."""
    probes: Assessed
    null: Null
    n: int
    """Completions."""

    @property
    def layer(self) -> int | None:
        """The layer, if it is one for all folds."""
        return int(self.layer_F[0]) if len(set(self.layer_F)) == 1 else None

    def name(self, place: int) -> str:
        """"pc5", or "all"."""
        return "all" if place == len(self.counts) - 1 else f"pc{self.counts[place]}"


def ladder(
    reading: Reading, round: str, pooling: Pooling, layer_F: np.ndarray,
    components: Sequence[int], *, permutations: int, resamples: int,
) -> Ladder:
    """Probes on so many principal components each and on all dimensions, with intervals over
    completions. layer_F: the layer of each fold."""
    fits = fit_components(reading, round, pooling, layer_F, components, permutations=permutations)
    null = Null.of(fits["null"])
    probes = assess_round(reading, round, fits["scores"], null.widen_L, resamples)
    return Ladder(layer_F, fits["counts"], fits["explained"], probes, null,
                  fits["scores"].shape[1])


def component_table(ladders: Mapping[str, Ladder]) -> pd.DataFrame:
    """A row a choice of layers and a number of components."""
    rows = []
    for name, of in ladders.items():
        null_2K = of.null.band()
        for i, k in enumerate(of.counts):
            all_of_them = i == len(of.counts) - 1
            rows.append({
                "layers": name, "components": k, "all": all_of_them, "probe": of.name(i),
                "what": "all dimensions" if all_of_them else f"{k} principal components",
                "layer": of.layer, "n": of.n, "explained": of.explained[i],
                **columns(of.probes, i), "ridge_accuracy": 100 * of.null.ridge.accuracy[i],
                "null_low": null_2K[0, i], "null_high": null_2K[1, i]})
    return described(
        pd.DataFrame(rows), "probes on the first principal components", layers=_LAYERS,
        components=("count", "principal components kept; the last row of each choice has all "
                             "dimensions"),
        all=("", "whether these are all dimensions"), probe=("", "the probe's name"),
        what=("", "what it reads, in words"),
        explained=("share", "variance of the standardised training folds that they explain, mean "
                            "over folds"), **PROBE_COLUMNS)


def saturation_table(ladders: Mapping[str, Ladder]) -> pd.DataFrame:
    """In how many resamples each number of components is the saturation point."""
    rows = []
    for name, of in ladders.items():
        drawn_R = saturation(of.counts, of.probes.resampled.accuracy)
        rows += [{"layers": name, "components": k, "share": float((drawn_R == k).mean())}
                 for k in of.counts]
    return described(
        pd.DataFrame(rows), "where accuracy saturates in bootstrap resamples", layers=_LAYERS,
        components=("count", "a number of components: the smallest with 95% of what all dimensions "
                             "gain over chance"),
        share=("share", "resamples in which it is this one"))


def gain_table(ladders: Mapping[str, Ladder], components: int) -> pd.DataFrame:
    """By choice of layers, what so many `components` lack to all dimensions, and the saturation
    point; none where the interval of all dimensions includes chance: there is no gain to share.

    Raises UserError if there is no probe on so few components.
    """
    rows: list[dict[str, Any]] = []
    for name, of in ladders.items():
        if components not in of.counts:
            raise UserError(f"no probe on {components} principal components of {name}: the "
                            "training folds allow "
                            f"{', '.join(map(str, of.counts[:-1])) or 'none'}; choose one of "
                            "these, or label more completions")
        about = {"layers": name, "layer": of.layer, "n": of.n}
        place = of.counts.index(components)
        found, low, high = difference(of.probes, place, of.probes, -1, "accuracy")
        rows.append({**about, "statistic": f"pc{components}_minus_all", "value": found,
                     "ci_low": low, "ci_high": high, "unit": "pp",
                     "quantity": f"balanced accuracy on {components} components less that on all "
                     "dimensions"})
        ends = dict.fromkeys(("value", "ci_low", "ci_high"), float("nan"))
        if of.probes.ends("accuracy", -1)[0] > 50:
            low, high = np.quantile(saturation(of.counts, of.probes.resampled.accuracy),
                                    [0.025, 0.975], method="nearest")
            point = saturation(of.counts, of.probes.found.accuracy)
            ends = {"value": float(point), "ci_low": float(low), "ci_high": float(high)}
        rows.append({**about, "statistic": "saturation", **ends, "unit": "count",
                     "quantity": "principal components at which the probe has 95% of the gain over "
                                 "chance of all dimensions"})
    return described(
        pd.DataFrame(rows), "what few components lack, and where accuracy saturates",
        layers=_LAYERS,
        statistic=("", "pc5_minus_all and the like: that many components less all dimensions; "
                       "saturation: the saturation point, missing where all dimensions are at "
                       "chance"),
        value=("", "in `unit`"), unit=("", "unit of value and interval"))
