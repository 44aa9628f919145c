"""What behavioural SAEs make of the main round's completions, which trained none of them.

Shape suffixes: N completions, T tokens, D d_in, S d_sae.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from deception_saes.activations.completions import TokenRows
from deception_saes.cache import cached
from deception_saes.experiments.behavioural_saes import BehaviouralSaes
from deception_saes.experiments.reading import MAIN_ROUND, SCENARIO_DATA
from deception_saes.interventions.steering import Replace, replaced_kl
from deception_saes.models.forward import cache_before_last
from deception_saes.saes.quality import quality
from deception_saes.saes.sae import Sae
from deception_saes.saes.tags import SaeTag
from deception_saes.tidy import described

_ROWS_AT_ONCE = 1024


@cached(data=SCENARIO_DATA)
def quality_of(grids: Sequence[BehaviouralSaes]) -> pd.DataFrame:
    """Quality on every token of the main round, a row an SAE of any of these grids of a reading.

    Column `fixed`: whether its grid's thresholds are learned, the study's fix. Raises SaeError.
    """
    reading = grids[0].reading
    torch.set_num_threads(reading.subject.threads)
    tokens = reading.tokens(MAIN_ROUND)
    rows = []
    for saes in grids:
        for tag, sae in tqdm(saes.load(), desc="quality", unit="SAE", total=len(saes.tags)):
            found = quality(sae, tokens.x_by_layer[tag.layer])
            threshold = sae.weights.get("threshold")
            rows.append({
                "sae": tag.name, "fixed": saes.recipe.learn_threshold,
                "architecture": tag.architecture, "layer": tag.layer, "train_set": tag.train_set,
                "rows": sae.config.metadata["training_rows"], "d_sae": sae.config.d_sae,
                "l0": found.l0, "explained_variance": found.explained_variance, "mse": found.mse,
                "dead_share": found.dead_share,
                "density_median": float(np.median(found.density_S)),
                "threshold_median": None if threshold is None else float(threshold.median()),
                "tokens": len(tokens.completion)})
    return pd.DataFrame(rows)


@cached(data=SCENARIO_DATA)
def kl_of(grids: Sequence[BehaviouralSaes], *, completions: int) -> pd.DataFrame:
    """KL(clean ‖ replaced) on the main round's first so many labelled completions of each scenario,
    mean over a completion's tokens, with the residual at all of them replaced by what an SAE makes
    of it, and by the mean residual. Raises SaeError."""
    reading = grids[0].reading
    device, of = reading.subject.device, reading.readable(MAIN_ROUND)
    mean_D = {layer: x_TD.mean(dim=0).to(device)
              for layer, x_TD in reading.tokens(MAIN_ROUND).x_by_layer.items()}
    replaced: dict[int, list[tuple[str, bool, Replace]]] = {
        layer: [("mean", True, partial(_always, of_layer_D))]
        for layer, of_layer_D in mean_D.items()}
    for saes in grids:
        for tag, sae in saes.load(device):
            replaced[tag.layer].append((tag.name, saes.recipe.learn_threshold,
                                        partial(_reconstructed, sae)))
    chosen = [completion for scenario in of.prompts
              for completion in [c for c in of.completions if c.scenario == scenario
                                 and c.id in reading.labels][:completions]]
    rows = []
    for completion in tqdm(chosen, desc="KL", unit="completion"):
        prompt = of.prompts[completion.scenario]
        cache = cache_before_last(of.lm.model, prompt)
        for layer, by in replaced.items():
            kl_BT = replaced_kl(of.lm.model, cache, prompt[-1], completion.tokens, layer,
                                [replace for *_, replace in by])
            rows += [{"completion": completion.id, "layer": layer, "sae": name,
                      "fixed": learned_threshold, "tokens": len(kl_T), "kl": float(kl_T.mean())}
                     for (name, learned_threshold, _), kl_T in zip(by, kl_BT, strict=True)]
    return described(
        pd.DataFrame(rows), "KL of one completion with the residual replaced, under one SAE",
        sae=("", "the SAE, by its tag; mean: the residual is replaced by its mean"),
        tokens=("count", "tokens of the completion"),
        kl=("nats", "KL(clean ‖ replaced), mean over the tokens"))


def _always(mean_D: torch.Tensor, x_TD: torch.Tensor) -> torch.Tensor:
    return mean_D.expand_as(x_TD)


def _reconstructed(sae: Sae, x_TD: torch.Tensor) -> torch.Tensor:
    return sae.decode(sae.encode(x_TD))


@dataclass(frozen=True)
class CompletionFeatures:
    """Features of completions."""

    mean_NS: np.ndarray
    """Mean of each feature over a completion's tokens, float32."""
    fires_NS: np.ndarray
    """Whether it is active on one of them at least."""


@torch.inference_mode()
def completion_features(
    sae: Sae, rows: TokenRows, layer: int, ids: Sequence[str]
) -> CompletionFeatures:
    """Features of these completions, in this order.

    Raises ValueError, naming it, for a completion of which there is no token.
    """
    place = {id: n for n, id in enumerate(ids)}
    kept = rows.of(ids)
    completion_T = torch.tensor([place[id] for id in rows.completion[kept]], dtype=torch.long)
    tokens_N = torch.bincount(completion_T, minlength=len(ids))
    if (tokens_N == 0).any():
        lacking = ids[int((tokens_N == 0).nonzero()[0, 0])]
        raise ValueError(f"there is no activation of completion {lacking}; leave it out")
    sum_NS = torch.zeros(len(ids), sae.config.d_sae, dtype=torch.float64)
    fires_NS = torch.zeros(len(ids), sae.config.d_sae, dtype=torch.bool)
    x_TD = rows.x_by_layer[layer][torch.from_numpy(kept)]
    for x_BD, completion_B in zip(x_TD.split(_ROWS_AT_ONCE), completion_T.split(_ROWS_AT_ONCE),
                                  strict=True):
        f_BS = sae.encode(x_BD)
        sum_NS.index_add_(0, completion_B, f_BS.double())
        of_token, feature = (f_BS > 0).nonzero(as_tuple=True)
        fires_NS[completion_B[of_token], feature] = True
    return CompletionFeatures((sum_NS / tokens_N[:, None]).float().numpy(), fires_NS.numpy())


@cached(data=SCENARIO_DATA)
def fires(saes: BehaviouralSaes) -> dict[str, np.ndarray]:
    """Whether each feature is active at one token at least of each completion of the main round's
    balanced set, bool [N, S] by the SAE's tag. Raises SaeError."""
    reading = saes.reading
    torch.set_num_threads(reading.subject.threads)
    tokens, ids = reading.tokens(MAIN_ROUND), reading.balanced_set(MAIN_ROUND)
    return {tag.name: completion_features(sae, tokens, tag.layer, ids).fires_NS
            for tag, sae in tqdm(saes.load(), desc="rates", unit="SAE", total=len(saes.tags))}


@cached(data=SCENARIO_DATA)
def most_active(
    saes: BehaviouralSaes, tag: SaeTag, feature: int, *, completions: int
) -> pd.DataFrame:
    """The completions of the balanced set in which a feature is most active, token by token."""
    reading = saes.reading
    of, tokens = reading.readable(MAIN_ROUND), reading.tokens(MAIN_ROUND)
    ids = reading.balanced_set(MAIN_ROUND)
    with torch.inference_mode():
        kept = tokens.of(ids)
        x_TD = tokens.x_by_layer[tag.layer][torch.from_numpy(kept)]
        active_T = saes.bank(tag.layer).sae(tag).encode(x_TD)[:, feature].numpy()
    active = {id: active_T[tokens.completion[kept] == id] for id in ids}
    text = {completion.id: completion.tokens for completion in of.completions}
    rows: list[dict[str, Any]] = []
    for id in sorted(ids, key=lambda id: -float(active[id].max()))[:completions]:
        rows += [{"completion": id, "label": reading.labels[id], "place": place,
                  "token": str(of.lm.tokenizer.decode([token])), "activation": float(strength)}
                 for place, (token, strength) in enumerate(zip(text[id], active[id], strict=True))]
    return described(
        pd.DataFrame(rows), "tokens of the completions in which a feature is strongest",
        place=("", "place of the token in the completion, from 0"),
        activation=("", "of the feature at the token"))
