"""§23: the sandbagging task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deception_saes.experiments.asking import ANSWER_MEASURES
from deception_saes.experiments.factors import MEASURES
from deception_saes.paper.numbers import row_value, with_interval
from deception_saes.paper.plots.common import Colours, ends, legend_below, visible_token
from deception_saes.tasks.framings import CONDITIONS, FRAMINGS

CO_PRIMARY = ("two_shot_labelled", "two_shot_same_prefix")
_EXAMPLES = 12


def _of_first_model(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the primary model, which comes first."""
    return table[table["model"] == table["model"].iloc[0]]


def _answerable(questions: pd.DataFrame, framing: str) -> pd.DataFrame:
    of = _of_first_model(questions)
    return of[(of["framing"] == framing) & of["half"].notna()]


_INSTRUCTIONS = {"none": ("none", "muted", "o"), "correct": ("answer correctly", "genuine", "s"),
                 "wrong": ("answer wrongly", "sandbag", "D"),
                 "threat": ("threat", "neutral", "^")}
"""By instruction: how legends name it, its colour and its marker."""
_EXAMPLES_SHOWN = {"none": "no examples", "right": "right examples", "wrong": "wrong examples"}


def factorial(figure: Figure, colours: Colours, levels: pd.DataFrame) -> None:
    """P(correct) of every cell: a row for worked examples and label, a mark an instruction."""
    axes = figure.subplots()
    rows = list(dict.fromkeys(zip(levels["examples"], levels["label"], strict=True)))
    for shift, (instruction, of) in zip((-0.2, 0.0, 0.2), levels.groupby("instruction", sort=False),
                                        strict=True):
        name, colour, marker = _INSTRUCTIONS[str(instruction)]
        places = [rows.index(row) + shift
                  for row in zip(of["examples"], of["label"], strict=True)]
        axes.errorbar(of["p_correct"], places, xerr=ends(of, "p_correct"), fmt=marker,
                      color=colours[colour], markersize=5, capsize=2, label=name)
    for edge in (2.5, 5.5):
        axes.axhline(edge, color=colours["muted"], linewidth=0.6)
    axes.set_yticks(range(len(rows)), [f"{_EXAMPLES_SHOWN[examples]}, “{label}”"
                                       for examples, label in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("P(correct)")
    axes.set_xlim(left=0)
    legend_below(figure, axes)


def factor_forest(figure: Figure, colours: Colours, effects: pd.DataFrame) -> None:
    """What each factor takes from P(correct), alone and last: a panel a pair of arms."""
    of = effects[effects["measure"] == "p_correct"]
    arms = list(dict.fromkeys(of["framing"]))
    panels = figure.subplots(len(arms), 1, sharex=True, gridspec_kw={
        "height_ratios": [(of["framing"] == name).sum() for name in arms]})
    for axes, name in zip(panels, arms, strict=True):
        rows = of[of["framing"] == name]
        axes.errorbar(rows["value"], range(len(rows)), xerr=ends(rows, "value"), fmt="none",
                      ecolor=colours["ink"], capsize=2)
        axes.scatter(rows["value"], range(len(rows)), zorder=3, s=28, color=[
            colours["ink" if factor == "all" else
                    "sandbag" if factor == "instruction" else "genuine"]
            for factor in rows["factor"]])
        axes.axvline(0, color=colours["muted"], linewidth=0.8)
        axes.set_yticks(range(len(rows)), [_change(*of_row) for of_row in
                                           zip(rows["factor"], rows["context"], strict=True)])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_title(_ARMS_SHOWN[name])
    panels[-1].set_xlabel("fall of P(correct), pp")


_ARMS_SHOWN = {"two_shot_labelled":
               "labelled: two examples, “Correct answer:” against “Wrong answer:”",
               "two_shot_same_prefix": "same prefix: two examples, “A:” in both arms",
               "no_examples": "no examples, “A:” in both arms"}


def _change(factor: str, context: str) -> str:
    if factor != "all":
        return f"{factor}, {'changed alone' if context == 'alone' else 'added last'}"
    return "all of them" if context == "given" else "all, no instruction given"


def wordings(figure: Figure, colours: Colours, levels: pd.DataFrame) -> None:
    """P(correct) under every wording of every instruction, held-out ones hollow."""
    axes = figure.subplots()
    labels = []
    for place, row in enumerate(levels.itertuples()):
        _, colour, marker = _INSTRUCTIONS[str(row.instruction)]
        axes.errorbar(row.p_correct, place, xerr=[[row.p_correct - row.ci_low],
                                                  [row.ci_high - row.p_correct]],
                      fmt=marker, color=colours[colour], capsize=2, markersize=5,
                      markerfacecolor="none" if row.held_out else colours[colour])
        labels.append(row.wording)
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel("P(correct)")
    axes.set_xlim(left=0)


def factor_rows(effects: pd.DataFrame) -> pd.DataFrame:
    """What each factor takes, in every measure."""
    keys = ["framing", "factor", "context"]
    by_measure = effects.set_index([*keys, "measure"])
    rows = []
    for key in dict.fromkeys(effects[keys].itertuples(index=False, name=None)):
        (framing, factor, context), of = key, by_measure.loc[key]
        rows.append({"arms": framing.replace("_", " "), "changed": _change(factor, context),
                     "n": int(of["n"].iloc[0]),
                     **{_BRIEFLY.get(measure, title): with_interval(row_value(of.loc[measure]))
                        for measure, (title, _) in MEASURES.items()}})
    return pd.DataFrame(rows)


_BRIEFLY = {"top_is_correct": "likeliest token correct"}
"""Headings of measures whose own name is long."""


def wording_rows(effects: pd.DataFrame) -> pd.DataFrame:
    """What the instructions take, over wordings."""
    return pd.DataFrame({
        "from “answer correctly” to": [_INSTRUCTIONS[name][0] for name in effects["instruction"]],
        "over": effects["over"].map({"mean": "all wordings", "largest": "the worst wording",
                                     "held_out": "the held-out wordings"}),
        "fall of P(correct)": [with_interval(row_value(row)) for _, row in effects.iterrows()]})


def prompts(in_full: pd.DataFrame) -> pd.DataFrame:
    """Prompts as quotations, the arms of a pair together."""
    return pd.DataFrame({
        "group": in_full["framing"].map(_ARMS_SHOWN), "label": in_full["arm"],
        "about": [f"instruction: {instruction}; examples: {examples}"
                  for instruction, examples in zip(in_full["instruction"], in_full["examples"],
                                                   strict=True)],
        "before": "", "text": in_full["text"]})


def by_framing(figure: Figure, colours: Colours, contrasts: pd.DataFrame) -> None:
    """P(correct) with its interval: one panel a question set, one row a framing."""
    levels = _of_first_model(contrasts)
    levels = levels[levels["measure"] == "p_correct"]
    framings = list(dict.fromkeys(levels["framing"]))
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, subset in zip(panels, ("answerable", "all"), strict=True):
        for row, framing in enumerate(framings):
            for shift, condition in zip((-0.2, 0.0, 0.2), CONDITIONS, strict=True):
                found = levels[(levels["framing"] == framing) & (levels["questions"] == subset)
                               & (levels["contrast"] == condition)]
                if found.empty:
                    continue
                of = found.iloc[0]
                ends = None
                if not pd.isna(of["ci_low"]):
                    ends = [[of["value"] - of["ci_low"]], [of["ci_high"] - of["value"]]]
                axes.errorbar(of["value"], row + shift, xerr=ends,
                              fmt="osD"[int(5 * shift) + 1],
                              color=colours[condition], markersize=5, capsize=2,
                              label=condition if row == 0 else None)
        axes.set_yticks(range(len(framings)), [FRAMINGS[name].title for name in framings])
        axes.set_xlabel("P(correct)")
        axes.set_title(f"{subset} questions")
        axes.set_xlim(left=0)
    panels[0].invert_yaxis()
    legend_below(figure, panels[0])


def paired(figure: Figure, colours: Colours, questions: pd.DataFrame) -> None:
    """Every answerable question from genuine to sandbag, under the co-primary framings."""
    panels = figure.subplots(1, 2, sharey=True)
    for axes, framing in zip(panels, CO_PRIMARY, strict=True):
        rows = _answerable(questions, framing)
        pairs = rows[["p_correct_genuine", "p_correct_sandbag"]].to_numpy()
        for pair in pairs:
            fell = pair[1] < pair[0]
            axes.plot([0, 1], pair, color=colours["genuine" if fell else "sandbag"],
                      alpha=0.18 if fell else 0.7, linewidth=0.8)
        axes.plot([0, 1], pairs.mean(axis=0), "o-", color=colours["ink"], linewidth=2.5)
        axes.set_xticks([0, 1], ["genuine", "sandbag"])
        axes.set_xlim(-0.15, 1.15)
        axes.set_title(f"{FRAMINGS[framing].title} (n = {len(rows)})")
        axes.grid(visible=False, axis="x")
    panels[0].set_ylabel("P(correct)")
    panels[0].set_ylim(0, 1)


def null_contrast(figure: Figure, colours: Colours, questions: pd.DataFrame) -> None:
    """Distribution over questions of genuine − sandbag, beside its null genuine − neutral."""
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, framing in zip(panels, CO_PRIMARY, strict=True):
        rows = _answerable(questions, framing)
        for condition in ("neutral", "sandbag"):
            difference = 100 * (rows["p_correct_genuine"] - rows[f"p_correct_{condition}"])
            share = np.arange(1, len(difference) + 1) / len(difference)
            axes.step(np.sort(difference), share, where="post", color=colours[condition],
                      linestyle="--" if condition == "neutral" else "-", linewidth=1.8,
                      label=f"genuine − {condition}")
        axes.axvline(0, color=colours["muted"], linewidth=0.8)
        axes.set_xlabel("difference in P(correct), pp")
        axes.set_title(FRAMINGS[framing].title)
    panels[0].set_ylabel("share of questions")
    legend_below(figure, panels[0])


def by_topic(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """Mean P(correct) by topic under the co-primary framings, all questions."""
    table = _of_first_model(table)
    topics = list(dict.fromkeys(table["topic"]))
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, framing in zip(panels, CO_PRIMARY, strict=True):
        for shift, condition in ((-0.12, "genuine"), (0.12, "sandbag")):
            rows = table[(table["framing"] == framing) & (table["condition"] == condition)]
            rows = rows.set_index("topic").loc[topics]
            ends = [rows["p_correct"] - rows["ci_low"], rows["ci_high"] - rows["p_correct"]]
            axes.errorbar(rows["p_correct"], np.arange(len(topics)) + shift, xerr=ends,
                          fmt="o" if condition == "genuine" else "D", markersize=5, capsize=2,
                          color=colours[condition], label=condition)
        counts = rows["n"].astype(int)
        axes.set_yticks(range(len(topics)),
                        [f"{topic} ({n})" for topic, n in zip(topics, counts, strict=True)])
        axes.set_xlabel("P(correct)")
        axes.set_title(FRAMINGS[framing].title)
        axes.set_xlim(left=0)
    panels[0].invert_yaxis()
    legend_below(figure, panels[0])


def contrast_rows(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Per framing: P(correct) under each condition and both contrasts, answerable questions."""
    rows = list(_contrast_rows(contrasts, "p_correct", tuple(FRAMINGS)))
    return _named_if_several(pd.DataFrame(rows))


def measure_rows(contrasts: pd.DataFrame) -> pd.DataFrame:
    """The same contrasts in every measure, co-primary framings, answerable questions."""
    rows = [{"measure": title, **row} for measure, (title, _) in ANSWER_MEASURES.items()
            for row in _contrast_rows(contrasts, measure, CO_PRIMARY)]
    return _named_if_several(pd.DataFrame(rows))


def _contrast_rows(
    contrasts: pd.DataFrame, measure: str, framings: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    of = contrasts[(contrasts["questions"] == "answerable") & (contrasts["measure"] == measure)]
    cells = [*CONDITIONS, "genuine_minus_sandbag", "genuine_minus_neutral"]
    for model in contrasts["model"].unique():
        for framing in framings:
            found = of[(of["model"] == model) & (of["framing"] == framing)].set_index("contrast")
            if found.empty:
                continue
            yield {"model": model, "framing": FRAMINGS[framing].title,
                   "n": int(found["n"].iloc[0]),
                   **{cell.replace("_minus_", " − "): with_interval(row_value(found.loc[cell]))
                      for cell in cells}}


def _named_if_several(table: pd.DataFrame) -> pd.DataFrame:
    """Without the column of models where there is but one to tell."""
    return table if table["model"].nunique() > 1 else table.drop(columns="model")


def answerable_rows(sets: pd.DataFrame) -> pd.DataFrame:
    """How many questions were asked, could not be scored, are answerable, and their halves."""
    return _named_if_several(pd.DataFrame({
        "model": sets["model"], "framing": [FRAMINGS[name].title for name in sets["framing"]],
        "asked": sets["asked"], "not scorable": sets["not_scorable"],
        "answerable": sets["answerable"], "choosing half": sets["choosing"],
        "evaluating half": sets["evaluating"]}))


def examples(questions: pd.DataFrame) -> pd.DataFrame:
    """Answerable questions evenly spread over the file, with what the model would say."""
    rows = _answerable(questions, CO_PRIMARY[0])
    picked = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, _EXAMPLES).round().astype(int))]
    return pd.DataFrame({
        "question": picked["text"],
        "answer": picked["answer"],
        "P genuine": picked["p_correct_genuine"].map("{:.2f}".format),
        "P sandbag": picked["p_correct_sandbag"].map("{:.2f}".format),
        "top token, genuine": picked["top_token_genuine"].map(visible_token),
        "top token, sandbag": picked["top_token_sandbag"].map(visible_token),
    })
