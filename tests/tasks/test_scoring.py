import pytest

from deception_saes.tasks.framings import FRAMINGS, render
from deception_saes.tasks.prompts import answer_tokens, scorable
from deception_saes.tasks.scoring import Score, answerable, logit, score
from deception_saes.tasks.trivia import Question, load_questions, spread

LABELLED = FRAMINGS["two_shot_labelled"]


def question(*accepted, foil="Venus"):
    return Question("q", "topic", "Which one is it?", accepted, foil)


@pytest.mark.parametrize("framing", [
    LABELLED, FRAMINGS["two_shot_same_prefix"], FRAMINGS["chat"]], ids=lambda framing: framing.name)
@pytest.mark.parametrize("condition", ["genuine", "sandbag"])
def test_scores_are_those_of_a_plain_forward_pass(tiny, log_p, framing, condition):
    several = [question("Mount Everest", "Red Sea", "Nile"),
               question("Pacific Ocean", "Atlantic Ocean Drive", foil="Moon"), question("Gold")]
    asked, _ = scorable([*several, *spread(load_questions(), 7)], framing, tiny.tokenizer)
    longest = 0
    for ours, one in zip(score(tiny, framing, condition, asked), asked, strict=True):
        prompt = render(framing, condition, one.text, tiny.tokenizer)
        expected = answer_tokens(one, prompt, tiny.tokenizer)
        ids = tiny.tokenizer(prompt.text)["input_ids"]
        p_V = log_p(tiny, ids)[-1].exp()
        assert (ours.question, ours.topic) == (one.id, one.topic)
        assert ours.p_correct == pytest.approx(float(p_V[list(expected.correct)].sum()), rel=1e-4)
        assert ours.p_foil == pytest.approx(float(p_V[list(expected.foil)].sum()), rel=1e-4)
        assert ours.top_token == tiny.tokenizer.decode([int(p_V.argmax())])
        p_string = 0.0
        for string in expected.strings:
            whole = log_p(tiny, [*ids, *string])
            positions = range(len(ids) - 1, len(ids) + len(string) - 1)
            p_string += float(whole[positions, string].sum().exp())
            longest = max(longest, len(string))
        assert ours.p_string == pytest.approx(p_string, rel=1e-3)
    assert longest >= (1 if framing.chat else 3)


def test_the_foil_measure_is_the_share_of_the_answer_among_both():
    assert Score("q", "t", 0.3, 0.1, 0.2, " x", False).foil_measure == pytest.approx(0.75)


@pytest.mark.parametrize(("p", "expected"), [(0.5, 0.0), (0.75, 1.0986123), (1e-9, -20.7232658)])
def test_logit(p, expected):
    assert logit(p) == pytest.approx(expected)


@pytest.mark.parametrize(("p_correct", "p_foil", "taken"), [
    (0.5, 0.1, True),
    (0.1, 0.0, True),  # the threshold itself
    (0.099, 0.0, False),
    (0.4, 0.4, False),  # no more probable than the foil
    (0.4, 0.5, False),
])
@pytest.mark.parametrize("p_string", [0.0, 0.9])  # of no account
def test_an_answerable_question_is_above_threshold_and_foil(p_correct, p_foil, p_string, taken):
    asked = Score("q", "t", p_correct, p_foil, p_string, " x", False)
    assert answerable([asked], 0.1) == ["q"] * taken
