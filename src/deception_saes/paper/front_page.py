"""The front page's claims table and the values that pages are filled with."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from deception_saes.models.registry import get
from deception_saes.paper.catalogue import SECTIONS, Section
from deception_saes.paper.claims import (
    DIRECTION,
    EQUIVALENCE,
    MAGNITUDES,
    NOT_RUN,
    PUBLISHED,
    VERDICTS,
    Claim,
    Verdict,
    is_about,
    judge,
    load_claims,
    values_by_claim,
)
from deception_saes.paper.figures import draw_svg
from deception_saes.paper.findings import Finding, NotFound, draw
from deception_saes.paper.model_text import in_markdown, shown
from deception_saes.paper.numbers import with_interval
from deception_saes.paper.profiles import PROFILES, Profile
from deception_saes.paper.reference import with_numbers_of
from deception_saes.paper.results import Results, Value
from deception_saes.paper.site_html import images
from deception_saes.paper.source_checks import SourceCheck, source_checks
from deception_saes.tasks.trivia import load_questions

BADGES = {"reproduced": "v-ok", "agrees": "v-ok", "not reproduced": "v-no", "disagrees": "v-no"}
NOT_JUDGED = "not judged"
_CAUTION = ("**The models of this profile have random weights: it tests the machinery, and its "
            "numbers say nothing about deception.**")
_FINDING_SIZE = (4.6, 1.9)  # inches
_FALSE_BY_CHANCE = (
    (DIRECTION, 0.025, "of {n} that a 95% interval sets against no effect, {false} would agree "
     "and as many disagree if there were no effect behind any of them (2.5% each)"),
    (EQUIVALENCE, 0.05, "of {n} that a 90% interval sets against a margin, {false} would pass "
     "as no effect if every effect lay at its margin (5% each)"),
    (PUBLISHED, 0.05, "of {n} that a 95% interval sets against the published value, {false} "
     "would be outside if this run measured the same quantity (at most 5% each)"))
"""What a claim's interval is set against, how often it errs, and what that means for n of them."""


@dataclass(frozen=True)
class ClaimRow:
    """One line of the claims table."""

    claim: Claim
    value: Value | None
    verdict: Verdict
    failed: list[SourceCheck]
    """The source checks of this claim that do not hold."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """The word of the verdict by other runs, by their names; of an exploratory claim alone."""


def claim_rows(
    profile: Profile, results: Sequence[Results],
    others: Mapping[str, Sequence[Results]] | None = None,
) -> list[ClaimRow]:
    """Every published claim with this run's value and verdict, in the order of the claims file.

    others: results of other runs, by name; claims whose rule was set after the result had been seen
    are judged by these too, where they have the same values.
    Where a section has a value of the id `{id}.margin` beside the value `{id}` that answers a
    claim, that is the margin of equivalence the claim is judged by; where it has one of the id
    `{id}.informative`, that is how many of those it was chosen from are informative. Raises
    ValueError if value and margin differ in unit.
    """
    elsewhere = {name: {row.claim.id: row.verdict.word
                        for row in claim_rows(profile, with_numbers_of(theirs, results))
                        if row.value is not None}
                 for name, theirs in (others or {}).items()}
    answered = values_by_claim(results)
    by_section = {of.section: of for of in results}
    rows = []
    for claim in load_claims().values():
        of_section, value = answered.get(claim.id, (None, None))
        if of_section is None or value is None:
            verdict = Verdict(NOT_RUN, _why_not_run(claim, by_section, profile))
        else:
            verdict = _judged(claim, value, of_section, profile)
        failed = [check for check in _checks() if claim.id in check.claims and not check.holds]
        judged = {name: words[claim.id] for name, words in elsewhere.items()
                  if claim.exploratory and claim.id in words}
        rows.append(ClaimRow(claim, value, verdict, failed, judged))
    return rows


def findings_list(found: Sequence[Finding | NotFound], static: Path) -> str:
    """HTML: the answer, a sentence and a small figure each; writes the figures."""
    lines = ['<ol class="findings">']
    for finding in found:
        links = ", ".join(f'<a href="{_page(number)}">§{number} {SECTIONS[number].title}</a>'
                          for number in finding.sections)
        lines.append(f"<li><div><p>{shown(finding.sentence)}</p>"
                     f'<p class="figlinks">{links}</p></div>')
        if isinstance(finding, Finding):
            drawing = draw_svg(partial(draw, finding=finding), alt=finding.alt, size=_FINDING_SIZE)
            name = f"finding-{finding.sections[0]}"
            lines.append(f'<a href="{_page(finding.sections[0])}">'
                         f"{images(static, name, drawing)}</a>")
        lines.append("</li>")
    return "\n".join([*lines, "</ol>"]) + "\n"


def _page(section: int) -> str:
    return f"../notebooks/{SECTIONS[section].stem}.html"


def claims_table(rows: Sequence[ClaimRow], written: Sequence[Section]) -> str:
    """MyST: the claims by section, one table each. Links to the sections that are written."""
    parts = []
    for section in SECTIONS.values():
        of_section = [row for row in rows if section_number(row.claim) == section.number]
        if not of_section:
            continue
        title = f"§{section.number} {section.title}"
        if section in written:
            title = f"[{title}](../notebooks/{section.stem}.ipynb)"
        parts += [f"### {title}", "", "{.claims}",
                  "| Claim | What was reported | Published | This run | Verdict |",
                  "|---|---|---|---|---|", *(_line(row) for row in of_section), ""]
    return "\n".join(parts)


def checks_table() -> str:
    """MyST: every check of the source against itself, the failing ones first."""
    ordered = sorted(_checks(), key=lambda check: check.holds)
    lines = ["| Claims | Check | Source |", "|---|---|---|"]
    for check in ordered:
        claims = " ".join(f"[{id}](#claim-{id.lower()})" for id in check.claims)
        badge = _badge("consistent", "v-ok") if check.holds else _badge("inconsistent", "v-flag")
        lines.append(f"| {claims} | {in_markdown(check.text)} | {badge} |")
    return "\n".join(lines) + "\n"


def substitutions(
    profile: Profile, seed: int, results: Sequence[Results], rows: Sequence[ClaimRow]
) -> dict[str, str | int | float]:
    """What `{{ name }}` in the pages of `book/` stands for."""
    counts = Counter(row.verdict.word for row in rows)
    words = [*VERDICTS, *(word for word in counts if word not in VERDICTS)]
    return {
        "profile": profile.name,
        "seed": seed,
        "models": ", ".join(model.name for model in profile.models),
        "n_claims": len(rows),
        "verdict_counts": ", ".join(f"**{counts[word]}** {word}" for word in words if counts[word]),
        "magnitude_counts": magnitude_counts(rows),
        "expected_false": expected_false(rows),
        "n_questions": len(load_questions()),
        "answerable_min_p": profile.answerable_min_p,
        "sweep_sandbag_questions": profile.sweep_sandbag_questions or "all",
        "sweep_genuine_questions": profile.sweep_genuine_questions or "all",
        "draw_questions": profile.draw_questions or "all",
        "random_draws": profile.random_draws,
        "swap_draws": profile.swap_draws,
        "swap_draw_questions": profile.swap_draw_questions or "all",
        "equivalence_percent": round(100 * profile.equivalence_share),
        "paper_epochs": PROFILES["paper"].sae_recipe.epochs,
        **{f"sae_{name}": "none" if setting is None else setting
           for name, setting in dataclasses.asdict(profile.sae_recipe).items()},
        "caution": "" if profile.verdicts else _CAUTION,
        "n_flagged": sum(bool(row.failed) for row in rows),
        "n_sections": len(SECTIONS),
        "n_done": sum(of.status == "done" for of in results),
        "commit": ", ".join(sorted({of.commit for of in results})),
    }


def magnitude_counts(rows: Sequence[ClaimRow]) -> str:
    """Of the claims of an effect measured on another model, how many agree in magnitude; a
    sentence, "" if there is none."""
    counts = Counter(row.verdict.magnitude for row in rows if row.verdict.magnitude)
    agree, differ, undecided = (counts[word] for word in MAGNITUDES)
    return "" if not counts else (
        f"Of {counts.total()} effects measured on another model than the study's, **{agree}** "
        f"agree in magnitude, **{differ}** differ, **{undecided}** are undecided.")


def expected_false(rows: Sequence[ClaimRow]) -> str:
    """How many verdicts would be false by chance; a sentence, "" if no interval decides any."""
    counts = Counter(row.verdict.test for row in rows)
    parts = [text.format(n=counts[test], false=f"{rate * counts[test]:.2g}")
             for test, rate, text in _FALSE_BY_CHANCE if counts[test]]
    return "" if not parts else (
        f"By chance alone, {'; '.join(parts)}. That is expected however the claims depend on each "
        "other, if the intervals cover as often as they say.")


@lru_cache(maxsize=1)
def _checks() -> list[SourceCheck]:
    return source_checks()


def section_number(claim: Claim) -> int:
    """28 of "28.1"."""
    return int(claim.section.partition(".")[0])


def _judged(claim: Claim, value: Value, of_section: Results, profile: Profile) -> Verdict:
    margin = _margin(of_section, value)
    if not profile.verdicts:
        return Verdict(NOT_JUDGED, "random weights prove nothing")
    model = None if value.model is None else get(value.model)
    same = model is None or (model.of_the_study and is_about(claim, model.name))
    informative = _beside(of_section, value, "informative")
    at_floor = informative is not None and informative.value == 0 and bool(informative.n)
    return judge(claim, value, same, margin, informative=not at_floor)


def _beside(of_section: Results, value: Value, name: str) -> Value | None:
    """What is reported under the value's id and a name; None if nothing is."""
    return next((v for v in of_section.values if v.id == f"{value.id}.{name}"), None)


def _margin(of_section: Results, value: Value) -> float | None:
    """The margin that stands beside a value, NaN if it is not finite; None if there is none."""
    found = _beside(of_section, value, "margin")
    if found is None:
        return None
    if found.unit != value.unit:
        raise ValueError(f"{found.id} is in {found.unit}, {value.id} in {value.unit}; a margin is "
                         "in the unit of what it is a margin of")
    return math.nan if found.value is None else found.value


def _why_not_run(claim: Claim, by_section: dict[int, Results], profile: Profile) -> str:
    of_section = by_section.get(section_number(claim))
    if of_section is None:
        return "section not yet written"
    if of_section.reason:
        return of_section.reason
    return f"not measured by profile {profile.name}, which runs " + ", ".join(
        model.name for model in profile.models)


def _line(row: ClaimRow) -> str:
    claim, verdict = row.claim, row.verdict
    verdict_cell = _badge(verdict.word, BADGES.get(verdict.word, "v-na"))
    if why := reasons(row):
        verdict_cell += f" [{in_markdown(why)}]{{.why}}"
    if row.failed:
        verdict_cell += f" {_badge('source inconsistent', 'v-flag')}"
    this_run = in_markdown(measured(row.value))
    if row.value is not None:
        this_run += f" [{in_markdown(row.value.quantity)}]{{.why}}"
    cells = (f"[[{claim.id}](#{anchor(claim)})]{{#{anchor(claim)} .claimid}}",
             f"{in_markdown(claim.quantity)} [{in_markdown(claim.model)}]{{.why}}",
             in_markdown(published(claim)), this_run, verdict_cell)
    return f"| {' | '.join(cells)} |"


def reasons(row: ClaimRow) -> str:
    """What stands beside the verdict's word: why, the magnitude, whether it is exploratory."""
    verdict = row.verdict
    parts = [verdict.why]
    if verdict.magnitude:
        parts.append(f"magnitude {verdict.magnitude}")
    if row.claim.exploratory and verdict.word in VERDICTS and verdict.word != NOT_RUN:
        words = "".join(f", {name}: {word}" for name, word in row.elsewhere.items())
        parts.append(f"exploratory (rule of {row.claim.exploratory}, set after its result was seen"
                     f"{words})")
    return "; ".join(filter(None, parts))


def anchor(claim: Claim) -> str:
    """Where the claim stands on the front page."""
    return f"claim-{claim.id.lower()}"


def published(claim: Claim) -> str:
    """The published value with its unit and interval."""
    units = {"percent": " %", "pp": " pp", "probability": "", "count": "", "layer": "", "list": "",
             "heads": "", "effect": "", "auroc": "", "threshold": "", "ratio": ""}
    text = f"−{claim.published[1:]}" if claim.published.startswith("-") else claim.published
    if claim.unit == "layer":
        text = " ".join(f"L{layer}" for layer in text.split())
    if claim.kind == "upper_bound":
        text = f"< {text}"
    text += units.get(claim.unit, f" {claim.unit}")
    if claim.kind == "interval":
        text += f" [{claim.low:g}, {claim.high:g}]"
    return text


def measured(value: Value | None) -> str:
    """This run's value with interval, n and model; "–" if there is none."""
    if value is None:
        return "–"
    detail = [f"n = {value.n}"] if value.n is not None else []
    if value.model is not None:
        detail.append(get(value.model).name)
    return with_interval(value) + (f" ({', '.join(detail)})" if detail else "")


def _badge(text: str, css_class: str) -> str:
    return f"[{text}]{{.badge-v .{css_class}}}"
