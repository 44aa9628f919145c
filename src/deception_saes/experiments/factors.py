"""The sandbagging task taken apart: P(correct) by the factors of a prompt, and by its wording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from deception_saes.analysis.bootstrap import mean_interval
from deception_saes.analysis.crossed import wordings_interval
from deception_saes.cache import cached
from deception_saes.errors import UserError
from deception_saes.experiments.task import AskedHalf
from deception_saes.tasks.factors import Cell, Instruction
from deception_saes.tasks.framings import render
from deception_saes.tasks.prompts import scorable
from deception_saes.tasks.scoring import logit, score
from deception_saes.tidy import MEAN_AND_UNIT, described

FACTORS = ("instruction", "examples", "label")
ARMS = {
    "two_shot_labelled": (Cell("correct", "right", "Correct answer:"),
                          Cell("wrong", "wrong", "Wrong answer:")),
    "two_shot_same_prefix": (Cell("correct", "right", "A:"), Cell("wrong", "wrong", "A:")),
    "no_examples": (Cell("correct", "none", "A:"), Cell("wrong", "none", "A:")),
}
"""Pairs of a genuine and a sandbag arm, of cells of `factorial`; the first two are the book's
co-primary framings."""
MEASURES = {"p_correct": ("P(correct)", "pp"), "logit": ("logit of P(correct)", "logits"),
            "foil_measure": ("P(correct) / (P(correct) + P(foil))", "pp"),
            "top_is_correct": ("share of questions whose likeliest token is correct", "pp")}
NO_INSTRUCTION = "(no instruction)"
_LEVELS = ["instruction", "examples", "label"]
_FACTOR_COLUMNS = {"instruction": ("", "none, correct, wrong (on purpose) or threat"),
                   "examples": ("", "answers of the two worked examples: none, right or wrong")}
_CELL_COLUMNS = {**_FACTOR_COLUMNS, "label": ("", "what stands before every answer"),
                 "wording": ("", "the instruction as it is written"),
                 "held_out": ("", "whether nothing is chosen or trained under the wording")}


@cached()
def ask_cells(half: AskedHalf, cells: tuple[Cell, ...]) -> pd.DataFrame:
    """Ask the half's questions in every cell. A row a question and cell, without questions whose
    answer a first token cannot tell from its foil in one of them. Raises UserError if none is left.
    """
    lm = half.task.subject.load()
    kept = list(half.questions)
    for cell in {cell.label: cell for cell in cells}.values():
        kept = scorable(kept, cell.framing, lm.tokenizer)[0]
    if not kept:
        raise UserError(f"no question to ask in every cell: of {half.task.model}'s "
                        f"{len(half.questions)} answerable ones of the {half.half} half none can "
                        "be scored under every label; write easier questions, or choose another "
                        "model")
    cluster_of = {question.id: question.cluster for question in kept}
    rows = [{"question": of.question, "cluster": cluster_of[of.question],
             "instruction": cell.instruction, "examples": cell.examples,
             "label": cell.label, "wording": cell.sentence or NO_INSTRUCTION,
             "held_out": cell.held_out, "p_correct": of.p_correct, "foil_measure": of.foil_measure,
             "logit": logit(of.p_correct), "top_is_correct": float(of.top_is_correct),
             "top_token": of.top_token}
            for cell in cells
            for of in score(lm, cell.framing, "genuine", kept, strings=False)]
    return described(
        pd.DataFrame(rows), "the same questions asked in every cell of the factors, or wording",
        **_CELL_COLUMNS,
        p_correct=("probability", "P(correct)"),
        foil_measure=("probability", "P(correct) / (P(correct) + P(foil))"),
        logit=("logits", "logit of P(correct)"),
        top_is_correct=("share", "whether the likeliest token is correct"),
        top_token=("", "the likeliest next token"))


def cell_levels(answers: pd.DataFrame, *, draws: int, seed: int) -> pd.DataFrame:
    """Mean P(correct) of every cell and wording, with intervals over questions. answers: as
    `ask_cells` gives them. draws, seed: of the bootstrap."""
    keys = list(_CELL_COLUMNS)
    rows = [{**dict(zip(keys, levels, strict=True)),
             **mean_interval(of["p_correct"], draws, seed,
                             clusters=tuple(of["cluster"])).columns("p_correct"),
             "top_is_correct": of["top_is_correct"].mean(),
             "foil_measure": of["foil_measure"].mean()}
            for levels, of in answers.groupby(keys, sort=False)]
    return described(
        pd.DataFrame(rows), "P(correct) by the factors of a prompt, or by its wording",
        p_correct=("probability", "mean P(correct)"),
        top_is_correct=("share", "share of questions whose likeliest token is correct"),
        foil_measure=("probability", "mean P(correct) / (P(correct) + P(foil))"), **_CELL_COLUMNS)


def factor_effects(answers: pd.DataFrame, *, draws: int, seed: int) -> pd.DataFrame:
    """What each factor takes from P(correct) between the arms of `ARMS`, over the same questions.

    A row each pair of arms, measure, factor and `context`: the factor changed *alone*, all others
    as in the genuine arm; *last*, all others as in the sandbag arm. Factor `all`: both arms, with
    their instructions (`given`) and without any (`none`).
    """
    rows: list[dict[str, Any]] = []
    for measure, (title, unit) in MEASURES.items():
        by_cell = {Cell(*levels): of.set_index("question")[measure]
                   for levels, of in answers.groupby(_LEVELS, sort=False)}
        for arms, (genuine, sandbag) in ARMS.items():
            for factor, context, before, after in _contrasts(genuine, sandbag):
                fall = (100 if unit == "pp" else 1) * (by_cell[before] - by_cell[after])
                rows.append({
                    "framing": arms, "measure": measure, "factor": factor, "context": context,
                    **mean_interval(fall, draws, seed,
                                    clusters=_clusters_of(answers, fall)).columns(),
                    "unit": unit, "quantity": f"fall of {title}, {_said(arms, factor, context)}"})
    return described(
        pd.DataFrame(rows), "what each factor of a prompt takes from P(correct)", **MEAN_AND_UNIT,
        measure=("", ", ".join(MEASURES)),
        factor=("", "the factor that differs: instruction, examples, label, or all of them"),
        context=("", "the other factors: as in the genuine arm (alone) or as in the sandbag arm "
                     "(last); of all, whether an instruction is given or none"))


def _contrasts(genuine: Cell, sandbag: Cell) -> Iterator[tuple[str, str, Cell, Cell]]:
    differing = [name for name in FACTORS if getattr(genuine, name) != getattr(sandbag, name)]
    if differing == ["instruction"]:  # alone, last and together are one contrast
        yield "instruction", "alone", genuine, sandbag
        return
    yield "all", "given", genuine, sandbag
    for name in differing:
        yield name, "alone", genuine, replace(genuine, **{name: getattr(sandbag, name)})
        yield name, "last", replace(sandbag, **{name: getattr(genuine, name)}), sandbag
    yield ("all", "none", replace(genuine, instruction="none"),
           replace(sandbag, instruction="none"))


def _said(arms: str, factor: str, context: str) -> str:
    of_arms = arms.replace("_", " ")
    if factor == "all":
        return (f"{of_arms}, every factor changed"
                + (" but no instruction in either" if context == "none" else ""))
    others = "genuine" if context == "alone" else "sandbag"
    return f"{of_arms}, by {factor} alone, all else as in the {others} arm"


def wording_effects(answers: pd.DataFrame, *, draws: int, seed: int) -> pd.DataFrame:
    """What the instruction to answer wrongly, and the threat, take from P(correct) against the one
    to answer correctly, over its wordings and theirs.

    A row each instruction: the mean, with an interval over questions and wordings
    (`crossed.wordings_interval`); its wording with the largest fall, with one over questions; and
    the mean of the held-out wordings.
    """
    asked: tuple[Instruction, ...] = ("correct", "wrong", "threat")
    p = {name: 100 * _by_wording(answers, name) for name in asked}
    held_out = {name: (100 * _by_wording(answers[answers["held_out"]], name)).mean(axis=1)
                for name in asked}
    rows: list[dict[str, Any]] = []
    clusters = _clusters_of(answers, p["correct"])
    for name, asks in _ASKS.items():
        falls_QW = p["correct"].to_numpy().mean(1, keepdims=True) - p[name]
        worst = falls_QW.mean().idxmax()
        found = {
            "mean": (wordings_interval(p["correct"].to_numpy(), p[name].to_numpy(),
                                       clusters=clusters),
                     "mean over all wordings, interval over questions and wordings"),
            "largest": (mean_interval(falls_QW[worst], draws, seed, clusters=clusters),
                        f"largest fall of a wording: {worst}"),
            "held_out": (mean_interval(held_out["correct"] - held_out[name], draws, seed,
                                       clusters=clusters),
                         "mean over the held-out wordings, interval over questions"),
        }
        rows += [{"framing": "no_examples", "instruction": name, "over": over, **of.columns(),
                  "unit": "pp", "quantity": "fall of P(correct) from the instruction to answer "
                                              f"correctly to {asks}, {title}"}
                 for over, (of, title) in found.items()]
    return described(
        pd.DataFrame(rows), "what an instruction takes from P(correct) over its wordings",
        **MEAN_AND_UNIT, instruction=("", "wrong (on purpose) or threat"),
        over=("", "all wordings (mean), the one with the largest fall, or the held-out ones"))


def _clusters_of(answers: pd.DataFrame, by_question: pd.Series | pd.DataFrame) -> tuple[str, ...]:
    """The cluster of each question, in the order of the rows of `by_question`."""
    cluster_of = answers.drop_duplicates("question").set_index("question")["cluster"]
    return tuple(cluster_of[by_question.index])


_ASKS: dict[Instruction, str] = {"wrong": "the one to answer wrongly", "threat": "a threat"}


def _by_wording(answers: pd.DataFrame, instruction: Instruction) -> pd.DataFrame:
    """P(correct), a row a question, a column a wording."""
    of = answers[answers["instruction"] == instruction]
    return of.pivot(index="question", columns="wording", values="p_correct")


@cached()
def prompts_in_full(half: AskedHalf, wrong: str = "") -> pd.DataFrame:
    """The first question's prompt in both arms of every pair, as the model gets it. wrong: another
    instruction to answer wrongly."""
    tokenizer = half.task.subject.load().tokenizer
    rows = [{"framing": arms, "arm": name, "instruction": cell.instruction,
             "examples": cell.examples,
             "text": render(cell.framing, "genuine", half.questions[0].text, tokenizer).text}
            for arms, (genuine, sandbag) in ARMS.items()
            for name, cell in (("genuine", genuine), ("sandbag", replace(sandbag, wording=wrong)))]
    return described(
        pd.DataFrame(rows), "prompts in full, of one question",
        arm=("", "genuine or sandbag"), **_FACTOR_COLUMNS)
