"""§23's questions: what becomes of a framing that a model cannot be asked in."""

from dataclasses import replace

import pytest

from deception_saes.models.load import load
from deception_saes.sections import s23
from deception_saes.tasks import scoring


@pytest.fixture
def asked(smoke, artifacts, monkeypatch):
    """Two framings, of which the zero-shot one has no question that can be scored."""
    params = replace(s23.plan(smoke, smoke.seed, smoke.models, {}), questions=4,
                     secondary_questions=4, framings=("two_shot_labelled", "zero_shot"))
    scorable = scoring.scorable

    def only_labelled(questions, framing, tokenizer):
        if framing.name == "zero_shot":
            return [], {question.id: "both begin alike" for question in questions}
        return scorable(questions, framing, tokenizer)

    monkeypatch.setattr(scoring, "scorable", only_labelled)
    return s23.ask(load(smoke.models[0], artifacts, "cpu"), params)


def test_a_framing_without_a_scorable_question_is_left_out_with_its_reason(asked):
    assert asked.left_out == ["zero_shot: none of 4 questions can be scored; the first: both "
                              "begin alike"]
    assert set(asked.questions["framing"]) == {"two_shot_labelled"}
    assert [framing for framing, _ in asked.dropped].count("zero_shot") == 4
