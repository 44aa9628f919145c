import dataclasses
import json

import pytest

from deception_saes.paper import reference, status
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.made import Made
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.reference import (
    Origin,
    origin_file,
    reference_file,
    write_origin,
    write_reference,
)
from deception_saes.paper.results import Results, Value, write_results
from deception_saes.paper.specs import notebook_spec, results_spec
from deception_saes.paper.status import (
    computed_by_other_code,
    data_note,
    fuller,
    fuller_note,
    machines_table,
    not_run_list,
    other_seeds,
    results_by_seed,
    sections_table,
    seeds_table,
    versions_table,
)
from deception_saes.store.ensure import marker_path

EMBEDDED = profile_named("embedded")


def results(section=29, middle=3.0, **changed):
    values = [Value(f"s{section}.smollm2it.portion", "q", middle, "pp", model="smollm2it")]
    of = Results(section, "done", None, "embedded", 0, "abc", {"torch": "2"}, 12.4, values)
    return dataclasses.replace(of, **changed)


@pytest.fixture
def tree(tmp_path):
    """A profile's tree with one section's record."""
    write_results(results(), tmp_path / "embedded" / "results" / "s29.json")
    return tmp_path / "embedded"


def test_every_section_says_state_seconds_time_and_commit(tree):
    line = sections_table(EMBEDDED, [results()], tree).splitlines()[-1]
    for part in ("s29_neutral_prompts.ipynb", "done", "smollm2it", " 12 ", "`abc`"):
        assert part in line
    assert f" {EMBEDDED.seconds[29]:.0f} " in line


def test_a_section_that_was_not_run_says_why(tree):
    of = results(status="not run", reason="the model | is gated", values=[])
    assert "not run: the model \\| is gated" in sections_table(EMBEDDED, [of], tree)
    assert "the model \\| is gated" in not_run_list([of])
    assert not_run_list([results()]) == "Every section of this build was run.\n"


def test_several_versions_stand_beside_each_other():
    table = versions_table([results(), results(30, versions={"torch": "3"})])
    assert "| torch | 2, 3 |" in table


def test_seeds_stand_beside_each_other_with_their_range():
    table = seeds_table(EMBEDDED, {0: [results()], 7: [results(middle=5.5)]})
    assert "| Number | Seed 0 | Seed 7 | Range |" in table
    assert "3.0 pp | 5.5 pp | 2.5 |" in table
    assert "not measured | not measured | – |" in table
    assert "n =" not in table


def test_seeds_that_asked_different_numbers_of_questions_say_so():
    other = results(middle=5.5)
    other = dataclasses.replace(other, values=[dataclasses.replace(value, n=9)
                                               for value in other.values])
    table = seeds_table(EMBEDDED, {0: [results()], 7: [other]})
    assert "3.0 pp, n = " in table
    assert "5.5 pp, n = 9 |" in table


def test_other_seeds_are_found_by_their_trees(tree, monkeypatch):
    other = tree.with_name("embedded-seed3") / "results" / "s29.json"
    write_results(results(middle=4.0, seed=3), other)
    (tree.with_name("embedded-seedx") / "results").mkdir(parents=True)
    own = tree / "results" / "s29.json"
    write_results(results(middle=3.0), own)
    for folder in (other.parent, own.parent):  # beside an experiment's results
        (folder / "s28.calls.json").write_text("[]")
    found = other_seeds(EMBEDDED, 0, tree.parent)
    assert found == {3: [other]}
    assert other_seeds(EMBEDDED, 3, tree.parent) == {0: [own]}
    monkeypatch.setattr(reference, "REFERENCES", tree / "none")
    by_seed = results_by_seed(EMBEDDED, 0, [results()], found)
    assert [by_seed[seed][0].values[0].value for seed in (0, 3)] == [3.0, 4.0]
    assert json.loads(other.read_text())["seed"] == 3


def test_a_seed_that_was_not_run_here_stands_as_its_reference_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCES", tmp_path)
    for seed in (0, 5):
        write_reference([results(middle=9.0)], reference_file(EMBEDDED, seed))
    by_seed = results_by_seed(EMBEDDED, 0, [results()], {})
    assert {seed: of[0].values[0].value for seed, of in by_seed.items()} == {0: 3.0, 5: 9.0}


def test_results_of_other_code_say_so_and_stand_outside_the_range():
    by_seed = {0: [results()], 7: [results(middle=5.5)], 8: [results(middle=4.0)]}
    table = seeds_table(EMBEDDED, by_seed, {(7, 29)})
    assert "3.0 pp | 5.5 pp (other code) | 4.0 pp | 1 |" in table


def mark(tree, spec, params=None):
    """As if what the spec asks for had been made there."""
    path = marker_path(tree, spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"spec": {"params": params or {}}}))


def test_the_spec_of_a_section_tells_whose_code_computed_it(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCES", tmp_path)
    for seed, tree in ((3, tmp_path / "embedded-seed3"), (4, tmp_path / "embedded-seed4")):
        write_results(results(seed=seed), tree / "results" / "s29.json")
    page = notebook_spec(SECTIONS[29], EMBEDDED, 3)
    mark(tmp_path / "embedded-seed3", page, page.params)
    specs = {"s29": results_spec(SECTIONS[29], EMBEDDED, 5).hash}
    write_origin(Origin("abc", "a processor", specs, {}), origin_file(EMBEDDED, 5))
    found = computed_by_other_code(EMBEDDED, {3, 4, 5, 6}, {3, 4}, tmp_path)
    assert {seed for seed, section in found if section == 29} == {4, 6}
    assert (3, 28) in found


def test_the_page_of_an_experiment_tells_whose_code_computed_its_results(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCES", tmp_path)
    section, tree = SECTIONS[28], tmp_path / "embedded-seed3"
    page = notebook_spec(section, EMBEDDED, 3)
    mark(tree, page, {"results": "0123456789abcdef"})
    assert (3, 28) in computed_by_other_code(EMBEDDED, {3}, {3}, tmp_path)
    # another page of the same results, as after an edit of its prose
    mark(tree, dataclasses.replace(page, data=()), page.params)
    assert (3, 28) not in computed_by_other_code(EMBEDDED, {3}, {3}, tmp_path)


def test_what_was_made_on_what_stands_beside_what_is_promised():
    units = [Made("saes-a", True, {}, "Intel one", "AVX2", None),
             Made("saes-b", True, {}, "Intel one", "AVX2", None),
             Made("activations", True, {}, "AMD", "AVX2", "Intel only"),
             Made("s23", False, {}, "Intel one", "AVX512", "not pinned"),
             Made("notebook-s23", False, {}, "Intel one", None, "not pinned")]
    table = machines_table(units)
    assert "SAEs (2) | Intel one | AVX2 | equal bits on every Intel processor with AVX2 |" in table
    assert "SAEs (1) | AMD | AVX2 | nothing: Intel only |" in table
    assert "everything else (1) | Intel one | AVX512 | equal within the tolerance" in table


def test_edited_data_is_named(monkeypatch):
    assert data_note() == "All data files are as they were shipped.\n"
    monkeypatch.setattr(status, "edited_shipped", lambda: ["tasks/data/questions.csv"])
    assert "Not as shipped: `tasks/data/questions.csv`" in data_note()


def claimed(value, low, high, n, **changed):
    of = Value("s28.smollm2it.effect.sandbag.zero", "restoration", value, "pp", claim="S-07",
               model="smollm2it", ci_low=low, ci_high=high, n=n)
    return dataclasses.replace(results(28, **changed), values=[of])


def test_claims_stand_beside_those_of_the_fuller_profile(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCES", tmp_path)
    here = claimed(9.0, -1.0, 19.0, 30)
    assert "make book PROFILE=full" in fuller_note(EMBEDDED, [here], fuller(EMBEDDED, 0, tmp_path))
    full = profile_named("full")
    write_reference([claimed(8.0, 6.0, 10.0, 70)], reference_file(full, 0))
    found = fuller(EMBEDDED, 0, tmp_path)
    line = fuller_note(EMBEDDED, [here], found).splitlines()[-1]
    assert line == (
        '| <a href="index.html#claim-s-07">S-07</a> | restoration | '
        "9.0 pp \\[−1.0,\N{NO-BREAK SPACE}19.0\\], "
        "n = 30 | 8.0 pp \\[6.0,\N{NO-BREAK SPACE}10.0\\], n = 70 (other code) | "
        "inconclusive → agrees |")
    written = Origin("abc", "x", {"s28": results_spec(SECTIONS[28], full, 0).hash}, {})
    write_origin(written, origin_file(full, 0))
    line = fuller_note(EMBEDDED, [here], fuller(EMBEDDED, 0, tmp_path)).splitlines()[-1]
    assert "n = 70 | inconclusive → agrees |" in line


def test_what_the_fuller_profiles_reference_lacks_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCES", tmp_path)
    here = claimed(9.0, -1.0, 19.0, 30)
    write_reference([dataclasses.replace(here, section=27, values=[
        dataclasses.replace(here.values[0], id="s27.smollm2it.x", claim=None)])],
        reference_file(profile_named("full"), 0))
    first, *_, line = fuller_note(EMBEDDED, [here], fuller(EMBEDDED, 0, tmp_path)).splitlines()
    assert first.endswith("the reference that comes with the code, which has nothing of §28.")
    assert line.endswith("| not run | inconclusive |")


def test_a_whole_run_of_the_fuller_profile_goes_before_the_reference(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCES", tmp_path)
    full = profile_named("full")
    write_reference([claimed(8.0, 6.0, 10.0, 70)], reference_file(full, 0))
    for section in SECTIONS:
        assert not fuller(EMBEDDED, 0, tmp_path).run_here
        of = claimed(7.0, 6.0, 8.0, 60) if section == 28 else results(section)
        write_results(of, tmp_path / "full" / "results" / f"s{section}.json")
    note = fuller_note(EMBEDDED, [claimed(9.0, 8.0, 10.0, 30)], fuller(EMBEDDED, 0, tmp_path))
    assert "run here" in note
    assert "7.0 pp" in note.splitlines()[-1]
    assert note.splitlines()[-1].endswith("(other code) | agrees |")


def test_a_profile_without_a_fuller_one_says_so():
    assert fuller(profile_named("smoke"), 0, None) is None
    assert "no fuller profile than smoke" in fuller_note(profile_named("smoke"), [], None)
