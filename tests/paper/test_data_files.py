import csv
import io
import shutil
import zipfile

import pytest

from deception_saes.paper import data_files
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.data_files import (
    COLUMNS_FILE,
    ZIP,
    DataFile,
    Meaning,
    data_page,
    publish_data,
    read_dictionary,
    size_of_zip,
)

UNITS = {"", "auroc", "Cohen's d", "count", "features", "kappa", "logits", "nats", "p", "percent",
         "pp", "probability", "ratio", "residual", "s", "share", "squared residual"}


@pytest.fixture
def tree(asked_in_smoke):
    """Where §23's results and tables lie."""
    return asked_in_smoke.folder


@pytest.fixture
def published(asked_in_smoke, tree, tmp_path):
    files = publish_data(tmp_path, tree, [SECTIONS[23]], [asked_in_smoke.results])
    return {file.name: file for file in files}


def test_every_table_of_a_section_and_every_packaged_file_is_there(published, tmp_path, root):
    expected = {"s23_questions.csv", "s23_topics.csv", "s23_dropped.csv", "s23_models.csv",
                "s23_answerable.csv", "s23_contrasts.csv", "s23_values.csv", "completions.csv",
                "labels.csv", "questions.csv", "published_claims.csv", "columns.csv"}
    assert expected <= published.keys()
    for name in published:
        assert (tmp_path / "data" / name).is_file()


def test_values_are_those_of_the_results(published, tmp_path, asked_in_smoke):
    rows = list(csv.DictReader(io.StringIO((tmp_path / "data" / "s23_values.csv").read_text())))
    assert [row["id"] for row in rows] == [value.id for value in asked_in_smoke.results.values]
    found = next(row for row in rows if row["ci_low"])
    assert float(found["ci_low"]) == asked_in_smoke.results.value(found["id"]).ci_low


def test_a_file_knows_its_rows_and_what_its_columns_mean(published):
    topics = published["s23_topics.csv"]
    assert topics.section == SECTIONS[23]
    assert topics.columns["p_correct"].unit == "probability"
    assert "lower end" in topics.columns["ci_low"].meaning
    assert published["questions.csv"].rows == 365


def test_the_archive_holds_everything_and_is_the_same_every_time(
    published, tmp_path, asked_in_smoke, tree
):
    again = tmp_path / "again"
    publish_data(again, tree, [SECTIONS[23]], [asked_in_smoke.results])
    archive = tmp_path / "data" / ZIP
    assert archive.read_bytes() == (again / "data" / ZIP).read_bytes()
    names = set(zipfile.ZipFile(archive).namelist())
    assert names == {*published, "results/s23.json", "README.txt"}
    assert size_of_zip(tmp_path) == f"{archive.stat().st_size / 1e3:.1f} kB"


def test_a_column_that_is_not_described_is_an_error(monkeypatch, tmp_path, asked_in_smoke, tree):
    known = {key: of for key, of in read_dictionary().items() if key != ("*", "topic")}
    monkeypatch.setattr(data_files, "read_dictionary", lambda: known)
    with pytest.raises(ValueError, match=r"'topic' of \S+\.csv"):
        publish_data(tmp_path, tree, [SECTIONS[23]], [asked_in_smoke.results])
    assert not (tmp_path / "data").exists()


def test_a_notebooks_tables_are_described_by_what_lies_beside_them(
    published, tmp_path, asked_in_smoke, tree
):
    assert published["s23_topics.csv"].about == "mean P(correct) by topic, all questions"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "data" / "columns.csv").read_text())))
    (found,) = [row for row in rows if (row["file"], row["column"]) == ("s23_topics", "p_correct")]
    assert (found["unit"], found["meaning"]) == ("probability", "mean over the topic's questions")
    bare = shutil.copytree(tree, tmp_path / "bare")
    (bare / "figures" / "s23_topics.json").unlink()
    with pytest.raises(ValueError, match=r"'p_correct' of s23_topics\.csv"):
        publish_data(tmp_path / "again", bare, [SECTIONS[23]], [asked_in_smoke.results])


def test_the_dictionary_has_units_and_sentences():
    dictionary = read_dictionary()
    with COLUMNS_FILE.open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(dictionary)
    for (file, _), of in dictionary.items():
        assert of.meaning.strip()
        assert file == "*" or (file, "") in dictionary


def test_a_text_in_the_dictionary_is_text():
    file = DataFile("s23_x.csv", SECTIONS[23], "<b>", 1, 10, {"<i>": Meaning("<u>", "<s>")})
    page = data_page([file])
    for sign in ("<b>", "<i>", "<u>", "<s>"):
        assert sign not in page


def test_a_name_is_text_too():
    file = DataFile('s23_"<b>.csv', SECTIONS[23], "about", 1, 10, {})
    page = data_page([file])
    assert "<b>" not in page
    assert 'href="../_static/data/s23_%22%3Cb%3E.csv"' in page


def test_columns_of_one_meaning_stand_together():
    effect = Meaning("pp", "effect on the question of that id")
    columns = {"head": Meaning("", "the head"), **{f"q{i}": effect for i in range(40)}}
    page = data_page([DataFile("s27_x.csv", SECTIONS[27], "about", 1, 10, columns)])
    assert page.count("effect on the question") == 1
    assert "<code>q0</code> … <code>q39</code>, 40 columns" in page
    assert "41 columns</summary>" in page


def test_a_reason_why_a_model_was_not_run_is_described_wherever_it_stands():
    # the smoke and embedded profiles have all their models, so no table of theirs shows it
    assert ("*", "reason") in read_dictionary()


def test_units_are_ones_that_are_used(published):
    assert {of.unit for of in read_dictionary().values()} <= UNITS
    assert {of.unit for file in published.values() for of in file.columns.values()} <= UNITS


def test_rows_are_sorted_into_files():
    files = [file for file, _ in read_dictionary()]
    assert files == sorted(files, key=files.index)


def test_what_is_said_to_be_a_probability_lies_between_0_and_1(published, tmp_path):
    for file in published.values():
        rows = csv.DictReader(io.StringIO((tmp_path / "data" / file.name).read_text(), newline=""))
        for row in rows:
            for name, of in file.columns.items():
                if of.unit in {"probability", "p", "auroc"} and row[name]:
                    assert 0 <= float(row[name]) <= 1, (file.name, name)
