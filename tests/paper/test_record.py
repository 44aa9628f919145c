"""Where a section's results lie, and how its tables are kept."""

import csv
import dataclasses

import pandas as pd
import pytest

from deception_saes.cache import write_table
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.record import SectionRun, csv_name, profile_tree

SECTION = SECTIONS[29]


def test_a_profile_that_a_section_would_stop_at_is_refused_at_once(smoke):
    with pytest.raises(ValueError, match="smoke: swap_draws is 7"):
        dataclasses.replace(smoke, swap_draws=7)


def test_another_seed_has_a_tree_of_its_own(smoke, tmp_path):
    assert profile_tree(smoke, smoke.seed, tmp_path) == tmp_path / "smoke"
    assert profile_tree(smoke, 7, tmp_path) == tmp_path / "smoke-seed7"


def test_a_table_keeps_white_space_and_words_that_look_like_nothing(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "s29_t.csv").write_text("a,b\n ,NA\nnan,\n")
    table = SectionRun(SECTION, None, tmp_path).table("t")
    assert table["a"].tolist() == [" ", "nan"]
    assert table["b"].iloc[0] == "NA"
    assert table["b"].isna().tolist() == [False, True]


def test_a_table_gives_back_every_text_as_it_was_and_begins_no_cell_as_a_formula(
    tmp_path, hostile
):
    table = pd.DataFrame({"text": hostile, "n": range(len(hostile)), "p": -0.5, "none": None})
    path = tmp_path / csv_name(SECTION, "t")
    write_table(table, path)
    run = SectionRun(SECTION, None, tmp_path)
    assert list(run.table("t")["text"]) == hostile
    assert list(run.table("t")["n"]) == list(table["n"])
    assert (run.table("t")["p"] == -0.5).all()
    assert run.table("t")["none"].isna().all()
    with path.open(encoding="utf-8", newline="") as file:
        cells = [row[0] for row in csv.reader(file)]
    assert not [cell for cell in cells if cell[:1] in set("=+-@\t\r＝＋－＠")]
