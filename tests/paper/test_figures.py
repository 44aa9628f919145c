import base64
import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from deception_saes.paper.figures import PALETTES, figure_html, table_html, tokens_html
from deception_saes.paper.numbers import with_interval
from deception_saes.paper.plots import s23


def line(figure, colours):
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=colours["genuine"], label="a line")
    axes.legend()


def html_of(draw=line, alt="alt", caption="caption"):
    return figure_html(draw, alt=alt, caption=caption, size=(3, 2))


def drawings(page):
    return [base64.b64decode(text).decode() for text in re.findall(r"base64,([^\"]+)", page)]


def test_the_same_numbers_give_the_same_figure():
    assert html_of() == html_of()


def test_other_numbers_give_another_figure():
    def other(figure, colours):
        figure.subplots().plot([0, 1], [1, 0], color=colours["genuine"])

    assert html_of(other) != html_of()


def test_a_figure_has_one_drawing_a_theme_in_that_themes_colours():
    page = html_of()
    assert [f"only-{mode}" in page for mode in PALETTES] == [True, True]
    for mode, svg in zip(PALETTES, drawings(page), strict=True):
        assert PALETTES[mode]["genuine"].lower() in svg.lower()
        assert PALETTES[mode]["ink"].lower() in svg.lower()


def test_a_drawing_asks_nothing_of_another_host_but_names_its_formats():
    for svg in drawings(html_of()):
        asked = set(re.findall(r"(?:href|src)=\"(https?:[^\"]+)\"", svg))
        assert not asked


def test_the_alternative_text_is_escaped():
    page = html_of(alt='"><script>alert(1)</script>')
    assert "<script" not in page
    assert page.count('alt="&quot;&gt;&lt;script') == 2


def test_figures_are_closed_after_drawing():
    html_of()
    assert plt.get_fignums() == []


def test_cells_of_a_table_are_escaped():
    page = table_html(pd.DataFrame({"<b>": ["<script>alert(1)</script>", "a & b"]}), caption="c")
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page


def test_a_missing_cell_is_a_dash():
    assert "<td>–</td>" in table_html(pd.DataFrame({"a": [None, "x"]}), caption="c")


@pytest.mark.parametrize(("plot", "table"), [
    (s23.by_framing, "contrasts"), (s23.paired, "questions"), (s23.null_contrast, "questions"),
    (s23.by_topic, "topics"),
], ids=lambda of: getattr(of, "__name__", of))
def test_figures_of_the_section_are_drawn_twice_alike(asked_in_smoke, plot, table):
    first, second = (
        asked_in_smoke.book.figure(plot, asked_in_smoke.table(table), caption="c", alt="a",
                                   size=(4, 3)).data for _ in range(2))
    assert first == second
    assert all("<path" in svg for svg in drawings(first))


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


@pytest.mark.parametrize(("token", "shown"), [
    (" Paris", "␣Paris"), ("\n", "\\x0a"), ("\r\t", "\\x0d\\x09"), ("\x00", "\\x00"), ("é", "é"),
    ("", ""), ("\u200b", "\\x200b"),
])
def test_white_space_and_control_characters_are_visible(token, shown):
    assert s23.visible(token) == shown


def test_tokens_are_shown_as_text_and_shaded():
    tokens = pd.DataFrame({
        "completion": ["a", "a", "b"], "label": ["honest", "honest", "deceptive"],
        "token": [" <script>alert(1)</script>", "$x$", "{{ n }}"], "share": [0.0, 1.0, 0.5]})
    found = tokens_html(tokens, caption="c")
    assert "<script" not in found
    assert "&lt;script&gt;" in found
    assert found.count('class="token"') == 3
    assert "--share: 1.00" in found
    assert "mathjax_ignore" in found
    assert "{{" not in found
    assert found.count("<blockquote>") == 2
