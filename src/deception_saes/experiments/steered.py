"""Steering along directions of one layer: what it does to reference replies, and what the model
then says.

Pinned: a last bit that meets the edge between two tokens changes all that follows in a sampled
text.

Shape suffixes: B steered rows, T tokens, D d_model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from deception_saes.cache import cached
from deception_saes.experiments.behavioural_saes import (
    TRAIN_ROUNDS,
    BehaviouralSaes,
    trained_on,
)
from deception_saes.experiments.reading import SCENARIO_DATA
from deception_saes.interventions.steering import (
    reply_log_p,
    steered_texts,
    unsteered_log_p,
)
from deception_saes.models.forward import cache_before_last
from deception_saes.rng import generator, subseed
from deception_saes.saes.tags import SaeTag
from deception_saes.tasks.completions import MAX_NEW_TOKENS, Completion
from deception_saes.tasks.judges.embedded import judge_single
from deception_saes.tidy import described

FEATURE, MEAN = "feature", "mean difference"
_ALONG = {
    "direction": ("", "along what: none, feature (the decoder row of the feature of the largest "
                      "difference), mean difference (deceptive less honest residuals) or random "
                      "{number} (the decoder row of a random feature that fires)"),
    "strength": ("share", "length of the vector as a share of the residual's median norm, negative "
                          "to the other side; 0 is the clean model"),
}


@dataclass(frozen=True)
class Directions:
    """Directions of one length in the residual that an SAE reads: its feature's decoder row, those
    of random features, and the mean difference of deceptive and honest completions of the rounds
    that SAEs are trained on, for which no SAE is needed."""

    saes: BehaviouralSaes
    tag: SaeTag
    feature: int
    random: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """FEATURE, MEAN and "random 1", "random 2", …"""
        return (FEATURE, MEAN, *(f"random {i}" for i, _ in enumerate(self.random, start=1)))

    def vectors(self, steps: Sequence[tuple[str, float]]) -> torch.Tensor:
        """What is added to the residual, [B, D], for directions and strengths: shares of the
        residual's median norm. Strength 0: nothing."""
        rows = self.saes.reading.tokens(*TRAIN_ROUNDS)
        x_TD = rows.x_by_layer[self.tag.layer]
        of = {train_set: rows.of(trained_on(self.saes.reading, train_set))
              for train_set in ("deceptive_only", "honest_only")}
        deceptive_D, honest_D = (x_TD[torch.from_numpy(one)].mean(dim=0) for one in of.values())
        decoder_SD = self.saes.bank(self.tag.layer).sae(self.tag).weights["W_dec"]
        found = [decoder_SD[self.feature], deceptive_D - honest_D,
                 *(decoder_SD[feature] for feature in self.random)]
        unit = {name: v_D / v_D.norm() for name, v_D in zip(self.names, found, strict=True)}
        norm = float(x_TD.norm(dim=1).median())
        return torch.stack([
            strength * norm * unit[name] if strength else torch.zeros_like(unit[FEATURE])
            for name, strength in steps]).to(self.saes.reading.subject.device)


def random_features(fires_NS: np.ndarray, feature: int, *, n: int, seed: int) -> tuple[int, ...]:
    """So many of the features that fire at all, the one named left out."""
    others = np.setdiff1d(np.flatnonzero(fires_NS.any(axis=0)), [feature])
    return tuple(int(other)
                 for other in generator(seed, "random features").choice(others, n, replace=False))


@cached(pinned=True, data=SCENARIO_DATA, libraries=("scipy",))
def steered_replies(along: Directions, *, strengths: Sequence[float]) -> pd.DataFrame:
    """Mean log-probability a token of each scenario's two reference replies, in nats, unsteered
    (strength 0) and steered along every direction. Raises SaeError."""
    reading = along.saes.reading
    of = reading.readable()
    steps = [("none", 0.0), *((name, strength) for name in along.names for strength in strengths)]
    vectors_BD = along.vectors(steps)
    rows: list[dict[str, Any]] = []
    for scenario in tqdm(reading.scenarios, desc="steered replies", unit="scenario"):
        prompt = of.prompts[scenario.id]
        cache = cache_before_last(of.lm.model, prompt)
        # as the replies stand behind the opening
        found = {label: reply_log_p(
                    of.lm.model, cache, prompt[-1],
                    of.lm.tokenizer(f" {reply}", add_special_tokens=False)["input_ids"],
                    along.tag.layer, vectors_BD)
                 for label, reply in (("honest", scenario.honest_reply),
                                      ("deceptive", scenario.deceptive_reply))}
        rows += [{"scenario": scenario.id, "direction": name, "strength": strength,
                  **{label: float(log_p_B[i]) for label, log_p_B in found.items()}}
                 for i, (name, strength) in enumerate(steps)]
    return described(
        pd.DataFrame(rows), "log-probability of two reference replies under steering", **_ALONG,
        honest=("nats", "log-probability of the honest reply, a token"),
        deceptive=("nats", "log-probability of the deceptive reply, a token"))


@cached(pinned=True, data=SCENARIO_DATA, libraries=("scipy",))
def steered_completions(
    along: Directions, *, strength: float, directions: Sequence[str], draws: int
) -> pd.DataFrame:
    """Completions sampled at temperature 1 without steering and with this strength to either side,
    so many of each scenario, what the model itself as judge makes of them, and their cross-entropy
    under the unsteered model, in nats a token. Raises SaeError."""
    reading = along.saes.reading
    of = reading.readable()
    lm, seed = of.lm, reading.seed
    steps = [("none", 0.0), *((name, sign * strength) for name in directions for sign in (-1, 1))]
    vectors_BD = along.vectors(steps)
    found: list[dict[str, Any]] = []
    for scenario in tqdm(reading.scenarios, desc="steered completions", unit="scenario"):
        prompt = of.prompts[scenario.id]
        cache = cache_before_last(lm.model, prompt)
        texts = steered_texts(lm, cache, prompt[-1], along.tag.layer, vectors_BD, draws,
                              subseed(seed, "steered", scenario.id), MAX_NEW_TOKENS)
        sampled = [{"scenario": scenario.id, "direction": name, "strength": of_step, "draw": draw,
                    "text": text, "cross_entropy": None}
                   for (name, of_step), drawn in zip(steps, texts, strict=True)
                   for draw, text in enumerate(drawn)]
        ids = [lm.tokenizer(row["text"], add_special_tokens=False)["input_ids"] for row in sampled]
        nonempty = [place for place, of_text in enumerate(ids) if of_text]
        log_p = unsteered_log_p(lm.model, cache, prompt[-1], [ids[place] for place in nonempty])
        for place, of_text in zip(nonempty, log_p, strict=True):
            sampled[place]["cross_entropy"] = -float(of_text)
        found += sampled
    asked = [Completion(str(place), reading.model, row["scenario"], "steered", row["draw"], 1.0,
                        seed, True, row["text"]) for place, row in enumerate(found)]
    judgements = judge_single(lm, reading.scenarios, asked)
    rows = [row | {"judged": judged.label, "p_deceptive": judged.probabilities["deceptive"]}
            for row, judged in zip(found, judgements, strict=True)]
    return described(
        pd.DataFrame(rows), "completions sampled under steering", **_ALONG,
        draw=("", "number of the draw within its scenario, direction and strength, from 0"),
        cross_entropy=("nats", "of the text under the unsteered model, a token; empty if there is "
                               "no text"),
        judged=("", "label by the embedded model as judge"),
        p_deceptive=("probability", "that this judge gives to deceptive"))
