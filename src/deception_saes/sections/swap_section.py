"""A full-SAE-swap section: what §24, §26 and §31 compute for their model and framing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from deception_saes.models.spec import ModelSpec
    from deception_saes.saes.sae import Sae
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, Work
    from deception_saes.sections.swap import Prompts
    from deception_saes.sections.swap_tables import Cell
    from deception_saes.sections.trained import SaeParams, Source

_MIDDLE = 8  # the depth at which seeds are compared
_SEED_COLUMNS = ["training", "layer", "gap", "mean", "ci_low", "ci_high", "n"]
_CLAIMED = ("E6-E4", "E6-E1")  # the gaps of which the study says that they are next to none


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`. section: its number. claim: which one it answers.
    training_seeds: 0 where seeds are not compared."""

    section: int
    claim: str
    saes: SaeParams
    swap_draws: int
    swap_draw_questions: int | None
    swap_top: tuple[int, ...]
    training_seeds: int
    equivalence_share: float
    bootstrap_draws: int
    seed: int


def plan(
    section: int, claim: str, profile: Profile, seed: int, models: tuple[ModelSpec, ...],
    missing: dict[str, str],
) -> Params | NotRun:
    """The part of a profile that decides the section; NotRun without its model."""
    from deception_saes.sections.run import NotRun, params_from
    from deception_saes.sections.trained import sae_params

    if section not in profile.swaps:
        return NotRun({"": f"the profile {profile.name} has no model for §{section}; the study's "
                       "models are in the profile paper"})
    slug, framing = profile.swaps[section]
    model = next((model for model in models if model.slug == slug), None)
    if model is None:
        return NotRun({slug: missing.get(slug, f"{slug} is not among the profile's models")})
    return params_from(Params, profile, seed, section=section, claim=claim,
                       saes=sae_params(profile, seed, model, framing),
                       training_seeds=profile.training_seeds if section == 24 else 0)


def compute(params: Params, work: Work) -> Output:
    """Every intervention at every depth, through every architecture and without an SAE."""
    import pandas as pd

    from deception_saes.sections.run import Output
    from deception_saes.sections.swap_tables import Counting, effect_table, gap_table, margin_of
    from deception_saes.sections.trained import DEPTHS, Source, bank, is_swapped

    source = Source(work.artifacts, work.tree, work.needed[23])
    banks = {depth: bank(params.saes, depth, source) for depth in DEPTHS}
    every, few = _prompts(params, source, [of.tags[0].layer for of in banks.values()])
    cells: list[Cell] = []
    centres: list[dict[str, object]] = []
    for depth, of_depth in banks.items():
        saes = {tag.architecture: of_depth.sae(tag, params.saes.device)
                for tag in of_depth.tags if is_swapped(tag)}
        layer = of_depth.tags[0].layer
        cells += _cells(saes, depth, layer, every, few, params)
        centres += [{"architecture": name, "depth": depth, "layer": layer,
                     **_centre_sizes(sae, layer, every)} for name, sae in saes.items()]
    how = Counting(margin_of(cells, params.equivalence_share), params.bootstrap_draws, params.seed)
    tables = {"effects": effect_table(cells, how), "gaps": gap_table(cells, how),
              "centres": pd.DataFrame(centres),
              "seeds": pd.DataFrame(list(_seeds(every, few, params, source)),
                                    columns=_SEED_COLUMNS)}
    return Output(list(_values(tables, how.margin, params)), tables)


def _prompts(params: Params, source: Source, layers: list[int]) -> tuple[Prompts, Prompts]:
    """The evaluating half run clean, and the questions of it that drawn edits are run on."""
    from deception_saes.models.load import load
    from deception_saes.sections.halves import half_of
    from deception_saes.sections.swap import question_folds, run_clean

    lm = load(params.saes.model, source.artifacts, params.saes.device)
    asked = half_of(source.task, lm, params.saes.framing, "evaluating")
    folds = question_folds(asked.ids, params.seed)
    return (run_clean(lm, asked, layers, folds),
            run_clean(lm, asked.spread(params.swap_draw_questions), layers, folds))


def _cells(
    saes: dict[str, Sae], depth: int, layer: int, every: Prompts, few: Prompts, params: Params
) -> Iterator[Cell]:
    import numpy as np

    from deception_saes.sections.swap import CONDITIONS, plain_effects, sae_effects
    from deception_saes.sections.swap_tables import PLAIN, Cell

    any_sae = next(iter(saes.values()))
    found = {PLAIN: plain_effects(any_sae, layer, every, few, params.swap_draws, params.seed)}
    for name, sae in saes.items():
        found[name] = sae_effects(sae, layer, every, few, params.swap_draws, params.swap_top,
                                  params.seed, f"§{params.section} {name} L{layer}")
    rows = np.array([every.asked.ids.index(id) for id in few.asked.ids])
    for name, by_condition in found.items():
        for condition in CONDITIONS:
            yield Cell(name, depth, layer, condition, by_condition[condition],
                       every.clean[condition], rows)


def _centre_sizes(sae: Sae, layer: int, every: Prompts) -> dict[str, float]:
    """L0 of a sandbag prompt and of the medians and means over all questions, and the norms of
    the steps between those."""
    import torch

    from deception_saes.interventions.swap import Training

    residuals = (every.runs["genuine"].residual(layer), every.runs["sandbag"].residual(layer))
    by_median, by_mean = Training(sae, *residuals, "median"), Training(sae, *residuals, "mean")

    def norm(x_D: torch.Tensor) -> float:
        return float(torch.linalg.vector_norm(x_D))

    return {"l0_prompt": float((by_median.sandbag_TS > 0).sum(1).float().mean()),
            "l0_m_G": float((by_median.m_G > 0).sum()), "l0_m_S": float((by_median.m_S > 0).sum()),
            "l0_mean_G": float((by_mean.m_G > 0).sum()),
            "step_median": norm(by_median.decoded(by_median.m_G - by_median.m_S)),
            "step_mean": norm(by_mean.decoded(by_mean.m_G - by_mean.m_S)),
            "mean_difference": norm(by_mean.mean_difference_D)}


def _seeds(
    every: Prompts, few: Prompts, params: Params, source: Source
) -> Iterator[dict[str, object]]:
    """The JumpReLU gaps at the middle depth, of SAEs that differ in their training seed alone."""
    import numpy as np

    from deception_saes.analysis.bootstrap import mean_interval
    from deception_saes.sections.swap import headline_effects
    from deception_saes.sections.swap_tables import Cell, gaps
    from deception_saes.sections.trained import reseeded

    if not params.training_seeds or params.saes.sae_source:
        return
    layer, saes = reseeded(params.saes, _MIDDLE, "jumprelu", params.training_seeds, source)
    rows = np.array([every.asked.ids.index(id) for id in few.asked.ids])
    for number, sae in enumerate(saes):
        effects = headline_effects(sae, layer, every, few, params.swap_draws, params.seed)
        cell = Cell("jumprelu", _MIDDLE, layer, "sandbag", effects, every.clean["sandbag"], rows)
        for name, gap in gaps(cell).items():
            found = mean_interval(gap.per_question, params.bootstrap_draws, params.seed)
            yield {"training": number, "layer": layer, "gap": name, "mean": found.mean,
                   "ci_low": found.low, "ci_high": found.high, "n": found.n}


def _values(
    tables: dict[str, pd.DataFrame], margin: float, params: Params
) -> Iterator[Value]:
    from deception_saes.sections.results import Value
    from deception_saes.sections.swap_tables import gap_name

    base = f"s{params.section}.{params.saes.model.slug}"
    about = dict[str, Any](model=params.saes.model.slug, framing=params.saes.framing)
    for row in tables["effects"].to_dict("records"):
        key = f"{base}.{_slug(row['architecture'])}.D{row['depth']}.{row['prompts']}"
        where = {**about, "layer": row["layer"], "condition": row["intervention"]}
        yield Value(f"{key}.{row['intervention']}", f"effect of {row['intervention']} on "
                    f"{row['prompts']} prompts", row["effect"], "pp", ci_low=row["ci_low"],
                    ci_high=row["ci_high"], n=row["n"], **where)
        if row["share"] == row["share"]:
            yield Value(f"{key}.share.{row['intervention']}", f"effect of {row['intervention']} "
                        "as a share of the patch's", row["share"], "percent",
                        ci_low=row["share_low"], ci_high=row["share_high"], n=row["n"], **where)
    for row in tables["gaps"].to_dict("records"):
        key = f"{base}.{_slug(row['architecture'])}.D{row['depth']}.{row['prompts']}"
        yield Value(f"{key}.gap.{row['gap']}",
                    f"gap {gap_name(row['gap'])} on {row['prompts']} prompts", row["mean"], "pp",
                    ci_low=row["ci_low"], ci_high=row["ci_high"], n=row["n"],
                    **about, layer=row["layer"])
    yield from _headline(tables, margin, base, about, params)


def _slug(architecture: str) -> str:
    return architecture.replace(" ", "_").lower()


def _headline(
    tables: dict[str, pd.DataFrame], margin: float, base: str, about: dict[str, Any],
    params: Params,
) -> Iterator[Value]:
    """The claimed gaps on sandbag prompts: the one farthest from none, and how many are what."""
    from deception_saes.sections.results import Value
    from deception_saes.sections.swap_tables import gap_name

    gaps = tables["gaps"]
    claimed = gaps[gaps["gap"].isin(_CLAIMED) & (gaps["prompts"] == "sandbag")]
    for name, of in (("jumprelu", claimed[claimed["architecture"] == "jumprelu"]),
                     ("all", claimed)):
        for word in ("equivalent", "different", "inconclusive", "uninformative"):
            yield Value(f"{base}.count.{name}.{word}", f"claimed gaps that are {word}",
                        float((of["verdict"] == word).sum()), f"of {len(of)}", n=len(of), **about)
        farthest = _farthest(of[of["verdict"] != "uninformative"])
        where = {**about, "n": farthest.get("n"), "layer": farthest.get("layer")}
        which = (f": {farthest['architecture']}, L{farthest['layer']}, "
                 f"{gap_name(farthest['gap'])}" if farthest else ": none is informative")
        yield Value(f"{base}.headline.{name}", "gap of E6 against E1 or E4 whose 90% interval, "
                    f"over questions and relabellings, reaches farthest{which}",
                    farthest.get("mean"), "pp",
                    ci_low=farthest.get("low90"), ci_high=farthest.get("high90"),
                    claim=params.claim if name == "jumprelu" else None, **where)
        yield Value(f"{base}.headline.{name}.margin", "what counts as no gap", margin, "pp",
                    **about)
        yield Value(f"{base}.headline.{name}.detectable", "smallest gap that this number of "
                    "questions shows with a power of 80 %", farthest.get("detectable"), "pp",
                    **where)
        yield Value(f"{base}.headline.{name}.n_published", "questions needed to show that a gap "
                    "lies within the published bound", farthest.get("n_published"), "count",
                    **about)
    for gap, of in tables["seeds"].groupby("gap") if len(tables["seeds"]) else ():
        yield Value(f"{base}.seeds.{gap}", f"mean of the gap {gap_name(gap)} over training seeds",
                    float(of["mean"].mean()), "pp", n=len(of), layer=int(of["layer"].iloc[0]),
                    **about)
        yield Value(f"{base}.seeds_sd.{gap}", f"SD of the gap {gap_name(gap)} over training seeds",
                    float(of["mean"].std(ddof=1)), "pp", n=len(of),
                    layer=int(of["layer"].iloc[0]), **about)


def _farthest(gaps: pd.DataFrame) -> dict[str, Any]:
    """The gap whose 90% interval reaches farthest from none, empty if none has an interval. All
    gaps are equivalent if this one is, and it is not picked for being large."""
    gaps = gaps.dropna(subset=["low90", "high90"])  # of too few questions
    if gaps.empty:
        return {}
    place = gaps[["low90", "high90"]].abs().max(axis=1).idxmax()
    found: dict[str, Any] = gaps.loc[[place]].to_dict("records")[0]
    return found
