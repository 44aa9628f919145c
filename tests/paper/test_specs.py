"""What decides a section's results, and what its page alone."""

import dataclasses

import pytest

from deception_saes.paper import settings, specs, subjects
from deception_saes.paper.catalogue import DECEPTION, SECTIONS
from deception_saes.paper.notebooks import source_of
from deception_saes.paper.specs import notebook_spec, results_spec
from deception_saes.store.files import PACKAGE_DIR
from deception_saes.store.spec import imported_files
from deception_saes.tasks.completions import load_completions
from deception_saes.tasks.trivia import load_questions

EXPERIMENTS = list(SECTIONS.values())
SECTION = SECTIONS[28]


@pytest.fixture
def edited(tmp_path, monkeypatch, smoke):
    """Call it with a text of §28's notebook and another: whether the results' hash, and whether the
    page's, is another with that in its place."""
    source = source_of(SECTION)
    text = source.read_text(encoding="utf-8")
    before = hashes(smoke)

    def edit(old, new):
        assert text.count(old) == 1
        path = tmp_path / source.name
        path.write_text(text.replace(old, new), encoding="utf-8")
        monkeypatch.setattr(specs, "source_of", lambda section: path)
        return tuple(one != other for one, other in zip(before, hashes(smoke), strict=True))

    return edit


def hashes(profile, seed=0, section=SECTION):
    return results_spec(section, profile, seed).hash, notebook_spec(section, profile, seed).hash


@pytest.mark.parametrize(("old", "new"), [
    ("# The study's one positive finding:", "# One finding of the study:"),  # prose
    ("  # for what no claim is about", ""),  # a comment
    ('alt="Forest plot of the effect of zero', 'alt="Effects of zero'),
    ("**What it shows.** Restoration is", "**What it shows.** It is"),  # said with numbers in it
    ("    size=(9, 4.6),\n", "    size=(9, 5),\n"),
])
def test_what_only_shows_results_decides_the_page_alone(edited, old, new):
    assert edited(old, new) == (False, True)


@pytest.mark.parametrize(("old", "new"), [
    ("splits=100", "splits=101"),
    ("condition=\"sandbag\", quantity=\"restoration by {heads} alone",
     "condition=\"genuine\", quantity=\"restoration by {heads} alone"),  # what is reported
    ('"R-08"', '"R-09"'),
    ('profile = "embedded"\nseed = 0', 'profile = "embedded"\nseed = 1'),
])
def test_what_computes_or_reports_decides_results_and_page(edited, old, new):
    assert edited(old, new) == (True, True)


@pytest.mark.parametrize(("change", "another"), [
    ({"permutations": 89}, True), ({"bootstrap_draws": 201}, True), ({"circuit_size": 4}, True),
    ({"answerable_min_p": 0.1}, True), ({"threads": 2}, True),
    ({"seconds": {28: 1.0}}, False), ({"jobs": 1}, False),
])
def test_the_profile_decides_results_but_for_what_it_says_of_time(smoke, change, another):
    changed = dataclasses.replace(smoke, **change)
    assert (hashes(changed)[0] != hashes(smoke)[0]) == another


def test_the_seed_decides_results(smoke):
    assert hashes(smoke, 0)[0] != hashes(smoke, 1)[0]


@pytest.mark.parametrize("section", EXPERIMENTS, ids=lambda section: section.key)
def test_the_text_that_is_asked_or_read_decides_results(smoke, section, monkeypatch):
    before = hashes(smoke, section=section)
    module, name, load = ((subjects, "load_completions", load_completions)
                          if section.part == DECEPTION else
                          (settings, "load_questions", load_questions))
    first, *rest = load()
    reworded = [dataclasses.replace(first, text=f"{first.text}?"), *rest]
    monkeypatch.setattr(module, name, lambda: reworded)
    after = hashes(smoke, section=section)
    assert after[0] != before[0]
    assert after[1] != before[1]


def test_labels_decide_the_results_of_what_is_read(smoke):
    labels = PACKAGE_DIR / "tasks" / "data" / "labels.csv"
    for section in EXPERIMENTS:
        assert (labels in results_spec(section, smoke, 0).data) == (section.part == DECEPTION)


def test_what_a_notebooks_calls_declare_decides_its_results(smoke):
    """Calls that no other notebook makes are no units: nothing else would make it stale."""
    neutral = PACKAGE_DIR / "tasks" / "data" / "neutral_text.txt"
    for section in EXPERIMENTS:
        spec = results_spec(section, smoke, 0)
        assert (neutral in spec.data) == (section.number in (27, 28, 29, 30))
        assert ("scikit-learn" in spec.libraries) == (section.number in (17, 18, 19, 21))


def test_a_page_waits_for_its_results(smoke):
    for section in (SECTIONS[28], SECTIONS[29]):
        spec = notebook_spec(section, smoke, 0)
        assert spec.inputs == (results_spec(section, smoke, 0).hash,)
        assert source_of(section) in spec.data
        assert spec.unit == f"notebook-{section.key}"


@pytest.mark.parametrize("section", EXPERIMENTS, ids=lambda section: section.key)
def test_results_depend_on_what_the_notebook_computes_with_and_on_no_page(smoke, section):
    plot = next(name for name in specs.modules_of(section) if ".paper.plots." in name)
    results = results_spec(section, smoke, 0)
    assert any(name.startswith("deception_saes.experiments.") for name in results.sources)
    files = [path.relative_to(PACKAGE_DIR) for path in imported_files(results.sources)]
    assert not [path for path in files if path.parts[0] == "paper"]
    assert plot in notebook_spec(section, smoke, 0).sources


def test_no_model_is_loaded_to_know_the_specs(smoke, monkeypatch):
    def load(*_):
        raise AssertionError("loaded")

    for module in ("models.load", "experiments.task"):
        monkeypatch.setattr(f"deception_saes.{module}.load", load)
    for section in EXPERIMENTS:
        assert hashes(smoke, section=section) == hashes(smoke, section=section)
