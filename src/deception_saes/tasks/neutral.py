"""A neutral text, to see what an ablation costs where nobody asks a question."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deception_saes.store.files import read_shipped
from deception_saes.tasks.scoring import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NEUTRAL_TEXT = Path(__file__).parent / "data" / "neutral_text.txt"
"""Openings of Lincoln's Gettysburg Address (1863), Austen's Pride and Prejudice (1813) and
Carroll's Alice's Adventures in Wonderland (1865); public domain."""


def neutral_passages(tokenizer: PreTrainedTokenizerBase, most_tokens: int = 96) -> list[list[int]]:
    """Token ids of each passage, cut to `most_tokens`."""
    passages = read_shipped(NEUTRAL_TEXT).decode().strip().split("\n\n")
    return [encode(passage, tokenizer)[:most_tokens] for passage in passages]
