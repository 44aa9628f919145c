"""The real build of the smoke book, by the command that `make book` runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from places import artifacts_at

from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.claims import load_claims
from deception_saes.paper.data_files import publish_data, read_dictionary
from deception_saes.paper.record import results_name
from deception_saes.paper.results import read_results
from deception_saes.paper.shared import calls_of_book

NOTEBOOK = "s23_sandbagging_task"
COPIED = ("src", "notebooks", "book", "workflow", "_config.yml", "_toc.yml", "pyproject.toml")


def markers(artifacts):
    """By name, what is another when a unit or a call was made again. The time of a call's marker
    says when it was used last; what writes it anew puts another file there."""
    return {path.name: path.stat().st_ino if path.parts[-3] == "calls" else path.stat().st_mtime_ns
            for path in artifacts.glob("*/.done/*-*") if not path.name.startswith(".")}


def units(before, after):
    """The units and calls that one build made: "s29" of "s29-0123456789abcdef"."""
    return {name.rpartition("-")[0] for name, mark in after.items() if before.get(name) != mark}


@pytest.fixture
def artifacts(book, tmp_path):
    """A copy of what the build made, to be damaged."""
    return Path(shutil.copytree(book.artifacts, tmp_path / "artifacts"))


@pytest.fixture
def checkout(root, tmp_path):
    """A copy of the project, to be edited."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name,
                            ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        else:
            shutil.copy(root / name, folder / name)
    return folder


class Fetched(HTMLParser):
    """Collects what a browser fetches by itself when it shows a page."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        named = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
        if tag in named:
            self.addresses.append(dict(attrs).get(named[tag]) or "")


class Targets(HTMLParser):
    """Collects links and anchors of a page."""

    def __init__(self):
        super().__init__()
        self.ids, self.links = set(), set()

    def handle_starttag(self, tag, attrs):
        of = dict(attrs)
        self.ids.add(of.get("id"))
        if tag == "a" and of.get("href"):
            self.links.add(of["href"])


def parsed(parser, page):
    parser.feed(page)
    return parser


def test_the_build_ends_with_the_path_of_the_index(book):
    last = Path(book.stdout.rstrip("\n").splitlines()[-1])
    assert last == book.tree / "html" / "index.html"
    assert last.is_file()


def test_every_page_and_section_is_there(book):
    expected = {"index.html", "book/print.html",
                *(f"book/{page}.html" for page in (
                    "index", "your_own", "cluster", "methods", "deviations", "limits", "glossary",
                    "data", "status", "licences", "references", "log", "changes")),
                *(f"notebooks/{section.stem}.html" for section in SECTIONS.values())}
    assert expected <= book.pages.keys()


def test_a_page_asks_nothing_of_another_host(book):
    for name, page in book.pages.items():
        fetched = parsed(Fetched(), page).addresses
        assert not [address for address in fetched if re.match("(https?:)?//", address)], name


def test_every_link_inside_the_book_leads_somewhere(book):
    anchors = {name: parsed(Targets(), page).ids for name, page in book.pages.items()}
    html = book.tree / "html"
    for name, page in book.pages.items():
        for link in parsed(Targets(), page).links:
            path, _, anchor = link.partition("#")
            if re.match("[a-z]+:", link) or "?" in path:
                continue
            target = (html / name).parent.joinpath(path).resolve() if path else html / name
            assert target.is_file(), f"{name} links to {link}"
            if anchor and target.suffix == ".html":
                assert anchor in anchors[target.relative_to(html).as_posix()], f"{name}: {link}"


@pytest.mark.parametrize("planted", ["injected-parameters", "Traceback (most recent call last)",
                                     "papermill", "prompt/s", "{{"])
def test_the_machinery_does_not_show(book, planted):
    for name, page in book.pages.items():
        prose = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
        assert planted not in prose, name


def test_no_path_of_this_machine_shows(book, root):
    for name, page in book.pages.items():
        assert str(book.artifacts) not in page, name
        assert str(root) not in page, name


def test_every_claim_is_on_the_front_page(book):
    ids = parsed(Targets(), book.pages["book/index.html"]).ids
    assert {f"claim-{id.lower()}" for id in load_claims()} <= ids


def test_the_front_page_gives_no_verdict_on_random_weights(book):
    badges = set(re.findall(r'class="[^"]*badge-v[^"]*">(?:<span>)?([^<]+)',
                            book.pages["book/index.html"]))
    assert {"not run", "source inconsistent"} <= badges
    assert not badges & {"reproduced", "not reproduced", "agrees", "disagrees"}


def test_the_section_shows_its_numbers_and_figures(book):
    page = book.pages[f"notebooks/{NOTEBOOK}.html"]
    value = read_results(book.tree / "results" / "s23.json").value(
        "s23.tinyllama-random.two_shot_labelled.n_answerable")
    assert f"n = {value.value:.0f} of {value.n}" in page
    assert page.count('class="only-light') == page.count('class="only-dark') >= 4
    assert "[[" not in re.sub(r"<(script|style|pre).*?</\1>", "", page, flags=re.DOTALL)


def test_a_figure_links_to_its_data_and_to_its_notebook(book):
    html = book.tree / "html"
    page = book.pages[f"notebooks/{NOTEBOOK}.html"]
    for folder, count in (("data", 4), ("source", 1)):
        found = set(re.findall(rf'href="\.\./(_static/{folder}/[^"]+)"', page))
        assert len(found) >= count
        assert all((html / address).is_file() for address in found)


def test_every_column_of_the_dictionary_is_a_column_of_some_file(book):
    results = [read_results(book.tree / results_name(section)) for section in SECTIONS.values()]
    files = publish_data(book.artifacts / "published", book.tree, list(SECTIONS.values()), results)
    described = {(file.key, column) for file in files for column in ("", *file.columns)}
    own = {row for row in read_dictionary() if "*" not in row}
    assert own <= described


def test_a_reader_can_unfold_the_code_of_a_figure(book):
    page = book.pages[f"notebooks/{NOTEBOOK}.html"]
    assert "Show the code" in page
    assert "by_framing" in page


def test_every_unit_left_its_marker(book):
    assert units({}, markers(book.artifacts)) >= {
        "tinyllama-random", "tinyneox-random", "html",
        *(f"notebook-{section.key}" for section in SECTIONS.values()),
        "ask", "sweep", "activations", "train_saes", "train_again"}


def test_an_experiment_notes_the_calls_that_it_made(book):
    made = markers(book.artifacts).keys()
    for section in SECTIONS.values():
        path = book.tree / "results" / f"{section.key}.calls.json"
        calls = json.loads(path.read_text(encoding="utf-8"))
        assert calls
        assert {call["marker"] for call in calls} <= made


def test_what_notebooks_share_was_computed_before_them(book, smoke):
    with artifacts_at(book.artifacts):
        shared = {call.name for call in calls_of_book(smoke, smoke.seed).values()}
    for path in (book.tree / "results").glob("s??.calls.json"):
        anew = {call["function"] for call in json.loads(path.read_text(encoding="utf-8"))
                if call["computed"]}
        assert not anew & shared, path.name


def test_a_second_build_does_no_unit_again(book, build_smoke):
    before = markers(book.artifacts)
    ran = build_smoke(book.artifacts)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.rstrip().endswith("index.html")
    assert markers(book.artifacts) == before


def test_a_deleted_artifact_is_made_again(artifacts, build_smoke):
    before = markers(artifacts)
    table = artifacts / "smoke" / "figures" / "s23_topics.csv"
    expected = table.read_bytes()
    table.unlink()
    ran = build_smoke(artifacts)
    assert ran.returncode == 0, ran.stderr
    assert table.read_bytes() == expected
    assert units(before, markers(artifacts)) == {"notebook-s23"}


def test_a_deleted_result_of_a_shared_call_is_computed_again(artifacts, build_smoke):
    before = markers(artifacts)
    (marker, *_) = sorted((artifacts / "calls" / ".done").glob("sweep-*"))
    result = artifacts / "calls" / marker.name / "result.csv"
    expected = result.read_bytes()
    result.unlink()
    ran = build_smoke(artifacts)
    assert ran.returncode == 0, ran.stderr
    assert result.read_bytes() == expected
    assert units(before, markers(artifacts)) <= {"sweep"}


def test_an_edited_page_is_set_anew_without_running_anything_else(
    artifacts, checkout, build_smoke
):
    before = markers(artifacts)
    log = checkout / "book" / "log.md"
    log.write_text(log.read_text(encoding="utf-8") + "\n## Planted\n", encoding="utf-8")
    ran = build_smoke(artifacts, checkout)
    assert ran.returncode == 0, ran.stderr
    assert "Planted" in (artifacts / "smoke" / "html" / "book" / "log.html").read_text()
    assert units(before, markers(artifacts)) == {"html"}


def test_a_broken_notebook_stops_the_build_and_is_left_to_look_at(
    artifacts, checkout, build_smoke
):
    before = markers(artifacts)
    source = checkout / "notebooks" / f"{NOTEBOOK}.py"
    whole = source.read_text(encoding="utf-8")
    assert "book.opening()" in whole
    source.write_text(whole.replace("book.opening()", 'raise RuntimeError("planted")', 1))
    ran = build_smoke(artifacts, checkout)
    assert ran.returncode == 1
    assert "RuntimeError: planted" in ran.stderr
    partly = artifacts / "smoke" / "failed" / f"{NOTEBOOK}.ipynb"
    assert str(partly) in ran.stderr
    outputs = [output for cell in json.loads(partly.read_text())["cells"]
               for output in cell.get("outputs", [])]
    assert [output["evalue"] for output in outputs if output["output_type"] == "error"] == [
        "planted"]
    assert markers(artifacts) == before  # what it had computed is kept, the notebook has no marker

    source.write_text(whole)
    mended = build_smoke(artifacts, checkout)
    assert mended.returncode == 0, mended.stderr


def test_a_section_that_this_book_does_not_have_is_an_error(book):
    ran = subprocess.run(
        [sys.executable, "-m", "deception_saes", "section", "99", "--profile", "smoke"],
        env={**os.environ, "DECEPTION_SAES_ARTIFACTS": str(book.artifacts)}, capture_output=True,
        text=True, check=False)
    assert ran.returncode == 1
    assert "§99 is not in this book" in ran.stderr
    assert "Traceback" not in ran.stderr
