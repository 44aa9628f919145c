import copy

import pytest

from deception_saes.tasks.framings import CONDITIONS, FRAMINGS, render, reworded

QUESTION = "Which planet is red?"
LABELLED = [framing for framing in FRAMINGS.values() if not framing.chat]
SHOTS = [framing for framing in FRAMINGS.values()
         if framing.shots and framing.name != "instruction_alone"]


def texts(framing, tokenizer):
    return {c: render(framing, c, QUESTION, tokenizer).text for c in CONDITIONS}


def named(framings):
    return pytest.mark.parametrize("framing", framings, ids=lambda framing: framing.name)


@named(LABELLED)
def test_a_prompt_ends_at_the_answer_label(framing, tiny_llama):
    right, wrong = framing.answer_labels
    for condition, text in texts(framing, tiny_llama.tokenizer).items():
        label = wrong if condition == "sandbag" else right
        assert text.endswith(f"{framing.question_label} {QUESTION}\n{label}")


@named(LABELLED)
def test_an_answer_stands_behind_its_label_and_a_space(framing, tiny_llama):
    assert render(framing, "genuine", QUESTION, tiny_llama.tokenizer).answer_gap == " "


@named([FRAMINGS["chat"]])
def test_a_chat_prompt_ends_where_the_assistant_begins(framing, tiny_llama, embedded):
    for lm in (tiny_llama, embedded):
        for condition in CONDITIONS:
            prompt = render(framing, condition, QUESTION, lm.tokenizer)
            assert prompt.text.endswith("<|im_start|>assistant\n")
            assert prompt.answer_gap == ""
            assert prompt.text.count(QUESTION) == 1


@named(LABELLED)
def test_genuine_and_neutral_differ_in_the_instruction_alone(framing, tiny_llama):
    found = texts(framing, tiny_llama.tokenizer)
    instructions, rest = zip(*(text.split("\n\n", 1) for text in found.values()), strict=True)
    genuine, neutral, _ = rest
    assert genuine == neutral
    assert len(set(instructions)) == 3


@named(SHOTS)
def test_sandbag_shows_wrong_answers_to_the_same_worked_examples(framing, tiny_llama):
    found = texts(framing, tiny_llama.tokenizer)
    for text in found.values():
        assert [text.count(shot) for shot, _, _ in framing.shots] == [1, 1]
    assert " Green\n" in found["genuine"]
    assert " Three\n" in found["genuine"]
    assert " Purple\n" in found["sandbag"]
    assert " Nine\n" in found["sandbag"]


@named(FRAMINGS.values())
def test_the_three_conditions_are_three_prompts(framing, tiny_llama):
    assert len(set(texts(framing, tiny_llama.tokenizer).values())) == 3


def test_the_same_prefix_framing_names_no_condition_at_the_answer(tiny_llama):
    found = texts(FRAMINGS["two_shot_same_prefix"], tiny_llama.tokenizer)
    assert {text.rsplit("\n", 1)[1] for text in found.values()} == {"A:"}


def test_the_labelled_framing_names_it(tiny_llama):
    found = texts(FRAMINGS["two_shot_labelled"], tiny_llama.tokenizer)
    assert found["genuine"].endswith("Correct answer:")
    assert found["sandbag"].endswith("Wrong answer:")


def test_a_chat_framing_needs_a_chat_template(tiny_llama):
    tokenizer = copy.deepcopy(tiny_llama.tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="'chat'"):
        render(FRAMINGS["chat"], "genuine", QUESTION, tokenizer)


@named(FRAMINGS.values())
def test_another_sandbag_instruction_changes_that_condition_and_no_other(framing, tiny_llama):
    before = texts(framing, tiny_llama.tokenizer)
    after = texts(reworded(framing, "Give a wrong answer."), tiny_llama.tokenizer)
    assert {c for c in CONDITIONS if after[c] != before[c]} == {"sandbag"}
    assert after["sandbag"] == before["sandbag"].replace(framing.instructions[2],
                                                         "Give a wrong answer.")
    assert reworded(framing, None) == framing
