"""The study's numbers checked against each other: arithmetic, counts and depth conventions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deception_saes.paper.claims import Claim, load_claims

TAGS = Path(__file__).parent / "data" / "sandbagging_tags.txt"
_LAYERS = 16  # of Llama-3.2-1B


@dataclass(frozen=True)
class SourceCheck:
    """A comparison of the study's numbers with each other."""

    claims: tuple[str, ...]
    """Ids of those it is about."""
    text: str
    """The comparison in numbers."""
    holds: bool
    """Whether they agree."""


def source_checks() -> list[SourceCheck]:
    """All checks, computed from the claims file and the release's tag list."""
    claims = load_claims()
    return [*_arithmetic(claims), *_release(claims), *_depths(claims),
            *_counts(claims), *_doubts_from_reading()]


def release_tags() -> list[str]:
    """The 42 tags of the sandbagging release, as its card lists them."""
    return TAGS.read_text(encoding="utf-8").split()


def _arithmetic(claims: dict[str, Claim]) -> Iterator[SourceCheck]:
    def published(id: str) -> float:
        return claims[id].number

    combined, singles, neutral = published("S-07"), published("S-11"), published("S-13")
    gap, portion = published("S-08"), published("S-14")
    derived = (
        ("S-12", f"1 − {combined}/{singles}", 100 * (1 - combined / singles), None),
        ("S-14", f"{combined} − {neutral}", combined - neutral, None),
        ("S-14", f"{portion}/{combined}", 100 * portion / combined, "56"),
        ("S-23", f"{combined} − {gap}", combined - gap, None),
        ("B-15", "4/18", 100 * 4 / 18, "22"),
        ("B-20", f"{published('B-18')} − {published('B-19')}",
         published("B-18") - published("B-19"), None),
        ("S-03", "500 s / 40 s", 500 / 40, None),
        ("S-18", "22/27", 100 * 22 / 27, "81"),
        ("B-21", f"{published('B-08')} − {published('B-09')}",
         published("B-08") - published("B-09"), None),
        ("S-24", "42/50", 100 * 42 / 50, None),
        ("S-25", f"{published('S-20')} − {published('S-21')}",
         published("S-20") - published("S-21"), None),
        ("R-18", f"100 · ({published('R-10')} − {published('R-08')})",
         100 * (published("R-10") - published("R-08")), None),
    )
    for id, formula, computed, in_prose in derived:
        printed = in_prose or claims[id].published
        decimals = len(printed.partition(".")[2])
        yield SourceCheck((id,), f"{formula} = {computed:.{decimals + 1}f}, printed {printed}",
                          f"{computed:.{decimals}f}" == printed)
    wins = published("S-18") + published("S-19")
    yield SourceCheck(("S-18", "S-19"), f"wins {published('S-18'):g} + {published('S-19'):g} = "
                      f"{wins:g}, of 27 pairs", wins == 27)
    yield SourceCheck(
        ("B-03", "B-09"), f"all dimensions at one layer {published('B-09')} %, the peak over all "
        f"layers {published('B-03')} %", published("B-09") <= published("B-03"))


def _release(claims: dict[str, Claim]) -> Iterator[SourceCheck]:
    tags = release_tags()
    kinds = Counter(
        "8x" if "_x8_" in tag else re.split(r"_", tag.removeprefix("v4_llama_"))[0] for tag in tags
    )
    k64 = sum("_llama_topk_L" in tag for tag in tags)
    yield SourceCheck(("S-01",), f"{len(tags)} tags in the card's list", len(tags) == int(
        claims["S-01"].number))
    yield SourceCheck(("S-01",), f"the prose counts 9 JumpReLU + 27 TopK = 36; the list has "
                      f"{kinds['jumprelu']} JumpReLU, {kinds['topk']} TopK, {kinds['gated']} "
                      f"gated at 4x and {kinds['8x']} at 8x", len(tags) == 9 + 27)
    yield SourceCheck(("S-01",), f"the prose says every TopK has k = 64 and every SAE 4x; the list "
                      f"has {k64} of {kinds['topk']} TopK tags with k = 64, and {kinds['8x']} at "
                      "8x", k64 == kinds["topk"] and not kinds["8x"])


def _depths(claims: dict[str, Claim]) -> Iterator[SourceCheck]:
    printed = {"B-05": 56, "B-06": 40, "B-07": 100}
    for divisor in (_LAYERS, _LAYERS - 1):
        depths = {id: round(100 * claims[id].number / divisor) for id in printed}
        if depths == printed:
            break
    else:
        yield SourceCheck(
            tuple(printed), "depths printed 56, 40 and 100 %: layers 9, 6 and 15 give 56, 38 and "
            "94 % of 16 layers, or 60, 40 and 100 % of 15", False)
    table, text = (claims[id].published for id in ("B-05", "B-06"))
    yield SourceCheck(("B-05", "B-06"), f"peak of the most careful round: L{table} in the table, "
                      f"L{text} in the text", table == text)
    layer = claims["R-03"].number
    yield SourceCheck(("R-03",), f"layer {layer:g} of 30 is {100 * layer / 30:.0f} % depth; the "
                      "cross-model card prints 80 %", round(100 * layer / 30) == 80)
    heads = [int(head[1:].partition("H")[0]) for head in claims["S-09"].published.split()]
    early = sum(layer / _LAYERS <= 0.25 for layer in heads)
    yield SourceCheck(("S-09",), f"{early} of {len(heads)} heads at or before 25 % of depth, "
                      "printed four of five; L4 stands on the boundary", early == 4)


def _counts(claims: dict[str, Claim]) -> Iterator[SourceCheck]:
    grid = int(claims["B-11"].number)
    jumprelu = grid // 2  # two architectures
    yield SourceCheck(("B-12",), f"threshold 0 is said of {grid} SAEs; only the {jumprelu} "
                      "JumpReLU ones have a threshold", grid == jumprelu)
    ambiguous = claims["B-01"].number
    yield SourceCheck(("B-01",), f"{ambiguous:g} % labelled ambiguous, yet a probe accuracy is "
                      "reported: no two classes to probe", ambiguous < 100)


def _doubts_from_reading() -> Iterator[SourceCheck]:
    """What no arithmetic shows."""
    yield SourceCheck(("S-13", "S-14", "S-24"), "“on 42/50 questions”: 42 that improve, or a mean "
                      "over 42? The source does not say", False)
    yield SourceCheck(("R-06", "B-04"), "one AUROC, 0.784, is printed for TinyLlama and for "
                      "Llama-3.2-1B alike", False)
