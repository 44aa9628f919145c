"""The claims of the original study, and the verdict of this run on each.

A claim that there is no effect (kinds upper_bound and null) is answered by a value whose interval
is a 90% one, which its quantity says: that it lies within a bound is then a TOST at 5% (see
`analysis.equivalence`). Every other claim is answered with a 95% interval.

On another model than the study's a verdict has two parts: the direction, which is its word, and the
magnitude.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from deception_saes.analysis.bootstrap import FEWEST
from deception_saes.paper.results import Results, Value

CLAIMS = Path(__file__).parent / "data" / "published_claims.csv"

NOT_RUN = "not run"
VERDICTS = ("reproduced", "agrees", "not reproduced", "disagrees", "inconclusive", "uninformative",
            NOT_RUN)
MAGNITUDES = ("agrees", "differs", "undecided")
DIRECTION, EQUIVALENCE, PUBLISHED = "direction", "equivalence", "published value"
"""What an interval is set against: no effect, a margin or bound, the published value."""

AT_FLOOR = "nothing that could answer is informative: each is at its floor"

_NULL_CLAIMS = {"upper_bound", "null"}
_MODELS = ("Llama", "TinyLlama", "SmolLM2", "Pythia-160M", "Pythia-410M", "d20")
"""How claims about one model begin to name it."""
_MEASURED = {"value", "ratio", "interval", "arithmetic", "range", "at_most", *_NULL_CLAIMS}
"""Kinds that an interval decides, except a threshold, which is set: without one a value would count
as exact."""
_RELATIVE_TOLERANCE = {"approximate": 0.1, "count": 0.0, "threshold": 0.0, "layer": 0.0}


@dataclass(frozen=True)
class Claim:
    """One published number."""

    id: str
    section: str
    """Of this book: "28.1" is the first part of §28."""
    card: str
    model: str
    quantity: str
    published: str
    unit: str
    kind: str
    low: float | None
    high: float | None
    """Its published interval or bounds."""
    no_effect: float | None
    """Where no effect would lie, 50 of a balanced accuracy; None where there is no such place."""
    certain: str
    """Why the choice of what is measured makes the direction certain; empty if it does not."""
    contrast: str
    """Id of the claim that sets this number against another one of the study; empty if none does.
    It has a direction where this one is a level."""
    exploratory: str
    """Date of the log's entry if the claim's rule was set after its result had been seen."""
    note: str

    @property
    def number(self) -> float:
        """The published value; ValueError if it is not one number ("8 to 47")."""
        return float(self.published)


@dataclass(frozen=True)
class Verdict:
    """What this run says of a claim."""

    word: str
    """One of VERDICTS."""
    why: str
    """One phrase for the reader."""
    magnitude: str = ""
    """One of MAGNITUDES, of a claim of an effect on another model than the study's; else empty."""
    test: str = ""
    """What the word rests on, decided or not: DIRECTION, EQUIVALENCE or PUBLISHED; empty if no
    interval could decide it."""


@lru_cache(maxsize=1)
def load_claims() -> dict[str, Claim]:
    """All claims by id, in the order of the file."""
    with CLAIMS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = ("low", "high", "no_effect")
    return {row["id"]: Claim(**{name: cell for name, cell in row.items() if name not in numbers},
                             low=_number(row["low"]), high=_number(row["high"]),
                             no_effect=_number(row["no_effect"]))
            for row in rows}


def values_by_claim(results: Iterable[Results]) -> dict[str, tuple[Results, Value]]:
    """The value that answers each claim. ValueError if two do."""
    found: dict[str, tuple[Results, Value]] = {}
    for of_section in results:
        for value in of_section.values:
            if value.claim is None:
                continue
            if value.claim in found:
                raise ValueError(f"claim {value.claim} is answered by {found[value.claim][1].id} "
                                 f"and by {value.id}; let one of them name it")
            found[value.claim] = (of_section, value)
    return found


def is_about(claim: Claim, model: str) -> bool:
    """Whether the claim is about the model of this name, or about several."""
    named = next((name for name in _MODELS if claim.model.startswith(name)), "")
    return model.startswith(named)


def judge(
    claim: Claim, value: Value, model_of_the_study: bool, margin: float | None = None,
    informative: bool = True,
) -> Verdict:
    """What this value says of the claim.

    On the study's own model the published interval or tolerance decides, if the measured interval
    is no wider than the published value's distance from no effect: a wider one that holds the
    published value could hold no effect too. On another model the direction does, or equivalence
    where the claim is that there is no effect, or the published range of a claim that is one; the
    magnitude stands beside it. Where the choice of what is measured makes the direction certain,
    the same direction is uninformative.

    margin: of equivalence on another model, in the value's unit; without one the published bound
    takes its place. An interval within ±margin agrees; one wholly beyond both the margin and the
    published bound, to either side of 0, disagrees; in between, and without an interval, nothing is
    decided. Nor is it by a margin that is not above 0 and finite, as of a model that does not
    sandbag. Claims of other kinds have no use for a margin.

    informative: whether anything that could have answered the claim was above its floor; if not,
    no value is needed to call it uninformative.
    """
    if not informative:
        return Verdict("uninformative", AT_FLOOR)
    found = _judge_number(claim, value, model_of_the_study, margin)
    if claim.certain and not model_of_the_study:
        word = "uninformative" if found.word == "agrees" else found.word
        return Verdict(word, claim.certain if word == "uninformative" else found.why)
    if claim.contrast and found.word == "inconclusive":
        found = replace(found, why=f"{found.why}; see the contrast {claim.contrast}")
    return found if model_of_the_study else replace(found, magnitude=_magnitude(claim, value))


def _judge_number(
    claim: Claim, value: Value, model_of_the_study: bool, margin: float | None
) -> Verdict:
    undecided = _undecided(claim, value) or (_too_wide(claim, value) if model_of_the_study else "")
    if value.value is None or undecided:
        return Verdict("inconclusive", undecided)
    low = value.value if value.ci_low is None else value.ci_low
    high = value.value if value.ci_high is None else value.ci_high
    if claim.kind in _NULL_CLAIMS and margin is not None and not model_of_the_study:
        return _judge_equivalence(claim, value, margin)
    if claim.kind in _NULL_CLAIMS or claim.kind == "at_most":
        return _judge_bound(claim, low, high, model_of_the_study)
    if model_of_the_study:
        return _judge_same(claim, value.value, low, high)
    if claim.kind == "range":
        return _judge_range(claim, low, high)
    return _judge_direction(claim, low, high)


def _undecided(claim: Claim, value: Value) -> str:
    """Why no number could decide; empty if one could."""
    if value.value is None and value.n is not None and value.n < FEWEST:
        return f"{value.n} questions are too few for an interval"
    if value.value is None:
        return "the measured value is not finite"
    if claim.kind == "list":
        return "a list of one model's own parts, not a number"
    if value.unit.startswith("of ") and value.unit != claim.unit:
        return f"counted {value.unit}, by the study {claim.unit}"
    decides = claim.kind in _MEASURED or claim.no_effect is not None
    if value.ci_low is None and decides and claim.unit != "threshold":
        return "no interval to decide by"
    return ""


def _too_wide(claim: Claim, value: Value) -> str:
    """Why an interval is wider than the claim needs; empty if it is not. A claim of no effect needs
    one within its bound, which is judged there; a level's distance is that from 0."""
    if claim.kind in {*_NULL_CLAIMS, "at_most"} or value.ci_low is None or value.ci_high is None:
        return ""
    distance = min(abs(end - (claim.no_effect or 0.0)) for end in _published_ends(claim))
    width = value.ci_high - value.ci_low
    if width <= distance:
        return ""
    return f"the interval is {width:.3g} wide, the published value {distance:.3g} from no effect"


def _published_ends(claim: Claim) -> tuple[float, float]:
    """Of its interval or range; twice the number of a claim that has neither."""
    if claim.low is None or claim.high is None:
        return claim.number, claim.number
    return claim.low, claim.high


def _magnitude(claim: Claim, value: Value) -> str:
    """Whether an effect on another model is as large as the published one; a published value that
    has no interval is taken as exact. Empty where there is no effect to compare or no interval."""
    low, high = value.ci_low, value.ci_high
    if (claim.no_effect is None or claim.kind in {*_NULL_CLAIMS, "at_most"}
            or low is None or high is None):
        return ""
    least, most = _published_ends(claim)
    if high < least or low > most:
        return "differs"
    holds = least <= low and high <= most if claim.kind == "range" else low <= claim.number <= high
    return "agrees" if holds and not _too_wide(claim, value) else "undecided"


def _judge_bound(claim: Claim, low: float, high: float, same_model: bool) -> Verdict:
    bound = claim.high or 0.0
    floor = float("-inf") if claim.kind == "at_most" else -bound
    yes, no = ("reproduced", "not reproduced") if same_model else ("agrees", "disagrees")
    test = DIRECTION if claim.kind == "at_most" else EQUIVALENCE
    if floor <= low and high <= bound:
        return Verdict(yes, f"the interval lies within the bound {bound:g} {claim.unit}", test=test)
    if low > bound or high < floor:
        return Verdict(no, f"the interval lies beyond the bound {bound:g} {claim.unit}", test=test)
    return Verdict("inconclusive", f"the interval reaches across the bound {bound:g} {claim.unit}",
                   test=test)


def _judge_equivalence(claim: Claim, value: Value, margin: float) -> Verdict:
    bound = claim.high or 0.0
    reported = (f"the published bound is {bound:g} {claim.unit}" if bound
                else "the study reports no effect")
    if not 0 < margin < math.inf:
        return Verdict("inconclusive", f"this model leaves no margin above 0; {reported}")
    within = f"the margin δ = {margin:.3g} {value.unit}"
    low, high = value.ci_low, value.ci_high
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return Verdict("inconclusive", f"no interval to set against {within}; {reported}")
    if -margin <= low and high <= margin:
        return Verdict("agrees", f"equivalent within {within}; {reported}", test=EQUIVALENCE)
    if low > max(bound, margin) or high < -max(bound, margin):
        return Verdict("disagrees", f"larger than the study allows, and beyond {within}; "
                       f"{reported}", test=EQUIVALENCE)
    return Verdict("inconclusive", f"the interval reaches across {within}; {reported}",
                   test=EQUIVALENCE)


def _judge_same(claim: Claim, value: float, low: float, high: float) -> Verdict:
    if claim.low is not None and claim.high is not None:
        least, most = claim.low, claim.high
    else:
        slack = _RELATIVE_TOLERANCE.get(claim.kind, 0.0) * abs(claim.number)
        least, most = claim.number - slack, claim.number + slack
    test = PUBLISHED if low < high else ""  # a count is compared as it is
    if least <= value <= most or (claim.low is None and low <= claim.number <= high):
        return Verdict("reproduced", "inside the published interval or tolerance", test=test)
    if high < least or low > most:
        return Verdict("not reproduced", "outside the published interval or tolerance", test=test)
    return Verdict("inconclusive", "the interval reaches into the published one", test=test)


def _judge_range(claim: Claim, low: float, high: float) -> Verdict:
    """A claim that is a range is one of magnitude, on another model too."""
    least, most = _published_ends(claim)
    within = f"the published range, {claim.published}"
    if least <= low and high <= most:
        return Verdict("agrees", f"the interval lies within {within}", test=PUBLISHED)
    if high < least or low > most:
        same = claim.no_effect is not None and (
            _judge_direction(claim, low, high).word == "agrees")
        return Verdict("disagrees", ("same direction, but " if same else "")
                       + f"the interval lies outside {within}", test=PUBLISHED)
    return Verdict("inconclusive", f"the interval reaches across an end of {within}",
                   test=PUBLISHED)


def _judge_direction(claim: Claim, low: float, high: float) -> Verdict:
    none = claim.no_effect
    if none is None and claim.unit.startswith("of "):
        return Verdict("inconclusive", "a count of dependent comparisons has no interval to "
                       "decide by")
    if none is None:
        return Verdict("inconclusive", "a level on one model; another has no direction "
                       "to agree with")
    published = claim.number if claim.low is None else claim.low
    if low <= none <= high:
        return Verdict("inconclusive", "the interval includes no effect", test=DIRECTION)
    if (low > none) == (published > none):
        return Verdict("agrees", "same direction, on another model", test=DIRECTION)
    return Verdict("disagrees", "opposite direction, on another model", test=DIRECTION)


def _number(text: str) -> float | None:
    return float(text) if text else None
