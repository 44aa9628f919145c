"""Linear probes on a reading, always scored on completions that they were not fitted to: at every
layer, on words and lengths, in other scenarios, on principal components.

Tables of their scores are made in `layer_tables`, so that a statistic that is edited makes no
fit stale.

Shape suffixes: N completions, D features, L layers, F folds, S scenarios, C penalties, K numbers of
components, P labellings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from deception_saes.activations.completions import Pooling
from deception_saes.analysis.folds import Design, splits, subset
from deception_saes.analysis.probe_scores import measure, scenario_auroc
from deception_saes.analysis.probes import (
    activation_probe,
    at_layers,
    by_fold,
    held_out_scores,
    layer_scores,
    lengths,
    nested_layers,
    one_thread,
    principal,
    ridge_scores,
    standardised,
    word_probe,
    word_weights,
    words_of_scenario,
)
from deception_saes.cache import cached
from deception_saes.experiments.probing import PROBE_LIBRARIES, labellings, null_of, resampling_seed
from deception_saes.experiments.reading import SCENARIO_DATA, Labelled, Reading

TEXTS = ("words", "words_of_scenario", "length")
"""What is read without a model. Words of the scenario: see `analysis.probes.words_of_scenario`."""


@cached(data=SCENARIO_DATA, libraries=PROBE_LIBRARIES)
def chosen_layers(reading: Reading, round: str, pooling: Pooling) -> np.ndarray:
    """The layer that is best without each fold, [F]."""
    data = reading.balanced_of(round)
    with one_thread():
        return nested_layers(data.activations.of(data.ids, pooling), data.design)


@cached(data=SCENARIO_DATA, libraries=PROBE_LIBRARIES)
def fit_layers(
    reading: Reading, round: str, pooling: Pooling, *, permutations: int
) -> dict[str, Any]:
    """A probe at every layer of a round's balanced set.

    scores: held-out logits by layer, [L, N]. null: of ridge probes, see `probing.Null`. nested: the
    scores that each fold's own layer of `chosen_layers` gives, [N]; nested_widen: their factor,
    [1].
    """
    data, layer_F = reading.balanced_of(round), chosen_layers(reading, round, pooling)
    of, x_LND = data.design, data.activations.of(data.ids, pooling)
    seed = resampling_seed(reading.seed, round)
    labels_PN = labellings(of, permutations, seed)
    with one_thread():
        null = null_of((ridge_scores(x_ND, of, labels_PN) for x_ND in x_LND), labels_PN, of, seed)
        scores_LN = layer_scores(x_LND, of)
        chosen_PN = at_layers(lambda x_ND: ridge_scores(x_ND, of, labels_PN), x_LND, of, layer_F)
        widen_1 = null_of([chosen_PN], labels_PN, of, seed).widen_L
    return {"scores": scores_LN, "null": asdict(null), "nested": by_fold(scores_LN, of, layer_F),
            "nested_widen": widen_1}


@cached(data=SCENARIO_DATA, libraries=PROBE_LIBRARIES)
def fit_texts(reading: Reading, round: str, *, permutations: int) -> dict[str, dict[str, Any]]:
    """Probes that see no activation, in the same folds, by TEXTS: held-out `scores`, [N], and the
    factor `widen` of their intervals, [1]."""
    data = reading.balanced_of(round)
    of, seed = data.design, resampling_seed(reading.seed, round)
    labels_PN = labellings(of, permutations, seed)
    found = {}
    with one_thread():
        for name, x in _texts(data).items():
            make, prepare = ((activation_probe, standardised) if name == "length" else
                             (word_probe, word_weights))
            null = null_of([ridge_scores(x, of, labels_PN, prepare)], labels_PN, of, seed)
            found[name] = {"scores": held_out_scores(make, x, of), "widen": null.widen_L}
    return found


@cached(data=SCENARIO_DATA, libraries=PROBE_LIBRARIES)
def fit_penalties(
    reading: Reading, round: str, pooling: Pooling, penalties: Sequence[float]
) -> dict[str, np.ndarray]:
    """Held-out scores with other strengths of regularisation, scikit-learn's C, [C, N]: of the
    probe at the layers of `chosen_layers`, "nested", and of those on words."""
    data, layer_F = reading.balanced_of(round), chosen_layers(reading, round, pooling)
    of, x_LND = data.design, data.activations.of(data.ids, pooling)

    def nested(c: float) -> np.ndarray:
        return at_layers(lambda x_ND: layer_scores(x_ND[None], of, c=c)[0], x_LND, of, layer_F)

    def words(x: np.ndarray, c: float) -> np.ndarray:
        return held_out_scores(lambda: word_probe(c), x, of)

    with one_thread():
        return {"nested": np.stack([nested(c) for c in penalties]),
                **{name: np.stack([words(x, c) for c in penalties])
                   for name, x in _texts(data).items() if name != "length"}}


@cached(data=SCENARIO_DATA, libraries=PROBE_LIBRARIES)
def leave_scenarios_out(reading: Reading, round: str, pooling: Pooling) -> dict[str, np.ndarray]:
    """`auroc` and balanced `accuracy`, from 0 to 1, of each scenario by a probe that was trained on
    the others, at every layer, [S, L]."""
    data = reading.balanced_of(round)
    of = data.design
    rows = [np.flatnonzero(of.scenario_N == s) for s in range(len(of.scenarios))]
    with one_thread():
        scores_LN = layer_scores(data.activations.of(data.ids, pooling), of, of.scenario_N)
        return {"auroc": np.stack([scenario_auroc(scores_N, of, of.scenario_N)
                                   for scores_N in scores_LN], axis=1),
                "accuracy": np.stack([measure(scores_LN[:, some], subset(of, some)).accuracy
                                      for some in rows])}


@cached(data=SCENARIO_DATA, libraries=PROBE_LIBRARIES)
def prompt_end_auroc(reading: Reading, round: str) -> np.ndarray:
    """AUROC by layer at the prompt's last token, which is the same for all completions of a
    scenario, [L]: chance."""
    data = reading.balanced_of(round)
    with one_thread():
        scores_LN = layer_scores(data.activations.of(data.ids, "prompt_end"), data.design)
        return measure(scores_LN, data.design).auroc


@cached(data=SCENARIO_DATA, libraries=PROBE_LIBRARIES)
def fit_components(
    reading: Reading, round: str, pooling: Pooling, layer_F: np.ndarray,
    components: Sequence[int], *, permutations: int,
) -> dict[str, Any]:
    """Probes on so many principal components each, then on all dimensions, each fold at its own
    layer. Components are found on the training folds.

    counts: the numbers, the last being all dimensions; those that a training set or the width does
    not reach are left out. scores: held-out logits, [K, N]. explained: share of the variance of the
    standardised training folds, a mean over them, [K]. null: of ridge probes, see `probing.Null`.
    """
    data = reading.balanced_of(round)
    of, x_LND = data.design, data.activations.of(data.ids, pooling)
    width = x_LND.shape[-1]
    most = min(width, *(len(train) for train, _ in splits(of, of.fold_N)))
    steps: list[int | None] = [k for k in components if k < most]
    counts = [*components[: len(steps)], width]
    seed = resampling_seed(reading.seed, round)
    labels_PN = labellings(of, permutations, seed)

    def scores(k: int | None) -> np.ndarray:
        def held_out(x_ND: np.ndarray) -> np.ndarray:
            return held_out_scores(lambda: activation_probe(components=k), x_ND, of)

        return at_layers(held_out, x_LND, of, layer_F)

    def ridge(k: int | None) -> np.ndarray:
        prepare = standardised if k is None else principal(k)
        return at_layers(lambda x_ND: ridge_scores(x_ND, of, labels_PN, prepare), x_LND, of,
                         layer_F)

    with one_thread():
        null = null_of((ridge(k) for k in (*steps, None)), labels_PN, of, seed)
        return {"counts": counts, "scores": np.stack([scores(k) for k in (*steps, None)]),
                "explained": list(_explained(x_LND, of, layer_F, counts)), "null": asdict(null)}


def _explained(
    x_LND: np.ndarray, of: Design, layer_F: np.ndarray, counts: Sequence[int]
) -> Iterator[float]:
    shares = []
    for layer, (train, _) in zip(layer_F, splits(of, of.fold_N), strict=True):
        z_ND, _ = standardised(x_LND[layer, train], x_LND[layer, train])
        variance_K = np.linalg.svd(z_ND, compute_uv=False) ** 2
        shares.append(np.cumsum(variance_K) / variance_K.sum())
    for k in counts:
        yield float(np.mean([share_K[min(k, len(share_K)) - 1] for share_K in shares]))


def _texts(data: Labelled) -> dict[str, np.ndarray]:
    """What the probes that see no activation read, by TEXTS."""
    read = (data.texts, words_of_scenario(data.texts, data.design),
            lengths(list(data.texts), data.n_tokens))
    return dict(zip(TEXTS, read, strict=True))
