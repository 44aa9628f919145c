import dataclasses
import re

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from deception_saes.paper.figures import PALETTES, draw_svg, figure_html
from deception_saes.paper.site_html import for_print, place_figures

ALT = 'a "line"'


def figure(*tables, caption="A caption."):
    """The output of a cell that draws."""
    drawing = draw_svg(lambda figure, _: figure.subplots().plot([1, 2]), alt=ALT, size=(3, 2))
    return new_output(
        "execute_result", {"text/html": figure_html(drawing.inline, caption=caption)},
        metadata={"text/html": {"tables": list(tables), "drawing": dataclasses.asdict(drawing)}})


def placed(static, *outputs):
    """The HTML of these outputs on the site, and their metadata."""
    notebook = new_notebook(cells=[new_code_cell(outputs=[output]) for output in outputs])
    place_figures(notebook, static, "s28_circuit_ablation", "abc-<dirty>",
                  {"s28_draws.csv", "s28_values.csv"})
    outputs = [cell.outputs[0] for cell in notebook.cells]
    return [output.data["text/html"] for output in outputs], [of.metadata for of in outputs]


def test_drawings_are_in_files_of_their_own_for_every_theme(tmp_path):
    pages, metadata = placed(tmp_path, figure("s28_draws"), figure("s28_draws"))
    sources = re.findall(r'class="only-(\w+)" [^>]*src="\.\./_static/(figures/[^"]+)"',
                         "".join(pages))
    assert sources == [(theme, f"figures/s28-0{k}-{theme}.svg")
                       for k in (1, 2) for theme in ("light", "dark")]
    for _, source in sources:
        assert (tmp_path / source).read_text().rstrip().endswith("</svg>")
    assert "<svg" not in "".join(pages)
    assert metadata == [{}, {}]


def test_every_theme_has_the_drawing_in_its_own_colours(tmp_path):
    placed(tmp_path, figure("s28_draws"))
    for theme in PALETTES:
        drawn = (tmp_path / "figures" / f"s28-01-{theme}.svg").read_text()
        assert [of for of, colours in PALETTES.items() if colours["ink"] in drawn] == [theme]


def test_an_image_has_its_words_and_its_size_in_pixels_before_it_is_loaded(tmp_path):
    [page], _ = placed(tmp_path, figure("s28_draws"))
    assert page.count('alt="a &quot;line&quot;"') == 2
    assert page.count('loading="lazy" width="288" height="192"') == 2  # 3 by 2 inches of 96 pixels


def test_a_figure_links_to_its_data_and_its_source(tmp_path):
    [page], _ = placed(tmp_path, figure("s28_draws", "s28_values"))
    assert 'href="../_static/data/s28_draws.csv"' in page
    assert 'href="../_static/data/s28_values.csv"' in page
    assert 'href="../_static/source/s28_circuit_ablation.py.txt"' in page
    assert "abc-&lt;dirty&gt;" in page
    assert page.endswith("</span></figcaption></figure>")


def test_data_that_are_not_published_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"s28_secret\.csv"):
        placed(tmp_path, figure("s28_secret"))


def test_what_is_no_figure_stays(tmp_path):
    assert placed(tmp_path, new_output("display_data", {"text/html": "<p>x</p>"}))[0] == [
        "<p>x</p>"]


def test_the_printed_page_waits_for_no_scrolling_and_finds_its_files():
    found = for_print('<html data-content_root="./"><img loading="lazy" src="../_static/a">'
                      '<link href="_static/b"><a href="#document-book/log">'
                      '<a href="book/index.html#id1">', "book/index.html")
    assert found == ('<html class="whole-book" data-content_root="../"><img src="../_static/a">'
                     '<link href="../_static/b"><a href="#document-book/log">'
                     '<a href="#id1">')
