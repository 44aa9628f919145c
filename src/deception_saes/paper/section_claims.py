"""The claims that a section tests, as its page opens with them."""

from __future__ import annotations

from collections.abc import Sequence

from deception_saes.paper.front_page import (
    BADGES,
    ClaimRow,
    anchor,
    claim_rows,
    published,
    reasons,
    section_number,
)
from deception_saes.paper.model_text import attribute, shown
from deception_saes.paper.numbers import with_interval
from deception_saes.paper.profiles import Profile
from deception_saes.paper.results import Results

_HELP = ('Terms: <a href="../book/glossary.html">glossary</a>; definitions: '
         '<a href="../book/methods.html">methods</a>.')
_HEAD = ("Claim", "What was reported", "Published", "This run", "Verdict")


def tested(profile: Profile, results: Results) -> list[ClaimRow]:
    """The claims that this section answers, and those published for it that it does not."""
    return [row for row in claim_rows(profile, [results])
            if row.value is not None or section_number(row.claim) == results.section]


def claims_html(rows: Sequence[ClaimRow], *, note: str, done: bool) -> str:
    """HTML: one line a claim, each linked to its line on the front page, and a note under them.

    done: whether the section was run; then claims that it does not answer are only named.
    """
    lines = [row for row in rows if row.value is not None] if done else list(rows)
    left = [row for row in rows if row not in lines]
    table = ""
    if lines:
        head = "".join(f"<th>{name}</th>" for name in _HEAD)
        table = (f'<table class="claims"><thead><tr>{head}</tr></thead>'
                 f"<tbody>{''.join(map(_line, lines))}</tbody></table>")
    others = (f"Published for this section and not measured here: {', '.join(map(_link, left))}. "
              if left else "")
    return (f'<figure class="bookfig opening">{table}'
            f"<figcaption>{others}{shown(note)} {_HELP}</figcaption></figure>")


def _line(row: ClaimRow) -> str:
    claim, value = row.claim, row.value
    this_run = "–"
    if value is not None:
        n = "" if value.n is None else f" (n = {value.n})"
        this_run = shown(with_interval(value) + n) + _why(value.quantity)
    badge = (f'<span class="badge-v {BADGES.get(row.verdict.word, "v-na")}">'
             f"{shown(row.verdict.word)}</span>")
    cells = (_link(row), shown(claim.quantity) + _why(claim.model), shown(published(claim)),
             this_run, badge + _why(reasons(row)))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _link(row: ClaimRow) -> str:
    return (f'<a class="claimid" href="../book/index.html#{attribute(anchor(row.claim))}">'
            f"{shown(row.claim.id)}</a>")


def _why(text: str) -> str:
    return f' <span class="why">{shown(text)}</span>' if text else ""
