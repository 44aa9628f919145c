"""Notebooks executed by papermill: in a build, and beside it with one's own parameters."""

import json

import pytest

from deception_saes.paper import notebooks
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.notebooks import NotebookFailed, execute, run_alone, source_of
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.results import read_results
from deception_saes.paper.settings import Settings

KERNEL = ("# ---\n# jupyter:\n#   kernelspec:\n#     display_name: Python 3\n"
          "#     language: python\n#     name: python3\n# ---\n\n")
PARAMETERS = ('# %% tags=["parameters"]\nprofile = "embedded"\nseed = 0\nn_heads = None\n'
              'framing = None\n')
OPENING = ('\n# %%\nfrom deception_saes.paper.book import open_section\n'
           'book = open_section(29, profile, seed)\nprint("opened")\n')
EXPERIMENT = ('\n# %%\nfrom deception_saes.paper.book import open_section\n'
              'book = open_section(28, profile, seed, n_heads=n_heads, framing=framing)\n'
              'print(f"{book.n_heads} heads, {book.framing.name}")\n')
SECTION = SECTIONS[28]


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Call it with a text: that is the notebook of every section then."""
    def write(text):
        path = tmp_path / "s28.py"
        path.write_text(KERNEL + text)
        monkeypatch.setattr(notebooks, "source_of", lambda section: path)

    return write


@pytest.fixture
def built(source, smoke, tmp_path):
    """Call it with a text: what a build of the smoke book prints where it runs that."""
    def build(text, why_not_run=None):
        source(text)
        execute(SECTION, smoke, 0, tmp_path / "failed", why_not_run, tmp_path / "out")
        return printed(tmp_path / "out" / "notebooks" / "s28.ipynb")

    return build


def printed(notebook):
    return "".join(text for cell in json.loads(notebook.read_text())["cells"]
                   for output in cell.get("outputs", []) if output.get("name") == "stdout"
                   for text in output["text"])


def test_the_source_of_a_section_is_its_notebook(root):
    for section in SECTIONS.values():
        assert source_of(section).parent == root / "notebooks"
        assert source_of(section).is_file()


@pytest.mark.parametrize(("text", "found"), [
    ("# %%\n" + PARAMETERS.partition("\n")[2] + OPENING, 0),  # it lost its tag
    (PARAMETERS + PARAMETERS + OPENING, 2),
])
def test_a_notebook_whose_parameters_would_be_overwritten_is_refused_before_it_runs(
        built, tmp_path, text, found):
    with pytest.raises(NotebookFailed, match=rf"s28\.py has {found} cells"):
        built(text)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.ipynb"))


@pytest.mark.parametrize(("opening", "by_hand"), [
    (OPENING, '"embedded", 0'), (OPENING, '"smoke", 1'), (EXPERIMENT, '"embedded", 0')])
def test_a_notebook_that_opens_another_profile_or_seed_than_it_is_built_for_fails(
        built, opening, by_hand):
    with pytest.raises(NotebookFailed, match="smoke 0"):
        built(PARAMETERS + opening.replace("profile, seed", by_hand))


def test_a_notebook_that_sets_a_parameter_by_hand_is_not_built(built, tmp_path):
    with pytest.raises(NotebookFailed, match="n_heads = 3"):
        built(PARAMETERS.replace("n_heads = None", "n_heads = 3") + EXPERIMENT)
    partly = tmp_path / "failed" / "s28.ipynb"
    errors = [output["ename"] for cell in json.loads(partly.read_text())["cells"]
              for output in cell.get("outputs", []) if output["output_type"] == "error"]
    assert errors == ["UserError"]


def test_in_a_build_a_notebook_has_the_builds_profile_and_seed(built):
    assert "5 heads, two_shot_labelled" in built(PARAMETERS + EXPERIMENT)
    assert "smoke 0" in built(PARAMETERS + '\n# %%\nprint(profile, seed)\n')


def test_of_a_section_that_is_not_run_nothing_but_its_opening_and_its_closing_is(
        source, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))  # here and in the kernel
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    paper = profile_named("paper")
    source(PARAMETERS + "\n# %%\nfrom deception_saes.paper.book import open_section\n"
           "book = open_section(31, profile, seed)\n"
           "\n# %%\nprint('computed')\nbook.task\n"
           "\n# %%\nprint('opening')\nbook.opening()\n\n# %%\nbook.close()\n")
    why = Settings(31, paper, 0).why_not_run
    execute(SECTIONS[31], paper, 0, tmp_path / "failed", why, tmp_path / "out")
    assert printed(tmp_path / "out" / "notebooks" / "s28.ipynb") == "opening\n"
    results = read_results(tmp_path / "out" / "results" / "s31.json")
    assert (results.status, results.reason) == ("not run", why)
    with pytest.raises(NotebookFailed, match="ModelUnavailable"):
        execute(SECTIONS[31], paper, 0, tmp_path / "failed", None, tmp_path / "out")


def test_by_itself_a_notebook_takes_parameters_of_ones_own(source, smoke, tmp_path):
    source(PARAMETERS + EXPERIMENT)
    found = run_alone(SECTION, smoke, 0, {"n_heads": 3, "framing": "zero_shot"}, tmp_path / "own")
    assert found == tmp_path / "own" / "s28.ipynb"
    assert "3 heads, zero_shot" in printed(found)


def test_what_is_no_notebook_says_so(source, smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "source_of", lambda section: tmp_path / "nothing.py")
    with pytest.raises(NotebookFailed, match=r"nothing\.py"):
        execute(SECTION, smoke, 0, tmp_path / "failed", None, tmp_path / "out")
