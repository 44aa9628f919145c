"""Ways of asking, each under three conditions, and the book's own: data/framings.toml.

*genuine* asks for correct answers, *sandbag* for wrong ones on purpose, and *neutral* is a
paraphrase of genuine: the contrast genuine against neutral is the null for every other one.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deception_saes.store.files import read_shipped

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Condition = Literal["genuine", "neutral", "sandbag"]
CONDITIONS: tuple[Condition, ...] = ("genuine", "neutral", "sandbag")

FRAMINGS_FILE = Path(__file__).parent / "data" / "framings.toml"


@dataclass(frozen=True)
class Framing:
    """A prompt template for the three conditions."""

    name: str
    """In ids and file names."""
    title: str
    """On pages."""
    instructions: tuple[str, str, str]
    """For genuine, neutral and sandbag; empty: none."""
    question_label: str = ""
    """Before each question: "Question:"."""
    answer_labels: tuple[str, str] = ("", "")
    """Before each answer, for genuine and neutral, and for sandbag."""
    shots: tuple[tuple[str, str, str], ...] = ()
    """Worked examples before the question: each a question, its right answer, which genuine and
    neutral show, and the wrong one, which sandbag shows."""
    chat: bool = False
    """Whether the tokenizer's chat template wraps instruction and question."""


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt."""

    text: str
    answer_gap: str
    """Between prompt and answer: a space after a label, nothing after a chat template's line
    break."""


def render(
    framing: Framing, condition: Condition, question: str, tokenizer: PreTrainedTokenizerBase
) -> Prompt:
    """The prompt that asks `question`, up to where the answer begins.

    Raises ValueError if a chat framing meets a tokenizer without a chat template.
    """
    sandbag = condition == "sandbag"
    instruction = framing.instructions[CONDITIONS.index(condition)]
    if framing.chat:
        if not tokenizer.chat_template:
            raise ValueError(f"framing {framing.name!r} needs a tokenizer with a chat template, "
                             "and this model's has none; leave the framing out for it")
        message = {"role": "user", "content": f"{instruction} {question}"}
        text = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        return Prompt(str(text), answer_gap="")
    ask, reply = framing.question_label, framing.answer_labels[sandbag]
    parts = [instruction] if instruction else []
    parts += [f"{ask} {shot}\n{reply} {wrong if sandbag else right}"
              for shot, right, wrong in framing.shots]
    parts.append(f"{ask} {question}\n{reply}")
    return Prompt("\n\n".join(parts), answer_gap=" ")


def reworded(framing: Framing, sandbag: str | None) -> Framing:
    """The framing with another instruction to answer wrongly; unchanged for None."""
    if sandbag is None:
        return framing
    genuine, neutral, _ = framing.instructions
    return dataclasses.replace(framing, instructions=(genuine, neutral, sandbag))


def _framing(entry: dict[str, Any]) -> Framing:
    """Lists become tuples, so that a framing can be a key."""
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                              for name, value in entry.items()}
    fields["shots"] = tuple(map(tuple, entry.get("shots", ())))
    return Framing(**fields)


FRAMINGS: dict[str, Framing] = {
    framing.name: framing for framing in map(
        _framing, tomllib.loads(read_shipped(FRAMINGS_FILE).decode())["framing"])}
"""The book's framings by name. Calls are given one; none reads this table."""
