import nbformat
import pytest
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
)

from deception_saes.paper.stage import UnfinishedNotebook, answer_first, cleaned


def code(source, *tags, count=1, outputs=()):
    return new_code_cell(source, execution_count=count, outputs=list(outputs), metadata={
        "tags": list(tags), "papermill": {"duration": 1.5}, "execution": {"x": "2026"}})


def stream(name, text):
    return new_output("stream", name=name, text=text)


def clean(*cells):
    notebook = new_notebook(cells=list(cells), metadata={"papermill": {"input_path": "/tmp/x"}})
    result = cleaned(notebook, "s23.ipynb")
    nbformat.validate(result)
    return result


def test_the_injected_cell_does_not_reach_a_page():
    result = clean(code("profile = 1", "parameters"), code("profile = 2", "injected-parameters"),
                   code("x"))
    assert [cell.source for cell in result.cells] == ["profile = 1", "x"]


def test_stderr_does_not_reach_a_page_and_stdout_does():
    result = clean(code("x", outputs=[stream("stderr", "warning"), stream("stdout", "shown")]))
    assert [output.text for output in result.cells[0].outputs] == ["shown"]


def test_metadata_of_papermill_does_not_reach_a_page():
    result = clean(code("x"), new_markdown_cell("text", metadata={"papermill": {"a": 1}}))
    assert "papermill" not in nbformat.writes(result)
    assert "2026" not in nbformat.writes(result)


def test_code_is_folded_prose_cells_hide_it_and_parameters_go():
    result = clean(code("a"), code("b", "remove-input"), code("c", "parameters"))
    assert [cell.metadata["tags"] for cell in result.cells] == [
        ["hide-input"], ["remove-input"], ["parameters", "remove-cell"]]


def test_an_experiment_stands_behind_what_it_found_and_unfolded():
    cells = [new_markdown_cell("# §28 Title"), code("n = None", "parameters"),
             code("book = open_section(28)"), new_markdown_cell("How."), code("run()"),
             code("book.opening()"), code("book.figure()"), code("book.say()", "remove-input"),
             new_markdown_cell("## More"), code("book.close()", "remove-input")]
    result = clean(*cells)
    answer_first(result)
    nbformat.validate(result)
    assert [cell.source.splitlines()[0] for cell in result.cells] == [
        "# §28 Title", "n = None", "book.opening()", "book.figure()", "book.say()",
        "## The experiment", "book = open_section(28)", "How.", "run()", "## More",
        "book.close()"]
    assert [cell.metadata["tags"] for cell in result.cells if cell.cell_type == "code"] == [
        ["parameters", "remove-cell"], ["hide-input"], ["hide-input"], ["remove-input"],
        ["hide-input"], [], ["remove-input"]]


def test_ids_of_cells_are_not_random():
    cells = [new_markdown_cell("text"), code("a")]
    assert [cell["id"] for cell in clean(*cells).cells] == ["cell-000", "cell-001"]


def test_a_cell_that_has_not_run_is_an_error_that_names_it():
    with pytest.raises(UnfinishedNotebook, match=r"s23\.ipynb: cell 1.*print\(2\)"):
        clean(code("print(1)"), code("print(2)", count=None))


def test_an_empty_cell_need_not_have_run():
    assert len(clean(code("  ", count=None)).cells) == 1


def test_a_section_that_was_not_run_shows_no_empty_cells():
    shown = code("opening", outputs=[stream("stdout", "why")])
    cells = [new_markdown_cell("# §31"), shown, code("figure"), new_markdown_cell("## Detail"),
             new_markdown_cell("**What would have changed the conclusion.**")]
    found = cleaned(new_notebook(cells=cells), "s31.ipynb", done=False)
    assert [cell.source for cell in found.cells] == [
        "# §31", "opening", "**What would have changed the conclusion.**"]
