"""What a judge's labels do to the probe of §18: one layer, one set of folds, many judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deception_saes.sections.behaviour import MAIN_ROUND, BehaviourParams

if TYPE_CHECKING:
    from deception_saes.analysis.folds import Design
    from deception_saes.analysis.relabelled import Scored
    from deception_saes.sections.run import Work

STUDY_LAYER, STUDY_LAYERS = 9, 16
"""The study's peak layer and its model's number of layers: fixed before any probe is fitted."""
_PERMUTATIONS = 200
"""Of labels, by which intervals are widened for the probe's own uncertainty."""


def probed_layer(n_layers: int) -> int:
    """The study's L9 at the same relative depth."""
    return STUDY_LAYER * n_layers // STUDY_LAYERS


def probe_rows(
    of: BehaviourParams, labels: Mapping[str, Mapping[str, str]], bootstrap_draws: int, work: Work
) -> Iterator[dict[str, object]]:
    """For every judge, of a probe that learned all its honest and deceptive labels in the main
    round: its AUROC against the judge's own labels and against the primary judge's; and against
    the latter that of a probe that learned the primary judge's labels of the same completions."""
    from deception_saes.analysis.probes import one_thread
    from deception_saes.analysis.relabelled import DECEPTIVE, HONEST, NEITHER

    bench = _bench(of, labels[of.judge], work)
    primary_N = bench.codes(labels[of.judge])
    for judge, given in labels.items():
        code_N = bench.codes(given)
        same_N = np.where([id in given for id in bench.ids], primary_N, NEITHER)
        with one_thread():
            own, against = bench.measured(code_N, (code_N, primary_N), bootstrap_draws, of.seed)
            (same,) = bench.measured(same_N, (primary_N,), bootstrap_draws, of.seed)
        yield {"judge": judge, "layer": bench.layer, "honest": int((code_N == HONEST).sum()),
               "deceptive": int((code_N == DECEPTIVE).sum()), **_columns("own", own),
               **_columns("primary", against), **_columns("same", same)}


@dataclass(frozen=True)
class _Bench:
    """The main round's completions, their activations at one layer, and the folds of all."""

    ids: tuple[str, ...]
    x_ND: np.ndarray
    design: Design
    layer: int
    make: Callable[[], object]

    def codes(self, given: Mapping[str, str]) -> np.ndarray:
        from deception_saes.analysis.relabelled import codes

        return codes([given.get(id) for id in self.ids])

    def scores(self, code_N: np.ndarray) -> np.ndarray | None:
        from deception_saes.analysis.relabelled import held_out_under

        return held_out_under(self.make, self.x_ND, self.design, code_N)

    def measured(
        self, learned_N: np.ndarray, against: tuple[np.ndarray, ...], draws: int, seed: int
    ) -> list[Scored | None]:
        """The probe of the labels `learned_N` against each of some labels."""
        from deception_saes.analysis.relabelled import scored, widening_under

        scores_N = self.scores(learned_N)
        if scores_N is None:
            return [None for _ in against]
        factor = widening_under(self.x_ND, self.design, learned_N, _PERMUTATIONS, seed)
        found = (scored(scores_N, self.design, code_N, draws, seed) for code_N in against)
        return [of_labels and of_labels.widened(factor) for of_labels in found]


def _bench(of: BehaviourParams, primary: Mapping[str, str], work: Work) -> _Bench:
    from deception_saes.analysis.probes import activation_probe
    from deception_saes.analysis.relabelled import codes, common_folds
    from deception_saes.sections.behaviour import activations, completions
    from deception_saes.tasks.labels import duplicate_groups

    found = activations(of, MAIN_ROUND, work)
    layer = probed_layer(found.n_layers)
    text = {c.id: c.text for c in completions(of, MAIN_ROUND)}
    design = common_folds(codes([primary.get(id) for id in found.ids]), found.scenario,
                          duplicate_groups([text[id] for id in found.ids]), of.seed)
    return _Bench(found.ids, found.mean[layer].double().numpy(), design, layer, activation_probe)


def _columns(against: str, found: Scored | None) -> dict[str, float]:
    values = (found.auroc, found.low, found.high) if found else (float("nan"),) * 3
    return dict(zip((f"auroc_{against}", f"low_{against}", f"high_{against}"), values,
                    strict=True))
