"""Prompt sets: the tokenized questions that ablations run on."""

import pytest

from deception_saes.tasks.framings import CONDITIONS, render
from deception_saes.tasks.prompts import prompt_set
from deception_saes.tasks.scoring import answer_tokens, encode, scorable
from deception_saes.tasks.trivia import Question, load_questions
from deception_saes.tasks.wordings import FRAMINGS

FRAMING = FRAMINGS["two_shot_labelled"]


@pytest.fixture(scope="module")
def kept(tiny_llama):
    return scorable(load_questions()[:20], FRAMING, tiny_llama.tokenizer)[0]


def test_holds_prompts_and_answers_of_every_condition_in_the_given_order(tiny_llama, kept):
    asked = prompt_set(FRAMING, kept[::-1], tiny_llama.tokenizer)
    assert list(asked.ids) == [question.id for question in reversed(kept)]
    for condition in CONDITIONS:
        prompt = render(FRAMING, condition, kept[-1].text, tiny_llama.tokenizer)
        assert asked.prompts[condition][0] == encode(prompt.text, tiny_llama.tokenizer)
        tokens = answer_tokens(kept[-1], prompt, tiny_llama.tokenizer)
        assert asked.correct[condition][0] == tokens.correct


def test_a_part_of_a_half_is_spread_over_it_and_keeps_rows_together(smoke_task):
    half = smoke_task.evaluating
    whole, part = half.prompts, half.spread(4).prompts
    rows = [i * len(whole.ids) // 4 for i in range(4)]
    assert part.ids == tuple(whole.ids[row] for row in rows)
    for condition in CONDITIONS:
        assert part.prompts[condition] == [whole.prompts[condition][row] for row in rows]
        assert part.correct[condition] == [whole.correct[condition][row] for row in rows]
    assert half.spread(None).prompts.ids == whole.ids


def test_no_question_is_one_clear_error(tiny_llama):
    with pytest.raises(ValueError, match="under the framing 'two_shot_labelled': none is answer"):
        prompt_set(FRAMING, [], tiny_llama.tokenizer)


def test_a_question_that_cannot_be_scored_is_an_error_that_names_it(tiny_llama, kept):
    same = Question("same", "t", "Which?", ("Red Sea",), "Red House")
    with pytest.raises(ValueError, match="question 'same' cannot be scored with this tokenizer"):
        prompt_set(FRAMING, [*kept, same], tiny_llama.tokenizer)
