"""What a notebook that is an experiment calls: its settings, its results, its figures."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure

from deception_saes.cache import Used, used, write_table
from deception_saes.errors import UserError
from deception_saes.paper.claims import load_claims
from deception_saes.paper.data_files import described_for_all
from deception_saes.paper.figures import (
    draw_svg,
    figure_html,
    quotes_html,
    table_html,
    tokens_html,
)
from deception_saes.paper.front_page import published
from deception_saes.paper.model_text import shown
from deception_saes.paper.numbers import REFERENCE, part_of
from deception_saes.paper.profiles import Profile, profile_named
from deception_saes.paper.record import (
    EXPECTED_VARIABLE,
    OUT_VARIABLE,
    commit,
    csv_name,
    profile_tree,
    results_name,
    versions,
)
from deception_saes.paper.reference import NoReference, read_reference
from deception_saes.paper.results import Results, Value, read_results, write_results
from deception_saes.paper.section_claims import claims_html, tested
from deception_saes.paper.settings import Settings
from deception_saes.store.files import artifacts_root, write_atomic
from deception_saes.tidy import about, columns_of

Plot = Callable[..., None]
Tabulate = Callable[..., pd.DataFrame]


class Book(Settings):
    """A section's experiment while it is run: settings to read, results to report, figures.

    Of a section that is not run nothing but its opening is shown.
    """

    def __init__(self, number: int, profile: Profile, seed: int, own: Mapping[str, Any]) -> None:
        super().__init__(number, profile, seed, own)
        self._values: dict[str, Value] = {}
        self._tables: dict[str, pd.DataFrame] = {}
        self._used_before = len(used())

    # Results

    def report(
        self, name: str, table: pd.DataFrame, id: str | None = None, *, quantity: str = "",
        value: str = "value", low: str = "ci_low", high: str = "ci_high", unit: str | None = None,
        n: str | None = "n", layer: str | None = "layer", condition: str | None = None,
        where: str | None = None, claims: Mapping[str, str] | None = None,
    ) -> None:
        """Publish a table of results, and report values from its rows.

        name: of the table, `sNN_{name}.csv`. id: what the id of a row's value is behind
        `sNN.{model}.`, filled from the row; None: no row is reported. A row whose `value` is
        missing is reported as a value that there is none of.
        quantity, condition: what is measured, and where, filled from the row as well; else the
        row's columns of these names. value, low, high, n, layer: the columns of the number, its
        interval, what it rests on, and where; None: nothing. Columns `tag`, `train_set` and
        `framing` say of which SAE and framing it is. unit: filled from the row too; None: the
        table's column `unit`, else what it says of the column `value`. where: the rows that are
        reported, as for `DataFrame.query`; None: all. claims: by id as above, the published claims
        that values answer.
        Raises ValueError for a column that nothing describes, an id that stands twice, or a claim
        whose id no row has.
        """
        if self._tables.get(name) is not table:
            self._check_described(name, table)
            self._tables[name] = table
        if id is None:
            return
        unanswered = dict(claims or {})
        for row in (table if where is None else table.query(where)).to_dict("records"):
            given = {"model": self._slug} | row
            rest = id.format(**{name: _in_ids(of) for name, of in given.items()})
            of_row = {field: row.get(column) for field, column in (
                ("ci_low", low), ("ci_high", high), ("n", n), ("layer", layer), ("tag", "tag"),
                ("train_set", "train_set")) if column}
            self.number(
                rest, row[value], self._unit(table, row, value, unit),
                quantity.format(**given) or row["quantity"], claim=unanswered.pop(rest, None),
                model=given["model"], framing=row.get("framing"), **of_row,
                condition=condition.format(**given) if condition else row.get("condition"))
        if unanswered and not self.own:
            raise ValueError(f"claims name {next(iter(unanswered))!r}, which is the id of no row "
                             f"of the table {name!r}")

    def _unit(self, table: pd.DataFrame, row: Mapping[Any, Any], value: str, unit: str | None
              ) -> str:
        if unit is not None:
            return unit.format(**row)
        return str(row["unit"]) if "unit" in row else columns_of(table)[value].unit

    def number(
        self, id: str, value: float | None, unit: str, quantity: str, *, claim: str | None = None,
        model: str | None = None, framing: str | None = None, **about: Any,
    ) -> None:
        """Report one number; about: fields of `paper.results.Value`. Raises ValueError for an id
        that stands twice."""
        model = model or self._slug
        whole = f"{self.section.key}.{model}.{id}"
        if whole in self._values:
            raise ValueError(f"the id {whole!r} is reported twice; ids are unique")
        kinds: dict[str, Callable[[Any], Any]] = {"n": int, "layer": int, "ci_low": float,
                                                  "ci_high": float}
        found = {name: None if of is None or pd.isna(of) else kinds.get(name, str)(of)
                 for name, of in about.items()}
        number = None if value is None or pd.isna(value) else float(value)
        self._values[whole] = Value(
            whole, quantity, number, unit, claim=None if self.own else claim, model=model,
            framing=framing or (None if self.reads else self.framing.name), **found)

    def close(self) -> Markdown | None:
        """Write the section's values and tables, for the book or beside it; of a run with one's own
        parameters, say what was computed anew and where the results are."""
        write_results(self.results, self.folder / results_name(self.section))
        for name, table in self._tables.items():
            path = self.folder / csv_name(self.section, name)
            write_table(table, path)
            dictionary = {"": ("", about(table))} | {
                column: dataclasses.astuple(of) for column, of in columns_of(table).items()}
            write_atomic(path.with_suffix(".json"), json.dumps(dictionary, ensure_ascii=False))
        calls = [dataclasses.asdict(call) for call in self.used]
        write_atomic(self.folder / "results" / f"{self.section.key}.calls.json",
                     json.dumps(calls, indent=1) + "\n")
        if not self.own:
            return None
        return Markdown(f"{computed_anew(self.used)} Values and tables: `{self.folder}`.")

    @property
    def results(self) -> Results:
        """What has been reported so far."""
        reason = self.why_not_run
        libraries = versions()
        for call in self.used:
            libraries |= call.libraries
        return Results(
            self.section.number, "not run" if reason else "done", reason, self.profile.name,
            self.seed, commit(), libraries, round(sum(call.seconds for call in self.used), 1),
            list(self._values.values()))

    @property
    def used(self) -> list[Used]:
        """The calls that the notebook has made so far, each once."""
        made: dict[str, Used] = {}
        for call in used()[self._used_before:]:
            made.setdefault(call.marker, call)
        return list(made.values())

    @property
    def folder(self) -> Path:
        """Where results go: into the build's hands, else into a place of this run's own."""
        given = os.environ.get(OUT_VARIABLE)
        if given is not None:
            return Path(given)
        own = "".join(f" {name}={_short(value)}" for name, value in sorted(self.own.items()))
        tree = profile_tree(self.profile, self.seed).name
        return artifacts_root() / "runs" / tree / f"{self.section.key}{own.replace(' ', '-')}"

    # The page

    def opening(self) -> HTML | Markdown:
        """The claims that the section tests with their verdicts, and what was run; of a section
        that was not run, why, and what was published."""
        results = self.results
        rows = tested(self.profile, results)
        if results.status == "not run":
            return Markdown(f":::{{admonition}} Not run\n{results.reason}\n:::\n\n"
                            + claims_html(rows, note="", done=False))
        if self.own:
            return HTML(f'<div class="admonition warning"><p class="admonition-title">Not the '
                        f"book's run</p><p>{shown(self._how_it_differs())}</p></div>")
        return HTML(claims_html(rows, note=self._provenance(), done=True))

    def _how_it_differs(self) -> str:
        """The person's own parameters; beside numbers of this run stand the book's."""
        of_book = Settings(self.section.number, self.profile, self.seed)
        parts = []
        for name, value in self.own.items():
            parts.append(f"{name} = {value} (book: {_plain(of_book, name)})")
        return (f"{'; '.join(parts)}. No claim is judged by it. In brackets beside its numbers: "
                "those of the book.")

    def _provenance(self) -> str:
        names = ", ".join(model.name for model in self.profile.models)
        results = self.results
        return (f"Profile {results.profile}, seed {results.seed}, {names}; computed in "
                f"{results.seconds:.0f} s, page at commit {results.commit}. Intervals are 95% "
                "bootstrap intervals over questions or completions, 90% ones where a claim of no "
                "effect is tested.")

    def say(self, text: str) -> Markdown | None:
        """Markdown in which `[[id]]` becomes the value of that id with its interval.

        `[[id|value]]` leaves the interval out, `[[id|n]]` gives the n. An id is completed with the
        section and its model. `[[S-07]]` is what the study published, `[[n_heads]]` the parameter.
        """
        return Markdown(self._filled(text)) if self._is_run else None

    def figure(
        self, plot: Plot, *tables: pd.DataFrame, caption: str, alt: str,
        size: tuple[float, float], min_width: int = 0,
    ) -> HTML | None:
        """A figure that `plot` draws from tables; references are filled as in `say`."""
        if not self._is_run:
            return None

        def draw(figure: Figure, colours: dict[str, str]) -> None:
            plot(figure, colours, *tables)

        drawing = draw_svg(draw, alt=self._filled(alt), size=size)
        page = figure_html(drawing.inline, caption=self._caption(caption), min_width=min_width)
        return self._shown(page, tables, drawing=dataclasses.asdict(drawing))

    def table(
        self, tabulate: Tabulate, *tables: pd.DataFrame, caption: str
    ) -> HTML | None:
        """A table for readers that `tabulate` makes of tables, every cell shown as text."""
        return self._tabulated(table_html, tabulate, tables, caption)

    def quotations(
        self, tabulate: Tabulate, *tables: pd.DataFrame, caption: str
    ) -> HTML | None:
        """Texts, a model's or others, of the columns that `quotes_html` names."""
        return self._tabulated(quotes_html, tabulate, tables, caption)

    def tokens(self, tabulate: Tabulate, *tables: pd.DataFrame, caption: str) -> HTML | None:
        """Texts with their tokens shaded, see `figures.tokens_html`."""
        return self._tabulated(tokens_html, tabulate, tables, caption)

    def _tabulated(
        self, as_html: Callable[..., str], tabulate: Tabulate, tables: tuple[pd.DataFrame, ...],
        caption: str,
    ) -> HTML | None:
        if not self._is_run:
            return None
        return self._shown(as_html(tabulate(*tables), caption=self._caption(caption)), tables)

    @property
    def _is_run(self) -> bool:
        return self.why_not_run is None

    @property
    def _slug(self) -> str:
        assert self.model is not None
        return self.model.slug

    def _shown(self, page: str, tables: tuple[pd.DataFrame, ...], **about: Any) -> HTML:
        """HTML with what the site makes of it: links to those of the tables that are published and
        to the section's values, and what else the output's metadata say."""
        names = [name for name, of in self._tables.items() if any(of is table for table in tables)]
        linked = [f"{self.section.key}_{name}" for name in (*names, "values")]
        return HTML(page, metadata={"tables": linked, **about})

    def _caption(self, text: str) -> str:
        return shown(self._filled(text), lines=False)

    def _filled(self, text: str) -> str:
        return REFERENCE.sub(self._number, text)

    def _number(self, reference: re.Match[str]) -> str:
        id, part = reference.groups()
        if id in load_claims():
            return published(load_claims()[id])
        if part is None and id in SAID:
            return SAID[id](self)
        value = self._values.get(f"{self.section.key}.{self._slug}.{id}")
        if value is None and self.own:
            return "–"  # an experiment need not have all that the book's has
        if value is None:
            raise KeyError(f"[[{id}]]: §{self.section.number} has reported no such value")
        found = part_of(value, part)
        if not self.own:
            return found
        of_book = self._of_book.get(id)
        return f"{found} (book: {'–' if of_book is None else part_of(of_book, part)})"

    @cached_property
    def _of_book(self) -> dict[str, Value]:
        """The book's values by their ids behind section and model: of its build, else of the
        reference."""
        path = profile_tree(self.profile, self.seed) / results_name(self.section)
        try:
            sections = ([read_results(path)] if path.is_file()
                        else read_reference(self.profile, self.seed))
        except NoReference:
            sections = []
        model = Settings(self.section.number, self.profile, self.seed).model
        start = f"{self.section.key}.{model.slug if model else ''}."
        return {value.id.removeprefix(start): value for of in sections for value in of.values
                if value.id.startswith(start)}

    def _check_described(self, name: str, table: pd.DataFrame) -> None:
        lacking = [column for column in map(str, table.columns)
                   if column not in columns_of(table) and column not in described_for_all()]
        if lacking or not about(table):
            what = f"its column {lacking[0]!r}" if lacking else "what it is about"
            raise ValueError(f"the table {name!r} does not say {what}; say it where it is made, "
                             "by `tidy.described`")


SAID: dict[str, Callable[[Settings], str]] = {
    "n_heads": lambda book: str(book.n_heads), "draws": lambda book: str(book.draws),
    "k": lambda book: str(book.k), "layers": lambda book: _listed(book.layers),
    "framing": lambda book: book.framing.title, "subject": lambda book: book.described_subject,
}
"""How a parameter stands in prose."""


def open_section(section: int, profile: str | Profile, seed: int, **own: Any) -> Book:
    """The experiment of a section, run as the profile says where `own` parameters are None.

    Raises UserError for a parameter or a value that cannot be used; in a build for parameters of
    one's own, and for another profile or seed than the build's, whose page would show these numbers
    as its own.
    """
    named = profile_named(profile) if isinstance(profile, str) else profile
    book = Book(section, named, seed, own)
    _check_expected(section, named.name, seed)
    if EXPECTED_VARIABLE in os.environ and book.own:
        name, value = next(iter(book.own.items()))
        raise UserError(f"§{section} sets {name} = {value!r} in a build of the book; set it to "
                        "None there, and run the notebook by itself with a value of your own")
    return book


def _check_expected(section: int, profile: str, seed: int) -> None:
    """Raises UserError in a build of another profile or seed, as `EXPECTED_VARIABLE` says."""
    expected = os.environ.get(EXPECTED_VARIABLE)
    if expected not in (None, f"{profile} {seed}"):
        raise UserError(f"§{section} asks for profile and seed \"{profile} {seed}\" in a build of "
                        f"\"{expected}\"; pass `profile` and `seed` of the parameters cell on")


def computed_anew(calls: list[Used]) -> str:
    """What of these calls was computed and what was kept from before, in a sentence."""
    anew = [call for call in calls if call.computed]
    counts = {name: sum(call.function == name for call in anew)
              for name in dict.fromkeys(call.function for call in anew)}
    listed = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "nothing"
    return (f"Computed anew: {listed}, in {sum(call.seconds for call in anew):.1f} s; read from "
            f"the cache: {len(calls) - len(anew)} calls.")


def _in_ids(of: object) -> object:
    """"no SAE" as "no_sae"; one word as it is."""
    return of.replace(" ", "_").lower() if isinstance(of, str) and " " in of else of


def _short(value: object) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "_", str(value)).strip("_")[-40:]


def _plain(of: Settings, name: str) -> str:
    if name == "questions":
        return "the shipped ones"
    if name == "sandbag_instruction":
        return of.framing.instructions[-1]
    value = getattr(of, name)
    if name == "layers":
        return _listed(value)
    return str(getattr(value, "slug", getattr(value, "name", value)))


def _listed(layers: tuple[int, ...]) -> str:
    return ", ".join(f"L{layer}" for layer in layers)
