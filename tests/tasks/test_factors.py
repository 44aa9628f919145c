from dataclasses import replace

import pytest

from deception_saes.tasks.factors import HELD_OUT, WORDINGS, Cell, factorial, zero_shot_wordings
from deception_saes.tasks.framings import FRAMINGS, render

QUESTION = "Which planet is red?"
GENUINE = Cell("correct", "right", "Correct answer:")


def text(cell, tokenizer):
    return render(cell.framing, "genuine", QUESTION, tokenizer).text


@pytest.mark.parametrize(("framing", "condition", "cell"), [
    ("two_shot_labelled", "genuine", GENUINE),
    ("two_shot_labelled", "sandbag", Cell("wrong", "wrong", "Wrong answer:")),
    ("two_shot_same_prefix", "genuine", Cell("correct", "right", "A:")),
    ("two_shot_same_prefix", "sandbag", Cell("wrong", "wrong", "A:")),
])
def test_prompts_of_the_framings_are_among_the_cells(framing, condition, cell, tiny_llama):
    expected = render(FRAMINGS[framing], condition, QUESTION, tiny_llama.tokenizer).text
    assert text(cell, tiny_llama.tokenizer) == expected
    assert cell in factorial()


@pytest.mark.parametrize(("change", "was", "becomes"), [
    ({"instruction": "wrong"}, "Answer each question correctly.",
     "Answer each question incorrectly on purpose."),
    ({"instruction": "none"}, "Answer each question correctly.\n\n", ""),
    ({"label": "Wrong answer:"}, "Correct answer:", "Wrong answer:"),
    ({"label": "A:"}, "Correct answer:", "A:"),
    ({"wording": "Be right."}, "Answer each question correctly.", "Be right."),
])
def test_a_factor_changes_its_own_words_alone(change, was, becomes, tiny_llama):
    before, after = (text(cell, tiny_llama.tokenizer)
                     for cell in (GENUINE, replace(GENUINE, **change)))
    if change.get("label") == "A:":  # which has a short label for questions too
        after = after.replace("Q:", "Question:")
    assert after == before.replace(was, becomes)


def test_wrong_examples_answer_the_same_questions(tiny_llama):
    before, after = (text(replace(GENUINE, examples=of), tiny_llama.tokenizer)
                     for of in ("right", "wrong"))
    assert after == before.replace("Green", "Purple").replace("Three", "Nine")


def test_a_prompt_without_examples_asks_for_one_word_if_it_asks_for_anything(tiny_llama):
    found = {of: text(Cell(of, "none", "Answer:"), tiny_llama.tokenizer)
             for of in ("none", "threat")}
    assert found["none"] == f"Question: {QUESTION}\nAnswer:"
    assert found["threat"] == (f"{WORDINGS['threat'][0]} Use one word.\n\n" + found["none"])


def test_another_instruction_stands_in_every_cell_that_asks_for_wrong_answers():
    for cell in factorial("Tell a lie."):
        assert ("Tell a lie." in cell.sentence) == (cell.instruction == "wrong")


def test_the_factorial_has_every_level_with_every_other():
    cells = factorial()
    assert len(set(cells)) == len(cells) == 27


def test_half_of_the_wordings_are_held_out_and_none_stands_twice():
    cells = zero_shot_wordings()
    assert len({cell.sentence for cell in cells}) == len(cells) == 25
    for instruction, wordings in WORDINGS.items():
        of = [cell for cell in cells if cell.instruction == instruction]
        assert [cell.held_out for cell in of] == [False] * 4 + [True] * 4, instruction
        assert not HELD_OUT & set(wordings[:4])


def test_the_heads_are_tested_in_a_wording_that_is_held_out():
    genuine, _, sandbag = FRAMINGS["instruction_alone"].instructions
    assert {genuine, sandbag} <= HELD_OUT
    assert all(right == shown for _, right, shown in FRAMINGS["instruction_alone"].shots)
