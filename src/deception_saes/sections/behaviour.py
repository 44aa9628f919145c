"""What the sections on behavioural deception share: which completions, whose labels, and their
activations, which are kept in the profile's tree."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deception_saes.models.load import weights_hash
from deception_saes.store.ensure import ensure
from deception_saes.store.files import PACKAGE_DIR
from deception_saes.store.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from deception_saes.activations.completions import (
        CompletionActivations,
        TokenCompletion,
        TokenRows,
    )
    from deception_saes.analysis.folds import Design
    from deception_saes.models.load import LanguageModel
    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.run import NotRun, Work
    from deception_saes.tasks.completions import Completion

DATA = ("tasks/data/scenarios.toml", "tasks/data/completions.csv", "tasks/data/labels.csv")
"""For the sections' own DATA."""

ROUNDS = ("R1", "R2", "R3")
MAIN_ROUND = "R3"

DEPTHS = (2, 4, 6)
"""The layers of the study's model of which every token is kept, for SAEs; on another model, those
at the same relative depth."""


@dataclass(frozen=True)
class BehaviourParams:
    """What decides the activations, and the labels; see `sections.profiles.Behaviour`.

    model: that reads the completions. The seed is of the balanced subsets.
    """

    model: ModelSpec
    sampled_by: str
    judge: str
    completions_per_scenario: int | None
    scenarios: int | None
    batch_size: int
    device: str
    threads: int
    seed: int


@dataclass(frozen=True)
class Labelled:
    """The balanced set of a round, ready for probes. texts: strings [N], in the order of `ids`;
    n_tokens: [N]; activations: also of the completions that are left out."""

    ids: list[str]
    texts: np.ndarray
    n_tokens: np.ndarray
    design: Design
    activations: CompletionActivations


@dataclass(frozen=True)
class Readable:
    """Completions as a model reads them. prompts: token ids by scenario."""

    lm: LanguageModel
    prompts: dict[str, list[int]]
    completions: list[TokenCompletion]


def behaviour_params(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> BehaviourParams | NotRun:
    """The part of a profile that decides the completions, their labels and activations.

    NotRun if the model cannot be had, or if there are no completions or no labels of it.
    """
    from deception_saes.sections.run import NotRun, params_from

    of = profile.behaviour
    if of is None:
        return NotRun({"behaviour": f"profile {profile.name} names no model for behavioural "
                                    "deception (field `behaviour`)"})
    by_slug = {model.slug: model for model in models}
    if of.model not in by_slug:
        return NotRun({of.model: missing.get(of.model, f"profile {profile.name} has no model "
                                                       f"{of.model}")})
    params = params_from(BehaviourParams, profile, seed, model=by_slug[of.model],
                         sampled_by=of.sampled_by, judge=of.judge,
                         completions_per_scenario=of.completions_per_scenario,
                         scenarios=of.scenarios)
    lacking = _why_unlabelled(params)
    return NotRun({of.model: lacking}) if lacking else params


def completions(params: BehaviourParams, round: str | None = None) -> list[Completion]:
    """The completions that are read, in the order of their file; of one round, or of all."""
    from deception_saes.tasks.completions import load_completions
    from deception_saes.tasks.scenarios import load_scenarios

    read = {scenario.id for scenario in load_scenarios()[: params.scenarios]}
    kept: list[Completion] = []
    seen: dict[tuple[str, str], int] = {}
    for completion in load_completions():
        if completion.model != params.sampled_by or round not in (None, completion.round):
            continue
        if completion.scenario not in read:
            continue
        place = (completion.scenario, completion.round)
        seen[place] = seen.get(place, 0) + 1
        most = params.completions_per_scenario
        if most is None or seen[place] <= most:
            kept.append(completion)
    return kept


def labels(params: BehaviourParams, judge: str | None = None) -> dict[str, str]:
    """Label by completion id as this judge gave it, by default the primary one; empty if there is
    none of the judge."""
    from deception_saes.tasks.labels import load_labels

    return load_labels().get(judge or params.judge, {})


def balanced_set(
    params: BehaviourParams, round: str, by: Mapping[str, str] | None = None
) -> list[str]:
    """Ids of a round's completions, as many honest as deceptive ones in each scenario.

    by: label by id; by default those of the primary judge.
    """
    from deception_saes.tasks.labels import balanced

    chosen = completions(params, round)
    given = labels(params) if by is None else by
    of_these = {c.id: given[c.id] for c in chosen if c.id in given}
    return balanced([c for c in chosen if c.id in of_these], of_these, params.seed)


def labelled(params: BehaviourParams, round: str, work: Work) -> Labelled | None:
    """A round's balanced set with its folds and activations; None if nothing of it is labelled.

    Raises ValueError if a label is too rare for the folds.
    """
    import numpy as np

    from deception_saes.analysis.folds import design
    from deception_saes.tasks.labels import duplicate_groups

    ids = balanced_set(params, round)
    if not ids:
        return None
    given, of_round = labels(params), {c.id: c for c in completions(params, round)}
    texts = [of_round[id].text for id in ids]
    found = activations(params, round, work)
    return Labelled(ids, np.array(texts, dtype=object), found.n_tokens[found.rows(ids)],
                    design([given[id] == "deceptive" for id in ids],
                           [of_round[id].scenario for id in ids], duplicate_groups(texts),
                           params.seed), found)


def labelled_or_raise(params: BehaviourParams, round: str, work: Work) -> Labelled:
    """The same, for a section that has nothing to say without it. Raises RuntimeError."""
    found = labelled(params, round, work)
    if found is None:
        raise RuntimeError(f"round {round} has no balanced set; label some completions of it as "
                           "honest and some as deceptive in tasks/data/labels.csv")
    return found


def activations(params: BehaviourParams, round: str, work: Work) -> CompletionActivations:
    """resid_post of all completions of a round, pooled, at every layer."""
    from deception_saes.activations.completions import read_completions

    return read_completions(captured(params, round, work)["pooled"])


def token_activations(params: BehaviourParams, round: str, work: Work) -> TokenRows:
    """resid_post at every token of all completions of a round, at the layers of DEPTHS."""
    from deception_saes.activations.completions import read_tokens

    return read_tokens(captured(params, round, work)["tokens"])


def capture_spec(params: BehaviourParams, round: str) -> Spec:
    """What decides the activations of a round."""
    run_by = ("model", "sampled_by", "completions_per_scenario", "scenarios", "batch_size",
              "device", "threads")
    return Spec(f"activations-{params.model.slug}-completions-{round}",
                {"round": round, "depths": DEPTHS,
                 **{name: getattr(params, name) for name in run_by}},
                sources=(__name__,),
                data=tuple(PACKAGE_DIR / name for name in DATA[:2]),
                inputs=weights_hash(params.model), pinned=True)


def captured(params: BehaviourParams, round: str, work: Work) -> dict[str, Path]:
    """The files of a round's activations, "pooled" and "tokens", both written in one reading."""
    names = {kept: f"activations/{params.model.slug}-completions-{round}-{kept}.safetensors"
             for kept in ("pooled", "tokens")}
    ensure(work.tree, capture_spec(params, round), partial(_capture, params, round, work, names))
    return {kept: work.tree / name for kept, name in names.items()}


def _capture(
    params: BehaviourParams, round: str, work: Work, names: Mapping[str, str], out: Path
) -> None:
    from deception_saes.activations.completions import (
        capture_completions,
        write_completions,
        write_tokens,
    )
    from deception_saes.saes.tags import layer_at_same_depth

    of = read(params, (round,), work)
    layers = [layer_at_same_depth(depth, params.model.shape.layers) for depth in DEPTHS]
    pooled, tokens = capture_completions(of.lm.model, of.prompts, of.completions,
                                         list(dict.fromkeys(layers)), params.batch_size)
    write_completions(out / names["pooled"], pooled)
    write_tokens(out / names["tokens"], tokens)


def read(params: BehaviourParams, rounds: Sequence[str], work: Work) -> Readable:
    """What a model needs in order to read these rounds' completions. One without a token is left
    out, as it has no activation."""
    import torch

    from deception_saes.activations.completions import TokenCompletion
    from deception_saes.models.load import load
    from deception_saes.tasks.completions import completion_ids
    from deception_saes.tasks.scenarios import load_scenarios, prompt_ids

    torch.set_num_threads(params.threads)
    lm = load(params.model, work.artifacts, params.device)
    tokens = [TokenCompletion(c.id, c.scenario, completion_ids(c, lm.tokenizer))
              for round in rounds for c in completions(params, round)]
    return Readable(lm, {s.id: prompt_ids(s, lm.tokenizer) for s in load_scenarios()},
                    [of for of in tokens if of.tokens])


def _why_unlabelled(params: BehaviourParams) -> str | None:
    drawn = {completion.id for completion in completions(params)}
    if not drawn:
        return (f"there are no completions of {params.sampled_by}: draw them with `make resample`, "
                f"then label them in tasks/data/labels.csv, by judge {params.judge}")
    if not drawn & labels(params).keys():
        return (f"no completion of {params.sampled_by} has a label of judge {params.judge}: read "
                "the completions, or have them judged, into tasks/data/labels.csv")
    return None
