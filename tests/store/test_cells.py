import pytest

from deception_saes.store.cells import guarded, unguarded

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1", "''-1", "- I am sorry"]
HARMLESS = ["", "a=1", "'tis", "''", "−1", " =1", "\n-1", "1-1"]


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_is_guarded(cell):
    assert guarded(cell) == "'" + cell


@pytest.mark.parametrize("cell", HARMLESS)
def test_what_is_no_formula_stays(cell):
    assert guarded(cell) == cell


@pytest.mark.parametrize("cell", FORMULAS + HARMLESS)
def test_guarding_loses_nothing(cell):
    assert unguarded(guarded(cell)) == cell


def test_nothing_that_is_written_begins_as_a_formula_does():
    once = [guarded(cell) for cell in FORMULAS + HARMLESS]
    assert not [cell for cell in once if cell[:1] in set("=+-@\t\r＝")]
