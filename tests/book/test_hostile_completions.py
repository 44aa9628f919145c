"""A page of §17 made of hostile completions, by the real section, notebook and build."""

import csv
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup

from deception_saes.experiments.reading import MAIN_ROUND
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.model_text import visible
from deception_saes.paper.results import read_results
from deception_saes.paper.stage import Built, render, stage

SECTION = SECTIONS[17]
SHOWN_AT_LEAST = 25
MARK_UP_OF_OURS = {"figure", "details", "summary", "div", "span", "blockquote", "bdi", "figcaption"}
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f"
                    "\ufeff\ufffe\U000e0000-\U000e0fff]")


def put_hostile_texts(path, hostile):
    """The texts of the main round replaced; the labels stay, since ids do. Returns them by id."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    of_main = [row for row in rows if row["round"] == MAIN_ROUND]
    for i, row in enumerate(of_main):
        row["text"] = hostile[i % len(hostile)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return {row["id"]: row["text"] for row in of_main}


@pytest.fixture(scope="module")
def page(root, tmp_path_factory, hostile, smoke):
    checkout, made = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("hostile")
    for name in ("src", "notebooks", "book"):
        shutil.copytree(root / name, checkout / name,
                        ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("_config.yml", "pyproject.toml"):
        shutil.copy(root / name, checkout / name)
    (checkout / "_toc.yml").write_text(f"format: jb-book\nroot: notebooks/{SECTION.stem}\n")
    texts = put_hostile_texts(
        checkout / "src" / "deception_saes" / "tasks" / "data" / "completions.csv", hostile)
    environment = {**os.environ, "DECEPTION_SAES_ARTIFACTS": str(made),
                   "PYTHONPATH": str(checkout / "src")}
    ran = subprocess.run(
        [sys.executable, "-m", "deception_saes", "section", "17", "--profile", "smoke"],
        env=environment, cwd=checkout, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    tree = made / "smoke"
    results = read_results(tree / "results" / "s17.json")
    stage(checkout, made / "site",
          Built(smoke, smoke.seed, [SECTION], [results], tree, "a commit", {}))
    render(made / "site", made / "html")
    html = (made / "html" / "notebooks" / f"{SECTION.stem}.html").read_text(encoding="utf-8")
    return SimpleNamespace(html=html, soup=BeautifulSoup(html, "html.parser"), texts=texts,
                           search=(made / "html" / "searchindex.js").read_text(encoding="utf-8"))


def quotations(page):
    """What stands in each quotation behind the opening, by the completion's id."""
    found = {}
    for quote in page.soup.find_all(class_="quote"):
        named = [word.rstrip(",") for word in quote.find(class_="quote-head").get_text().split()]
        id = next((word for word in named if word in page.texts), None)
        if id is not None:
            opening = quote.find(class_="before").get_text()
            found[id] = quote.blockquote.get_text().removeprefix(opening)
    return found


def test_completions_show_as_they_were_written(page, hostile):
    found = quotations(page)
    assert found == {id: visible(page.texts[id]) for id in found}
    assert len({page.texts[id] for id in found}) >= min(SHOWN_AT_LEAST, len(hostile))


def test_no_element_of_theirs_is_on_the_page(page):
    for quotes in page.soup.find_all(class_="quotes"):
        found = {element.name for element in quotes.find_all()
                 if "figlinks" not in element.parent.get("class", [])}
        assert found <= MARK_UP_OF_OURS
    article = page.soup.find("article")
    assert not article.find_all(["script", "iframe", "style", "svg", "object", "embed", "form"])
    assert all(re.fullmatch(r"\.\./_static/figures/s17-\d+-\w+\.svg", image["src"])
               for image in article.find_all("img"))
    assert [heading.get_text()[:4] for heading in article.find_all("h1")] == ["§17 "]


def test_no_attribute_of_theirs_is_on_the_page(page):
    for element in page.soup.find("article").find_all():
        assert not [name for name in element.attrs if name.startswith("on")], element
        assert not str(element.get("href", "")).lower().startswith("javascript:"), element
        assert "x.example" not in str(element.get("href", "")) + str(element.get("src", ""))
    assert "planted" not in page.soup.title.get_text()


def test_no_sign_that_cannot_be_seen_is_on_the_page(page):
    assert UNSEEN.findall(page.html) == []


def test_nothing_of_theirs_was_read_as_markdown_or_filled_in(page):
    article = page.soup.find("article")
    assert not article.find_all(class_=["admonition danger", "math"])
    assert "{{" not in page.html
    assert any("{{ profile }}" in text for text in quotations(page).values())


def test_the_search_index_holds_no_mark_up_of_theirs(page):
    assert "<script" not in page.search
    assert "<img" not in page.search
