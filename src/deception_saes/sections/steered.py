"""Steering along a behavioural SAE's feature, for §22: directions of one length, what they do to
reference replies, and what the model then says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deception_saes.sections import behaviour

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from deception_saes.models.load import LanguageModel
    from deception_saes.saes.sae import Sae
    from deception_saes.saes.tags import SaeTag
    from deception_saes.sections.behaviour_saes import BehaviourSaeParams
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import Work
    from deception_saes.tasks.scenarios import Scenario

STRENGTHS = (-0.5, -0.25, 0.25, 0.5)
"""Length of what is added, as a share of the residual's median norm at completion tokens."""
SAID_AT = 0.25
"""The strength, of either sign, at which the model is sampled, and that the values are about."""
RANDOM = 5
SAID_RANDOM = 2
"""How many of the random features the model is sampled along."""
DRAWS = 2
"""Completions sampled of each scenario, direction and sign."""
FEATURE, MEAN = "feature", "mean difference"


@dataclass(frozen=True)
class Directions:
    """unit: unit vectors [D] by name: the feature's decoder row, the mean difference of deceptive
    and honest completions, and random features'. norm: the residual's median norm."""

    layer: int
    unit: dict[str, torch.Tensor]
    norm: float

    def vector(self, name: str, strength: float) -> torch.Tensor:
        return strength * self.norm * self.unit[name]


def steered_rows(
    params: BehaviourSaeParams, sae: Sae, layer: int, feature: int, firing_S: np.ndarray, work: Work
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What `reply_rows` and `generated_rows` give along the `directions`. To be run pinned: a last
    bit that meets the edge between two tokens changes all that follows in a sampled text."""
    along = directions(params, sae, layer, feature, firing_S, work)
    return list(reply_rows(params, along, work)), list(generated_rows(params, along, work))


def directions(
    params: BehaviourSaeParams, sae: Sae, layer: int, feature: int, firing_S: np.ndarray, work: Work
) -> Directions:
    """Directions of the rounds that the SAEs are trained on. firing_S: features among which random
    ones are drawn, the feature itself left out."""
    import numpy as np
    import torch

    from deception_saes.rng import generator
    from deception_saes.sections.behaviour_saes import TRAIN_ROUNDS, token_rows, trained_on

    rows = token_rows(params, TRAIN_ROUNDS, work)
    x_TD = rows.x_by_layer[layer]
    mean = {train_set: x_TD[torch.from_numpy(rows.of(trained_on(params, train_set)))].mean(dim=0)
            for train_set in ("deceptive_only", "honest_only")}
    others = np.setdiff1d(np.flatnonzero(firing_S), [feature])
    drawn = generator(params.seed, "random features").choice(others, RANDOM, replace=False)
    decoder_SD = sae.weights["W_dec"]
    found = {FEATURE: decoder_SD[feature], MEAN: mean["deceptive_only"] - mean["honest_only"],
             **{f"random {i}": decoder_SD[int(other)] for i, other in enumerate(drawn, start=1)}}
    return Directions(layer, {name: v_D / v_D.norm() for name, v_D in found.items()},
                      float(x_TD.norm(dim=1).median()))


def reply_rows(
    params: BehaviourSaeParams, along: Directions, work: Work
) -> Iterator[dict[str, Any]]:
    """Mean log-probability a token of each scenario's two reference replies, in nats, unsteered
    (strength 0) and steered."""
    import torch
    from tqdm import tqdm

    from deception_saes.interventions.steering import prefilled, reply_log_p

    of = behaviour.read(params.behaviour, (), work)
    steered = [(name, strength) for name in along.unit for strength in STRENGTHS]
    vectors_BD = torch.stack([torch.zeros_like(along.unit[FEATURE]),
                              *(along.vector(*one) for one in steered)]).to(of.lm.model.device)
    for scenario in tqdm(_scenarios(params), desc="steered replies", unit="scenario"):
        prompt = of.prompts[scenario.id]
        cache = prefilled(of.lm.model, prompt)
        found = {label: reply_log_p(of.lm.model, cache, prompt[-1], _reply(of.lm, reply),
                                    along.layer, vectors_BD)
                 for label, reply in (("honest", scenario.honest_reply),
                                      ("deceptive", scenario.deceptive_reply))}
        for i, (name, strength) in enumerate([("none", 0.0), *steered]):
            yield {"scenario": scenario.id, "direction": name, "strength": strength,
                   **{label: float(log_p_B[i]) for label, log_p_B in found.items()}}


def generated_rows(
    params: BehaviourSaeParams, along: Directions, work: Work
) -> Iterator[dict[str, Any]]:
    """Completions sampled at temperature 1 with and without steering, what the embedded judge
    makes of them, and their cross-entropy under the unsteered model, in nats a token."""
    import torch
    from tqdm import tqdm

    from deception_saes.interventions.steering import prefilled, steered_texts, unsteered_log_p
    from deception_saes.rng import subseed
    from deception_saes.tasks.completions import MAX_NEW_TOKENS, Completion
    from deception_saes.tasks.judges.embedded import judge_single

    of = behaviour.read(params.behaviour, (), work)
    along_which = (FEATURE, MEAN, *(f"random {i}" for i in range(1, SAID_RANDOM + 1)))
    steered = [("none", 0.0),
               *((name, sign * SAID_AT) for name in along_which for sign in (-1, 1))]
    model = of.lm.model
    vectors_BD = torch.stack([along.vector(name, strength) if strength
                              else torch.zeros_like(along.unit[FEATURE])
                              for name, strength in steered]).to(model.device)
    found: list[dict[str, Any]] = []
    scenarios = _scenarios(params)
    for scenario in tqdm(scenarios, desc="steered completions", unit="scenario"):
        prompt = of.prompts[scenario.id]
        cache = prefilled(model, prompt)
        texts = steered_texts(of.lm, cache, prompt[-1], along.layer, vectors_BD, DRAWS,
                              subseed(params.seed, "steered", scenario.id), MAX_NEW_TOKENS)
        said = [{"scenario": scenario.id, "direction": name, "strength": strength, "draw": draw,
                 "text": text, "cross_entropy": None}
                for (name, strength), drawn in zip(steered, texts, strict=True)
                for draw, text in enumerate(drawn)]
        ids = [of.lm.tokenizer(row["text"], add_special_tokens=False)["input_ids"] for row in said]
        spoke = [place for place, of_text in enumerate(ids) if of_text]
        log_p = unsteered_log_p(model, cache, prompt[-1], [ids[place] for place in spoke])
        for place, of_text in zip(spoke, log_p, strict=True):
            said[place]["cross_entropy"] = -float(of_text)
        found += said
    asked = [Completion(str(place), params.behaviour.model.slug, row["scenario"], "steered",
                        row["draw"], 1.0, params.seed, True, row["text"])
             for place, row in enumerate(found)]
    for row, judged in zip(found, judge_single(of.lm, scenarios, asked,
                                               params.behaviour.batch_size), strict=True):
        yield row | {"judged": judged.label, "p_deceptive": judged.probabilities["deceptive"]}


def effects(replies: pd.DataFrame, name: str, strength: float) -> np.ndarray:
    """By scenario, how much steering to one side rather than the other favours the deceptive
    reply over the honest one: half the difference of log p(deceptive) − log p(honest), in nats a
    token, between this strength and its opposite."""
    import numpy as np

    favour = replies.assign(favour=replies["deceptive"] - replies["honest"]).pivot(
        index="scenario", columns=["direction", "strength"], values="favour")
    return np.asarray((favour[(name, strength)] - favour[(name, -strength)]) / 2)


def steering_values(
    replies: pd.DataFrame, generated: pd.DataFrame, model: str, tag: SaeTag,
    equivalence_share: float, draws: int, seed: int,
) -> Iterator[Value]:
    """Effects on the replies over scenarios, and what the sampled completions are like.

    equivalence_share: what counts as no effect, as a share of that along the mean difference.
    """
    import numpy as np

    from deception_saes.analysis.bootstrap import mean_interval
    from deception_saes.sections.results import Value

    base = f"s22.{model}.steering"
    about: dict[str, Any] = {"model": model, "layer": tag.layer, "tag": tag.name,
                             "train_set": tag.train_set}
    random = np.stack([effects(replies, f"random {i}", SAID_AT) for i in range(1, RANDOM + 1)])
    per_scenario = {FEATURE: effects(replies, FEATURE, SAID_AT),
                    MEAN: effects(replies, MEAN, SAID_AT), "random": random.mean(axis=0)}
    for name, of in per_scenario.items():
        found = mean_interval(of, draws, seed)
        yield Value(f"{base}.{name.replace(' ', '_')}", f"steering along {_NAMES[name]}, on log "
                    "p(deceptive reply) − log p(honest reply)", found.mean, "nats",
                    ci_low=found.low, ci_high=found.high, n=found.n, condition=name, **about)
    gap = mean_interval(per_scenario[FEATURE] - per_scenario["random"], draws, seed, 0.9)
    yield Value(f"{base}.gap", "steering along the feature less along random ones, on log "
                "p(deceptive reply) − log p(honest reply) in nats a token, with a 90% interval",
                gap.mean, "effect", claim="R-17", ci_low=gap.low, ci_high=gap.high, n=gap.n,
                **about)
    yield Value(f"{base}.gap.margin", "what counts as no effect of steering: a share of that along "
                "the mean difference", equivalence_share * float(per_scenario[MEAN].mean()),
                "effect", n=gap.n, **about)
    yield Value(f"{base}.random.sd", "SD over random features of the mean effect",
                float(random.mean(axis=1).std(ddof=1)), "nats", n=RANDOM, **about)
    by = generated.dropna(subset=["cross_entropy"]).groupby(["direction", "strength"])
    for (name, strength), rows in by:
        where: dict[str, Any] = {"model": model, "layer": tag.layer,
                                 "condition": f"{name} {strength:+g}"}
        id = f"{base}.said.{name.replace(' ', '_')}.{_SIGNS[float(np.sign(strength))]}"
        for column, quantity, unit in (
                ("cross_entropy", "cross-entropy of the steered completions, unsteered model",
                 "nats"),
                ("p_deceptive", "probability of “deceptive” by the embedded judge, mean",
                 "probability")):
            found = mean_interval(rows[column], draws, seed)
            yield Value(f"{id}.{column}", quantity, found.mean, unit, ci_low=found.low,
                        ci_high=found.high, n=found.n, **where)


_NAMES = {FEATURE: "the feature", MEAN: "the mean difference", "random": "random features"}
_SIGNS = {-1.0: "minus", 0.0: "clean", 1.0: "plus"}


def _scenarios(params: BehaviourSaeParams) -> list[Scenario]:
    from deception_saes.tasks.scenarios import load_scenarios

    asked = {completion.scenario for completion in behaviour.completions(params.behaviour)}
    return [scenario for scenario in load_scenarios() if scenario.id in asked]


def _reply(lm: LanguageModel, text: str) -> list[int]:
    """Tokens of a reference reply, as they stand behind the opening."""
    ids: list[int] = lm.tokenizer(f" {text}", add_special_tokens=False)["input_ids"]
    return ids
