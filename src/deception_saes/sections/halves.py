"""The prompts of either half of the answerable questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deception_saes.tasks.framings import FRAMINGS
from deception_saes.tasks.prompts import PromptSet, prompt_set

if TYPE_CHECKING:
    from deception_saes.models.load import LanguageModel
    from deception_saes.sections.run import SectionRun


def has_half(task: SectionRun, model: str, framing: str, half: str) -> bool:
    """Whether §23 found questions for this half."""
    table = task.table("questions")
    return bool(((table["model"] == model) & (table["framing"] == framing)
                 & (table["half"] == half)).any())


def half_of(task: SectionRun, lm: LanguageModel, framing: str, half: str) -> PromptSet:
    """The prompts of one half of the answerable questions, as §23 found them.

    Raises ValueError, naming the framing, if the half is empty.
    """
    table = task.table("questions")
    rows = table[(table["model"] == lm.spec.slug) & (table["framing"] == framing)
                 & (table["half"] == half)]
    return prompt_set(FRAMINGS[framing], rows["question"], lm.tokenizer)
