"""Text that a model, a tokenizer or a judge wrote, made to show as text wherever it stands.

`shown` is for HTML, `attribute` for an HTML attribute, `drawn` for matplotlib; all begin with
`visible`, which spells out what a reader would not see or what would move the text around it.
Sources: Unicode Standard Annex 9 (bidirectional text), Unicode's Default_Ignorable_Code_Point
property.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from matplotlib import font_manager

# Signs that take no ink though their category does not say so: joiners, fillers, selectors.
_NO_INK = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, 0xFFFC,
           *range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_MARKS = {"Mn", "Me"}
_MOST_MARKS = 3
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_RIGHT_TO_LEFT = {"R", "AL", "AN"}
_IGNORED = "mathjax_ignore tex2jax_ignore"  # else MathJax may read a pair of dollar signs


def visible(text: str, *, lines: bool = True) -> str:
    """`text` with every sign that cannot be seen spelled out.

    So are marks beyond three on one letter. Control characters become \\x1B and the like, others
    \\u{202E}. lines: keep line breaks; else they become \\n.
    """
    return "".join(substitute or sign for sign, substitute in _spelled(text, lines))


def shown(text: str, *, lines: bool = True) -> str:
    """`text` as HTML whose text content is `visible(text)`; what was spelled out is marked so.

    No sign of it is mark-up. Text with letters written from right to left is isolated, so that it
    does not turn around what stands beside it.
    """
    parts = [f'<span class="unseen">{_escaped(substitute)}</span>' if substitute
             else _escaped(sign) for sign, substitute in _spelled(text, lines)]
    found = "".join(parts)
    if any(unicodedata.bidirectional(sign) in _RIGHT_TO_LEFT for sign in text):
        return f"<bdi>{found}</bdi>"
    return found


def quoted(text: str, before: str = "") -> str:
    """`text` as HTML for a block of its own, line breaks and spaces as they were written.

    before: what it goes on from and its writer did not write, set apart.
    """
    opening = f'<span class="before">{shown(before)}</span>' if before else ""
    return f'<bdi class="model-text {_IGNORED}">{opening}{shown(text)}</bdi>'


def quoted_tokens(tokens: Sequence[str], shares: Sequence[float]) -> str:
    """The same of a text in pieces, each shaded by a share from 0 to 1."""
    pieces = [f'<span class="token" style="--share: {share:.2f}">{shown(token)}</span>'
              for token, share in zip(tokens, shares, strict=True)]
    return f'<bdi class="model-text {_IGNORED}">{"".join(pieces)}</bdi>'


def attribute(text: str) -> str:
    """`text` for a quoted HTML attribute, such as an alternative text."""
    return _escaped(visible(text, lines=False))


def in_markdown(text: str) -> str:
    """Text that means nothing to Markdown, and does not end a table's cell."""
    for sign in ("\\", "|", "[", "]", "*", "_", "`", "<", "$", "{"):
        text = text.replace(sign, f"\\{sign}")
    return f"−{text[1:]}" if text.startswith("-") else text


def drawn(text: str, most: int = 60) -> str:
    """`text` for a label of a figure: one line of at most `most` signs, dollar signs no formula,
    signs that the figures' font lacks spelled out."""
    pieces = [substitute or sign for sign, substitute in _spelled(text, lines=False)]
    pieces = [piece if _glyphs().issuperset(map(ord, piece)) else _escape(sign)
              for piece, sign in zip(pieces, text, strict=True)]
    line = "".join(pieces)
    line = line if len(line) <= most else line[: most - 1] + "…"
    return line.replace("$", r"\$")


def _spelled(text: str, lines: bool) -> list[tuple[str, str]]:
    """Each sign of the text with what stands for it, "" where it stands for itself."""
    found = []
    marks = 0
    for sign in text:
        category = unicodedata.category(sign)
        marks = marks + 1 if category in _MARKS else 0
        if sign == "\n" and lines:
            substitute = ""
        elif category in _UNSEEN or ord(sign) in _NO_INK or marks > _MOST_MARKS:
            substitute = _escape(sign)
        else:
            substitute = ""
        found.append((sign, substitute))
    return found


def _escape(sign: str) -> str:
    if sign in _SHORT:
        return _SHORT[sign]
    return f"\\x{ord(sign):02X}" if ord(sign) < 0x100 else f"\\u{{{ord(sign):04X}}}"


def _escaped(text: str) -> str:
    # braces too: an unfilled substitution of the book's own is found by looking for a pair of them
    return re.sub("[{}]", lambda brace: f"&#{ord(brace.group())};", html.escape(text))


@cache
def _glyphs() -> frozenset[int]:
    """Code points of the font that figures are set in."""
    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return frozenset(font.get_charmap())
