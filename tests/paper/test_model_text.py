import unicodedata

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from matplotlib import cbook

from deception_saes.paper.figures import draw_svg, figure_html, quotes_html, table_html
from deception_saes.paper.model_text import attribute, drawn, quoted, shown, visible


def parsed(page):
    return BeautifulSoup(page, "html.parser")


def unseen(text):
    return [sign for sign in text
            if unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}]


def bars(labels):
    def draw(figure, _):
        figure.subplots().set_yticks(range(len(labels)), [drawn(label) for label in labels])

    return draw


@pytest.mark.parametrize(("text", "expected"), [
    ("plain – “text”, é, 日本", "plain – “text”, é, 日本"),
    ("\x1b[31m", "\\x1B[31m"),
    ("\x00\x7f\x85", "\\x00\\x7F\\x85"),
    ("a\u202eb\u200b", "a\\u{202E}b\\u{200B}"),
    ("\ud800", "\\u{D800}"),
    ("\U000e0041\u3164", "\\u{E0041}\\u{3164}"),
    ("a\r\nb\tc", "a\\r\nb\\tc"),
    ("e\u0301", "e\u0301"),
    ("a\u0301\u0301\u0301\u0301b", "a\u0301\u0301\u0301\\u{0301}b"),
    ("−1.3 [−2.0,\N{NO-BREAK SPACE}−0.5]", "−1.3 [−2.0,\N{NO-BREAK SPACE}−0.5]"),
])
def test_what_cannot_be_seen_is_spelled_out(text, expected):
    assert visible(text) == expected


def test_on_one_line_a_line_break_is_spelled_out():
    assert visible("a\nb", lines=False) == "a\\nb"


def test_nothing_unseen_is_left(hostile):
    for text in hostile:
        assert set(unseen(visible(text))) <= {"\n"}
        assert unseen(visible(text, lines=False)) == []


def test_the_text_content_is_the_visible_text_and_no_sign_of_it_is_mark_up(hostile):
    for text in hostile:
        for show in (shown, quoted):
            page = parsed(show(text))
            assert page.get_text() == visible(text)
            assert {tag.name for tag in page.find_all()} <= {"span", "bdi"}


def test_what_was_spelled_out_can_be_told_from_what_was_written():
    marked = parsed(shown("\\u{202E} \u202e")).find_all("span", class_="unseen")
    assert [span.get_text() for span in marked] == ["\\u{202E}"]


def test_text_from_right_to_left_is_isolated_and_other_text_is_not():
    assert parsed(shown("שלום")).bdi.get_text() == "שלום"
    assert parsed(shown("plain")).bdi is None


def test_a_quotation_is_no_formula_for_mathjax():
    assert {"mathjax_ignore", "tex2jax_ignore"} <= set(parsed(quoted("$x$")).bdi["class"])


def test_an_attribute_keeps_its_quotes(hostile):
    for text in hostile:
        page = parsed(f'<img alt="{attribute(text)}">')
        assert page.img.attrs == {"alt": visible(text, lines=False)}


def test_cells_and_column_names_of_a_table_show_as_text(hostile):
    table = pd.DataFrame({"number": range(len(hostile)), hostile[0]: hostile, "<b>": None})
    page = parsed(table_html(table, caption="c"))
    assert [cell.get_text() for cell in page.find_all("th")][1:] == [hostile[0], "<b>"]
    # pandas keeps repeated spaces as non-breaking ones
    rows = [[cell.get_text().replace("\N{NO-BREAK SPACE}", " ") for cell in row.find_all("td")]
            for row in page.find_all("tr")[1:]]
    assert rows == [[str(i), visible(text, lines=False).strip(), "–"]
                    for i, text in enumerate(hostile)]
    assert not page.find_all(["script", "img", "h1", "iframe", "style", "svg", "a"])


def test_a_table_leaves_the_one_it_was_given(hostile):
    table = pd.DataFrame({"<b>": hostile})
    table_html(table, caption="c")
    assert list(table["<b>"]) == hostile


def test_quotations_show_as_text_in_their_groups(hostile):
    quotes = pd.DataFrame({"group": [f"g{i % 2} <b>" for i in range(len(hostile))],
                           "label": "honest", "about": hostile, "before": hostile,
                           "text": hostile})
    page = parsed(quotes_html(quotes.sort_values("group"), caption="c"))
    assert [group.summary.get_text() for group in page.find_all("details")] == ["g0 <b>", "g1 <b>"]
    assert [group.has_attr("open") for group in page.find_all("details")] == [True, False]
    texts = [quote.get_text() for quote in page.find_all("blockquote")]
    assert sorted(texts) == sorted(2 * visible(text) for text in hostile)
    assert {tag.name for tag in page.find_all()} <= {
        "figure", "details", "summary", "div", "span", "blockquote", "bdi", "figcaption"}


@pytest.mark.filterwarnings("error")
def test_labels_of_a_figure_are_drawn_as_text(hostile):
    drawing = draw_svg(bars(hostile), alt=hostile[0], size=(12, 8))
    page = parsed(figure_html(drawing.inline, caption="c"))
    assert {image["aria-label"] for image in page.find_all("svg")} == {hostile[0]}
    assert not page.find_all(["script", "img", "h1", "iframe", "a", "text"])


def test_dollar_signs_in_a_label_make_no_formula():
    assert cbook.is_math_text("$x^2$")
    assert not cbook.is_math_text(drawn("$x^2$"))
    assert drawn("$x^2$ for $5").replace(r"\$", "$") == "$x^2$ for $5"


def test_a_long_label_is_cut():
    assert drawn("unbroken" * 60, most=20) == "unbrokenunbrokenunb…"


def test_signs_that_the_font_of_figures_lacks_are_spelled_out():
    assert drawn("日本 \x1b") == "\\u{65E5}\\u{672C} \\x1B"
