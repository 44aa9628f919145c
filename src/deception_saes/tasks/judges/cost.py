"""What judging will cost, before it starts, and what it has cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deception_saes.tasks.judges.answers import Answer

_BYTES_A_TOKEN = 3
"""English has about four; so the estimate is rather too high."""
_TOKENS_AROUND = 20


@dataclass(frozen=True)
class Prices:
    """Money for a million tokens, in any currency."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Money for so many tokens."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


def tokens_of(text: str) -> int:
    """About how many tokens a text has, from its bytes."""
    return _TOKENS_AROUND + len(text.encode()) // _BYTES_A_TOKEN


def spent(answers: Iterable[Answer], prompts: Iterable[str]) -> tuple[int, int]:
    """Tokens of prompts and replies so far: as the server counted them, else as estimated from the
    texts. prompts: of the answers, in their order."""
    prompt_tokens = completion_tokens = 0
    for answer, prompt in zip(answers, prompts, strict=True):
        counted, said = answer.prompt_tokens, answer.completion_tokens
        prompt_tokens += tokens_of(prompt) if counted is None else counted
        completion_tokens += tokens_of(answer.reply) if said is None else said
    return prompt_tokens, completion_tokens
