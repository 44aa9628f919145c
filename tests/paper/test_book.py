"""What notebooks that are experiments call, and experiments of one's own."""

import dataclasses
import shutil

import pandas as pd
import pytest
from cells import SHOWN, run_cells
from places import artifacts_at

from deception_saes.cache import used
from deception_saes.errors import UserError
from deception_saes.experiments.circuits import strongest
from deception_saes.experiments.heads import sweep
from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel
from deception_saes.paper import settings
from deception_saes.paper.book import Book, computed_anew, open_section
from deception_saes.paper.claims import load_claims
from deception_saes.paper.record import EXPECTED_VARIABLE, profile_tree, results_name
from deception_saes.paper.results import read_results
from deception_saes.paper.settings import PARAMETERS, Settings
from deception_saes.paper.subjects import task_of
from deception_saes.store.files import write_atomic
from deception_saes.tasks.trivia import QUESTION_COLUMNS, load_questions
from deception_saes.tidy import described

MODEL = "tinyllama-random"


@pytest.fixture
def book(smoke, artifacts):
    return Book(28, smoke, 0, {})


@pytest.fixture
def table():
    return described(pd.DataFrame({"kind": ["one", "no SAE"], "x": [1.5, None], "n": [3, 4],
                                   "ci_low": [1.0, None], "ci_high": [2.0, None]}),
                     "a table", kind=("", "which"), x=("pp", "a number"))


# Results


def test_values_are_rows_of_the_table(book, table):
    book.report("t", table, "{kind}.x", value="x", quantity="x of {kind}", claims={"one.x": "S-07"})
    one, other = book.results.values
    assert (one.id, one.value, one.unit, one.ci_low, one.n) == (
        f"s28.{MODEL}.one.x", 1.5, "pp", 1.0, 3)
    assert (one.quantity, one.claim, one.model, one.framing) == (
        "x of one", "S-07", MODEL, "two_shot_labelled")
    assert (other.id, other.value, other.claim) == (f"s28.{MODEL}.no_sae.x", None, None)


@pytest.mark.parametrize(("how", "says"), [
    ({"id": "same"}, "s28.tinyllama-random.same"),
    ({"id": "{kind}", "claims": {"nothing": "S-07"}}, "nothing")])
def test_a_report_that_contradicts_itself_is_an_error(book, table, how, says):
    with pytest.raises(ValueError, match=says):
        book.report("t", table, value="x", quantity="x", **how)


@pytest.mark.parametrize("undescribed", [
    pd.DataFrame({"x": [1.0]}), described(pd.DataFrame({"x": [1.0]}), "a table"),
    described(pd.DataFrame({"x": [1.0]}), "", x=("pp", "a number"))])
def test_a_table_says_what_its_columns_hold(book, undescribed):
    with pytest.raises(ValueError, match=r"'t'.*tidy.described"):
        book.report("t", undescribed)


def test_a_number_that_nothing_reported_is_an_error_that_names_it(book):
    with pytest.raises(KeyError, match=r"effect\.sandbox"):
        book.say("It is [[effect.sandbox]].")


def test_a_parameter_in_prose_is_its_value(book):
    assert book.say("[[n_heads]] heads, [[draws]] draws").data == "5 heads, 20 draws"


# Pages


@pytest.fixture
def with_effect(book):
    """The book with one reported number, which answers S-07."""
    book.number("f.effect", -1.26, "pp", "q", claim="S-07", ci_low=-2.0, ci_high=-0.5, n=50)
    return book


@pytest.mark.parametrize(("reference", "text"), [
    ("[[f.effect]]", "−1.3 pp [−2.0,\N{NO-BREAK SPACE}−0.5]"),
    ("[[f.effect|value]]", "−1.3 pp"),
    ("n = [[f.effect|n]], no more", "n = 50, no more"),
    ("no reference", "no reference"),
])
def test_prose_is_filled_with_results(with_effect, reference, text):
    assert with_effect.say(reference).data == text


def test_a_reference_in_a_caption_is_filled_and_markup_in_it_is_text(with_effect):
    shown = with_effect.table(lambda: pd.DataFrame({"a": [1]}), caption="<b> n = [[f.effect|n]]")
    assert "&lt;b&gt; n = 50" in shown.data


def test_the_opening_says_what_was_run_and_sets_claims_beside_values(with_effect):
    text = with_effect.opening().data
    for part in ("Profile smoke", "seed 0", "random tiny Llama", "13.71 pp [11.28, 16.24]",
                 "−1.3 pp [−2.0,\N{NO-BREAK SPACE}−0.5] (n = 50)",
                 'href="../book/index.html#claim-s-07"'):
        assert part in text
    assert text.count("<tr>") == 2  # the head and the one that is answered
    assert {id for id in load_claims() if f">{id}<" in text} == {
        id for id, claim in load_claims().items() if claim.section.startswith("28")}


def test_an_unknown_profile_is_an_error():
    with pytest.raises(ValueError, match="no profile 'fast'"):
        open_section(29, "fast", 0)


# Parameters


@pytest.mark.parametrize(("section", "own", "says"), [
    (28, {"n_heads": "many"}, "n_heads is 'many'"),
    (28, {"n_heads": 0}, "n_heads is 0.* 1"),
    (28, {"n_heads": 11}, "n_heads is 11.* 10"),
    (28, {"heads": 3}, "'heads'.*model, framing"),
    (24, {"layers": 8}, "layers is 8.*tinyllama-random.* 0 to 7"),
    (24, {"layers": "two"}, "layers is 'two'"), (24, {"layers": []}, r"layers is \[\]"),
    (24, {"draws": 3}, "draws is 3.*even"), (24, {"k": True}, "k is True"),
    (27, {"model": "gpt5"}, "model is 'gpt5'.*gemma270m"),
    (27, {"framing": "x"}, "framing is 'x'.*two_shot_labelled"),
    (27, {"questions": "/nowhere.csv"}, "/nowhere.csv"),
    (17, {"judge": "nobody"}, "judge is 'nobody'.*claude-1"),
    (23, {"sandbag_instruction": " "}, "sandbag_instruction")])
def test_what_cannot_be_used_is_one_line_that_says_what_can(smoke, artifacts, section, own, says):
    with pytest.raises(UserError, match=says) as error:
        open_section(section, smoke, 0, **own)
    assert "\n" not in str(error.value)


def test_a_judge_who_labelled_nothing_of_the_main_round_is_refused(smoke, monkeypatch):
    monkeypatch.setattr(settings, "load_labels", lambda: {"claude-1": {}, "nobody": {}})
    with pytest.raises(UserError, match="judge is 'nobody'"):
        open_section(18, smoke, 0, judge="nobody").reading  # noqa: B018


def test_a_malformed_file_of_questions_is_one_line_that_names_its_row(smoke, tmp_path):
    path = tmp_path / "questions.csv"
    path.write_text(",".join(QUESTION_COLUMNS) + "\na,b,c,4,,d\n")
    with pytest.raises(UserError, match=r"questions\.csv, row 2: '4'"):
        open_section(27, smoke, 0, questions=str(path))


def test_more_heads_than_are_left_to_draw_are_refused(smoke, artifacts):
    with pytest.raises(UserError, match=r"n_heads is 17.* 1 to 16"):
        strongest(sweep(task_of(smoke, 0, smoke.models[0], "zero_shot").choosing, "sandbag"), 17)


def test_a_run_of_ones_own_has_one_folder_in_whatever_order_its_parameters_are_given(smoke):
    own = {"n_heads": 3, "framing": "zero_shot"}
    one, other = (Book(28, smoke, 0, dict(items)).folder
                  for items in (own.items(), reversed(own.items())))
    assert one == other
    assert one != Book(28, smoke, 0, {"n_heads": 3}).folder


@pytest.mark.parametrize(("layers", "found"), [
    (3, (3,)), ([6, 2], (2, 6)), ("2, 6", (2, 6)), (None, (2, 4, 6))])
def test_layers_may_be_one_or_several(smoke, layers, found):
    assert Settings(24, smoke, 0, {"layers": layers}).layers == found


def test_saes_of_the_book_serve_an_experiment_at_its_layers_and_others_are_its_own(smoke):
    of_book = Settings(24, smoke, 0).saes
    assert Settings(24, smoke, 0, {"layers": 4, "draws": 2}).saes == of_book
    for own in ({"layers": 3}, {"k": 16}, {"sandbag_instruction": "Lie."}):
        tags = Settings(24, smoke, 0, own).saes.tags
        assert {tag.train_set for tag in tags} == {"mixed"}
        assert len(tags) < len(of_book.tags)


@pytest.mark.parametrize("section", [23, 24, 25, 26, 27, 28, 29, 30, 31, 32])
def test_a_parameter_left_at_none_is_the_profiles(smoke, section):
    assert Settings(section, smoke, 0, dict.fromkeys(PARAMETERS)).own == {}


def test_in_a_build_parameters_of_ones_own_are_refused(smoke, monkeypatch):
    monkeypatch.setenv(EXPECTED_VARIABLE, "smoke 0")
    open_section(28, smoke, 0, n_heads=None)
    with pytest.raises(UserError, match="n_heads = 3"):
        open_section(28, smoke, 0, n_heads=3)
    with pytest.raises(UserError, match=r"smoke 1.*smoke 0"):
        open_section(28, smoke, 1)


def test_without_its_model_a_section_says_why_and_shows_nothing_else(smoke, empty_hub_cache):
    absent = dataclasses.replace(get("pythia160m"), source=HubModel("nobody/nothing"))
    book = open_section(28, dataclasses.replace(smoke, models=(absent,)), 0)
    opening = book.opening().data
    assert "nobody/nothing" in opening
    assert "13.71" in opening
    assert (book.say("[[gap]]"), book.results.status) == (None, "not run")

    def never(*_):
        raise AssertionError("drawn without results")

    assert book.figure(never, caption="[[gap]]", alt="", size=(1, 1)) is None
    assert book.table(never, caption="[[gap]]") is None


# Five edits, each one line of the parameters cell


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """A file of other questions: half of the shipped ones."""
    path = tmp_path_factory.mktemp("own") / "questions.csv"
    rows = [",".join(f'"{cell}"' for cell in (q.id, q.topic, q.text, q.accepted[0],
                                              "|".join(q.accepted[1:]), q.foil))
            for q in load_questions()[::2]]
    write_atomic(path, "\n".join([",".join(QUESTION_COLUMNS), *rows]) + "\n")
    return str(path)


EDITS = {
    "another layer in §24": (24, {"layers": 3}, {"ask", "sweep"}),
    "three heads in §28": (28, {"n_heads": 3}, {"ask", "sweep"}),
    "another question file in §27": (27, {"questions": "FILE"}, {"train_saes"}),
    "another wording in §23": (23, {"sandbag_instruction": "Tell a lie."}, {"sweep"}),
    "another layer in §32": (32, {"layers": 3}, {"sweep"}),
    "two heads in §30": (30, {"n_heads": 2}, {"ask", "sweep"}),
    "another model in §27": (27, {"model": "tinyneox-random"}, {"train_saes", "ask"}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_computed_beside_the_book_whose_numbers_stand_in_brackets(
        edit, smoke, artifacts, questions):
    section, own, not_anew = EDITS[edit]
    own = {name: questions if value == "FILE" else value for name, value in own.items()}
    run_cells(section, smoke, 0, artifacts)
    with artifacts_at(artifacts):
        tree = profile_tree(smoke, 0) / results_name(Settings(section, smoke, 0).section)
        of_book = Book(section, smoke, 0, {}).folder / "results" / tree.name
        tree.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(of_book, tree)
    before, calls = tree.read_bytes(), len(used())
    run = run_cells(section, smoke, 0, artifacts, shown=SHOWN, **own)
    anew = {call.function for call in used()[calls:] if call.computed}
    assert not anew & not_anew
    assert tree.read_bytes() == before == of_book.read_bytes()
    with artifacts_at(artifacts):
        written = read_results(run.book.folder / "results" / tree.name)
        opening = run.book.opening().data
    assert written.values == run.results.values
    assert [value for value in written.values if value.claim] == []
    name, value = next(iter(own.items()))
    assert f"{name} = {value} (book: " in opening.replace("&#x27;", "'")
    assert "Not the book's run" in opening
    theirs = {value.id.split(".", 2)[2]: value for value in read_results(tree).values}
    shared = [value for value in run.results.values if value.id.split(".", 2)[2] in theirs]
    assert any(value.value != theirs[value.id.split(".", 2)[2]].value for value in shared)
    id = shared[0].id.split(".", 2)[2]
    said = run.book.say(f"[[{id}|value]] and [[nothing.of.the.kind]]").data
    assert " (book: " in said
    assert said.endswith("and –")


def test_what_was_computed_anew_is_said_in_one_sentence(smoke, artifacts):
    run_cells(28, smoke, 0, artifacts)
    again = run_cells(28, smoke, 0, artifacts)
    assert computed_anew(again.book.used).startswith(
        "Computed anew: nothing, in 0.0 s; read from the cache: ")
