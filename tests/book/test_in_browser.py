"""The smoke book in headless Chromium: what a reader's browser makes of it."""

import os
import re

import browser as look
import pytest

from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.claims import load_claims

FRONT = "book/index.html"
PRINT = "book/print.html"
SORTED = "notebooks/s28_circuit_ablation.html"
CLAIMS = "#the-claims table.claims tbody tr"


@pytest.fixture(scope="module")
def installed():
    if look.chromium() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Debian's chromium is not installed; .ci/run installs it")
        pytest.skip("Debian's chromium is not installed (apt-get install chromium)")


@pytest.fixture(scope="module")
def found(installed, book):
    """Every page looked at once."""
    return look.survey(book.tree / "html")


@pytest.fixture(scope="module")
def site(installed, book):
    with look.served(book.tree / "html") as address, look.launched() as chromium:
        yield chromium, address


@pytest.fixture
def opened(site):
    """Open a page of the site."""
    def open_page(name, **how):
        return look.opened(*site, name, **how)
    return open_page


def broken(of):
    return {name: what for name, what in of.items() if what}


def test_every_page_was_looked_at(found, book):
    assert len(found["errors"]) >= len(SECTIONS) + 10
    assert {FRONT, PRINT, "search.html"} <= found["errors"].keys()


def test_no_page_has_an_error_or_asks_another_machine(found):
    assert broken(found["errors"]) == {}


def test_every_image_is_there_and_every_link_leads_somewhere(found):
    assert broken(found["images"]) == {}
    assert broken(found["links"]) == {}


def test_no_page_and_no_table_is_wider_than_a_phone(found):
    assert {place: width for place, width in found["widths"].items()
            if width > look.PHONE["width"]} == {}


def test_figures_are_legible_in_both_themes(found):
    """WCAG 2 asks 4.5 of text."""
    for theme in look.THEMES:
        of_theme = {image: contrast for (_, of, image), contrast in found["contrast"].items()
                    if of == theme}
        assert len(of_theme) > 40
        assert {image: contrast for image, contrast in of_theme.items() if contrast < 4.5} == {}


def test_pages_are_light(found):
    sizes = found["weights"]
    sections = {name: size for name, size in sizes.items() if name.startswith("notebooks/")}
    print(f"front page {sizes[FRONT] / 1e6:.2f} MB; heaviest section "
          f"{max(sections.values()) / 1e6:.2f} MB, {max(sections, key=sections.get)}")
    assert sizes[FRONT] < 2e6
    assert max(sections.values()) < 5e6


@pytest.mark.parametrize("theme", look.THEMES)
@pytest.mark.parametrize("selector", [".badge-v", ".why", "figcaption", ".figlinks a",
                                      "#claims-filter label"])
def test_small_text_is_legible(opened, theme, selector):
    with opened(FRONT if "claims" in selector else SORTED, theme=theme) as page:
        assert page.locator(selector).count()
        assert look.text_contrast(page, selector) >= 4.5


def test_search_finds_a_section_by_a_term(opened):
    with opened("search.html?q=redundancy") as page:
        page.wait_for_selector("#search-results li a")
        hits = page.locator("#search-results li a").all_inner_texts()
    assert any(SECTIONS[28].title in hit for hit in hits)


def test_the_theme_of_the_reader_chooses_the_drawing(opened):
    for theme, other in (("light", "dark"), ("dark", "light")):
        with opened(SORTED, theme=theme) as page:
            look.load_images(page)
            assert page.locator(f"img.only-{theme}").first.is_visible()
            assert not page.locator(f"img.only-{other}").first.is_visible()
            page.evaluate(f"document.documentElement.dataset.theme = '{other}'")
            assert page.locator(f"img.only-{other}").first.is_visible()


def shown(page):
    return page.locator(f"{CLAIMS}:visible").count()


def test_the_claims_are_filtered_by_keyboard(opened):
    with opened(FRONT) as page:
        assert shown(page) == len(load_claims())
        output = page.locator("#claims-filter output")
        page.locator("#claims-filter select[name=verdict]").focus()
        page.keyboard.type("not run")
        of_verdict = shown(page)
        assert 0 < of_verdict < len(load_claims())
        assert output.inner_text() == f"{of_verdict} of {len(load_claims())} claims"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.name") == "section"
        page.keyboard.press("End")
        assert page.locator("#claims-filter select[name=section]").input_value() == "32"
        assert shown(page) < of_verdict
        assert page.locator("#the-claims h3:visible").count() <= 1
        page.keyboard.press("Home")
        assert shown(page) == of_verdict
        page.keyboard.press("Tab")
        page.keyboard.type("no such claim")
        assert shown(page) == 0
        page.keyboard.press("Escape")
        assert shown(page) > 0


def test_a_word_is_searched_for_in_the_claims(opened):
    with opened(FRONT) as page:
        page.locator("#claims-filter input").fill("redundancy")
        rows = page.locator(f"{CLAIMS}:visible").all_inner_texts()
        assert rows
        assert all("redundancy" in row.lower() for row in rows)


def test_a_link_to_a_claim_that_is_hidden_shows_it(opened):
    with opened(FRONT) as page:
        page.locator("#claims-filter input").fill("redundancy")
        assert not page.locator("#claim-b-01").is_visible()
        page.evaluate("location.hash = 'claim-b-01'")
        page.locator("#claim-b-01").wait_for(state="visible")


def test_without_scripts_the_claims_are_a_plain_table(opened):
    with opened(FRONT, scripts=False) as page:
        assert page.locator("#claims-filter").count() == 0
        assert shown(page) == len(load_claims())


def test_a_table_is_sorted_by_keyboard_numbers_as_numbers(opened):
    def column(page, index):
        cells = page.locator(f"table.sortable tbody tr td:nth-child({index + 1})")
        return cells.all_inner_texts()

    def number(text):
        return float(re.match(r"−?[\d.]+", text)[0].replace("−", "-"))

    with opened("book/status.html") as page:
        heads = page.locator("table.sortable").first.locator("thead th")
        index = heads.all_inner_texts().index("Seconds")
        button = heads.nth(index).locator("button")
        table = page.locator("table.sortable").first
        for order in ("ascending", "descending"):
            button.focus()
            page.keyboard.press("Enter")
            assert heads.nth(index).get_attribute("aria-sort") == order
            cells = table.locator(f"tbody td:nth-child({index + 1})").all_inner_texts()
            numbers = [number(cell) for cell in cells]
            assert len(set(numbers)) > 2
            assert numbers == sorted(numbers, reverse=order == "descending")


def test_cells_are_ordered_as_their_contents_are(opened):
    """Signs, units, intervals and layers; dashes last, both ways."""
    cells = ["−3.2 pp [−5.0, −1.1]", "–", "L15", "1,024", "0.5", "text"]
    with opened("book/status.html") as page:
        ordered = page.evaluate("""(texts) => [false, true].map((down) => texts
            .map((text) => Object.assign(document.createElement("td"), { textContent: text }))
            .sort((a, b) => compare(a, b, down)).map((cell) => cell.textContent))""", cells)
    assert ordered == [["−3.2 pp [−5.0, −1.1]", "0.5", "L15", "1,024", "text", "–"],
                       ["1,024", "L15", "0.5", "−3.2 pp [−5.0, −1.1]", "text", "–"]]


def test_on_a_phone_a_row_stands_as_lines_that_name_their_column(opened):
    with opened("book/status.html", size=look.PHONE) as page:
        cell = page.locator("table.stacks tbody td").nth(1)
        assert cell.get_attribute("data-label") == "State"
        assert cell.evaluate("(of) => getComputedStyle(of, '::before').content") == '"State"'


def test_the_book_on_one_page_holds_every_section_and_prints_without_furniture(opened):
    with opened(PRINT) as page:
        text = page.locator("article, main").first.inner_text()
        for section in SECTIONS.values():
            assert f"§{section.number} {section.title}" in text
        assert look.load_images(page) == []
        page.emulate_media(media="print", color_scheme="dark")
        for selector in (".bd-sidebar-primary", ".bd-sidebar-secondary", "details.hide",
                         "button:not(th button)", "img.only-dark"):
            assert page.locator(f"{selector}:visible").count() == 0, selector
        assert page.locator("img.only-light:visible").count() > 40
        assert look.text_contrast(page, "p, li, td, th, figcaption, h1, h2") >= 4.5
        assert len(page.pdf()) > 100_000


def test_a_section_prints_without_furniture(opened):
    with opened(SORTED) as page:
        page.emulate_media(media="print")
        assert not page.locator(".bd-sidebar-primary").is_visible()
        assert page.locator("#claims-filter:visible").count() == 0
        assert page.locator("figure.bookfig").first.is_visible()
