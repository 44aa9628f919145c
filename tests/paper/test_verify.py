import json

import pytest

from deception_saes.__main__ import main
from deception_saes.paper import reference
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.record import results_name
from deception_saes.paper.results import Results, Value, write_results
from deception_saes.store.files import write_atomic


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A profile's tree with a record of every section, and an empty folder of references."""
    monkeypatch.setenv("DECEPTION_SAES_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setattr(reference, "REFERENCES", tmp_path / "reference")
    for section in SECTIONS.values():
        write(tmp_path / "artifacts" / "smoke", section, 1 / 3)
    return tmp_path / "artifacts" / "smoke"


def write(tree, section, number):
    value = Value(f"{section.key}.m.x", "q", number, "pp", ci_low=0.0, ci_high=1.0, n=4)
    of = Results(section.number, "done", None, "smoke", 0, "abc", {}, 1.0, [value])
    write_results(of, tree / results_name(section))


def verify(*options):
    return main(["verify", "--profile", "smoke", *options])


def test_a_run_is_as_the_reference_made_of_it_to_the_last_bit(tree, capsys):
    assert verify("--write") == 0
    assert verify("--exact") == 0
    assert "16 values of 16 sections are as in the reference, to the last bit" in (
        capsys.readouterr().out)


def test_what_differs_is_named_and_the_exit_says_so(tree, capsys):
    verify("--write")
    write(tree, SECTIONS[20], 1 / 3 + 1e-12)
    assert verify() == 0
    assert verify("--exact") == 1
    assert "s20.m.x: value" in capsys.readouterr().out
    write(tree, SECTIONS[20], 0.5)
    assert verify() == 1
    assert "1 numbers differ" in capsys.readouterr().out


def test_a_section_without_results_is_named(tree, capsys):
    verify("--write")
    (tree / results_name(SECTIONS[17])).unlink()
    assert verify() == 1
    assert "no results of §17: run `make book` first" in capsys.readouterr().err


def test_a_reference_may_be_made_of_the_sections_that_were_run(tree, capsys):
    whole = (tree / results_name(SECTIONS[17])).read_text()
    (tree / results_name(SECTIONS[17])).unlink()
    assert verify("--write") == 0
    assert "no results of §17: the reference is made without" in capsys.readouterr().err
    (tree / results_name(SECTIONS[17])).write_text(whole)
    assert verify() == 0
    assert "the reference has nothing of §17; not compared" in capsys.readouterr().out


def test_a_section_that_the_reference_lacks_is_named_and_not_compared(tree, tmp_path, capsys):
    verify("--write")
    (path,) = (tmp_path / "reference").glob("*.csv")
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True)
                            if not line.startswith("s17.")))
    assert verify("--exact") == 0
    said = capsys.readouterr().out
    assert "§17" in said
    assert "15 values of 15 sections" in said


def test_without_a_reference_it_says_how_to_make_one(tree, capsys):
    assert verify() == 1
    assert "verify --write" in capsys.readouterr().err


def mark(tree, digest, why=None):
    """As if a unit had been made there in a pinned process."""
    made_on = {"processor": "one", "instruction_set": "AVX2", "why_not_promised": why}
    marker = {"spec": {"unit": "saes-a", "instruction_set": "AVX2"}, "made_on": made_on,
              "files": {"saes/a/weights": digest, "saes/a.seconds.json": digest}}
    write_atomic(tree / "saes" / "a" / "weights", digest)
    write_atomic(tree / ".done" / "saes-a-0123", json.dumps(marker))


def test_saes_are_compared_to_the_last_bit(tree, capsys):
    mark(tree, "digest")
    verify("--write")
    assert verify() == 0
    said = capsys.readouterr().out
    assert "1 files of models, activations and SAEs: as in the reference, to the last bit" in said
    assert said.count(", one\n") == 2  # the processors of both

    mark(tree, "another")
    assert verify() == 1
    assert "1 differ (smoke/saes/a/weights); equal bits are promised here" in (
        capsys.readouterr().out)


def test_where_equal_bits_are_not_promised_values_alone_decide(tree, capsys):
    mark(tree, "digest")
    verify("--write")
    mark(tree, "another", "not this processor")
    assert verify() == 0
    assert "not promised here: not this processor" in capsys.readouterr().out
    write(tree, SECTIONS[20], 0.5)
    assert verify() == 1


def test_nor_are_they_of_a_reference_that_was_made_where_they_are_not(tree, capsys):
    mark(tree, "digest", "not that processor")
    verify("--write")
    mark(tree, "another")
    assert verify() == 0
    assert "not promised of the reference: not that processor" in capsys.readouterr().out


def test_edited_data_is_named(tree, capsys, monkeypatch):
    verify("--write")
    monkeypatch.setattr("deception_saes.paper.verify.edited_shipped",
                        lambda: ["tasks/data/labels.csv"])
    assert verify() == 0
    assert "not as shipped: tasks/data/labels.csv" in capsys.readouterr().out
