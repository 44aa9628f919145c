"""Prompt sets: the tokenized questions that ablations run on."""

import pytest

from deception_saes.tasks.framings import FRAMINGS, render
from deception_saes.tasks.prompts import prompt_set
from deception_saes.tasks.scoring import answer_tokens, encode, scorable
from deception_saes.tasks.trivia import load_questions

FRAMING = FRAMINGS["two_shot_labelled"]


@pytest.fixture(scope="module")
def kept(tiny_llama):
    return scorable(load_questions()[:20], FRAMING, tiny_llama.tokenizer)[0]


def test_holds_prompts_and_answers_of_every_condition_in_the_given_order(tiny_llama, kept):
    ids = [question.id for question in reversed(kept)]
    asked = prompt_set(FRAMING, ids, tiny_llama.tokenizer)
    assert list(asked.ids) == ids
    for condition in ("genuine", "neutral", "sandbag"):
        prompt = render(FRAMING, condition, kept[-1].text, tiny_llama.tokenizer)
        assert asked.prompts[condition][0] == encode(prompt.text, tiny_llama.tokenizer)
        tokens = answer_tokens(kept[-1], prompt, tiny_llama.tokenizer)
        assert asked.correct[condition][0] == tokens.correct


def test_a_part_is_spread_over_the_set_and_keeps_rows_together(tiny_llama, kept):
    whole = prompt_set(FRAMING, [question.id for question in kept], tiny_llama.tokenizer)
    part = whole.spread(4)
    rows = [i * len(kept) // 4 for i in range(4)]
    assert part.ids == tuple(whole.ids[row] for row in rows)
    assert part.prompts["sandbag"] == [whole.prompts["sandbag"][row] for row in rows]
    assert part.correct["genuine"] == [whole.correct["genuine"][row] for row in rows]
    assert whole.spread(None).ids == whole.ids


def test_no_question_is_one_clear_error(tiny_llama):
    with pytest.raises(ValueError, match="none is answerable; see §23"):
        prompt_set(FRAMING, [], tiny_llama.tokenizer)


def test_an_unknown_question_is_an_error_that_names_it(tiny_llama):
    with pytest.raises(KeyError, match="no-such-question"):
        prompt_set(FRAMING, ["no-such-question"], tiny_llama.tokenizer)
