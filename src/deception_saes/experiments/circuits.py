"""Tables of heads: which ones suppress, how stable that is, and what chance gives.

Apart from what runs the model, so that a statistic that is edited makes no run stale.

Shape suffixes: H heads, S head sets, Q questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from deception_saes.analysis import circuit
from deception_saes.analysis.bootstrap import (
    Clusters,
    Interval,
    empirical_p,
    mean_interval,
    percentiles,
)
from deception_saes.analysis.equivalence import verdict_by_share
from deception_saes.cache import cached
from deception_saes.errors import UserError
from deception_saes.experiments.heads import Heads, RandomHeads
from deception_saes.experiments.task import AskedHalf, Subject
from deception_saes.models.anatomy import parse_head
from deception_saes.tasks.scoring import logit
from deception_saes.tidy import MEAN_AND_UNIT, VALUE_AND_UNIT, described

_EARLY = 0.25  # of depth
_OF_PORTION: dict[str, tuple[str, str]] = {
    "measure": ("", "restoration: effect on sandbag prompts; genuine: effect on genuine prompts; "
                    "portion: restoration less that; fall: clean genuine less clean sandbag; "
                    "improved: questions whose P(correct) rises"),
    **MEAN_AND_UNIT}


BESIDE = {"p_correct": "P(correct)", "foil_measure": "P(correct) / (P(correct) + P(foil))",
           "top_is_correct": "likeliest token correct"}
"""What a restoration is set beside, see `beside_restoration`."""


@cached()
def head_table(
    half: AskedHalf, sandbag: pd.DataFrame, genuine: pd.DataFrame, *, draws: int,
    permutations: int, seed: int,
) -> pd.DataFrame:
    """From both sweeps of questions of a half, a row a head: effects in pp with intervals over
    questions, and the p corrected for the number of heads. draws, seed: of the bootstrap."""
    cluster_of = {question.id: question.cluster for question in half.questions}
    heads = [parse_head(name) for name in sandbag["head"]]
    table = pd.DataFrame({"layer": [h.layer for h in heads], "head": [h.head for h in heads]})
    for condition, of in (("sandbag", sandbag), ("genuine", genuine)):
        effects_HQ = effects_of(of)
        clusters = tuple(cluster_of[question] for question in of.columns.drop("head"))
        found = [mean_interval(row, draws, seed, clusters=clusters) for row in effects_HQ]
        table[f"effect_{condition}"] = [interval.mean for interval in found]
        table[f"ci_low_{condition}"] = [interval.low for interval in found]
        table[f"ci_high_{condition}"] = [interval.high for interval in found]
        table[f"n_{condition}"] = effects_HQ.shape[1]
        table[f"p_{condition}"] = circuit.max_t_p_values(effects_HQ, permutations, seed, clusters)
    return described(
        table, "a head a row: the effect of ablating it alone, on the choosing half",
        head=("", "number of the head in its block"),
        **{f"{name}_{c}": (unit, meaning.format(c)) for c in ("sandbag", "genuine")
           for name, unit, meaning in (
            ("effect", "pp", "effect on {} prompts, mean over questions"),
            ("ci_low", "pp", "lower end of its 95% interval, {} prompts"),
            ("ci_high", "pp", "upper end, {} prompts"),
            ("n", "count", "questions, {} prompts"),
            ("p", "p", "two-sided, by flipped signs, corrected for the number of heads by the "
                       "largest |t|, {} prompts"))})


def effects_of(sweep: pd.DataFrame) -> np.ndarray:
    """The sweep as an array, [heads, questions]."""
    effects_HQ: np.ndarray = sweep.drop(columns="head").to_numpy()
    return effects_HQ


def strongest(sweep: pd.DataFrame, n: int) -> Heads:
    """The suppressor heads: the n of largest mean effect. Raises UserError unless there are that
    many heads besides."""
    if not 1 <= n <= len(sweep) // 2:
        raise UserError(f"n_heads is {n}; expected 1 to {len(sweep) // 2}, as many heads again "
                         "are drawn at random")
    return tuple(parse_head(sweep["head"].iloc[place])
                 for place in circuit.top_heads(effects_of(sweep), n))


def of_questions(sweep: pd.DataFrame, half: AskedHalf) -> pd.DataFrame:
    """The sweep's columns of the half's questions. Raises KeyError for one that was not swept."""
    return sweep[["head", *(question.id for question in half.questions)]]


def chosen_by_portion(
    half: AskedHalf, sandbag: pd.DataFrame, genuine: pd.DataFrame, n: int, *, relabellings: int,
    seed: int,
) -> list[Heads]:
    """The n heads of largest mean portion, of the questions of both sweeps of a half; then those
    that are chosen in the same way when the conditions are relabelled: in each cluster of questions
    sandbag and genuine are swapped or not, by one coin for all heads. [1 + relabellings] sets,
    heads by layer."""
    both = [question for question in half.questions
            if question.id in sandbag.columns and question.id in genuine.columns]
    columns = ["head", *(question.id for question in both)]
    portions_HQ = effects_of(sandbag[columns]) - effects_of(genuine[columns])
    clusters = tuple(question.cluster for question in both)
    heads = [parse_head(name) for name in sandbag["head"]]
    chosen = [circuit.top_heads(portions_HQ, n),
              *circuit.top_heads_when_swapped(portions_HQ, n, relabellings, seed, clusters)]
    return [tuple(sorted(heads[place] for place in places)) for places in chosen]


def suppressors(table: pd.DataFrame, heads: Heads) -> pd.DataFrame:
    """Rows of `head_table` of these heads, strongest first: a row a head and condition."""
    rows = []
    for rank, head in enumerate(heads, start=1):
        of = table[(table["layer"] == head.layer) & (table["head"] == head.head)].iloc[0]
        rows += [{"rank": rank, "head": str(head), "layer": head.layer, "condition": condition,
                  "effect": of[f"effect_{condition}"], "ci_low": of[f"ci_low_{condition}"],
                  "ci_high": of[f"ci_high_{condition}"], "n": int(of[f"n_{condition}"])}
                 for condition in ("sandbag", "genuine")]
    return described(pd.DataFrame(rows), "the suppressor heads, each ablated alone, choosing half",
                     rank=("", "1: the strongest"), head=("", "the head"),
                     effect=("pp", "effect on P(correct), mean over questions"))


def n_early(heads: Heads, subject: Subject) -> int:
    """How many of these heads are in the first quarter of the model's depth."""
    return sum(head.layer / subject.model.shape.layers <= _EARLY for head in heads)


def standing_out(table: pd.DataFrame) -> pd.DataFrame:
    """How many heads raise (suppressors) and lower (promoters) P(correct) at corrected p < 0.05,
    under each condition."""
    rows = []
    for condition in ("sandbag", "genuine"):
        significant = table[f"p_{condition}"] < 0.05
        for kind, sign in (("suppressor", 1), ("promoter", -1)):
            count = (significant & (sign * table[f"effect_{condition}"] > 0)).sum()
            rows.append({"kind": kind, "condition": condition, "heads": int(count),
                         "n": len(table)})
    return described(pd.DataFrame(rows), "heads that stand out",
                     kind=("", "suppressor or promoter"),
                     heads=("count", "heads at corrected p < 0.05"), n=("count", "heads in all"))


@cached()
def split_half(
    sweeps: Mapping[str, pd.DataFrame], *, splits: int, seed: int
) -> pd.DataFrame:
    """By condition, the rank correlation of heads' effects between random halves of the questions,
    mean and 95% of so many splits."""
    rows = []
    for condition, of in sweeps.items():
        spread = circuit.split_half_correlation(effects_of(of), splits, seed)
        low, high = percentiles(spread)
        rows.append({"condition": condition, "correlation": float(spread.mean()),
                     "ci_low": low, "ci_high": high, "n": effects_of(of).shape[1]})
    return described(
        pd.DataFrame(rows), "how stable the ranking of heads is",
        correlation=("correlation", "rank correlation of heads' effects between random halves of "
                                    "the questions, mean over splits; the interval holds 95% of "
                                    "them"))


def arm_agreement(
    sweeps: Mapping[str, pd.DataFrame], n_heads: int, *, splits: int, seed: int
) -> pd.DataFrame:
    """How far sweeps of the same questions under several arms agree: a row a pair of arms, and of
    each with itself, which is as far as two could agree. sweeps: by arm.

    correlation: rank correlation of heads' effects, one arm's on a random half of the questions,
    the other's on the other half, mean and 95% of so many splits; shared_by_halves: heads among the
    n strongest of both, mean over splits; shared: the same of all questions.
    """
    rows = []
    for place, (arm, one) in enumerate(sweeps.items()):
        for other_arm, other in list(sweeps.items())[place:]:
            if list(one.columns) != list(other.columns):
                raise ValueError(f"the sweeps under {arm} and {other_arm} are of other questions")
            one_HQ, other_HQ = effects_of(one), effects_of(other)
            spread = circuit.split_half_correlation(one_HQ, splits, seed, other_HQ)
            low, high = percentiles(spread)
            overlap = circuit.split_half_overlap(one_HQ, n_heads, splits, seed, other_HQ)
            shared = set(strongest(one, n_heads)) & set(strongest(other, n_heads))
            rows.append({"arm": arm, "other": other_arm, "correlation": float(spread.mean()),
                         "ci_low": low, "ci_high": high, "shared": len(shared),
                         "shared_by_halves": float(overlap.mean()), "n": one_HQ.shape[1]})
    return described(
        pd.DataFrame(rows), "how far the rankings of heads under several arms agree",
        arm=("", "how the questions are put: a framing"),
        other=("", "the other arm; the same one: how far its own halves agree"),
        correlation=("correlation", "rank correlation of heads' effects, one arm's on a random "
                                    "half of the questions, the other's on the other half, mean "
                                    "over splits; the interval holds 95% of them"),
        shared=("count", "heads that are among the strongest of both, all questions"),
        shared_by_halves=("heads", "the same, one arm's on a random half, the other's on the other "
                                   "half, mean over splits"))


def between_conditions(sandbag: pd.DataFrame, genuine: pd.DataFrame) -> float:
    """Correlation over heads of their mean effects under the two conditions."""
    return float(np.corrcoef(effects_of(sandbag).mean(axis=1),
                             effects_of(genuine).mean(axis=1))[0, 1])


def against_random(
    of: RandomHeads, *, clusters: Clusters, draws: int, seed: int
) -> pd.DataFrame:
    """The chosen heads against each kind of random ones, a row a kind and measure.

    random: mean effect of the draws; gap: the chosen heads' effect less that mean, question by
    question; sigma: SD over draws; p: (1 + draws at least as large) / (1 + draws); damage: mean KL
    on a neutral text. draws, seed: of the bootstrap.
    """
    kl = of.table.groupby("kind")["kl"].mean()
    chosen_Q = of.of("circuit")[0]
    rows: list[dict[str, Any]] = [{
        "kind": "circuit", "measure": "damage", "value": kl["circuit"], "unit": "nats",
        "quantity": "mean KL on a neutral text, suppressor heads ablated"}]
    for kind in of.table["kind"].unique()[1:]:
        effects_SQ = of.of(kind)
        about = {"kind": kind, "sets": len(effects_SQ)}
        heads = f"{kind.replace('_', '-')} random heads"
        rows += [about | row for row in _against_draws(chosen_Q, effects_SQ, "pp", {
            "random": f"mean effect of {heads}, {len(effects_SQ)} draws",
            "gap": f"specificity gap against {heads}", "sigma": f"SD over draws of {heads}",
            "p": f"empirical p against {heads}"}, clusters, draws, seed)]
        rows.append({**about, "measure": "damage", "value": kl[kind], "unit": "nats",
                     "quantity": f"mean KL on a neutral text, {heads}", "n": len(effects_SQ)})
    return described(
        pd.DataFrame(rows), "the suppressors against random heads of each kind",
        kind=("", "of random heads; circuit: the suppressors themselves"),
        sets=("count", "random sets drawn"),
        measure=("", "random: mean effect of the draws; gap: suppressors less that mean; sigma: "
                     "SD over draws; p: empirical; damage: mean KL on a neutral text"),
        **VALUE_AND_UNIT)


def _against_draws(
    chosen_Q: np.ndarray, drawn_SQ: np.ndarray, unit: str, quantities: Mapping[str, str],
    clusters: Clusters, draws: int, seed: int,
) -> Iterator[dict[str, Any]]:
    """What was chosen against what was drawn, a row each measure that `quantities` names in words.

    chosen; random: mean of the draws; gap: chosen less that mean, question by question; sigma,
    largest: SD and largest over draws; p: empirical. draws, seed: of the bootstrap.
    """
    random_Q, by_draw = drawn_SQ.mean(axis=0), drawn_SQ.mean(axis=1)
    by_question = {"chosen": chosen_Q, "random": random_Q, "gap": chosen_Q - random_Q}
    of_draws = {"sigma": (float(by_draw.std(ddof=1)), unit),
                "largest": (float(by_draw.max()), unit),
                "p": (empirical_p(float(chosen_Q.mean()), by_draw), "p")}
    for measure, quantity in quantities.items():
        about = {"measure": measure, "quantity": quantity}
        if measure in by_question:
            found = mean_interval(by_question[measure], draws, seed, clusters=clusters)
            yield {**about, "unit": unit, **found.columns()}
        else:
            value, of_unit = of_draws[measure]
            yield {**about, "unit": of_unit, "value": value, "n": len(drawn_SQ)}


def levels(
    p_correct_Q: Mapping[tuple[str, str], np.ndarray], n_heads: int, *, clusters: Clusters,
    draws: int, seed: int,
) -> pd.DataFrame:
    """P(correct) by condition and mode (clean, zero, mean), the effects of both modes and the
    difference between them, and what an ablated sandbag prompt has more than a clean genuine one,
    in pp. p_correct_Q: in percent, [questions]. n_heads: how many are ablated."""
    rows = []

    def row(measure: str, condition: str, mode: str, per_question: np.ndarray, unit: str,
            quantity: str) -> None:
        rows.append({"measure": measure, "condition": condition, "mode": mode, "unit": unit,
                     "quantity": quantity,
                     **mean_interval(per_question, draws, seed, clusters=clusters).columns()})

    for (condition, mode), p_Q in p_correct_Q.items():
        row("p_correct", condition, mode, p_Q / 100, "probability", f"P(correct), {mode}")
    for condition in dict.fromkeys(condition for condition, _ in p_correct_Q):
        clean, zero, mean = (p_correct_Q[condition, mode] for mode in ("clean", "zero", "mean"))
        name = "restoration" if condition == "sandbag" else "effect on genuine prompts"
        for mode, ablated in (("zero", zero), ("mean", mean)):
            row("effect", condition, mode, ablated - clean, "pp",
                f"{name} by {mode} ablation of the {n_heads} suppressor heads")
        row("effect", condition, "zero_minus_mean", zero - mean, "pp", "zero minus mean ablation")
    for mode in ("zero", "mean"):
        row("above_genuine", "sandbag", mode,
            p_correct_Q["sandbag", mode] - p_correct_Q["genuine", "clean"], "pp",
            f"P(correct) on sandbag prompts by {mode} ablation of the {n_heads} suppressor heads "
            "less that on genuine prompts without ablation")
    return described(
        pd.DataFrame(rows), "the suppressor heads ablated together, by zeros and by means",
        measure=("", "p_correct; effect: P(correct) ablated less clean; above_genuine: ablated "
                     "sandbag prompt less clean genuine one"),
        mode=("", "clean, zero, mean, or zero_minus_mean"),
        **MEAN_AND_UNIT)


def by_question(
    half: AskedHalf, p_correct_Q: Mapping[tuple[str, str], np.ndarray]
) -> pd.DataFrame:
    """P(correct) of each question by condition and mode. p_correct_Q: in percent, [questions]."""
    modes = {"clean": "no ablation", "zero": "the suppressor heads set to zero",
             "mean": "the suppressor heads set to their means"}
    return described(
        pd.DataFrame({"question": [question.id for question in half.questions], **{
            f"p_correct_{condition}_{mode}": p_Q / 100
            for (condition, mode), p_Q in p_correct_Q.items()}}),
        "an evaluating question a row",
        **{f"p_correct_{condition}_{mode}": ("probability",
                                             f"P(correct), {condition} prompt, {modes[mode]}")
           for condition, mode in p_correct_Q})


def beside_restoration(
    answers: Mapping[str, pd.DataFrame], *, draws: int, seed: int
) -> pd.DataFrame:
    """Other measures of what a model answers, by state, and what each state gains over the clean
    sandbag prompt. answers: as `heads.answers` gives them; those of the state "sandbag" are the
    clean ones. A row a state and measure: `level`, and `value`, the gain in pp with its interval.
    """
    clean = answers["sandbag"]
    rows = [{"state": state, "measure": measure, "level": of[measure].mean(), "unit": "pp",
             "quantity": f"{title}, {state} less clean sandbag",
             **mean_interval(100 * (of[measure] - clean[measure]), draws, seed,
                             clusters=tuple(clean["cluster"])).columns()}
            for state, of in answers.items() for measure, title in BESIDE.items()]
    return described(
        pd.DataFrame(rows), "what a model answers, in several measures and states",
        state=("", "sandbag, genuine: the clean prompt; ablated: sandbag, the heads set to zero; "
                   "sharpened: sandbag, clean, at half the temperature"),
        measure=("", "p_correct, foil_measure: P(correct) / (P(correct) + P(foil)), "
                     "top_is_correct: share of questions whose likeliest token is correct"),
        level=("probability", "mean over questions"), **MEAN_AND_UNIT)


def subset_table(
    sets: Sequence[Heads], restored: Sequence[np.ndarray], on_choosing_S: np.ndarray,
    best: set[int], *, half: AskedHalf, draws: int, seed: int,
) -> pd.DataFrame:
    """One row a set: its restoration on questions of a half, all or evenly spread, with an interval
    of so many bootstrap draws, and on the choosing half."""
    rows = []
    for place, (heads, restoration_Q) in enumerate(zip(sets, restored, strict=True)):
        alone = len(heads) == 1
        rows.append({"size": len(heads), "heads": " ".join(map(str, heads)),
                     "rank": place + 1 if alone else 0,
                     "layer": heads[0].layer if alone else None,
                     **mean_interval(
                         restoration_Q, draws, seed,
                         clusters=half.spread(len(restoration_Q)).clusters).columns("restoration"),
                     "on_choosing": float(on_choosing_S[place]), "best_of_size": place in best})
    return described(
        pd.DataFrame(rows), "restoration by every subset of the suppressors, sandbag prompts",
        size=("count", "heads ablated together"), heads=("", "the heads that are ablated"),
        rank=("", "of a single head: 1 for the strongest suppressor; 0 of several"),
        layer=("", "of a single head: its layer"),
        restoration=("pp", "effect of the ablation on P(correct | sandbag)"),
        on_choosing=("pp", "the same on the choosing half, by which the best of a size is picked"),
        best_of_size=("", "whether it is the best of its size on the choosing half"))


def redundancy(
    restored: Sequence[np.ndarray], sets: Sequence[Heads], *, clusters: Clusters, draws: int,
    seed: int,
) -> pd.DataFrame:
    """Sum of the single heads' restorations, pp, and redundancy, 1 − combined / sum, percent;
    missing where the sum's interval is not above zero."""
    alone_HQ = np.stack([of for of, heads in zip(restored, sets, strict=True) if len(heads) == 1])
    found = circuit.redundancy(restored[-1], alone_HQ, draws, seed, clusters=clusters)
    n, nan = len(restored[-1]), float("nan")
    share = found.share or Interval(nan, nan, nan, n)
    percent = Interval(100 * share.mean, 100 * share.low, 100 * share.high, n)
    return described(
        pd.DataFrame([
            {"measure": "sum_of_singles", "unit": "pp", "quantity": "sum of the single-head "
             "effects", **found.sum_of_singles.columns()},
            {"measure": "redundancy", "unit": "percent", "quantity": "redundancy, 1 − combined / "
             "sum of singles", **percent.columns()}]),
        "how far the suppressors' effects add up",
        measure=("", "sum_of_singles: sum of the single heads' restorations; redundancy: 1 − "
                     "combined / that sum, missing where its interval is not above zero"),
        **VALUE_AND_UNIT)


def portion(
    effects: Mapping[str, np.ndarray], clean: Mapping[str, np.ndarray], *, clusters: Clusters,
    draws: int, seed: int,
) -> pd.DataFrame:
    """What an ablation does to sandbag prompts, to genuine ones, and the difference; the clean fall
    between both, which is all that could be restored; and how many questions it improves. effects:
    on P(correct) by condition, in pp, [questions]. clean: P(correct) in percent."""
    sandbag_Q, genuine_Q = effects["sandbag"], effects["genuine"]
    rows = [
        {"measure": measure, "condition": condition, "unit": unit, "quantity": quantity,
         **mean_interval(per_question, draws, seed, clusters=clusters).columns()}
        for measure, condition, per_question, unit, quantity in (
            ("restoration", "sandbag", sandbag_Q, "pp", "restoration"),
            ("genuine", "genuine", genuine_Q, "pp", "effect on genuine prompts"),
            ("portion", "sandbag", sandbag_Q - genuine_Q, "pp", "portion"),
            ("fall", "sandbag", clean["genuine"] - clean["sandbag"], "pp",
             "clean genuine less clean sandbag"),
            *(("improved", condition, 100.0 * (of_Q > 0), "percent",
               "share of questions that the ablation improves")
              for condition, of_Q in effects.items()))]
    return described(pd.DataFrame(rows), "what the ablation does under both conditions",
                     **_OF_PORTION)


def portion_against_random(
    by_mode: Mapping[str, tuple[RandomHeads, RandomHeads]], *, clusters: Clusters, draws: int,
    seed: int,
) -> pd.DataFrame:
    """The portion of the chosen heads against that of layer-matched random ones, a row a mode,
    measure and unit, pp and logits: headroom alone can make any disruption's portion positive.

    by_mode: by zero or mean ablation, those of sandbag and of genuine prompts. measures: as
    `_against_draws` says. draws, seed: of the bootstrap. Raises ValueError if the sets are not the
    same under both conditions.
    """
    rows: list[dict[str, Any]] = []
    for mode, (sandbag, genuine) in by_mode.items():
        matched = [of.table["kind"].isin(["circuit", "layer_matched"]).to_numpy()
                   for of in (sandbag, genuine)]
        named = [of.table["heads"][keep].tolist()
                 for of, keep in zip((sandbag, genuine), matched, strict=True)]
        if named[0] != named[1]:
            raise ValueError("other random heads on sandbag than on genuine prompts; draw both "
                             "with one seed")
        p_by_condition = [np.concatenate([of.p_correct[:1], of.p_correct[1:][keep]])
                          for of, keep in zip((sandbag, genuine), matched, strict=True)]
        for scale, portions_SQ in _portions(*p_by_condition):
            chosen_Q, random_SQ = portions_SQ[0], portions_SQ[1:]
            heads = f"{len(random_SQ)} layer-matched random sets, {mode} ablation"
            rows += [{"mode": mode, "scale": scale} | row
                     for row in _against_draws(chosen_Q, random_SQ, scale, {
                "chosen": f"portion: the chosen heads, on the questions of the random ones, {mode} "
                          "ablation",
                "random": f"portion: mean of {heads}",
                "gap": f"portion: the chosen heads less {heads}",
                "sigma": f"portion: SD over {heads}", "largest": f"portion: largest of {heads}",
                "p": f"portion: empirical p against {heads}, in {scale}"}, clusters, draws, seed)]
    return described(
        pd.DataFrame(rows), "the portion of the chosen heads against that of random ones",
        mode=("", "what the heads' outputs are set to: zero, or mean, over questions of the "
                  "choosing half"),
        measure=("", "chosen: the portion; random: mean of the draws; gap: chosen less random; "
                     "sigma, largest: over draws; p: empirical"),
        scale=("", "what the portion is measured in, pp or logits"), **VALUE_AND_UNIT)


def _portions(
    sandbag_SQ: np.ndarray, genuine_SQ: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Portions of head sets, [S, Q], in pp and in logits. Given is P(correct) in percent on sandbag
    and on genuine prompts, of the clean model and then of the sets, [1 + S, Q]."""
    for scale, (sandbag, genuine) in (
        ("pp", (sandbag_SQ, genuine_SQ)),
        ("logits", [np.vectorize(logit)(of / 100) for of in (sandbag_SQ, genuine_SQ)]),
    ):
        yield scale, (sandbag[1:] - sandbag[0]) - (genuine[1:] - genuine[0])


def portion_when_relabelled(
    sets: Sequence[Heads], p_correct_SQ: Mapping[str, np.ndarray], *, clusters: Clusters,
    draws: int, seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The portion of heads that were chosen by portion against its null: that of heads chosen in
    the same way after relabelling. Beside it the portion of the suppressors, chosen otherwise.

    sets: the suppressors, then those of `chosen_by_portion`. p_correct_SQ: by condition, percent,
    of the clean model and then of the sets, on questions that chose none of them, [1 + S, Q].
    Two tables: a row a set, and a row a measure and unit, pp and logits; measures as
    `_against_draws` says. draws, seed: of the bootstrap.
    """
    kinds = ["suppressors", "chosen", *["relabelled"] * (len(sets) - 2)]
    by_set = pd.DataFrame({"kind": kinds, "heads": [" ".join(map(str, of)) for of in sets]})
    many = f"{len(sets) - 2} relabellings"
    rows: list[dict[str, Any]] = []
    for scale, portions_SQ in _portions(p_correct_SQ["sandbag"], p_correct_SQ["genuine"]):
        by_set[f"portion_{scale}"] = portions_SQ.mean(axis=1)
        found = mean_interval(portions_SQ[0], draws, seed, clusters=clusters)
        rows.append({"scale": scale, "measure": "suppressors", "unit": scale,
                     "quantity": "portion of the suppressor heads, same questions",
                     **found.columns()})
        rows += [{"scale": scale} | row
                 for row in _against_draws(portions_SQ[1], portions_SQ[2:], scale, {
            "chosen": "portion of the heads that are chosen by portion",
            "random": f"portion of heads so chosen after relabelling, mean of {many}",
            "gap": f"portion of the heads chosen by portion less the mean of {many}",
            "sigma": f"portion: SD over {many}", "largest": f"portion: largest of {many}",
            "p": f"portion of the heads chosen by portion: p against {many}, in {scale}"},
            clusters, draws, seed)]
    return (
        described(by_set, "a set of heads a row, and its portion on evaluating questions",
                  kind=("", "suppressors: those chosen by restoration; chosen: by portion; "
                            "relabelled: by portion, the conditions swapped at random within "
                            "questions"),
                  heads=("", "the heads that are ablated"),
                  portion_pp=("pp", "portion, mean over questions"),
                  portion_logits=("logits", "the same in logits")),
        described(pd.DataFrame(rows), "the portion of heads chosen by portion against its null",
                  measure=("", "suppressors: the portion of those; chosen: of the heads chosen by "
                               "portion; random: mean of the relabellings; gap: chosen less "
                               "random; sigma, largest: over relabellings; p: (1 + relabellings "
                               "at least as large) / (1 + relabellings)"),
                  scale=("", "what the portion is measured in, pp or logits"), **VALUE_AND_UNIT))


def portion_by_question(
    half: AskedHalf, effects: Mapping[str, np.ndarray], clean_genuine_Q: np.ndarray
) -> pd.DataFrame:
    """The effects that `portion` is about, question by question. clean_genuine_Q: P(correct) of the
    clean genuine prompt, a probability."""
    return described(
        pd.DataFrame({"question": [question.id for question in half.questions], **effects,
                      "p_correct_genuine": clean_genuine_Q}),
        "effect of setting the suppressor heads to 0, question by question",
        genuine=("pp", "effect on the genuine prompt"),
        sandbag=("pp", "effect on the sandbag prompt"),
        p_correct_genuine=("probability", "P(correct) of the clean genuine prompt"))


def across_models(
    measured: Sequence[tuple[AskedHalf, Heads, pd.DataFrame]], not_run: Mapping[str, str]
) -> pd.DataFrame:
    """From questions, the heads that were ablated and what `portion` found: a row a model, framing
    and measure. not_run: the reasons why other models were not run, by slug, a row each."""
    rows = [{"model": half.task.model, "name": half.task.subject.model.name,
             "framing": half.framing.name, "status": "done", "heads": " ".join(map(str, heads)),
             **row}
            for half, heads, found in measured for row in found.to_dict("records")]
    rows += [{"model": slug, "status": "not run", "reason": reason}
             for slug, reason in not_run.items()]
    columns = ["model", "name", "framing", "status", "reason", "heads", "measure", "condition",
               "value", "ci_low", "ci_high", "unit", "n", "quantity"]
    return described(
        pd.DataFrame(rows, columns=columns), "a model, framing and measure a row",
        name=("", "full name of the language model"), status=("", "done or not run"),
        heads=("", "the suppressor heads that were ablated"), **_OF_PORTION)


def across_arms(
    measured: Sequence[tuple[str, str, Heads, Mapping[str, np.ndarray], Mapping[str, np.ndarray]]],
    *, share: float, clusters: Clusters, draws: int, seed: int,
) -> pd.DataFrame:
    """Heads chosen under one arm and ablated under another: a row such a pair and measure of
    `portion`. measured: arm of the choice, arm of the test, the heads, and what `portion` is given.

    outcome: of restoration and portion, whether they differ from nothing by more than the share of
    the fall, which is resampled with them; "no fall shown" where its interval does not lie above 0.
    """
    rows = []
    for chosen, tested, heads, effects, clean in measured:
        found = portion(effects, clean, clusters=clusters, draws=draws, seed=seed)
        fall_Q = clean["genuine"] - clean["sandbag"]
        falls = found.set_index("measure").loc["fall", "ci_low"] > 0
        for measure, per_question in (("restoration", effects["sandbag"]),
                                      ("portion", effects["sandbag"] - effects["genuine"])):
            found.loc[found["measure"] == measure, "outcome"] = (
                verdict_by_share(per_question, fall_Q, share, draws, seed, clusters) if falls
                else "no fall shown")
        rows += [{"chosen": chosen, "tested": tested, "heads": " ".join(map(str, heads)), **row}
                 for row in found.to_dict("records")]
    columns = ["chosen", "tested", "heads", *_OF_PORTION, "condition", "ci_low", "ci_high", "n",
               "outcome", "quantity"]
    return described(
        pd.DataFrame(rows, columns=columns), "an arm under which heads are chosen, one under which "
        "they are ablated, and a measure a row",
        chosen=("", "framing under which the heads are chosen, on the choosing half"),
        tested=("", "framing under which they are ablated, on the evaluating half"),
        heads=("", "the heads that are ablated"),
        outcome=("", "different, equivalent or inconclusive, against a share of the fall; no fall "
                     "shown where its interval does not lie above 0"), **_OF_PORTION)


def over_passages(cost: pd.DataFrame) -> pd.DataFrame:
    """Of the table of `heads.text_cost`, means over the positions of all passages."""
    predicted = cost["tokens"] - 1
    weights = predicted / predicted.sum()
    return described(
        pd.DataFrame([
            {"measure": measure, "value": float((weights * cost[measure]).sum()),
             "n": int(predicted.sum()), "quantity": quantity}
            for measure, quantity in (
                ("clean", "cross-entropy of the neutral text, clean"),
                ("ablated", "cross-entropy of the neutral text, heads ablated"),
                ("kl", "mean KL(clean ‖ ablated) on the neutral text"))]),
        "what the ablation costs the neutral text as a whole",
        measure=("", "clean, ablated: cross-entropy; kl: KL(clean ‖ ablated)"),
        value=("nats", "mean over positions"), n=("count", "positions"))


@cached()
def stability(sweep: pd.DataFrame, *, n_heads: int, splits: int, seed: int) -> pd.DataFrame:
    """How often each head is among the n strongest on a random half of the sweep's questions."""
    share_H = circuit.selection_frequency(effects_of(sweep), n_heads, splits, seed)
    table = pd.DataFrame({"head": sweep["head"], "share_of_splits": share_H})
    return described(
        table[share_H > 0].reset_index(drop=True), "heads that are among the suppressors in any "
        "random half of the choosing half",
        share_of_splits=("share", "halves in which the head is among them"))


def mean_share(stability: pd.DataFrame, heads: Heads) -> float:
    """Of the table of `stability`, the mean share of these heads, in percent."""
    share = stability.set_index("head")["share_of_splits"]
    return float(100 * share.reindex([str(head) for head in heads], fill_value=0.0).mean())
