"""The numbers that the book's answer rests on: named once, for the front page and for the table of
what another seed gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deception_saes.paper.profiles import Profile
from deception_saes.paper.results import Results, Value


@dataclass(frozen=True)
class Headline:
    """rest: the value's id behind "sNN.{primary model}."."""

    section: int
    rest: str
    title: str


HEADLINES = (
    Headline(18, "R3.mean.nested.accuracy", "probe on activations, balanced accuracy"),
    Headline(18, "nested_minus_words.accuracy", "the same less a probe on the words"),
    Headline(21, "beats_raw", "SAE probes above the raw probe"),
    Headline(22, "remeasured", "re-measured difference of the top feature's rates"),
    Headline(22, "steering.gap", "steering along it less random features"),
    Headline(23, "two_shot_labelled.answerable.p_correct.genuine_minus_sandbag",
             "what the instruction takes, labelled framing"),
    Headline(23, "two_shot_same_prefix.answerable.p_correct.genuine_minus_sandbag",
             "what the instruction takes, same-prefix framing"),
    Headline(24, "headline.jumprelu", "farthest gap of the full-SAE-swap, JumpReLU"),
    Headline(28, "effect.sandbag.zero", "restoration by the suppressor heads"),
    Headline(28, "gap.layer_matched", "the same less random heads of the same layers"),
    Headline(29, "portion", "sandbagging-specific portion"),
    Headline(30, "two_shot_same_prefix.portion", "the same, same-prefix framing"),
    Headline(32, "wins.jumprelu", "pairs in which JumpReLU wins on d_max"),
)


class Numbers:
    """The values of one run, by section and by their ids behind "sNN.{primary model}."."""

    def __init__(self, profile: Profile, results: Sequence[Results]) -> None:
        self._profile = profile
        self._of = {of.section: of for of in results}

    def was_run(self, section: int) -> bool:
        """Whether the section has values."""
        of = self._of.get(section)
        return of is not None and of.status == "done"

    def __call__(self, section: int, rest: str) -> Value:
        """The value. Raises KeyError if the section was not run, or has no such value."""
        if not self.was_run(section):
            raise KeyError(f"§{section} was not run; it has no {rest}")
        swap = self._profile.swaps.get(section)
        slug = swap[0] if swap else self._profile.models[0].slug
        return self._of[section].value(f"s{section}.{slug}.{rest}")
