"""Probes on SAE features, on the residual they are made from and on its principal components, over
the same completions and folds.

Shape suffixes: N completions, D width of what a probe reads, L probes, P labellings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import torch
from tqdm import tqdm

from deception_saes.activations.completions import TokenRows
from deception_saes.analysis.probes import (
    activation_probe,
    held_out_scores,
    one_thread,
    ridge_scores,
)
from deception_saes.cache import cached
from deception_saes.experiments.behavioural_saes import TRAIN_ROUNDS, BehaviouralSaes, untrained
from deception_saes.experiments.on_completions import completion_features
from deception_saes.experiments.probing import PROBE_LIBRARIES, labellings, null_of
from deception_saes.experiments.reading import MAIN_ROUND, SCENARIO_DATA, Labelled
from deception_saes.saes.sae import Sae
from deception_saes.saes.tags import SaeTag


@cached(data=SCENARIO_DATA, libraries=PROBE_LIBRARIES)
def score_probes(
    saes: BehaviouralSaes, before_fix: BehaviouralSaes, *, permutations: int
) -> dict[str, Any]:
    """Every probe on held-out folds of the main round's balanced set, and beside permuted labels.

    `probes`: a row a probe, in order. Its kind: the features of an SAE that is trained, of its
    random start (untrained), or of a JumpReLU with thresholds at 0 (prefix, those of `before_fix`),
    the layer's residual itself (raw), or its principal components (components). `scores`: held-out
    logits, [L, N]. `null`: see `probing.Null.of`.
    """
    data = saes.reading.main
    torch.set_num_threads(saes.reading.subject.threads)
    labels_PN = labellings(data.design, permutations, saes.reading.seed)
    probes, scores, ridge = [], [], []
    with one_thread():
        for probe, x_ND in tqdm(_inputs(saes, before_fix, data), desc="probes", unit="probe"):
            probes.append(probe)
            scores.append(held_out_scores(activation_probe, x_ND, data.design))
            ridge.append(ridge_scores(x_ND, data.design, labels_PN))
        null = null_of(ridge, labels_PN, data.design, saes.reading.seed)
    return {"probes": pd.DataFrame(probes), "scores": np.stack(scores),
            "null": dataclasses.asdict(null)}


def _inputs(
    saes: BehaviouralSaes, before_fix: BehaviouralSaes, data: Labelled
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Every probe with what it reads, [N, D]: means over a completion's tokens."""
    reading = saes.reading
    rows, seen = reading.tokens(MAIN_ROUND), reading.tokens(*TRAIN_ROUNDS)
    raw_LND = data.activations.of(data.ids, "mean")

    def features(kind: str, tag: SaeTag, sae: Sae) -> tuple[dict[str, Any], np.ndarray]:
        found = completion_features(sae, rows, tag.layer, data.ids).mean_NS
        return ({"kind": kind, "name": tag.name, "layer": tag.layer, "tag": tag.name,
                 "architecture": tag.architecture, "train_set": tag.train_set},
                found.astype(np.float64))

    for layer in saes.layers:
        yield {"kind": "raw", "name": f"L{layer}", "layer": layer}, raw_LND[layer]
        yield ({"kind": "components", "name": f"L{layer}", "layer": layer},
               _components(raw_LND[layer], seen, layer))
        bank, starts = saes.bank(layer), untrained(saes, layer, seen)
        for tag, start in zip(bank.tags, starts, strict=True):
            yield features("trained", tag, bank.sae(tag))
            yield features("untrained", tag, start)
    for tag, sae in before_fix.load():
        yield features("prefix", tag, sae)


def _components(raw_ND: np.ndarray, seen: TokenRows, layer: int) -> np.ndarray:
    """All principal components of the tokens that the SAEs are trained on: as a dictionary, the
    largest without a loss."""
    found: np.ndarray = sklearn.decomposition.PCA(svd_solver="full").fit(
        seen.x_by_layer[layer].double().numpy()).transform(raw_ND)
    return found
