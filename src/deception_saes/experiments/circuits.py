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
    sandbag: RandomHeads, genuine: RandomHeads, *, clusters: Clusters, draws: int, seed: int
) -> pd.DataFrame:
    """The portion of the chosen heads against that of layer-matched random ones, a row a measure
    and unit, pp and logits: headroom alone can make any disruption's portion positive.

    measures: as `_against_draws` says. draws, seed: of the bootstrap. Raises ValueError if the sets
    are not the same under both conditions.
    """
    sets = sandbag.table["kind"].isin(["circuit", "layer_matched"]).to_numpy()
    if sandbag.table["heads"][sets].tolist() != genuine.table["heads"].tolist():
        raise ValueError("other random heads on sandbag than on genuine prompts; draw both with "
                         "one seed, layer-matched alone on genuine prompts")
    p_by_condition = [np.concatenate([of.p_correct[:1], of.p_correct[1:][keep]]) / 100
                      for of, keep in ((sandbag, sets), (genuine, slice(None)))]
    rows: list[dict[str, Any]] = []
    for scale, scaled in (("pp", [100 * p_SQ for p_SQ in p_by_condition]),
                          ("logits", [np.vectorize(logit)(p_SQ) for p_SQ in p_by_condition])):
        on_sandbag_SQ, on_genuine_SQ = (of[1:] - of[0] for of in scaled)
        portions_SQ = on_sandbag_SQ - on_genuine_SQ
        chosen_Q, random_SQ = portions_SQ[0], portions_SQ[1:]
        heads = f"{len(random_SQ)} layer-matched random sets"
        rows += [{"scale": scale} | row for row in _against_draws(chosen_Q, random_SQ, scale, {
            "chosen": "portion: the chosen heads, on the questions of the random ones",
            "random": f"portion: mean of {heads}",
            "gap": f"portion: the chosen heads less {heads}", "sigma": f"portion: SD over {heads}",
            "largest": f"portion: largest of {heads}",
            "p": f"portion: empirical p against {heads}, in {scale}"}, clusters, draws, seed)]
    return described(
        pd.DataFrame(rows), "the portion of the chosen heads against that of random ones",
        measure=("", "chosen: the portion; random: mean of the draws; gap: chosen less random; "
                     "sigma, largest: over draws; p: empirical"),
        scale=("", "what the portion is measured in, pp or logits"), **VALUE_AND_UNIT)


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
