"""Every experiment run once, with as little of everything as it runs with: what its calls depend
on, that those declared are those that notebooks make, what it reports and what its plots draw."""

import dataclasses
import functools
import sys
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from cells import CACHED, Experiment, run_cells
from places import artifacts_at
from plotted import DRAWN, altered, missing

from deception_saes.cache import calls_tree
from deception_saes.experiments.asking import by_topic
from deception_saes.models.load import conversion_spec
from deception_saes.paper.book import Book, Plot
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.shared import calls_of_book, clean_old, shared_calls
from deception_saes.store.files import PACKAGE_DIR
from deception_saes.store.spec import imported_files

EXPERIMENTS = (17, 18, 19, 20, 21, 22, 23, 24, 25, 27, 28, 29, 30, 32)


@dataclass
class Traced:
    """By cached function: the package's files whose functions it ran, and those that it read.
    declared, after: markers of calls when the declared ones were made, and after the notebooks.
    runs: the notebooks' experiments. plots: the tables that each plot is given."""

    ran: dict[str, set] = field(default_factory=dict)
    read: dict[str, set] = field(default_factory=dict)
    declared: set = field(default_factory=set)
    after: set = field(default_factory=set)
    runs: dict[int, Experiment] = field(default_factory=dict)
    plots: dict[Plot, tuple] = field(default_factory=dict)

    def used(self, number):
        """Markers of calls that the notebook made."""
        return {call.marker for call in self.runs[number].book.used}


@pytest.fixture(scope="module")
def small(smoke):
    """The smoke profile with as little of everything as its experiments run with."""
    return dataclasses.replace(
        smoke, models=smoke.models[:1], questions=36, secondary_questions=8, bootstrap_draws=20,
        swaps={24: ("tinyllama-random", "two_shot_same_prefix")}, swap_draws=2,
        swap_draw_questions=4, training_seeds=2, random_draws=2, permutations=19, draw_questions=4,
        sae_recipe=dataclasses.replace(smoke.sae_recipe, epochs=1))


@pytest.fixture(scope="module")
def traced(small, tmp_path_factory):
    """The declared calls made from nothing, then the notebooks run."""
    root, found, running = tmp_path_factory.mktemp("traced"), Traced(), []

    def note(where, name):
        if running and name.startswith(str(PACKAGE_DIR)):
            for call in running:
                where.setdefault(call, set()).add(name)

    def trace(frame, event, _):
        note(found.ran, frame.f_code.co_filename)

    def audit(event, args):
        if event == "open" and not str(args[0]).endswith((".py", ".pyc")):
            note(found.read, str(args[0]))

    def noted(function):
        @functools.wraps(function)
        def run(*args, **kwargs):
            running.append(function.__name__)
            try:
                return function(*args, **kwargs)
            finally:
                running.pop()
        return run

    def figure(book, plot, *tables, **how):
        found.plots[plot] = tables

    sys.addaudithook(audit)
    with pytest.MonkeyPatch.context() as patch, artifacts_at(root):
        for of in CACHED:
            patch.setattr(of, "function", noted(of.function))
        patch.setattr(Book, "figure", figure)
        sys.settrace(trace)
        try:
            for number in EXPERIMENTS:
                for call in shared_calls(number, small, small.seed).values():
                    call.make()
            found.declared = markers()
            for number in EXPERIMENTS:
                found.runs[number] = run_cells(number, small, small.seed, root, shown=[".figure("])
            found.after = markers()
        finally:
            sys.settrace(None)
    return found


def markers():
    return {path.name for path in (calls_tree() / ".done").glob("[!.]*")}


def test_every_cached_function_was_traced(traced):
    assert set(traced.ran) == {of.function.__name__ for of in CACHED}


@pytest.mark.parametrize("of", CACHED, ids=lambda of: of.function.__name__)
def test_what_a_call_runs_and_reads_is_in_its_key(traced, small, of):
    name = of.function.__name__
    hashed = {str(path) for path in imported_files([of.function.__module__])}
    assert traced.ran[name] <= hashed
    of_model = {str(path) for path in conversion_spec(small.models[0]).data}  # in every Subject
    assert traced.read.get(name, set()) <= {str(path) for path in of.data} | of_model


def test_after_the_declared_calls_no_notebook_computes_any_of_them(traced, small):
    declared = {call.name for number in EXPERIMENTS
                for call in shared_calls(number, small, small.seed).values()}
    assert declared == {"ask", "ask_cells", "activations", "train_saes", "train_again", "sweep",
                        "quality_at", "separation_at", "capture", "chosen_layers",
                        "train_behavioural"}
    anew = {name.rpartition("-")[0] for name in traced.after - traced.declared}
    # §18 alone chooses layers for other rounds and poolings than the main ones
    assert anew & declared == {"chosen_layers"}
    assert any(name.startswith("chosen_layers") for name in traced.used(19) & traced.declared)
    assert anew >= {"edit_effects", "p_correct", "fit_layers"}


def test_every_plot_of_the_notebooks_is_looked_at(traced):
    assert traced.plots.keys() == DRAWN.keys()


@pytest.mark.parametrize("plot", DRAWN, ids=lambda of: f"{of.__module__}.{of.__name__}"[27:])
def test_a_plot_draws_the_numbers_of_its_tables(traced, plot):
    """Tables as the notebook gives it, with numbers that no plot can know otherwise."""
    assert missing(plot, altered(traced.plots[plot])) == []


OF_NO_TABLE = {"s18.tinyllama-random.all.peak.layer"}  # of the sweeps of all rounds together


@pytest.mark.parametrize("number", EXPERIMENTS)
def test_a_reported_value_with_an_interval_is_a_row_of_a_published_table(traced, number):
    run, rows = traced.runs[number], defaultdict(list)
    for table in run.tables():
        for row in table.select_dtypes("number").itertuples(index=False):
            for x in row:
                rows[x].append(set(row))
    values = [value for value in run.results.values if value.ci_low is not None]
    assert values
    for value in values:
        of_value = {value.value, value.ci_low, value.ci_high, value.n} - {None}
        assert any(of_value <= row for row in rows[value.value]) or value.id in OF_NO_TABLE


def test_a_section_that_is_not_run_shares_nothing(smoke):
    assert shared_calls(31, dataclasses.replace(smoke, swaps={}), 0) == {}


def test_sections_that_share_a_call_name_it_alike(smoke, artifacts):
    by_name = {}
    for number in SECTIONS:
        for name, call in shared_calls(number, smoke, 0).items():
            assert by_name.setdefault(name, call.spec.hash) == call.spec.hash, name
    assert by_name.keys() == calls_of_book(smoke, 0).keys()


def test_what_no_book_uses_any_more_is_dropped(tmp_path, small):
    with artifacts_at(tmp_path):
        asked = run_cells(23, small, small.seed, tmp_path)
        used = {call.marker for call in asked.book.used}
        by_topic(asked.table("questions"), draws=3, seed=0)  # of no book
        assert markers() > used
        assert "calls of" in clean_old()
        assert markers() == used
