"""From effects of edits at all positions, which are made up here, to what is said of them."""

import numpy as np
import pandas as pd
import pytest

from deception_saes.experiments.all_positions import all_positions_table

N = 12


def found_of(*, left=40.0, clean=50.0, E6=-19.0, E4=-19.5, positions="all", clusters=None):
    """left: P(correct) under E2 on genuine prompts, in percent; each a number or one a question."""
    effects = {("genuine", "E2"): np.broadcast_to(left, N) - clean, ("sandbag", "E2"): -5.0,
               ("sandbag", "E6"): E6, ("sandbag", "E4"): E4}
    return pd.concat(pd.DataFrame({
        "question": [f"q{place}" for place in range(N)], "cluster": clusters or range(N),
        "prompts": prompts, "layer": 4,
        "positions": positions, "intervention": name,
        "clean": clean if prompts == "genuine" else 20.0, "effect": effect})
        for (prompts, name), effect in effects.items())


def table_of(found, margin=3.0):
    return all_positions_table.function(found, margin, draws=200, seed=0).set_index(
        ["positions", "prompts", "intervention"])


def test_means_are_over_questions_and_the_gap_is_of_each_question():
    E6, E4 = np.linspace(-20, -10, N), np.linspace(-15, -15.5, N)
    table = table_of(pd.concat([found_of(E6=E6, E4=E4), found_of(positions="but_first")]))
    assert table.loc[("all", "sandbag", "E6"), "effect"] == pytest.approx(E6.mean())
    assert table.loc[("all", "sandbag", "E6"), "p_correct"] == pytest.approx(20 + E6.mean())
    assert table.loc[("all", "sandbag", "E6-E4"), "effect"] == pytest.approx((E6 - E4).mean())
    assert table.loc[("but_first", "sandbag", "E6-E4"), "effect"] == pytest.approx(0.5)
    assert table.loc[("all", "genuine", "E2"), "left"] == pytest.approx(80)
    assert table["left"].notna().sum() == 2
    assert (table["n"] == N).all()


SPREAD = 10 * np.resize([1.0, -1.0], N)


@pytest.mark.parametrize(("given", "word"), [
    ({}, "equivalent"), ({"E6": -12.0}, "different"),
    ({"E6": -17.0 + SPREAD}, "inconclusive"),
    ({"left": 24.9}, "uninformative"), ({"left": 24.9, "E6": -12.0}, "uninformative"),
    ({"left": 25.1}, "equivalent"), ({"left": 24.0 + SPREAD}, "equivalent"),  # reaches beyond half
])
def test_the_gap_is_judged_by_the_margin_unless_reconstruction_leaves_under_half(given, word):
    table = table_of(found_of(**given))
    assert table.loc[("all", "sandbag", "E6-E4"), "verdict"] == word
    assert set(table["verdict"].drop(("all", "sandbag", "E6-E4"))) == {""}


def test_questions_of_one_cluster_are_drawn_together():
    E6 = np.linspace(-20, -10, N)
    alone, together = (table_of(found_of(E6=E6, clusters=clusters)) for clusters in (
        None, [place // 2 for place in range(N)]))
    for key in (("all", "sandbag", "E6"), ("all", "sandbag", "E6-E4")):
        width, wider = (float(table.loc[key, "ci_high"] - table.loc[key, "ci_low"])
                        for table in (alone, together))
        assert wider > 1.2 * width > 0


def test_without_a_margin_above_zero_nothing_is_concluded():
    assert "inconclusive" in set(table_of(found_of(), margin=-1.0)["verdict"])
