"""What plots and tables for readers make of numbers."""

import re

import numpy as np
import pandas as pd
import pytest

from deception_saes.experiments.swaps import PLAIN
from deception_saes.paper.figures import PALETTES, draw_svg
from deception_saes.paper.numbers import with_interval
from deception_saes.paper.plots import s23, s27
from deception_saes.paper.plots.common import (
    shifts,
    style_of,
    styles_of,
    visible_token,
)


def test_known_architectures_come_first_and_in_one_order():
    assert list(styles_of(["gated", PLAIN, "relu", "topk", "gated", "absurd"])) == [
        "topk", "gated", PLAIN, "absurd", "relu"]


def test_an_unlisted_architecture_has_its_own_name_and_marker():
    assert style_of("relu").name == "Relu"
    assert style_of("relu").marker not in {
        style_of(known).marker for known in ("topk", "gated", PLAIN)}


@pytest.mark.parametrize(("names", "expected"), [
    (["a"], [0.0]), (["a", "b"], [-0.2, 0.2]), (["a", "b", "c"], [-0.2, 0.0, 0.2])])
def test_neighbours_stand_evenly_around_their_place(names, expected):
    assert list(shifts(names, 0.4).values()) == pytest.approx(expected)


@pytest.mark.parametrize(("token", "shown"), [
    (" Paris", "␣Paris"), ("\n", "\\x0a"), ("\r\t", "\\x0d\\x09"), ("\x00", "\\x00"), ("é", "é"),
    ("", ""), ("\u200b", "\\x200b"),
])
def test_white_space_and_control_characters_are_visible(token, shown):
    assert visible_token(token) == shown


def test_the_tokens_of_worked_questions_are_summed_and_nothing_is_lost():
    bars = [("Answer", 0.1), (".", 0.1), ("\n\n", 0.0), ("Question", 0.05), (":", 0.05),
            (" What", 0.1), (" color", 0.1), ("?", 0.1), ("\n", 0.1), ("Wrong", 0.1), (":", 0.05),
            (" Purple", 0.05), ("Question", 0.0), (":", 0.0), ("‹question›", 0.05), ("?", 0.05)]
    shown = s27.without_worked_questions(bars)
    assert [token for token, _ in shown] == [
        "Answer", ".", "\n\n", "Question", ":", "‹shot›", "\n", "Wrong", ":", " Purple",
        "Question", ":", "‹question›", "?"]
    assert dict(shown)["‹shot›"] == pytest.approx(0.3)
    assert sum(weight for _, weight in shown) == pytest.approx(sum(weight for _, weight in bars))


def test_a_heat_map_has_a_colour_for_each_sign():
    effect = np.array([1.0, -0.5, 0.0, 0.25])
    table = pd.DataFrame({
        "layer": [0, 0, 1, 1], "head": [0, 1, 0, 1], **{f"{column}_{condition}": of for column, of
        in (("effect", effect), ("p", 1.0), ("n", 9)) for condition in ("sandbag", "genuine")}})
    svg = draw_svg(lambda figure, colours: s27.heat_map(figure, colours, table), alt="a",
                   size=(6, 4)).svg
    cells = {name: set(re.findall(f"fill: {colour}; fill-opacity: ([0-9.]+)", svg))
             for name, colour in PALETTES["light"].items()}
    assert "0.25" in cells["sandbag"]
    assert "0.5" in cells["genuine"]


@pytest.mark.parametrize("tabulate", [s23.contrast_rows, s23.measure_rows])
def test_tables_hold_the_sections_values(asked_in_smoke, tabulate):
    table = tabulate(asked_in_smoke.table("contrasts"))
    assert set(table["model"]) == {"tinyllama-random", "tinyneox-random"}
    assert not table.isna().any().any()
    value = asked_in_smoke.results.value(
        "s23.tinyllama-random.two_shot_labelled.answerable.p_correct.genuine_minus_sandbag")
    first = table.iloc[0]
    assert (first["n"], first["genuine − sandbag"]) == (value.n, with_interval(value))


def test_a_table_of_one_model_does_not_name_it(asked_in_smoke):
    table = asked_in_smoke.table("contrasts").query("model == 'tinyllama-random'")
    assert "model" not in s23.contrast_rows(table)
    assert list(s23.contrast_rows(table)["n"]) == list(
        s23.contrast_rows(asked_in_smoke.table("contrasts")).query(
            "model == 'tinyllama-random'")["n"])


def test_the_answerable_set_adds_up(asked_in_smoke, smoke):
    table = s23.answerable_rows(asked_in_smoke.table("answerable"))
    assert (table["choosing half"] + table["evaluating half"] == table["answerable"]).all()
    assert (table["not scorable"] + table["answerable"] <= table["asked"]).all()
    assert table["asked"].iloc[0] == smoke.questions


def test_examples_are_answerable_questions_of_the_primary_model(asked_in_smoke, smoke):
    table = asked_in_smoke.table("questions")
    rows = table[(table["model"] == smoke.models[0].slug) & table["half"].notna()
                 & (table["framing"] == "two_shot_labelled")]
    found = s23.examples(table)
    assert 1 <= len(found) <= 12
    assert set(found["question"]) <= set(rows["text"])
