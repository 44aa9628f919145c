"""§18: a linear probe at every layer, in three rounds of sampling, beside words and lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deception_saes.sections import behaviour

if TYPE_CHECKING:
    from deception_saes.activations.completions import Pooling
    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.behaviour import BehaviourParams, Labelled
    from deception_saes.sections.probing import Assessed, Null
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.run import NotRun, Output, Work

DATA = behaviour.DATA
NEEDS = ()
LIBRARIES = ("scikit-learn", "scipy")

POOLINGS: tuple[Pooling, ...] = ("mean", "last")
"""The mean over the completion's tokens is primary, fixed beforehand."""
STUDY_LAYERS = (6, 9)
"""The two peak layers that the study's card names, on its model; here at the same relative depth:
layers that no data of this book chose."""
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
TEXTS = ("words", "words_of_scenario", "length")
"""What is read without a model. Words of the scenario: see `analysis.probes.words_of_scenario`."""


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`."""

    behaviour: BehaviourParams
    bootstrap_draws: int
    permutations: int
    seed: int


@dataclass(frozen=True)
class Sweep:
    """One round under one pooling. scores_LN: held-out logits by layer.
    nested: probes whose layer was chosen without the completions they are scored on, one a fold,
    taken as one probe; layer_F: these layers, by fold; nested_N: its scores."""

    round: str
    pooling: Pooling
    data: Labelled
    scores_LN: np.ndarray
    layers: Assessed
    null: Null
    nested: Assessed
    layer_F: np.ndarray
    nested_N: np.ndarray

    @property
    def peak(self) -> int:
        return int(self.layers.found.peak)


@dataclass(frozen=True)
class Controls:
    """What the main round's primary sweep is set beside.

    text: by TEXTS, one probe each.
    transfer_SL: AUROC of each scenario left out, by layer; transfer_accuracy_SL: the same.
    prompt_end: AUROC by layer at the prompt's last token.
    penalties: probes by PENALTIES, of "nested" and of each of TEXTS that are words.
    """

    text: dict[str, Assessed]
    transfer_SL: np.ndarray
    transfer_accuracy_SL: np.ndarray
    prompt_end_L: np.ndarray
    penalties: dict[str, Assessed]


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section."""
    from deception_saes.sections.behaviour import behaviour_params
    from deception_saes.sections.run import NotRun, params_from

    of = behaviour_params(profile, seed, models, missing)
    return of if isinstance(of, NotRun) else params_from(Params, profile, seed, behaviour=of)


def compute(params: Params, work: Work) -> Output:
    """Every round under both poolings; the controls on the main round."""
    from tqdm import tqdm

    from deception_saes.analysis.probes import one_thread
    from deception_saes.sections.behaviour import MAIN_ROUND, ROUNDS, labelled
    from deception_saes.sections.layer_tables import tables, values
    from deception_saes.sections.run import Output

    found = {round: labelled(params.behaviour, round, work) for round in ROUNDS}
    rounds = {round: data for round, data in found.items() if data is not None}
    wanted = [(round, pooling) for round in rounds for pooling in POOLINGS]
    with one_thread():
        sweeps = [sweep(round, rounds[round], pooling, params) for round, pooling in
                  tqdm(wanted, desc="layer sweeps", unit="sweep")]
        primary = next(of for of in sweeps if (of.round, of.pooling) == (MAIN_ROUND, POOLINGS[0]))
        beside = controls(primary, params)
    return Output(list(values(sweeps, primary, beside, params)),
                  tables(sweeps, primary, beside, params))


def sweep(round: str, data: Labelled, pooling: Pooling, params: Params) -> Sweep:
    """A probe at every layer of a round's balanced set."""
    from deception_saes.analysis.permutation import ridge_scores
    from deception_saes.analysis.probes import at_layers, by_fold, layer_scores, nested_layers
    from deception_saes.sections.probing import assess, labellings, null_of

    of, x_LND = data.design, data.activations.of(data.ids, pooling)
    seed = resampling_seed(params.seed, round)
    labels_PN = labellings(of, params.permutations, seed)
    null = null_of((ridge_scores(x_ND, of, labels_PN) for x_ND in x_LND), labels_PN, of, seed)
    scores_LN = layer_scores(x_LND, of)
    layer_F = nested_layers(x_LND, of)
    chosen_PN = at_layers(lambda x_ND: ridge_scores(x_ND, of, labels_PN), x_LND, of, layer_F)
    nested_N = by_fold(scores_LN, of, layer_F)
    draws = params.bootstrap_draws
    nested = assess(nested_N[None], of, null_of([chosen_PN], labels_PN, of, seed).widen_L, draws,
                    seed)
    return Sweep(round, pooling, data, scores_LN, assess(scores_LN, of, null.widen_L, draws, seed),
                 null, nested, layer_F, nested_N)


def controls(primary: Sweep, params: Params) -> Controls:
    """Words, lengths, other scenarios, the prompt's end, and other strengths of the penalty."""
    from deception_saes.analysis.probe_scores import measure, scenario_auroc
    from deception_saes.analysis.probes import layer_scores

    data, of = primary.data, primary.data.design
    x_LND = data.activations.of(data.ids, primary.pooling)
    left_out_LN = layer_scores(x_LND, of, of.scenario_N)
    auroc_SL = np.stack([scenario_auroc(scores_N, of, of.scenario_N)
                         for scores_N in left_out_LN], axis=1)
    ends_LND = data.activations.of(data.ids, "prompt_end")
    text = dict(_text(primary, params))
    return Controls(
        text=text,
        transfer_SL=auroc_SL,
        transfer_accuracy_SL=_accuracy_by_scenario(left_out_LN, primary),
        prompt_end_L=measure(layer_scores(ends_LND, of), of).auroc,
        penalties=dict(_penalties(primary, x_LND, text, params)),
    )


def resampling_seed(seed: int, round: str) -> int:
    """Of the resamples and permutations of a round: rounds are drawn apart from each other."""
    from deception_saes.rng import subseed

    return subseed(seed, "probes", round)


def _inputs(primary: Sweep) -> dict[str, np.ndarray]:
    """What the probes that see no activation read, by TEXTS."""
    from deception_saes.analysis.probes import lengths, words_of_scenario

    data = primary.data
    read = (data.texts, words_of_scenario(data.texts, data.design),
            lengths(list(data.texts), data.n_tokens))
    return dict(zip(TEXTS, read, strict=True))


def _text(primary: Sweep, params: Params) -> Iterator[tuple[str, Assessed]]:
    """The probes that see no activation, in the same folds and resamples."""
    from deception_saes.analysis.permutation import ridge_scores, standardised, word_weights
    from deception_saes.analysis.probes import activation_probe, held_out_scores, word_probe
    from deception_saes.sections.probing import assess, labellings, null_of

    of, seed = primary.data.design, resampling_seed(params.seed, primary.round)
    labels_PN = labellings(of, params.permutations, seed)
    for name, x in _inputs(primary).items():
        make, prepare = ((activation_probe, standardised) if name == "length" else
                         (word_probe, word_weights))
        null = null_of([ridge_scores(x, of, labels_PN, prepare)], labels_PN, of, seed)
        yield name, assess(held_out_scores(make, x, of)[None], of, null.widen_L,
                           params.bootstrap_draws, seed)


def _penalties(
    primary: Sweep, x_LND: np.ndarray, text: dict[str, Assessed], params: Params
) -> Iterator[tuple[str, Assessed]]:
    """The same probes with other strengths of regularisation; intervals are widened as at C."""
    from deception_saes.analysis.probes import at_layers, held_out_scores, layer_scores, word_probe
    from deception_saes.sections.probing import assess

    of, draws = primary.data.design, params.bootstrap_draws
    seed = resampling_seed(params.seed, primary.round)

    def nested(c: float) -> np.ndarray:
        return at_layers(lambda x_ND: layer_scores(x_ND[None], of, c=c)[0], x_LND, of,
                         primary.layer_F)

    def words(x: np.ndarray, c: float) -> np.ndarray:
        return held_out_scores(lambda: word_probe(c), x, of)

    yield "nested", assess(np.stack([nested(c) for c in PENALTIES]), of, primary.nested.widen_L,
                           draws, seed)
    for name, x in _inputs(primary).items():
        if name != "length":
            yield name, assess(np.stack([words(x, c) for c in PENALTIES]), of, text[name].widen_L,
                               draws, seed)


def _accuracy_by_scenario(scores_LN: np.ndarray, primary: Sweep) -> np.ndarray:
    """Balanced accuracy of each scenario, [scenarios, L]."""
    from deception_saes.analysis.folds import subset
    from deception_saes.analysis.probe_scores import measure

    of = primary.data.design
    rows = [np.flatnonzero(of.scenario_N == s) for s in range(len(of.scenarios))]
    return np.stack([measure(scores_LN[:, some], subset(of, some)).accuracy for some in rows])
