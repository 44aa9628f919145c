import dataclasses
import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from places import artifacts_at

from deception_saes.__main__ import main
from deception_saes.cache import calls_tree
from deception_saes.experiments import heads
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.planned import BuildFailed, make_unit, plan_path, write_plan
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.record import profile_tree
from deception_saes.paper.shared import shared_calls
from deception_saes.paper.units import book_units, urgency
from deception_saes.store.pinned import environment

EMBEDDED = profile_named("embedded")
SWEEP = "sweep-smollm2it-two_shot_labelled-sandbag"
TINY_SWEEPS = [f"sweep-tinyllama-random-two_shot_labelled-{of}" for of in ("sandbag", "genuine")]
ASK = "ask-smollm2it-two_shot_labelled"


@pytest.fixture(scope="module")
def units():
    return book_units(EMBEDDED, 0)


def test_every_unit_stands_behind_those_it_needs(units):
    seen = set()
    for name, unit in units.items():
        assert set(unit.needs) <= seen
        seen.add(name)


def test_the_pages_wait_for_every_notebook(units):
    assert units["html"].needs == tuple(f"notebook-{section.key}" for section in SECTIONS.values())


def test_what_notebooks_share_is_made_before_them_where_all_runs_find_it(units):
    assert {ASK, SWEEP} <= set(units["notebook-s27"].needs) & set(units["notebook-s28"].needs)
    assert ASK in units[SWEEP].needs
    assert SWEEP in units["notebook-s29"].needs
    assert {units[name].tree for name in (ASK, SWEEP)} == {calls_tree()}


def test_calls_for_each_layer_need_not_each_other(units):
    for kind in ("saes", "quality", "separation"):
        start = f"{kind}-smollm2it-two_shot_labelled-L"
        of_layers = [name for name in units if name.startswith(start)]
        assert len(of_layers) == 3
        for name in of_layers:
            assert not set(of_layers) & set(units[name].needs)
            trained = "saes-smollm2it-two_shot_labelled-L7" in units[name].needs
            assert trained == (kind != "saes")


def test_by_layer_a_sweep_joins_units_of_its_layers_that_need_not_each_other(smoke, artifacts):
    units = book_units(smoke, smoke.seed, by_layer=True)
    by_sweep = {sweep: [f"{sweep}-L{layer}" for layer in range(8)] for sweep in TINY_SWEEPS}
    every = {*by_sweep, *(layer for layers in by_sweep.values() for layer in layers)}
    assert every <= set(units["notebook-s27"].needs)
    for sweep, layers in by_sweep.items():
        assert set(layers) <= set(units[sweep].needs)
        for layer in layers:
            assert "ask-tinyllama-random-two_shot_labelled" in units[layer].needs
            assert not every & set(units[layer].needs)
    found = urgency(units, smoke)
    assert all(found[layer] > found[sweep] for sweep in by_sweep for layer in by_sweep[sweep])


def test_by_layer_nothing_else_changes(smoke, artifacts):
    whole = book_units(smoke, smoke.seed)
    units = book_units(smoke, smoke.seed, by_layer=True)
    assert not [name for name in whole if name.endswith("-sandbag-L0")]
    assert {name: unit.spec.hash for name, unit in whole.items()} == {
        name: units[name].spec.hash for name in whole}


def test_a_sweep_is_the_same_whether_its_layers_are_made_before_it_or_by_it(
        smoke, tmp_path, monkeypatch):
    calls = shared_calls(27, smoke, smoke.seed, by_layer=True)
    sweep = TINY_SWEEPS[0]
    with artifacts_at(tmp_path / "by it"):
        expected = calls[sweep].result()
    with artifacts_at(tmp_path / "before it"):
        for layer in reversed(range(8)):
            calls[f"{sweep}-L{layer}"].make()
        monkeypatch.setattr(heads, "ablated_p_correct", None)  # nothing is left to compute
        found = calls[sweep].result()
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_a_section_that_is_not_run_waits_for_no_call(units):
    of_two = dataclasses.replace(EMBEDDED, swaps={n: EMBEDDED.swaps[n] for n in (24, 26)})
    assert book_units(of_two, 0)["notebook-s31"].needs == ("smollm2it",)
    assert len(units["notebook-s26"].needs) > 3


def test_a_stand_in_at_other_depths_trains_saes_of_its_own(units):
    trained = {number: [name for name in units[f"notebook-s{number}"].needs
                        if name.startswith("saes-")] for number in (24, 31)}
    assert [name.rpartition("-")[2] for name in trained[31]] == ["L6", "L15", "L21"]
    assert not set(trained[24]) & set(trained[31])


def test_what_much_waits_for_is_urgent(units):
    found = urgency(units, EMBEDDED)
    assert found["html"] < found["notebook-s29"] < found["notebook-s28"] < found[SWEEP] < found[ASK]
    for name, unit in units.items():
        for needed in unit.needs:
            assert found[needed] > found[name], (needed, name)


def test_urgency_follows_the_profiles_seconds(units):
    slow = dataclasses.replace(EMBEDDED, seconds={**EMBEDDED.seconds, 32: 5000})
    assert urgency(units, slow)["notebook-s32"] > urgency(units, EMBEDDED)[ASK]


def test_the_key_is_the_hash_that_the_pages_are_kept_under(smoke, artifacts, monkeypatch, capsys):
    monkeypatch.setenv("DECEPTION_SAES_ARTIFACTS", str(artifacts))
    assert main(["key", "--profile", "smoke"]) == 0
    html = book_units(smoke, smoke.seed)["html"]
    assert capsys.readouterr().out.strip() == html.spec.hash


def test_a_unit_is_made_as_the_build_wrote_it_down(smoke, tmp_path):
    with artifacts_at(tmp_path):
        tree, units = profile_tree(smoke, smoke.seed), book_units(smoke, smoke.seed)
        write_plan(tree, units)
        unit = units["tinyllama-random"]
        make_unit(tree, unit.name, unit.spec.hash)
        assert unit.is_made
        assert not units["html"].is_made


@pytest.mark.parametrize("is_planned", [True, False])
def test_a_unit_that_is_another_by_now_is_not_made(smoke, tmp_path, is_planned):
    with artifacts_at(tmp_path):
        tree, units = profile_tree(smoke, smoke.seed), book_units(smoke, smoke.seed)
        unit = units["tinyllama-random"]
        if is_planned:  # as after an edit: the plan's file is found, and its spec is another
            write_plan(tree, units)
            plan_path(tree, unit.name, unit.spec.hash).rename(
                plan_path(tree, unit.name, "0" * 16))
        with pytest.raises(BuildFailed, match="tinyllama-random"):
            make_unit(tree, unit.name, "0" * 16)
        assert not unit.is_made


def test_the_process_of_a_unit_is_pinned_as_the_unit_asks(smoke, tmp_path):
    with artifacts_at(tmp_path):
        tree, units = profile_tree(smoke, smoke.seed), book_units(smoke, smoke.seed)
        write_plan(tree, units)
        found = {}
        ours = {name: of for name, of in os.environ.items() if name not in environment()}
        ours["OMP_NUM_THREADS"] = "1"
        for name in ("tinyllama-random", "ask-tinyllama-random-zero_shot"):
            unit = units[name]
            subprocess.run([sys.executable, "-m", "deception_saes.paper.planned", str(tree), name,
                            unit.spec.hash], check=True, env=ours)
            made_on = json.loads(unit.marker.read_text(encoding="utf-8"))["made_on"]
            found[unit.spec.pinned] = made_on
    assert "not pinned" in found[False]["why_not_promised"]
    assert "not pinned" not in (found[True]["why_not_promised"] or "")
    if environment():  # the processor has AVX2
        assert found[True]["instruction_set"] == "AVX2"
