import re
from types import SimpleNamespace

import pytest

from deception_saes.paper.figures import figure_html
from deception_saes.paper.site_html import Figures, for_print


def page(tables="s28_draws", caption="A caption."):
    drawn = figure_html(lambda figure, colours: figure.subplots().plot([1, 2]), alt="a line",
                        caption=caption, size=(3, 2))
    return drawn.replace("<figure ", f'<figure data-tables="{tables}" ', 1)


def notebook(*pages):
    return SimpleNamespace(cells=[{"outputs": [{"data": {"text/html": text}}]} for text in pages])


@pytest.fixture
def figures(tmp_path):
    return Figures(tmp_path, "s28_circuit_ablation", "abc-<dirty>", {"s28_draws.csv",
                                                                   "s28_values.csv"})


def placed(figures, *pages):
    of = notebook(*pages)
    figures.placed(of)
    return [cell["outputs"][0]["data"]["text/html"] for cell in of.cells]


def test_drawings_stand_in_files_of_their_own(figures, tmp_path):
    found = "".join(placed(figures, page(), page()))
    sources = re.findall(r'src="\.\./_static/(figures/[^"]+)"', found)
    assert sources == [f"figures/s28-0{k}.svg" for k in (1, 2, 3, 4)]
    assert "base64" not in found
    for source in sources:
        assert (tmp_path / source).read_text().rstrip().endswith("</svg>")


def test_an_image_has_its_size_in_pixels_before_it_is_loaded(figures):
    (found,) = placed(figures, page())
    assert found.count(' width="288" height="192"') == 2  # 3 by 2 inches, 96 pixels an inch


def test_a_figure_links_to_its_data_and_its_source(figures):
    (found,) = placed(figures, page("s28_draws s28_values"))
    assert 'href="../_static/data/s28_draws.csv"' in found
    assert 'href="../_static/data/s28_values.csv"' in found
    assert 'href="../_static/source/s28_circuit_ablation.py.txt"' in found
    assert "abc-&lt;dirty&gt;" in found
    assert "data-tables" not in found
    assert found.endswith("</span></figcaption></figure>")


def test_data_that_are_not_published_are_an_error(figures):
    with pytest.raises(ValueError, match=r"drawn from s28_secret\.csv, which is not"):
        placed(figures, page("s28_secret"))


def test_what_is_no_figure_stays(figures):
    assert placed(figures, "<p>data:image</p>") == ["<p>data:image</p>"]


def test_a_text_that_looks_like_a_drawing_is_no_file(figures, tmp_path):
    text = "src=&quot;data:image/svg+xml;base64,AAAA&quot;"
    (found,) = placed(figures, page(caption=text))
    assert text in found
    assert len(list((tmp_path / "figures").iterdir())) == 2


def test_the_printed_page_waits_for_no_scrolling_and_finds_its_files():
    found = for_print('<html data-content_root="./"><img loading="lazy" src="../_static/a">'
                      '<link href="_static/b"><a href="#document-book/log">'
                      '<a href="book/index.html#id1">', "book/index.html")
    assert found == ('<html class="whole-book" data-content_root="../"><img src="../_static/a">'
                     '<link href="../_static/b"><a href="#document-book/log">'
                     '<a href="#id1">')
