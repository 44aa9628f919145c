import re
from collections import Counter
from functools import cache

import pytest

from deception_saes.errors import UserError
from deception_saes.tasks.csv_rows import read_rows
from deception_saes.tasks.framings import FRAMINGS
from deception_saes.tasks.trivia import (
    QUESTION_COLUMNS,
    TRAINING_COLUMNS,
    TRAINING_QUESTIONS,
    deal_clusters,
    halves,
    load_part,
    load_questions,
    spread,
)

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


@pytest.fixture(scope="module")
def parts():
    return {part: load_part(part) for part in ("training", "development")}


@pytest.fixture(scope="module")
def unasked(parts):
    return parts["training"] + parts["development"]


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


TRAINING_HEADER = ",".join(TRAINING_COLUMNS)
RIVER = "seine,geography,Which river runs through Paris?,Seine,,Thames,training,river"
NILE = "nile,geography,Which river runs through Cairo?,Nile,,Thames,development"


def test_a_part_has_its_own_questions_in_their_order(file):
    path = file(TRAINING_HEADER, "b,geo,Which?,Mars,,Moon, development ,", RIVER,
                "a,geo,What?,Sun,,Moon,development,sky")
    assert [question.id for question in load_part("development", path)] == ["b", "a"]
    assert [question.id for question in load_part("training", path)] == ["seine"]


@pytest.mark.parametrize(("lines", "row", "wrong"), [
    ((HEADER, GOOD), 1, "the columns are"),
    ((TRAINING_HEADER,), 2, "there is no question"),
    ((TRAINING_HEADER, RIVER, f"{GOOD},test,"), 3, "the part is 'test'"),
    ((TRAINING_HEADER, RIVER, f"{GOOD},,"), 3, "the part is ''"),
    ((TRAINING_HEADER, RIVER, f"{NILE}, river"), 3, "'river' is of the other part"),
    ((TRAINING_HEADER, RIVER, f"{NILE},", RIVER), 4, "row 2"),
    ((TRAINING_HEADER, RIVER, "x,geo,Which?,Mars,,mars,training,"), 3, "'mars'"),
])
def test_a_malformed_file_of_parts_is_named_with_its_row(file, lines, row, wrong):
    for part in ("training", "development"):
        with pytest.raises(UserError, match=wrong) as caught:
            load_part(part, file(*lines))
        assert str(caught.value).startswith(f"q.csv, row {row}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("header", "row", "template", "cluster"), [
    (HEADER, GOOD, "", "paris"),
    (f"{HEADER},template", f"{GOOD}, capital ", "capital", "template capital"),
    (f"{HEADER},template", f"{GOOD},", "", "paris")])
def test_a_file_may_name_templates(file, header, row, template, cluster):
    (question,) = load_questions(file(header, row))
    assert (question.template, question.cluster) == (template, cluster)


def test_there_are_seven_hundred_shipped_questions_with_both_parts(questions, parts, unasked):
    assert len(questions) + len(unasked) >= 700
    assert len(parts["training"]) >= 235
    assert len(parts["development"]) >= 105
    topics = {question.topic for question in questions}
    for part in parts.values():
        counts = Counter(question.topic for question in part)
        assert counts.keys() == topics
        assert min(counts.values()) >= 10


def test_no_two_shipped_questions_share_an_id_or_a_text(questions, unasked):
    every = questions + unasked
    shown = [shot for framing in FRAMINGS.values() for shot, _, _ in framing.shots]
    assert len({question.id.casefold() for question in every}) == len(every)
    texts = {question.text.casefold() for question in every}
    assert len(texts) == len(every)
    assert not texts & {shot.casefold() for shot in shown}
    assert all(question.id.replace("-", "").isalnum() for question in unasked)


def test_a_template_is_that_of_asked_questions_or_of_one_part(questions):
    asked = Counter(question.template for question in questions if question.template)
    assert min(asked.values()) > 1
    new = [(cells["template"], cells["part"])
           for _, cells in read_rows(TRAINING_QUESTIONS, TRAINING_COLUMNS) if cells["template"]]
    sizes = Counter(template for template, _ in new)
    assert not sizes.keys() & asked.keys()
    assert min(sizes.values()) > 1
    assert max(sizes.values()) <= 10
    assert len(set(new)) == len(sizes)


def test_templates_hold_what_is_plainly_one_sentence_with_one_word_changed(questions):
    for name, begins in (("capital", "What is the capital of "), ("opposite", "What is the opposi"),
                         ("city-country", "In which country is the city of "),
                         ("currency", "What is the currency of "),
                         ("plural", "What is the plural form of ")):
        same = [question for question in questions if question.text.startswith(begins)]
        assert len(same) > 3
        assert {question.template for question in same} == {name}


def test_no_question_of_a_part_gives_its_answer_away(unasked):
    for question in unasked:
        assert not any(re.search(rf"\b{re.escape(answer)}\b", question.text, re.IGNORECASE)
                       for answer in (*question.accepted, question.foil)), question.id


@cache
def content_words(text):
    """Its words without the most common ones, and without a plural's end."""
    common = {"the", "and", "what", "which", "who", "where", "how", "does", "are", "was", "for",
              "its", "with", "from", "that", "people", "most", "called", "call", "has", "can",
              "name", "you"}
    words = {word for word in re.findall(r"[a-z]{3,}", text.casefold()) if word not in common}
    return frozenset(re.sub("e?s$", "", word) for word in words)


@cache
def answers_of(question):
    return frozenset(answer.casefold() for answer in question.accepted)


def near(one, other):
    """Whether two questions may ask one fact: much the same words, the same answer and a third of
    the words, or each holding the other's answer."""
    first, second = content_words(one.text), content_words(other.text)
    overlap = len(first & second) / max(len(first | second), 1)
    answers, others = answers_of(one), answers_of(other)
    return (overlap >= 0.5 or (overlap >= 1 / 3 and bool(answers & others))
            or bool(answers & second and others & first))


@pytest.mark.parametrize("repeated", [
    "a,geo,Which city is the capital of France today?,Paris,,Rome",
    "a,geo,What is the main city of France?,Paris,,Rome",
    "a,geo,Paris is the capital city of which country?,France,,Spain"])
def test_a_fact_that_is_asked_again_is_near(questions, file, repeated):
    (again,) = load_questions(file(HEADER, repeated))
    assert any(near(again, question) for question in questions)


def test_no_question_of_a_part_is_near_an_asked_one_or_one_of_the_other_part(
    questions, parts, unasked
):
    pairs = [(new, old) for new in unasked for old in questions]
    pairs += [(new, other) for new in parts["training"] for other in parts["development"]]
    assert [(new.id, old.id) for new, old in pairs if near(new, old)] == []


IDS = [f"q{i}" for i in range(41)]


def alone(ids):
    """Each in a cluster of its own."""
    return {id: id for id in ids}


@pytest.mark.parametrize(("ids", "choosing", "evaluating"), [
    (IDS, 20, 21), (IDS[:40], 20, 20), (["only"], 0, 1), ([], 0, 0)])
def test_halves_part_the_questions_with_one_more_to_evaluate(ids, choosing, evaluating):
    found = halves(alone(ids), 0)
    assert found.keys() == set(ids)
    counts = Counter(found.values())
    assert (counts["choosing"], counts["evaluating"]) == (choosing, evaluating)


def test_halves_depend_on_the_seed_and_not_on_the_order_of_the_questions():
    assert halves(alone(IDS), 0) == halves(alone(IDS[::-1]), 0)
    assert halves(alone(IDS), 0) != halves(alone(IDS), 1)


def test_each_question_can_fall_in_either_half():
    found = [halves(alone(IDS[:10]), seed) for seed in range(200)]
    times = [sum(of[q] == "choosing" for of in found) for q in IDS[:10]]
    assert all(60 < count < 140 for count in times)  # five SDs about 100


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 5])
def test_shipped_templates_stay_in_one_of_parts_of_like_size(questions, count, seed):
    cluster_of = {question.id: question.cluster for question in questions}
    found = deal_clusters(cluster_of, count, seed, "test")
    assert found.keys() == cluster_of.keys()
    assert len({(cluster_of[id], part) for id, part in found.items()}) == len(set(
        cluster_of.values()))
    sizes = Counter(found.values())
    assert len(sizes) == count
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_large_templates_are_not_always_parted(questions):
    cluster_of = {question.id: question.cluster for question in questions}
    found = [halves(cluster_of, seed) for seed in range(40)]
    capital, spoken = (next(q.id for q in questions if q.template == name)
                       for name in ("capital", "spoken"))
    assert 5 < sum(of[capital] == "choosing" for of in found) < 35
    assert 2 < sum(of[capital] == of[spoken] for of in found) < 38
