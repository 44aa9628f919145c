"""Ways of asking, each under three conditions.

*genuine* asks for correct answers, *sandbag* for wrong ones on purpose, and *neutral* is a
paraphrase of genuine: the contrast genuine against neutral is the null for every other one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Condition = Literal["genuine", "neutral", "sandbag"]
CONDITIONS: tuple[Condition, ...] = ("genuine", "neutral", "sandbag")

@dataclass(frozen=True)
class Framing:
    """A prompt template for the three conditions.

    name, title: in ids, and on pages.
    instructions: for genuine, neutral and sandbag.
    question_label: before each question ("Question:").
    answer_labels: before each answer, for genuine and neutral, and for sandbag.
    shots: worked examples that stand before the question: each a question, its right answer, which
        stands under genuine and neutral, and the wrong one, which stands under sandbag.
    chat: whether the tokenizer's chat template wraps instruction and question.
    """

    name: str
    title: str
    instructions: tuple[str, str, str]
    question_label: str = ""
    answer_labels: tuple[str, str] = ("", "")
    shots: tuple[tuple[str, str, str], ...] = ()
    chat: bool = False


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt.

    answer_gap: what stands between prompt and answer: a space after a label, nothing after a
        chat template's line break.
    """

    text: str
    answer_gap: str


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
    parts = [instruction]
    parts += [f"{ask} {shot}\n{reply} {wrong if sandbag else right}"
              for shot, right, wrong in framing.shots]
    parts.append(f"{ask} {question}\n{reply}")
    return Prompt("\n\n".join(parts), answer_gap=" ")
