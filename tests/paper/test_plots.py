"""What plots do to numbers before they draw them."""

import pytest

from deception_saes.paper.plots.s27 import without_worked_questions


def test_the_tokens_of_worked_questions_are_summed_and_nothing_is_lost():
    bars = [("Answer", 0.1), (".", 0.1), ("\n\n", 0.0), ("Question", 0.05), (":", 0.05),
            (" What", 0.1), (" color", 0.1), ("?", 0.1), ("\n", 0.1), ("Wrong", 0.1), (":", 0.05),
            (" Purple", 0.05), ("Question", 0.0), (":", 0.0), ("‹question›", 0.05), ("?", 0.05)]
    shown = without_worked_questions(bars)
    assert [token for token, _ in shown] == [
        "Answer", ".", "\n\n", "Question", ":", "‹shot›", "\n", "Wrong", ":", " Purple",
        "Question", ":", "‹question›", "?"]
    assert dict(shown)["‹shot›"] == pytest.approx(0.3)
    assert sum(weight for _, weight in shown) == pytest.approx(sum(weight for _, weight in bars))
