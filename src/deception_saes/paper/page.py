"""What a notebook calls: its section's numbers as prose, tables and figures."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from IPython.display import HTML, Markdown

from deception_saes.errors import UserError
from deception_saes.paper.claims import load_claims
from deception_saes.paper.figures import figure_html, linked, quotes_html, table_html, tokens_html
from deception_saes.paper.model_text import shown
from deception_saes.paper.numbers import REFERENCE, part_of
from deception_saes.sections.profiles import Profile, profile_named
from deception_saes.sections.run import EXPECTED_VARIABLE, SectionRun, run_section

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Plot = Callable[["Figure", dict[str, str], SectionRun], None]
Tabulate = Callable[[SectionRun], "pd.DataFrame"]



@dataclass(frozen=True)
class Page:
    """A section, ready to be shown. Of one that was not run nothing but its opening is shown."""

    run: SectionRun
    profile: Profile

    @property
    def primary(self) -> str:
        """Slug of the model that the section is about."""
        of_section = self.profile.swaps.get(self.run.section.number)
        return of_section[0] if of_section else self.profile.models[0].slug

    def opening(self) -> HTML | Markdown:
        """The claims that the section tests with their verdicts, and what was run; of a section
        that was not run, why, and what was published."""
        from deception_saes.paper.section_claims import claims_html, tested

        results = self.run.results
        rows = tested(self.profile, results)
        if results.status == "done":
            return HTML(claims_html(rows, note=self._provenance(), done=True))
        return Markdown(f":::{{admonition}} Not run\n{results.reason}\n:::\n\n"
                        + claims_html(rows, note="", done=False))

    def _provenance(self) -> str:
        results = self.run.results
        names = ", ".join(model.name for model in self.profile.models)
        return (f"Profile {results.profile}, seed {results.seed}, {names}; computed in "
                f"{results.seconds:.0f} s at commit {results.commit}. Intervals are 95% bootstrap "
                "intervals over questions or completions, 90% ones where a claim of no effect is "
                "tested.")

    def say(self, text: str) -> Markdown | None:
        """Markdown in which `[[id]]` becomes the value of that id with its interval.

        `[[id|value]]` leaves the interval out, `[[id|n]]` gives the n. An id without its section
        is completed with the section and its model. `[[S-07]]` is what the study published.
        """
        return Markdown(self._filled(text)) if self._is_done else None

    def figure(
        self, plot: Plot, *, caption: str, alt: str, size: tuple[float, float], min_width: int = 0
    ) -> HTML | None:
        """A figure of the section; references in caption and alt are filled as in `say`."""
        return self._shown(caption, lambda run, text: figure_html(
            lambda figure, colours: plot(figure, colours, run), alt=self._filled(alt),
            caption=text, size=size, min_width=min_width))

    def table(self, tabulate: Tabulate, *, caption: str) -> HTML | None:
        """A table of the section, every cell shown as text."""
        return self._shown(caption, lambda run, text: table_html(tabulate(run), caption=text))

    def quotations(self, tabulate: Tabulate, *, caption: str) -> HTML | None:
        """Texts of the section, a model's or others, of the columns that `quotes_html` names."""
        return self._shown(caption, lambda run, text: quotes_html(tabulate(run), caption=text))

    def tokens(self, tabulate: Tabulate, *, caption: str) -> HTML | None:
        """Texts with their tokens shaded, see `figures.tokens_html`."""
        return self._shown(caption, lambda run, text: tokens_html(tabulate(run), caption=text))

    def _shown(self, caption: str, make: Callable[[SectionRun, str], str]) -> HTML | None:
        """What `make` draws, marked with the tables that it read and the section's values: the
        site links to them."""
        if not self._is_done:
            return None
        read: dict[str, pd.DataFrame] = {}
        drawn = make(dataclasses.replace(self.run, _tables=read),
                     shown(self._filled(caption), lines=False))
        return HTML(linked(drawn, self.run.section.key, read))

    @property
    def _is_done(self) -> bool:
        return self.run.results.status == "done"

    def _filled(self, text: str) -> str:
        return REFERENCE.sub(self._number, text)

    def _number(self, reference: re.Match[str]) -> str:
        id, part = reference.groups()
        if id in load_claims():
            from deception_saes.paper.front_page import published

            return published(load_claims()[id])
        key = self.run.section.key
        whole = id if id.startswith(f"{key}.") else f"{key}.{self.primary}.{id}"
        value = self.run.results.value(whole)
        return part_of(value, part)


def open_section(section: int, profile: str, seed: int) -> Page:
    """The page of a section, computed first if it has not been.

    Raises ValueError for a profile that does not exist, and in a build of another profile or seed,
    whose page would show these numbers as its own.
    """
    check_expected(section, profile, seed)
    named = profile_named(profile)
    return Page(run_section(section, named, seed), named)


def check_expected(section: int, profile: str, seed: int) -> None:
    """Raises UserError in a build of another profile or seed, as `EXPECTED_VARIABLE` says."""
    expected = os.environ.get(EXPECTED_VARIABLE)
    if expected not in (None, f"{profile} {seed}"):
        raise UserError(f"§{section} asks for profile and seed \"{profile} {seed}\" in a build of "
                        f"\"{expected}\"; pass `profile` and `seed` of the parameters cell on")
