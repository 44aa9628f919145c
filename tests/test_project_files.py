"""Files at the root that must agree with each other and with the code."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from deception_saes.models.registry import get
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.stage import with_sections


def lines(path):
    """Without comments and empty lines."""
    stripped = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in stripped if line]


def name_of(requirement):
    """A distribution's name as indexes compare them."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def environment(root):
    return yaml.safe_load((root / "environment.yml").read_text())


@pytest.mark.parametrize("name", ["book", "tests", "peers", "model", "gemma", "slurm"])
def test_every_requirement_is_an_exact_pin_without_local_version(root, name):
    for line in lines(root / "requirements" / f"{name}.txt"):
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line


def test_what_is_wanted_is_pinned(root):
    pinned = {name_of(line) for line in lines(root / "requirements/book.txt")}
    assert {name_of(line) for line in lines(root / "requirements/book.in")} <= pinned


def test_what_the_tests_want_is_pinned_once(root):
    base = {name_of(line) for line in lines(root / "requirements/book.txt")}
    extra = {name_of(line) for line in lines(root / "requirements/tests.txt")}
    wanted = {name_of(line) for line in lines(root / "requirements/tests.in")
              if not line.startswith("-")}
    assert wanted <= base | extra
    assert not base & extra


def test_a_pin_in_the_wanted_list_is_the_one_that_was_locked(root):
    exact = {line for line in lines(root / "requirements/book.in") if "==" in line}
    assert exact
    assert exact <= set(lines(root / "requirements/book.txt"))


def test_the_model_wheel_is_the_version_whose_file_is_known(root):
    source = get("smollm2it").source
    assert lines(root / "requirements/model.txt") == [f"{source.distribution}=={source.version}"]


def test_conda_takes_its_packages_from_the_same_lock(environment):
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert pip == ["-r requirements/book.txt"]


def test_condas_python_is_one_that_the_project_supports(environment, project):
    least = re.fullmatch(r">=3\.(\d+)", project["project"]["requires-python"])[1]
    pinned = next(item for item in environment["dependencies"]
                  if str(item).startswith("python="))
    assert int(re.fullmatch(r"python=3\.(\d+)", pinned)[1]) >= int(least)
    assert sys.version_info >= (3, int(least))


def test_the_table_of_contents_lists_the_written_sections_in_order_and_pages_that_exist(root):
    toc = with_sections(yaml.safe_load((root / "_toc.yml").read_text()), list(SECTIONS.values()))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    listed = [file for file in files if file.startswith("notebooks/")]
    assert listed == [f"notebooks/{section.stem}" for section in SECTIONS.values()]
    for page in {toc["root"], *files} - set(listed):
        assert (root / f"{page}.md").is_file(), page


def test_every_page_is_in_the_table_of_contents(root):
    toc = (root / "_toc.yml").read_text()
    assert all(f"book/{path.stem}" in toc for path in (root / "book").glob("*.md"))


def test_jupyter_book_executes_nothing(root):
    config = yaml.safe_load((root / "_config.yml").read_text())
    assert config["execute"]["execute_notebooks"] == "off"
    assert config["only_build_toc_files"] is True


def test_help_names_every_target(root):
    text = (root / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)[1].split()
    said = subprocess.run(["make", "-s", "help"], cwd=root, check=True, capture_output=True,
                          text=True).stdout
    assert sorted(re.findall(r"^  make ([a-z-]+) +\S", said, re.MULTILINE)) == sorted(phony)


def test_what_is_made_is_not_committed(root):
    ignored = lines(root / ".gitignore")
    assert {"artifacts/", ".venv/", "notebooks/*.ipynb"} <= set(ignored)
