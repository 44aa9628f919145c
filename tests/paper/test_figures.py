import re

import numpy as np
import pandas as pd
import pytest

from deception_saes.paper.figures import (
    PALETTES,
    draw_svg,
    figure_html,
    table_html,
    tokens_html,
)


def line(figure, colours, ends=(0, 1)):
    axes = figure.subplots()
    axes.plot([0, 1], ends, color=colours["genuine"], label="a line")
    axes.legend()


def drawing(draw=line, alt="alt"):
    return draw_svg(draw, alt=alt, size=(3, 2))


def test_the_same_numbers_give_the_same_picture_and_others_another():
    assert drawing() == drawing()
    assert drawing(lambda figure, colours: line(figure, colours, (1, 0))) != drawing()


def test_a_picture_takes_the_colours_of_every_page():
    drawn = drawing()
    for palette in PALETTES.values():
        svg = drawn.coloured(palette)
        assert {palette["genuine"], palette["ink"], palette["grid"]} <= set(
            re.findall(r"#[0-9a-f]{6}", svg))
    in_dark = drawn.coloured(PALETTES["dark"])
    assert not [colour for colour in PALETTES["light"].values() if colour in in_dark]


def test_in_a_notebook_a_picture_has_the_ink_of_the_text_around_it():
    inline = drawing(alt='"><script>alert(1)</script>').inline
    assert inline.startswith('<svg role="img" aria-label="&quot;&gt;&lt;script')
    assert inline.rstrip().endswith("</svg>")
    assert "currentColor" in inline
    assert PALETTES["light"]["ink"] not in inline
    assert "<script" not in inline
    page = figure_html(inline, caption="c", min_width=300)
    assert inline in page


def test_pictures_on_one_page_do_not_share_what_they_refer_to():
    found = [set(re.findall(r'url\(#([^)]+)\)', drawing(alt=alt).svg)) for alt in ("a", "b")]
    assert all(found)
    assert not found[0] & found[1]


def test_a_picture_asks_nothing_of_another_host():
    assert not re.findall(r'(?:href|src|resource)="(https?:[^"]+)"', drawing().svg)


def test_a_picture_of_pixels_is_refused():
    with pytest.raises(ValueError, match="of noise"):
        drawing(lambda figure, _: figure.subplots().imshow(np.eye(3)), alt="of noise")


def test_cells_of_a_table_are_escaped():
    page = table_html(pd.DataFrame({"<b>": ["<script>alert(1)</script>", "a & b"]}), caption="c")
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page


def test_a_missing_cell_is_a_dash():
    assert "<td>–</td>" in table_html(pd.DataFrame({"a": [None, "x"]}), caption="c")


def test_tokens_are_shown_as_text_and_shaded():
    tokens = pd.DataFrame({
        "completion": ["<script>a", "<script>a", "b{{"], "label": ["honest", "honest", "<script>"],
        "token": [" <script>alert(1)</script>", "$x$", "{{ n }}"], "share": [0.0, 1.0, 0.5]})
    found = tokens_html(tokens, caption="c")
    assert "<script" not in found
    assert "&lt;script&gt;" in found
    assert found.count('class="token"') == 3
    assert "--share: 1.00" in found
    assert "mathjax_ignore" in found
    assert "{{" not in found
    assert found.count("<blockquote>") == 2
