"""The factors of §23 on a made-up table, where what each takes is known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from deception_saes.errors import UserError
from deception_saes.experiments.factors import (
    ARMS,
    ask_cells,
    cell_levels,
    factor_effects,
    wording_effects,
)
from deception_saes.experiments.task import AskedHalf
from deception_saes.paper.settings import Settings
from deception_saes.tasks.factors import WORDINGS, Cell, factorial, zero_shot_wordings
from deception_saes.tasks.scoring import score

TAKES = {"wrong": 0.02, "wrong examples": 0.05, "Wrong answer:": 0.2}
DRAWS = {"draws": 100, "seed": 0}


def answers():
    rows = []
    for cell, q in itertools.product(factorial(), range(8)):
        p = 0.5 + 0.01 * q - sum((
            TAKES["wrong"] * (cell.instruction == "wrong"),
            TAKES["wrong examples"] * (cell.examples == "wrong"),
            TAKES["Wrong answer:"] * (cell.label == "Wrong answer:"),
            # together, examples and label take less than each alone
            -0.03 * (cell.examples == "wrong" and cell.label == "Wrong answer:")))
        rows.append({"question": f"q{q}", "cluster": f"q{q}", "instruction": cell.instruction,
                     "examples": cell.examples, "label": cell.label,
                     "wording": cell.sentence or "none", "held_out": cell.held_out,
                     "p_correct": p, "foil_measure": 0.9, "logit": np.log(p / (1 - p)),
                     "top_is_correct": 1.0, "top_token": " x"})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("framing", "factor", "context", "pp"), [
    ("two_shot_labelled", "all", "given", 24), ("two_shot_labelled", "all", "none", 22),
    ("two_shot_labelled", "instruction", "alone", 2),
    ("two_shot_labelled", "instruction", "last", 2),
    ("two_shot_labelled", "examples", "alone", 5), ("two_shot_labelled", "examples", "last", 2),
    ("two_shot_labelled", "label", "alone", 20), ("two_shot_labelled", "label", "last", 17),
    ("two_shot_same_prefix", "all", "given", 7), ("two_shot_same_prefix", "all", "none", 5),
    ("two_shot_same_prefix", "examples", "last", 5), ("no_examples", "instruction", "alone", 2),
])
def test_what_a_factor_takes(framing, factor, context, pp):
    found = factor_effects(answers(), **DRAWS).query("measure == 'p_correct'")
    (row,) = found[(found["framing"] == framing) & (found["factor"] == factor)
                   & (found["context"] == context)].itertuples()
    assert row.value == pytest.approx(pp)
    assert (row.n, row.unit) == (8, "pp")


def test_questions_of_one_template_are_drawn_together_in_whatever_order_they_come():
    table = answers()
    table["cluster"] = table["question"].map(lambda name: f"c{int(name[1:]) // 2}")
    label = table["label"] == "Wrong answer:"
    # what the label takes is that of the template, not of the question
    table.loc[label, "p_correct"] += table.loc[label, "cluster"].str[1:].astype(int) * 0.05
    # another two templates, so that there are enough for an interval
    more = [table.assign(question=table["question"] + suffix, cluster=table["cluster"] + suffix)
            for suffix in ("", "x")]
    in_order = pd.concat(more)
    mixed = in_order.sample(frac=1, random_state=0)
    names = ("framing", "factor", "context")
    wide, other, alone = (
        factor_effects(of, **DRAWS).query("measure == 'p_correct'").set_index(list(names)).loc[
            ("two_shot_labelled", "label", "alone")]
        for of in (in_order, mixed, in_order.assign(cluster=in_order["question"])))
    assert (wide["ci_low"], wide["ci_high"]) == pytest.approx((other["ci_low"], other["ci_high"]))
    assert wide["ci_high"] - wide["ci_low"] > 1.2 * (alone["ci_high"] - alone["ci_low"])


def test_arms_that_differ_in_one_factor_have_one_contrast():
    found = factor_effects(answers(), **DRAWS).query("measure == 'p_correct'")
    assert (found["framing"] == "no_examples").sum() == 1
    assert (found["framing"] == "two_shot_labelled").sum() == 8


def test_levels_are_means_of_the_cells():
    levels = cell_levels(answers(), **DRAWS)
    (row,) = levels[(levels["instruction"] == "wrong") & (levels["examples"] == "none")
                    & (levels["label"] == "A:")].itertuples()
    assert row.p_correct == pytest.approx(0.535 - 0.02)


def worded(wrong_by_wording):
    falls = {"correct": [0.0] * 8, "wrong": wrong_by_wording, "threat": [-0.01] * 8}
    return pd.DataFrame([
        {"question": f"q{q}", "cluster": f"q{q}", "instruction": name, "wording": sentence,
         "held_out": i >= 4, "p_correct": 0.5 + 0.01 * q - falls[name][i]}
        for name, sentences in WORDINGS.items() for i, sentence in enumerate(sentences)
        for q in range(8)])


def test_wordings_are_named_by_their_mean_their_worst_and_the_held_out_ones():
    found = wording_effects(worded([0.01] * 3 + [0.09] + [0.03] * 4), **DRAWS).set_index(
        ["instruction", "over"])
    assert found.loc[("wrong", "mean"), "value"] == pytest.approx(3)
    assert found.loc[("wrong", "largest"), "value"] == pytest.approx(9)
    assert WORDINGS["wrong"][3] in found.loc[("wrong", "largest"), "quantity"]
    assert found.loc[("wrong", "held_out"), "value"] == pytest.approx(3)
    assert found.loc[("threat", "mean"), "value"] == pytest.approx(-1)


def test_wordings_that_differ_widen_the_interval_of_their_mean():
    widths = []
    for by_wording in ([0.03] * 8, [0.0, 0.06] * 4):
        row = wording_effects(worded(by_wording), **DRAWS).iloc[0]
        widths.append(row["ci_high"] - row["ci_low"])
    assert widths[0] < 0.1
    assert widths[1] > 2


@pytest.fixture(scope="module")
def half(smoke, artifacts):
    return Settings(23, smoke, smoke.seed).task.evaluating.spread(4)


def test_every_question_is_asked_in_every_cell_as_by_itself(half):
    cells = (*ARMS["two_shot_labelled"], Cell("none", "none", "Answer:"))
    found = ask_cells(half, cells)
    assert len(found) == 3 * 4
    lm = half.task.subject.load()
    alone = score(lm, cells[1].framing, "genuine", half.questions[2:3])[0]
    of_cell = found[(found["label"] == "Wrong answer:")].iloc[2]
    assert of_cell["question"] == alone.question
    assert of_cell["p_correct"] == pytest.approx(alone.p_correct, rel=1e-4)


def test_cells_without_a_question_say_so(half):
    with pytest.raises(UserError, match="no question to ask in every cell"):
        ask_cells(AskedHalf(half.task, "evaluating", 0), zero_shot_wordings())
