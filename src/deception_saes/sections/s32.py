"""§32: how far single features of TopK and JumpReLU SAEs set sandbag apart from genuine prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deception_saes.activations.capture import Activations
    from deception_saes.analysis.separation import Separation
    from deception_saes.experiments.saes import SaeSet
    from deception_saes.models.spec import ModelSpec
    from deception_saes.saes.sae import Sae
    from deception_saes.saes.tags import SaeTag
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, Work

DATA = ()
NEEDS = ()

BASELINES = {"raw": "raw coordinates", "components": "principal components"}
_OUTLIER_DEPTH = 8  # the study's outlier: L8, mixed, TopK
_USUAL_K = 64


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`. saes: how the SAEs are trained."""

    saes: SaeSet
    bootstrap_draws: int
    permutations: int
    seed: int


@dataclass(frozen=True)
class Pair:
    """The same questions under both conditions, [Q, features]; chosen: of the choosing half."""

    sandbag_QF: np.ndarray
    genuine_QF: np.ndarray
    chosen_sandbag_QF: np.ndarray
    chosen_genuine_QF: np.ndarray


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section."""
    from deception_saes.sections.run import NotRun, params_from
    from deception_saes.sections.subjects import saes_of, task_of

    if profile.models[0] not in models:
        return NotRun(missing)
    task = task_of(profile, seed, profile.models[0], profile.circuit_framing)
    return params_from(Params, profile, seed, saes=saes_of(profile, task))


def compute(params: Params, work: Work) -> Output:
    """Every SAE's separation at the last prompt position, each d_max beside what it is by chance,
    and TopK (k = 64) against JumpReLU at matched layer and condition."""
    import pandas as pd
    from tqdm import tqdm

    from deception_saes.experiments.saes import activations, read, untrained
    from deception_saes.saes.tags import layer_at_same_depth
    from deception_saes.sections.run import Output

    saes = params.saes
    banks = {layer: saes.bank(layer) for layer in saes.layers}
    evaluating, choosing = (read(activations(half, saes.layers, "last"))
                            for half in (saes.task.evaluating, saes.task.choosing))
    rows: list[dict[str, object]] = []
    d_means: dict[tuple[int, str], dict[str, np.ndarray]] = {}
    for layer, of_layer in banks.items():
        for name, pair in _baselines(evaluating, choosing, layer):
            rows.append({"dictionary": name, "layer": layer, **_measures(pair, params)})
        for tag in tqdm(of_layer.tags, desc=f"separation at L{layer}", unit="SAE"):
            pair = _encoded(of_layer.sae(tag), evaluating, choosing, layer)
            row = {"dictionary": tag.name, "layer": layer, "train_set": tag.train_set,
                   "architecture": tag.architecture, "k": tag.k, "expansion": tag.expansion,
                   **_measures(pair, params)}
            if _is_compared(tag):
                start = _encoded(untrained(saes, tag), evaluating, choosing, layer)
                row |= {f"untrained_{name}": value for name, value in
                        _measures(start, params).items()}
                of = d_means.setdefault((layer, tag.train_set), {})
                of[tag.architecture] = _d_mean(pair, params)
            rows.append(row)
    table = pd.DataFrame(rows)
    outlier = layer_at_same_depth(_OUTLIER_DEPTH, saes.task.subject.model.shape.layers)
    return Output(list(_values(table, d_means, outlier, params)),
                  {"separation": table})


def _is_compared(tag: SaeTag) -> bool:
    return tag.expansion == 4 and (tag.architecture == "jumprelu"
                                   or (tag.architecture, tag.k) == ("topk", _USUAL_K))


def _encoded(sae: Sae, evaluating: Activations, choosing: Activations, layer: int) -> Pair:
    import torch

    with torch.inference_mode():
        return _pair(evaluating, choosing,
                     lambda of: sae.encode(of.x_by_layer[layer]).double().numpy())


def _baselines(
    evaluating: Activations, choosing: Activations, layer: int
) -> Iterator[tuple[str, Pair]]:
    """The residual's coordinates, and its principal components, found on the choosing half."""
    import numpy as np

    def raw(of: Activations) -> np.ndarray:
        x_ND: np.ndarray = of.x_by_layer[layer].double().numpy()
        return x_ND

    mean_D = raw(choosing).mean(axis=0)
    _, size_K, axes_KD = np.linalg.svd(raw(choosing) - mean_D, full_matrices=False)
    axes_KD = axes_KD[size_K > 1e-9 * size_K[0]]
    yield "raw", _pair(evaluating, choosing, raw)
    yield "components", _pair(evaluating, choosing, lambda of: (raw(of) - mean_D) @ axes_KD.T)


def _pair(evaluating: Activations, choosing: Activations, features: Any) -> Pair:
    found = []
    for half in (evaluating, choosing):
        of_half = features(half)
        found += [of_half[half.condition == c] for c in ("sandbag", "genuine")]
    return Pair(*found)


def _measures(pair: Pair, params: Params) -> dict[str, float]:
    """d_max with and without the floor beside its null; the feature picked on the choosing half,
    with its interval over questions; means over features."""
    import numpy as np

    from deception_saes.analysis.separation import floor_of, null_d_max, resampled_d, separation

    both = pair.sandbag_QF, pair.genuine_QF
    chosen = pair.chosen_sandbag_QF, pair.chosen_genuine_QF
    floor = floor_of(*both)
    found = separation(*both, floor)
    null = null_d_max(*both, floor, params.permutations, params.seed)
    measures = {
        "n_questions": float(len(both[0])), "n_live": float(found.live_F.sum()),
        "d_max": found.d_max,
        "d_max_no_floor": separation(*both, 0.0).d_max,
        "null_95": float(np.quantile(null, 0.95)),
        "p": (1 + float((null >= found.d_max).sum())) / (1 + len(null)),
        "d_mean_live": found.d_mean_live, "d_mean_all": found.d_mean_all,
        "sd_of_best": _share_of_median_sd(found),
        "d_picked": float("nan"), "d_picked_low": float("nan"), "d_picked_high": float("nan"),
    }
    picked = separation(*chosen, floor_of(*chosen)).best
    if picked is not None:
        d_R = np.abs(np.concatenate(list(resampled_d(
            both[0][:, [picked]], both[1][:, [picked]], floor, params.bootstrap_draws,
            params.seed))))
        low, high = np.quantile(d_R, [0.025, 0.975])
        measures |= {"d_picked": float(abs(found.d_F[picked])), "d_picked_low": float(low),
                     "d_picked_high": float(high)}
    return measures


def _share_of_median_sd(found: Separation) -> float:
    """Pooled SD of the best feature over the median of the live ones."""
    import numpy as np

    if found.best is None:
        return float("nan")
    return float(found.sd_F[found.best] / np.median(found.sd_F[found.live_F]))


def _d_mean(pair: Pair, params: Params) -> np.ndarray:
    """Mean absolute d over all features: of the data first, then of resampled questions."""
    import numpy as np

    from deception_saes.analysis.separation import floor_of, resampled_d, separation

    both = pair.sandbag_QF, pair.genuine_QF
    floor = floor_of(*both)
    drawn = resampled_d(*both, floor, params.bootstrap_draws, params.seed)
    return np.concatenate([[separation(*both, floor).d_mean_all],
                           *(np.abs(d_RF).mean(axis=1) for d_RF in drawn)])


def _values(
    table: pd.DataFrame, d_means: dict[tuple[int, str], dict[str, np.ndarray]], layer: int,
    params: Params,
) -> Iterator[Value]:
    """layer: of the study's outlier."""
    import numpy as np

    from deception_saes.sections.results import Value

    slug, n = params.saes.task.model, int(table["n_questions"].iloc[0])
    base, about = f"s32.{slug}", dict[str, Any](model=slug, framing=params.saes.task.framing.name)
    compared = table[table["untrained_d_max"].notna()]
    d_max = compared.pivot_table(index=["layer", "train_set"], columns="architecture",
                                 values="d_max")
    pairs = len(d_max)
    wins = d_max["jumprelu"] - d_max["topk"]
    yield Value(f"{base}.wins.jumprelu", f"pairs of {pairs} in which JumpReLU wins on d_max",
                float((wins > 0).sum()), f"of {pairs}", claim="S-18", n=pairs, **about)
    yield Value(f"{base}.wins.topk", f"pairs of {pairs} in which TopK wins on d_max",
                float((wins < 0).sum()), f"of {pairs}", claim="S-19", n=pairs, **about)
    ratios = np.median([of["jumprelu"] / of["topk"] for of in d_means.values()], axis=0)
    # resampling adds noise to every |d|, so quantiles of the resampled ratios may miss the ratio
    # itself; their spread is used, around it, on a log scale
    reach = np.exp(NormalDist().inv_cdf(0.975) * np.log(ratios[1:]).std(ddof=1))
    yield Value(f"{base}.d_mean_ratio", "d_mean over all features, JumpReLU over TopK, median of "
                "the pairs", float(ratios[0]), "ratio", claim="S-22",
                ci_low=float(ratios[0] / reach), ci_high=float(ratios[0] * reach), n=n, **about)
    beaten = (compared["d_max"] > compared["untrained_d_max"]).sum()
    yield Value(f"{base}.beats_untrained", f"SAEs of {len(compared)} whose d_max is above that of "
                "their untrained start", float(beaten), f"of {len(compared)}", n=len(compared),
                **about)
    trained = table[table["architecture"].notna()].sort_values("d_max", ascending=False)
    for architecture, claim in (("topk", "S-20"), ("jumprelu", "S-21")):
        row = compared[(compared["layer"] == layer) & (compared["train_set"] == "mixed")
                       & (compared["architecture"] == architecture)].iloc[0]
        where = {**about, "layer": layer, "tag": row["dictionary"], "train_set": "mixed"}
        key = f"{base}.outlier.{architecture}"
        yield Value(f"{key}.d_max", "d_max", row["d_max"], "Cohen's d", claim=claim, n=n, **where)
        yield Value(f"{key}.null_95", "95% quantile of d_max under swapped conditions",
                    row["null_95"], "Cohen's d", n=params.permutations, **where)
        yield Value(f"{key}.p", "p of d_max under swapped conditions", row["p"], "p",
                    n=params.permutations, **where)
        yield Value(f"{key}.no_floor", "d_max without a floor under the SD",
                    row["d_max_no_floor"], "Cohen's d", n=n, **where)
        yield Value(f"{key}.picked", "d of the feature picked on the choosing half",
                    row["d_picked"], "Cohen's d", ci_low=row["d_picked_low"],
                    ci_high=row["d_picked_high"], n=n, **where)
        yield Value(f"{key}.untrained", "d_max of its untrained start", row["untrained_d_max"],
                    "Cohen's d", n=n, **where)
        rank = 1 + int((trained["d_max"] > row["d_max"]).sum())
        yield Value(f"{key}.rank", f"rank by d_max among the {len(trained)} SAEs", float(rank),
                    "count", n=len(trained), **where)
    for row in table[table["dictionary"].isin(BASELINES)].to_dict("records"):
        yield Value(f"{base}.{row['dictionary']}.L{row['layer']}.d_max",
                    f"d_max of {BASELINES[row['dictionary']]}", row["d_max"], "Cohen's d", n=n,
                    **{**about, "layer": row["layer"]})
