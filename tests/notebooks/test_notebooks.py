import ast
import difflib
import json
import os
import shutil
import subprocess
import sys

import jupytext
import nbformat
import pytest

from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.plots.swap_captions import FIGURES
from deception_saes.paper.results import read_results
from deception_saes.paper.settings import PARAMETERS

each_section = pytest.mark.parametrize(
    "section", SECTIONS.values(), ids=lambda section: section.key)

BY_ITSELF = 28
"""The notebook that the README runs so."""


@pytest.fixture
def source(root, section):
    return root / "notebooks" / f"{section.stem}.py"


def convert(folder, *arguments):
    subprocess.run([sys.executable, "-m", "jupytext", "--quiet", *arguments], cwd=folder,
                   check=True)


def code_cells(source):
    return [cell for cell in jupytext.read(source).cells if cell.cell_type == "code"]


def parameters_cell(source):
    (cell,) = [cell for cell in jupytext.read(source).cells
               if "parameters" in cell.metadata.get("tags", [])]
    return cell


@each_section
def test_parameters_are_known_are_the_profiles_if_none_and_reach_the_settings(source):
    cell = parameters_cell(source)
    given = {statement.targets[0].id: ast.literal_eval(statement.value)
             for statement in ast.parse(cell.source).body}
    assert given.pop("profile") == "embedded"
    assert given.pop("seed") == 0
    assert given
    assert given == dict.fromkeys(given)
    assert given.keys() <= set(PARAMETERS)
    (opened,) = [node for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
                 if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "open_section"]
    assert {key.arg: ast.unparse(key.value) for key in opened.keywords} == {
        name: name for name in given}


@each_section
def test_a_notebook_and_its_text_say_the_same(source, root, tmp_path):
    shutil.copy(root / "pyproject.toml", tmp_path)  # has jupytext's settings
    shutil.copy(source, tmp_path / "a.py")
    convert(tmp_path, "--to", "ipynb", "a.py")
    convert(tmp_path, "--to", "py:percent", "a.ipynb", "-o", "b.py")
    assert (tmp_path / "b.py").read_text() == source.read_text()


@each_section
def test_no_measured_number_is_typed_into_prose(source):
    for cell in jupytext.read(source).cells:
        if cell.cell_type == "markdown":
            assert "%" not in cell.source.replace("95%", "")
            assert " pp" not in cell.source


def captions(source, section):
    """Of every figure: the caption and the alternative text, as written."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "figure":
            named = {key.arg: key.value for key in node.keywords}
            if "caption" in named:
                yield ast.literal_eval(named["caption"]), ast.literal_eval(named["alt"])
            else:  # §24, §26 and §31 share theirs
                key = ast.literal_eval(named[None].slice)
                yield FIGURES[key]["caption"], FIGURES[key]["alt"]


@each_section
def test_a_caption_says_its_n_and_what_the_interval_is(source, section):
    found = list(captions(source, section))
    assert found
    for caption, alt in found:
        assert "n = " in caption
        assert "interval" in caption.lower()
        assert len(alt.split()) >= 5


@each_section
def test_a_section_says_what_would_have_changed_its_conclusion(source):
    prose = [cell for cell in jupytext.read(source).cells if cell.cell_type == "markdown"]
    assert "**What would have changed the conclusion.**" in prose[-1].source


@pytest.mark.parametrize("section", [
    pytest.param(of, marks=[] if of.number == BY_ITSELF else pytest.mark.slow, id=of.key)
    for of in SECTIONS.values()])
def test_a_notebook_runs_by_itself_and_makes_what_it_needs(source, section, tmp_path):
    out, made = tmp_path / "out.ipynb", tmp_path / "made"
    command = (f'"{sys.executable}" -m jupytext --quiet --to ipynb "{source}" -o - | '
               f'"{sys.executable}" -m papermill - "{out}" -p profile smoke --no-progress-bar')
    environment = {**os.environ, "DECEPTION_SAES_ARTIFACTS": str(made)}
    ran = subprocess.run(["bash", "-o", "pipefail", "-c", command], env=environment, check=False,
                         cwd=source.parent, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    tree = made / "runs" / "smoke" / section.key
    assert read_results(tree / "results" / f"{section.key}.json").status == "done"
    cells = json.loads(out.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert sum("text/html" in output.get("data", {}) for output in outputs) >= 1
    assert not [output for output in outputs if output["output_type"] == "error"]


def test_an_edit_in_jupyter_comes_back_as_that_edit_alone(root, tmp_path):
    shutil.copy(root / "pyproject.toml", tmp_path)
    text = tmp_path / "s29.py"
    shutil.copy(root / "notebooks" / "s29_neutral_prompts.py", text)
    before = text.read_text().splitlines()
    convert(tmp_path, "--sync", "s29.py")
    paired = tmp_path / "s29.ipynb"
    notebook = nbformat.read(paired, as_version=4)
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    code.outputs = [nbformat.v4.new_output("stream", text="what a run printed")]
    code.execution_count = 7
    notebook.cells[0].source += "\n\nOne more sentence."
    nbformat.write(notebook, paired)
    os.utime(paired, (paired.stat().st_mtime + 60,) * 2)  # saved after the text
    convert(tmp_path, "--sync", "s29.ipynb")
    changed = [line for line in difflib.ndiff(before, text.read_text().splitlines())
               if line[0] in "+-"]
    assert changed == ["+ #", "+ # One more sentence."]
