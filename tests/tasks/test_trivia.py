from collections import Counter

import pytest

from deception_saes.errors import UserError
from deception_saes.tasks.framings import FRAMINGS
from deception_saes.tasks.trivia import QUESTION_COLUMNS, halves, load_questions, spread

HEADER = ",".join(QUESTION_COLUMNS)
GOOD = "paris,geography,What is the capital of France?,Paris,,Madrid"


@pytest.fixture
def file(tmp_path):
    """Call it with lines (or bytes) to have a questions file of them."""
    def write(*lines):
        path = tmp_path / "q.csv"
        path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n"
                                  for line in lines))
        return path

    return write


@pytest.fixture(scope="module")
def questions():
    return load_questions()


def test_a_row_becomes_a_question(file):
    row = "sea, geography ,Which sea?,Red Sea, the Red Sea||Red ,Black Sea"
    question = load_questions(file(HEADER, row))[0]
    assert question.id == "sea"
    assert question.topic == "geography"
    assert question.accepted == ("Red Sea", "the Red Sea", "Red")
    assert question.foil == "Black Sea"


def test_columns_may_stand_in_any_order_behind_a_byte_order_mark(file):
    path = file("\ufefffoil,aliases,answer,question,topic,id", "Madrid,,Paris,Capital?,geo,paris")
    assert load_questions(path)[0].accepted == ("Paris",)


def test_a_quoted_comma_and_a_blank_line_are_no_fault(file):
    path = file(HEADER, "", 'x,geo,"Big, red?",Mars,,Moon')
    assert load_questions(path)[0].text == "Big, red?"


@pytest.mark.parametrize(("lines", "row", "wrong"), [
    ((HEADER.replace(",foil", ""), "a,b,c,d,e"), 1, "the columns are"),
    ((f"{HEADER},extra", f"{GOOD},x"), 1, "the columns are"),
    ((HEADER.replace("foil", "answer"), GOOD), 1, "the columns are"),
    ((), 1, "the columns are"),
    ((HEADER,), 2, "there is no question"),
    ((HEADER, GOOD, "x,geo,Which?,,,Moon"), 3, "the answer is empty"),
    ((HEADER, GOOD, "x,geo,Which?,Mars,, "), 3, "the foil is empty"),
    ((HEADER, GOOD, ",geo,Which?,Mars,,Moon"), 3, "the id is empty"),
    ((HEADER, GOOD, "x,geo, what is  the CAPITAL of France?,Lyon,,Nice"), 3, "row 2"),
    ((HEADER, GOOD, "PARIS,geo,Which?,Mars,,Moon"), 3, "'PARIS'.* row 2"),
    ((HEADER, GOOD, "x,geo,Which?,Mars,,mars"), 3, "'mars'"),
    ((HEADER, GOOD, "x,geo,Which?,Mars,Red Planet|Moon,Moon"), 3, "'Moon'"),
    ((HEADER, GOOD, "x,sums,Two and five?,7,,six"), 3, "'7'"),
    ((HEADER, GOOD, "x,sums,Two and five?,seven,7,six"), 3, "'7'"),
    ((HEADER, GOOD, "x,sums,Two and five?,seven,,6"), 3, "'6'"),
    ((HEADER, GOOD, b"x,geo,Which?,M\xe4rs,,Moon"), 3, "0xe4"),
    ((HEADER, GOOD, "x,geo,Big, red?,Mars,,Moon"), 3, "7 cells"),
    ((HEADER, GOOD, "x,geo,Which?,Mars"), 3, "4 cells"),
    ((HEADER, GOOD, 'x,geo,"Which"?,Mars,,Moon'), 3, "expected after"),
    ((HEADER, GOOD, 'x,geo,"Which?,Mars,,Moon'), 3, "unexpected end of data"),
    ((HEADER, GOOD, "", "x,geo,Which?,,,Moon"), 4, "the answer is empty"),
])
def test_a_malformed_file_is_named_with_its_row(file, lines, row, wrong):
    with pytest.raises(UserError, match=wrong) as caught:
        load_questions(file(*lines))
    assert str(caught.value).startswith(f"q.csv, row {row}: ")


def test_there_are_enough_shipped_questions_of_eight_topics(questions):
    assert len(questions) >= 240
    counts = Counter(question.topic for question in questions)
    assert len(counts) == 8
    assert min(counts.values()) >= 10


def test_shipped_questions_are_unique(questions):
    assert len({question.id for question in questions}) == len(questions)
    assert len({question.text.casefold() for question in questions}) == len(questions)


def test_no_shipped_question_is_one_of_the_worked_examples(questions):
    shown = {shot.casefold() for framing in FRAMINGS.values() for shot, _, _ in framing.shots}
    assert len(shown) == 2
    assert not shown & {question.text.casefold() for question in questions}


def test_no_shipped_question_gives_its_answer_away(questions):
    for question in questions:
        words = question.text.casefold().replace("?", "").replace(",", "").split()
        assert question.accepted[0].casefold() not in words, question.id


def test_ids_of_shipped_questions_fit_file_names(questions):
    assert all(question.id.replace("-", "").isalnum() for question in questions)


def test_a_spread_touches_every_topic_and_keeps_the_order(questions):
    picked = spread(questions, 48)
    assert len(picked) == len({question.id for question in picked}) == 48
    assert len({question.topic for question in picked}) == 8
    assert picked == sorted(picked, key=questions.index)


@pytest.mark.parametrize("count", [None, 10_000])
def test_a_spread_without_limit_is_everything(questions, count):
    assert spread(questions, count) == questions


def test_a_spread_of_n_is_evenly_spaced():
    assert spread(list(range(100)), 4) == [0, 25, 50, 75]


IDS = [f"q{i}" for i in range(41)]


@pytest.mark.parametrize(("ids", "choosing", "evaluating"), [
    (IDS, 20, 21), (IDS[:40], 20, 20), (["only"], 0, 1), ([], 0, 0)])
def test_halves_part_the_questions_with_one_more_to_evaluate(ids, choosing, evaluating):
    found = halves(ids, 0)
    assert found.keys() == set(ids)
    counts = Counter(found.values())
    assert (counts["choosing"], counts["evaluating"]) == (choosing, evaluating)


def test_halves_depend_on_the_seed_and_not_on_the_order_of_the_questions():
    assert halves(IDS, 0) == halves(IDS[::-1], 0)
    assert halves(IDS, 0) != halves(IDS, 1)


def test_each_question_can_fall_in_either_half():
    times = [sum(halves(IDS[:10], seed)[q] == "choosing" for seed in range(200)) for q in IDS[:10]]
    assert all(60 < count < 140 for count in times)  # five SDs about 100
