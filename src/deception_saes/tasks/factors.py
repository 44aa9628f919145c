"""What a sandbag prompt is made of: its instruction, its worked examples, its answer's label and
the wording, each of which can be changed by itself."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from deception_saes.store.files import read_shipped
from deception_saes.tasks.framings import FRAMINGS, Framing

Instruction = Literal["none", "correct", "wrong", "threat"]
Examples = Literal["none", "right", "wrong"]
Label = Literal["A:", "Answer:", "Correct answer:", "Wrong answer:"]

WORDINGS_FILE = Path(__file__).parent / "data" / "wordings.toml"
_READ = tomllib.loads(read_shipped(WORDINGS_FILE).decode())
_INSTRUCTIONS: tuple[Instruction, ...] = ("correct", "wrong", "threat")
WORDINGS: dict[str, tuple[str, ...]] = {name: tuple(_READ[name]) for name in _INSTRUCTIONS}
"""Sentences by instruction, as many of each."""
HELD_OUT = frozenset(sentence for of in WORDINGS.values() for sentence in of[len(of) // 2:])
"""Those under which nothing is chosen or trained: the second half of each."""
ZERO_SHOT: str = _READ["zero_shot"]

_SHOTS = FRAMINGS["two_shot_labelled"].shots


@dataclass(frozen=True)
class Cell:
    """One way to ask: a level of each factor."""

    instruction: Instruction
    examples: Examples
    """Whether two worked examples come first, and what their answers are."""
    label: Label
    """Before every answer, those of worked examples too."""
    wording: str = ""
    """The instruction's sentence; empty: the first of its WORDINGS."""

    @property
    def sentence(self) -> str:
        """The instruction as it is written in the prompt; empty for none."""
        if self.instruction == "none":
            return ""
        sentence = self.wording or WORDINGS[self.instruction][0]
        return sentence if self.examples != "none" else f"{sentence} {ZERO_SHOT}"

    @property
    def held_out(self) -> bool:
        """Whether nothing is chosen or trained under its wording."""
        return self.wording in HELD_OUT

    @property
    def framing(self) -> Framing:
        """Its prompts, the same in all three conditions."""
        shots = tuple((question, shown, shown) for question, right, wrong in _SHOTS
                      for shown in ({"right": right, "wrong": wrong}.get(self.examples),) if shown)
        return Framing(f"{self.instruction}, {self.examples}, {self.label}", "",
                       (self.sentence,) * 3, "Q:" if self.label == "A:" else "Question:",
                       (self.label,) * 2, shots)


def factorial(wrong: str = "") -> tuple[Cell, ...]:
    """Every level of instruction, examples and label with every other, in one wording; the prompts
    of the book's co-primary framings are among them. wrong: another instruction to answer wrongly.
    """
    levels: tuple[tuple[Instruction, ...], tuple[Examples, ...], tuple[Label, ...]] = (
        ("none", "correct", "wrong"), ("none", "right", "wrong"),
        ("A:", "Correct answer:", "Wrong answer:"))
    return tuple(Cell(instruction, examples, label, wrong if instruction == "wrong" else "")
                 for instruction, examples, label in product(*levels))


def zero_shot_wordings() -> tuple[Cell, ...]:
    """No instruction, and each in each of its wordings, without worked examples, under one label.
    """
    return (Cell("none", "none", "Answer:"),
            *(Cell(instruction, "none", "Answer:", wording)
              for instruction in _INSTRUCTIONS for wording in WORDINGS[instruction]))
