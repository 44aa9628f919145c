"""Probes on SAE features, on the residual they are made from and on its principal components, over
the same completions and folds: what §21 compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deception_saes.sections import behaviour

if TYPE_CHECKING:
    from deception_saes.activations.completions import TokenRows
    from deception_saes.saes.sae import Sae
    from deception_saes.saes.tags import SaeTag
    from deception_saes.sections.behaviour import Labelled
    from deception_saes.sections.behaviour_saes import BehaviourSaeParams
    from deception_saes.sections.probing import Assessed, Null
    from deception_saes.sections.run import Work

KINDS = ("trained", "untrained", "prefix")
RIVALS = ("raw", "components")


@dataclass(frozen=True)
class Probe:
    """kind: one of KINDS, the features of an SAE, or of RIVALS, the layer's residual itself or its
    principal components. tag: None for RIVALS."""

    kind: str
    layer: int
    tag: SaeTag | None

    @property
    def name(self) -> str:
        return f"L{self.layer}" if self.tag is None else self.tag.name


@dataclass(frozen=True)
class Grid:
    """Probes on the same completions and folds. scores_LN, assessed, null: in their order."""

    probes: list[Probe]
    scores_LN: np.ndarray
    assessed: Assessed
    null: Null

    def places(self, kind: str) -> list[int]:
        return [i for i, probe in enumerate(self.probes) if probe.kind == kind]

    def place(self, kind: str, layer: int, name: str | None = None) -> int:
        """Of the probe of this kind at this layer, and of this tag if one is named."""
        return next(i for i in self.places(kind) if self.probes[i].layer == layer
                    and name in (None, self.probes[i].name))

    def tag(self, place: int) -> SaeTag:
        """Of the SAE whose features a probe reads; ValueError if it reads none's."""
        tag = self.probes[place].tag
        if tag is None:
            raise ValueError(f"{self.probes[place].name} is a {self.probes[place].kind} probe: it "
                             "reads no SAE")
        return tag


def probe_grid(
    saes: BehaviourSaeParams, data: Labelled, permutations: int, bootstrap_draws: int, seed: int,
    work: Work,
) -> Grid:
    """Every probe, assessed on held-out folds and beside permuted labels."""
    from tqdm import tqdm

    from deception_saes.analysis.permutation import ridge_scores
    from deception_saes.analysis.probes import activation_probe, held_out_scores, one_thread
    from deception_saes.sections.probing import assess, labellings, null_of

    labels_PN = labellings(data.design, permutations, seed)
    probes, scores, ridge = [], [], []
    with one_thread():
        for probe, x_ND in tqdm(_inputs(saes, data, work), desc="probes", unit="probe"):
            probes.append(probe)
            scores.append(held_out_scores(activation_probe, x_ND, data.design))
            ridge.append(ridge_scores(x_ND, data.design, labels_PN))
        null = null_of(ridge, labels_PN, data.design, seed)
        scores_LN = np.stack(scores)
        assessed = assess(scores_LN, data.design, null.widen_L, bootstrap_draws, seed)
    return Grid(probes, scores_LN, assessed, null)


def _inputs(
    saes: BehaviourSaeParams, data: Labelled, work: Work
) -> Iterator[tuple[Probe, np.ndarray]]:
    """Every probe with what it reads, [N, width]: means over a completion's tokens."""
    from deception_saes.analysis.completion_features import completion_features
    from deception_saes.sections.behaviour_saes import (
        TRAIN_ROUNDS,
        behaviour_bank,
        token_rows,
        untrained_sae,
    )

    rows = token_rows(saes, (behaviour.MAIN_ROUND,), work)
    seen = token_rows(saes, TRAIN_ROUNDS, work)

    def features(sae: Sae, layer: int) -> np.ndarray:
        return completion_features(sae, rows, layer, data.ids).mean_NS.astype(np.float64)

    for depth in behaviour.DEPTHS:
        bank = behaviour_bank(saes, depth, work)
        layer = bank.tags[0].layer
        raw_ND = data.activations.of(data.ids, "mean")[layer]
        yield Probe("raw", layer, None), raw_ND
        yield Probe("components", layer, None), _components(raw_ND, seen, layer)
        for tag in bank.tags:
            yield Probe("trained", layer, tag), features(bank.sae(tag), layer)
            yield Probe("untrained", layer, tag), features(untrained_sae(saes, tag, work), layer)
        prefix = behaviour_bank(saes, depth, work, fixed=False)
        for tag in prefix.tags:
            yield Probe("prefix", layer, tag), features(prefix.sae(tag), layer)


def _components(raw_ND: np.ndarray, seen: TokenRows, layer: int) -> np.ndarray:
    """All principal components of the tokens that the SAEs are trained on: as a dictionary, the
    largest without a loss."""
    from sklearn.decomposition import PCA

    found: np.ndarray = PCA(svd_solver="full").fit(
        seen.x_by_layer[layer].double().numpy()).transform(raw_ND)
    return found
