"""Tables of the effects of SAE interventions: means, shares, gaps, equivalence.

Apart from what runs the model, so that a statistic that is edited makes no run stale.

Shape suffixes: N draws, Q questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from deception_saes.analysis.bootstrap import (
    Clusters,
    Interval,
    empirical_p,
    mean_interval,
    ratio_interval,
)
from deception_saes.analysis.equivalence import (
    contrast,
    holm,
    questions_needed,
    verdict,
    widened,
)
from deception_saes.cache import cached
from deception_saes.experiments.swaps import PLAIN, Cell, EffectsByName
from deception_saes.tasks.framings import Condition
from deception_saes.tidy import described, with_ends

PUBLISHED_BOUND = 0.15
"""pp: what the study's gaps stay below."""
WORDS = ("equivalent", "different", "inconclusive", "uninformative")
NAMES = {"half": "(E4 + E6) / 2", "mean_difference": "mean difference",
         "mean_difference.norm": "mean difference at equal norm",
         "random_direction": "random direction", "median_residual": "median residual",
         "U6Δ": "U6Δ, untrained", "U6Δ.frozen": "U6Δ, frozen decoder"}
CONCLUSIONS = {
    "E6Δ-E1Δ": ("direction-specific", "not direction-specific", "less than its null"),
    "E6Δ-mean_difference.norm": ("the SAE adds", "the mean difference is as good",
                                 "the mean difference does more"),
    "E6Δ-U6Δ": ("beats untrained", "untrained is as good", "untrained does more"),
    "E6Δ-U6Δ.frozen": ("beats frozen", "frozen is as good", "frozen does more")}
"""By gap, what is concluded if it is beyond the margin, equivalent to none, or beyond it below."""
SPECIFIC = {
    "patch": ("the ten − ½ patch", 1.0, "ten", 0.5, "patch"),
    "untrained": ("the ten − ten of untrained", 1.0, "ten", 1.0, "ten.untrained"),
    "frozen": ("the ten − ten of frozen decoder", 1.0, "ten", 1.0, "ten.frozen"),
    "matched": ("the ten − ten matched in rate", 1.0, "ten", 1.0, "ten.matched"),
    "components": ("the ten − ten components", 1.0, "ten", 1.0, "ten.components"),
    "removed": ("½ E6Δ − E6Δ without the ten", 0.5, "E6Δ", 1.0, "E6Δ.without")}
"""What must lie beyond the margin for ten features to be feature-specific: by name, how it stands
on pages, and a share of one edit's effect less a share of another's."""
SPECIFIC_VERDICTS = {
    "feature_specific": "feature-specific", "not_refuted": "not refuted",
    "not_specific": "not feature-specific", "inconclusive": "inconclusive",
    "uninformative": "uninformative"}

_WITH_SHARE = ("E2", "E6", "E6Δ", "U6Δ", "U6Δ.frozen", "median_residual", "mean_difference",
               "mean_difference.norm")  # and every E5
_PAIRS = (("E6", "E4"), ("E6", "E1"), ("E6", "half"), ("E1", "half"), ("E6Δ", "E1Δ"),
          ("E6Δ", "E4Δ"), ("E6Δ", "mean_difference.norm"), ("E6Δ", "U6Δ"), ("E6Δ", "U6Δ.frozen"),
          ("E6", "E3"), ("E6", "E2"), ("mean_difference", "random_direction"))
_MIRRORED = ("E4", "E4Δ", "half")


def gap_name(gap: str) -> str:
    """A gap as it stands on pages: "E6 − E1"."""
    return " − ".join(NAMES.get(side, side) for side in gap.split("-"))


def margin_of(cells: Sequence[Cell], share: float) -> float:
    """A share of the clean genuine − sandbag difference, in pp. Not above 0 where the sandbag
    prompt does not lower P(correct): then nothing can be called equivalent."""
    clean = {cell.condition: float(cell.clean_Q.mean()) for cell in cells}
    return share * (clean["genuine"] - clean["sandbag"])


@cached()
def effect_table(cells: Sequence[Cell], *, draws: int, seed: int) -> pd.DataFrame:
    """A row for every intervention; on sandbag prompts with its share of the patch's effect, if
    that is above 0. draws, seed: of the bootstrap."""
    return described(
        pd.DataFrame([row for cell in cells for row in _effects(cell, cells, draws, seed)]),
        "effect of every intervention, by SAE or without one, depth and kind of prompt",
        intervention=("", "E0 to E6 and their forms (methods); E6.0.5 is half of the way, E6.mean "
                          "is with means for medians, E5.16 swaps sixteen features; U6Δ is E6Δ "
                          "through the SAE before its training, U6Δ.frozen through one trained "
                          "with its decoder frozen, and mean_difference.norm the mean difference, "
                          "all three at the norm of E6Δ's step; patch, median_residual, "
                          "mean_difference and random_direction need no SAE"),
        effect=("pp", "P(correct) with the edit less without it, mean over questions"),
        draws=("count", "draws of an edit that is drawn at random, else 1"),
        **with_ends("share", "percent", "effect as a share of the patch's; sandbag prompts alone, "
                    "and only where the patch's interval lies above 0"),
        clean=("percent", "P(correct) without an edit, mean over all evaluating questions"))


@cached()
def gap_table(cells: Sequence[Cell], margin: float, *, draws: int, seed: int) -> pd.DataFrame:
    """A row for every gap between an intervention and a control of it. p_holm: corrected over
    layers and architectures, for each gap and condition. margin: below which a gap is as good as
    none, in pp. draws, seed: of the bootstrap."""
    table = pd.DataFrame([row for cell in cells
                          for row in _gap_rows(cell, cells, margin, draws, seed)])
    corrected = table.groupby(["gap", "prompts"])["p"].transform(lambda p: holm(p.to_numpy()))
    return described(
        table.assign(p_holm=corrected), "differences of two interventions, question by question",
        gap=("", "which: E6-E4 is E6 less E4; half is (E4 + E6) / 2"),
        name=("", "the gap as it stands on pages"),
        mean=("pp", "mean over questions"),
        sigma=("pp", "SD of the same gap between relabelled sets; 0 for an edit that learns no "
                     "labels"),
        wide_low=("pp", "lower end of the 95% interval over questions and relabellings"),
        wide_high=("pp", "upper end"),
        low90=("pp", "lower end of the 90% interval over both, which verdicts go by"),
        high90=("pp", "upper end"),
        empirical_p=("p", "(1 + draws of the control with a mean effect at least as large) / "
                          "(draws + 1); empty if the control is not drawn"),
        detectable=("pp", "smallest gap found with a power of 80%"),
        verdict=("", "equivalent: the 90% interval over both lies within the margin; different: "
                     "the 95% interval over both lies beyond it; else inconclusive; uninformative "
                     "where reconstruction alone leaves under half"),
        conclusion=("", "of gaps that say what the SAE's step owes to its direction or to the SAE: "
                        "what follows from the verdict"),
        verdict_published=("", "the same by the published bound of 0.15 pp"),
        n_published=("count", "questions needed to show, with a power of 80%, that a gap lies "
                              "within the published bound"),
        p_holm=("p", "p, corrected over layers and architectures by Holm"),
        p=("p", "two-sided t-test of the mean gap against 0, over questions and relabellings"))


def credit(gaps: pd.DataFrame) -> pd.DataFrame:
    """At how many places, on sandbag prompts through JumpReLU and through any SAE, E6Δ beats its
    relabelled null and, at equal norm, the mean difference and an untrained SAE."""
    table = gaps[(gaps["prompts"] == "sandbag") & gaps["gap"].isin(CONCLUSIONS)]
    counted = {"direction_specific": ("E6Δ-E1Δ", 0), "sae_adds": ("E6Δ-mean_difference.norm", 0),
               "mean_as_good": ("E6Δ-mean_difference.norm", 1),
               "mean_does_more": ("E6Δ-mean_difference.norm", 2), "beats_untrained": ("E6Δ-U6Δ", 0)}
    rows = []
    for name, of in (("jumprelu", table[table["architecture"] == "jumprelu"]), ("all", table)):
        rows.append({"through": name, "of": int((of["gap"] == "E6Δ-E1Δ").sum()),
                     **{column: int((of["conclusion"] == CONCLUSIONS[gap][place]).sum())
                        for column, (gap, place) in counted.items()}})
    return described(
        pd.DataFrame(rows), "at how many places, an SAE and a layer each, E6Δ on sandbag prompts "
        "beats what it is set against by more than the margin",
        through=("", "jumprelu, or all architectures"), of=("count", "places"),
        direction_specific=("count", "places where it beats its relabelled null E1Δ"),
        sae_adds=("count", "places where it beats the mean difference at equal norm"),
        mean_as_good=("count", "places where it is equivalent to that"),
        mean_does_more=("count", "places where that beats it"),
        beats_untrained=("count", "places where it beats the same through an untrained SAE"))


def specific_table(
    chosen: Sequence[Cell], cells: Sequence[Cell], margin: float, *, draws: int, seed: int
) -> pd.DataFrame:
    """Are ten features the cause? A row for every condition of `SPECIFIC` that a cell of `chosen`,
    one an SAE, has the edits of. cells: those of `effects_at`, for the patch and for what
    reconstruction alone leaves. margin, draws, seed: as for `gap_table`."""
    return described(
        pd.DataFrame([row for cell in chosen
                      for row in _specific_rows(cell, cells, margin, draws, seed)]),
        "what must lie beyond the margin for ten features, chosen on the choosing half, to be "
        "feature-specific; a row an SAE and condition, on sandbag prompts",
        against=("", "which condition"), name=("", "the contrast as it stands on pages"),
        treated=("pp", "the effect, or half of it, that is to be larger, mean over questions"),
        control=("pp", "what is subtracted from it"), mean=("pp", "their difference"),
        outcome=("", "holds: the 95% interval lies above the margin; fails: it lies below the "
                     "margin; else open"),
        verdict=("", "of the SAE at this layer. feature-specific: all conditions hold; not "
                     "refuted: all hold, but no SAE with a frozen decoder is there; not "
                     "feature-specific: one fails; else inconclusive; uninformative where "
                     "reconstruction alone leaves under half"))


def specific_counts(specific: pd.DataFrame) -> pd.DataFrame:
    """At how many places, through JumpReLU and through any SAE, each condition holds and each
    verdict is given."""
    rows = []
    for through, of in (("jumprelu", specific[specific["architecture"] == "jumprelu"]),
                        ("all", specific)):
        places = of.drop_duplicates(["architecture", "layer"])
        rows += [{"through": through, "what": what, "name": f"ten features are {word}",
                  "of": len(places), "count": int((places["verdict"] == word).sum())}
                 for what, word in SPECIFIC_VERDICTS.items()]
        rows += [{"through": through, "what": f"holds.{against}",
                  "name": f"{asked['name'].iloc[0]} lies beyond the margin", "of": len(asked),
                  "count": int((asked["outcome"] == "holds").sum())}
                 for against, asked in of.groupby("against", sort=False)]
    return described(
        pd.DataFrame(rows), "at how many places, an SAE and a layer each, each condition holds and "
        "each verdict is given",
        through=("", "jumprelu, or all architectures"), what=("", "which condition or verdict"),
        name=("", "the same in words"), of=("count", "places where it is asked"),
        count=("count", "places where it is so"))


def seed_table(cells: Sequence[Cell], *, draws: int, seed: int) -> pd.DataFrame:
    """The gaps of SAEs that differ in their training seed alone, numbered in the order of the
    cells; no rows without any. draws, seed: of the bootstrap."""
    rows = []
    for number, cell in enumerate(cells):
        for name, gap in gaps(cell).items():
            rows.append({"training": number, "layer": cell.layer, "gap": name,
                         **mean_interval(gap.per_question, draws, seed,
                                         clusters=gap.clusters).columns("mean")})
    return described(
        pd.DataFrame(rows, columns=["training", "layer", "gap", "mean", "ci_low", "ci_high", "n"]),
        "the gaps of JumpReLU SAEs at one layer that differ in their training seed alone, on "
        "sandbag prompts; no rows where seeds are not compared",
        training=("", "number of the training seed, from 0"),
        gap=("", "which: E6-E4 is E6 less E4"),
        mean=("pp", "mean over questions"))


def over_seeds(seeds: pd.DataFrame) -> pd.DataFrame:
    """Mean and SD of each gap over training seeds."""
    rows = [{"gap": gap, "name": gap_name(gap), "layer": of["layer"].iloc[0],
             "mean": of["mean"].mean(), "sd": of["mean"].std(ddof=1), "n": len(of)}
            for gap, of in seeds.groupby("gap")]
    return described(
        pd.DataFrame(rows, columns=["gap", "name", "layer", "mean", "sd", "n"]),
        "each gap over training seeds; no rows where seeds are not compared",
        gap=("", "which: E6-E4 is E6 less E4"), name=("", "the gap as it stands on pages"),
        mean=("pp", "mean of the gap over training seeds"), sd=("pp", "SD over training seeds"),
        n=("count", "training seeds"))


def headline(
    gaps: pd.DataFrame, margin: float, claimed: Sequence[str] = ("E6-E4", "E6-E1")
) -> pd.DataFrame:
    """What the claimed gaps on sandbag prompts come to, through JumpReLU and through any SAE: how
    many are what, and the one whose 90% interval reaches farthest from none. All gaps are
    equivalent if that one is, and it is not picked for being large."""
    of_claim = gaps[gaps["gap"].isin(claimed) & (gaps["prompts"] == "sandbag")]
    rows = []
    for name, of in (("jumprelu", of_claim[of_claim["architecture"] == "jumprelu"]),
                     ("all", of_claim)):
        informative = of[of["verdict"] != "uninformative"]
        farthest = _farthest(informative)
        if farthest:
            which = (f": {farthest['architecture']}, L{farthest['layer']}, "
                     f"{gap_name(farthest['gap'])}")
        elif len(informative):
            which = ": too few questions for an interval"
        else:
            which = ": none is informative"
        rows.append({
            "through": name, "of": len(of), "which": which, "mean": farthest.get("mean"),
            "low90": farthest.get("low90"), "high90": farthest.get("high90"),
            "n": farthest.get("n", informative["n"].max() if len(informative) else None),
            "informative": len(informative), "layer": farthest.get("layer"), "margin": margin,
            "detectable": farthest.get("detectable"), "n_published": farthest.get("n_published"),
            **{word: int((of["verdict"] == word).sum()) for word in WORDS}})
    return described(
        pd.DataFrame(rows), "what the claimed gaps on sandbag prompts come to",
        through=("", "jumprelu, or all architectures"), of=("count", "claimed gaps"),
        which=("", "the gap whose 90% interval reaches farthest from none"),
        mean=("pp", "that gap"), low90=("pp", "lower end of its 90% interval"),
        high90=("pp", "upper end"), n=("count", "questions"),
        informative=("count", "claimed gaps that are not uninformative"),
        margin=("pp", "what counts as no gap"),
        detectable=("pp", "smallest gap that this number of questions shows with a power of 80%"),
        n_published=("count", "questions needed to show that a gap lies within the published "
                              "bound"),
        **{word: ("count", f"claimed gaps that are {word}") for word in WORDS})


@dataclass(frozen=True)
class Gap:
    """An intervention less a control of it."""

    per_question: np.ndarray
    """[Q]."""
    clusters: tuple[str, ...]
    """Of these questions."""
    empirical_p: float | None
    """Of the intervention among its control's draws, None if that has none."""
    sigma: float
    """SD of such a gap between relabelled sets, in which there is nothing to find: what the gap's
    mean owes to the questions that the edit was learned from."""
    freedom: int
    """How many independent sets that is from."""


def gaps(cell: Cell) -> dict[str, Gap]:
    """By name ("E6-E1"). With draws: on the questions of the draws."""
    effects = dict(cell.effects)
    if {"E4", "E6"} <= effects.keys():
        effects["half"] = (effects["E4"] + effects["E6"]) / 2
    found = {}
    for treated, control in _PAIRS:
        if not {treated, control} <= effects.keys():
            continue
        drawn = max(len(effects[treated]), len(effects[control])) > 1
        first_NQ, second_NQ = (
            of_NQ[:, cell.drawn_subset] if drawn and len(of_NQ) == 1 else of_NQ
            for of_NQ in (effects[treated], effects[control]))
        clusters = cell.clusters
        if drawn:
            clusters = tuple(clusters[place] for place in cell.drawn_subset)
        beyond = None
        if len(second_NQ) > 1:
            beyond = empirical_p(float(first_NQ.mean()), second_NQ.mean(axis=1))
        per_question = first_NQ.mean(axis=0) - second_NQ.mean(axis=0)
        found[f"{treated}-{control}"] = Gap(per_question, clusters, beyond,
                                            *_sigma(treated, control, effects))
    return found


def _sigma(treated: str, control: str, effects: EffectsByName) -> tuple[float, int]:
    """Sigma and its degrees of freedom. Of a swap less its mirror image: of a relabelled set less
    its complement, the next draw. Of a swap less anything else: of a relabelled set. 0 of an edit
    that no relabelled set stands beside: its interval is over questions alone."""
    null = {"E6": "E1", "E6Δ": "E1Δ"}.get(treated)
    if null not in effects:
        return 0.0, 1
    means_N = effects[null].mean(axis=1)
    pairs = len(means_N) // 2
    if control in {"E4", "E4Δ"}:
        means_N = means_N[::2] - means_N[1::2]
    elif control == "half":
        means_N = (means_N[::2] - means_N[1::2]) / 2
    about = 0.0 if control in _MIRRORED else means_N.mean()
    return float(np.sqrt(np.mean((means_N - about) ** 2))), pairs


def _effects(
    cell: Cell, cells: Sequence[Cell], draws: int, seed: int
) -> Iterator[dict[str, object]]:
    patch_Q = _cell(cells, PLAIN, cell.depth, cell.condition).effects["patch"][0]
    reached = mean_interval(patch_Q, draws, seed, clusters=cell.clusters).low
    for name, effects_NQ in cell.effects.items():
        per_question, clusters = effects_NQ.mean(axis=0), cell.clusters
        if len(effects_NQ) > 1:
            clusters = tuple(clusters[place] for place in cell.drawn_subset)
        share = low = high = np.nan
        shared = name in _WITH_SHARE or name.startswith("E5.")
        if shared and cell.condition == "sandbag" and reached > 0:
            of_patch = ratio_interval(per_question, patch_Q, draws, seed,
                                      clusters=cell.clusters)
            share, low, high = (100 * x for x in (of_patch.mean, of_patch.low, of_patch.high))
        sigma = effects_NQ.mean(axis=1).std(ddof=1) if len(effects_NQ) > 1 else np.nan
        yield {**cell.about, "intervention": name,
               **mean_interval(per_question, draws, seed, clusters=clusters).columns("effect"),
               "draws": len(effects_NQ),
               "sigma": float(sigma), "share": share, "share_low": low, "share_high": high,
               "clean": float(cell.clean_Q.mean())}


def _gap_rows(
    cell: Cell, cells: Sequence[Cell], margin: float, draws: int, seed: int
) -> Iterator[dict[str, object]]:
    lost = _reconstruction_loses_half(cell, cells, draws, seed)

    def word(least: float) -> str:
        if lost:
            return "uninformative"
        return verdict(found, least) if least > 0 else "inconclusive"

    for name, gap in gaps(cell).items():
        given = contrast(gap.per_question, draws, seed, gap.clusters)
        found = widened(given, gap.sigma, gap.freedom)
        yield {**cell.about, "gap": name, "name": gap_name(name), "mean": found.mean,
               "ci_low": given.low, "ci_high": given.high, "sigma": gap.sigma,
               "wide_low": found.low, "wide_high": found.high,
               "low90": found.low90, "high90": found.high90,
               "n": found.n, "p": found.p, "empirical_p": gap.empirical_p,
               "detectable": found.detectable, "verdict": word(margin),
               "conclusion": _conclusion(name, word(margin), found.mean),
               "verdict_published": word(PUBLISHED_BOUND),
               "n_published": questions_needed(found.sd, PUBLISHED_BOUND)}


def _specific_rows(
    cell: Cell, cells: Sequence[Cell], margin: float, draws: int, seed: int
) -> list[dict[str, Any]]:
    effects = {**cell.effects, "patch": _cell(cells, PLAIN, cell.depth, "sandbag").effects["patch"]}
    rows = []
    for against, (name, share, treated, of_control, control) in SPECIFIC.items():
        if control not in effects:
            continue
        treated_Q, control_Q = share * effects[treated][0], of_control * effects[control][0]
        found = mean_interval(treated_Q - control_Q, draws, seed, clusters=cell.clusters)
        outcome = "open"
        if margin > 0 and (found.low > margin or found.high < margin):
            outcome = "holds" if found.low > margin else "fails"
        rows.append({**cell.about, "against": against, "name": name, "treated": treated_Q.mean(),
                     "control": control_Q.mean(), **found.columns("mean"), "outcome": outcome})
    outcomes = [row["outcome"] for row in rows]
    if _reconstruction_loses_half(cell, cells, draws, seed):
        verdict = "uninformative"
    elif "fails" in outcomes:
        verdict = "not_specific"
    elif "open" in outcomes:
        verdict = "inconclusive"
    else:
        verdict = "feature_specific" if len(rows) == len(SPECIFIC) else "not_refuted"
    return [{**row, "verdict": SPECIFIC_VERDICTS[verdict]} for row in rows]


def _conclusion(gap: str, verdict: str, mean: float) -> str:
    """What a gap with this verdict and mean says by CONCLUSIONS, "" for a gap that is not there."""
    if gap not in CONCLUSIONS:
        return ""
    more, as_good, less = CONCLUSIONS[gap]
    return {"equivalent": as_good, "different": more if mean > 0 else less}.get(verdict, verdict)


def _reconstruction_loses_half(
    cell: Cell, cells: Sequence[Cell], draws: int, seed: int
) -> bool:
    """Whether E2 alone leaves under half of the genuine P(correct), by the upper end of its 95%
    interval: then its cells are not judged. What E6 leaves does not count."""
    if cell.name == PLAIN:
        return False
    genuine = _cell(cells, cell.name, cell.depth, "genuine")
    return loses_half(share_left(genuine.clean_Q, genuine.effects["E2"][0], genuine.clusters, draws,
                                 seed))


def share_left(
    clean_Q: np.ndarray, effect_Q: np.ndarray, clusters: Clusters, draws: int, seed: int
) -> Interval:
    """Of P(correct) without an edit, what the edit leaves, from its effect; both in pp, [Q]."""
    return ratio_interval(clean_Q + effect_Q, clean_Q, draws, seed, clusters=clusters)


def loses_half(left: Interval) -> bool:
    """Whether under half is left, by the upper end of the interval: then nothing is judged."""
    return left.high < 0.5


def _farthest(gaps: pd.DataFrame) -> dict[str, Any]:
    gaps = gaps.dropna(subset=["low90", "high90"])  # of too few questions
    if gaps.empty:
        return {}
    place = gaps[["low90", "high90"]].abs().max(axis=1).idxmax()
    found: dict[str, Any] = gaps.loc[[place]].to_dict("records")[0]
    return found


def _cell(cells: Sequence[Cell], name: str, depth: str, condition: Condition) -> Cell:
    return next(cell for cell in cells
                if (cell.name, cell.depth, cell.condition) == (name, depth, condition))
