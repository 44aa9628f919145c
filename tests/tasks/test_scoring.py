import copy

import pytest

from deception_saes.tasks.framings import CONDITIONS, Prompt, render
from deception_saes.tasks.scoring import Score, answer_tokens, encode, logit, scorable, score
from deception_saes.tasks.trivia import Question, load_questions, spread
from deception_saes.tasks.wordings import FRAMINGS

LABELLED, SAME_PREFIX = FRAMINGS["two_shot_labelled"], FRAMINGS["two_shot_same_prefix"]


def question(*accepted, foil="Venus"):
    return Question("q", "topic", "Which one is it?", accepted, foil)


@pytest.fixture
def tokens(embedded):
    """The tokens of a question under the labelled framing, by the embedded tokenizer."""
    def of(asked, framing=LABELLED):
        prompt = render(framing, "genuine", asked.text, embedded.tokenizer)
        return answer_tokens(asked, prompt, embedded.tokenizer)

    return of


@pytest.fixture
def id_of(embedded):
    """The id of what must be one token of the embedded tokenizer."""
    def of(text):
        (only,) = embedded.tokenizer(text, add_special_tokens=False)["input_ids"]
        return only

    return of


@pytest.mark.parametrize("article", ["the ", "The ", "a ", "An "])
def test_the_article_is_stripped(tokens, id_of, article):
    assert set(tokens(question(f"{article}Sun")).correct) == {id_of(" Sun"), id_of(" sun")}


def test_an_answer_that_only_begins_like_an_article_is_whole(tokens, id_of):
    assert id_of(" Theater") in tokens(question("Theater")).correct


def test_answers_count_as_written_and_lower_cased_never_upper_cased(tokens, embedded):
    found = {embedded.tokenizer.decode([id]) for id in tokens(question("Gold")).correct}
    assert found == {" Gold", " gold"}


def test_a_lower_case_answer_is_not_capitalised(tokens, id_of):
    assert tokens(question("gold")).correct == (id_of(" gold"),)


def test_every_alias_counts(tokens, id_of):
    found = tokens(question("Holland", "the Netherlands")).correct
    assert {id_of(" Holland"), id_of(" Netherlands")} <= set(found)


def test_a_piece_of_under_three_letters_does_not_count(tokens, embedded, id_of):
    pieces = embedded.tokenizer(" jupiter")["input_ids"]
    assert len(pieces) > 1
    assert embedded.tokenizer.decode(pieces[:1]) == " j"
    assert tokens(question("Jupiter")).correct == (id_of(" Jupiter"),)


def test_a_short_token_counts_if_it_is_the_whole_alias(tokens, id_of):
    assert tokens(question("Ox")).correct == tuple(sorted([id_of(" Ox"), id_of(" ox")]))


def test_a_first_piece_of_three_letters_counts(tokens, embedded):
    first = embedded.tokenizer(" Kilimanjaro")["input_ids"][0]
    assert embedded.tokenizer.decode([first]) == " Kil"
    assert first in tokens(question("Kilimanjaro")).correct


def test_an_answer_of_short_pieces_alone_cannot_be_scored(tokens):
    assert tokens(question("jupiter")) == "no accepted answer has a first token of three letters"


def test_a_foil_of_short_pieces_alone_cannot_be_scored(tokens):
    found = tokens(question("Mars", foil="jupiter"))
    assert found == "the foil has no first token of three letters"


def test_a_foil_that_begins_like_the_answer_cannot_be_scored(tokens):
    found = tokens(question("Pacific Ocean", foil="Pacific coast"))
    assert found == "the foil begins with a token of an accepted answer"


def test_a_string_that_begins_with_another_is_left_out(tokens, id_of):
    alone, longer = question("Pacific"), question("Pacific", "Pacific Ocean")
    assert tokens(longer).strings == tokens(alone).strings
    assert (id_of(" Pacific"),) in tokens(longer).strings


def test_behind_a_chat_template_the_answer_has_no_space(tokens, id_of):
    found = tokens(question("Sun"), FRAMINGS["chat"]).correct
    assert found == tuple(sorted([id_of("Sun"), id_of("sun")]))


def test_a_prompt_that_merges_with_the_answer_is_an_error(embedded):
    prompt = Prompt("Q: Which?\nA: S", answer_gap="")
    with pytest.raises(ValueError, match="the answer has no position of its own"):
        answer_tokens(question("un"), prompt, embedded.tokenizer)


@pytest.mark.parametrize("framing", [LABELLED, SAME_PREFIX], ids=lambda framing: framing.name)
def test_every_shipped_question_can_be_scored_on_the_embedded_model(embedded, framing):
    kept, dropped = scorable(load_questions(), framing, embedded.tokenizer)
    assert dropped == {}
    assert kept == load_questions()


def test_answers_get_the_same_tokens_in_every_condition(embedded):
    for asked in spread(load_questions(), 40):
        found = [answer_tokens(asked, render(LABELLED, c, asked.text, embedded.tokenizer),
                               embedded.tokenizer) for c in CONDITIONS]
        assert found[0] == found[1] == found[2]


def test_scorable_tells_why_a_question_is_dropped(tiny_llama):
    asked = [question("Mars"), Question("same", "t", "Which?", ("Red Sea",), "Red House")]
    kept, dropped = scorable(asked, LABELLED, tiny_llama.tokenizer)
    assert kept == asked[:1]
    assert dropped == {"same": "the foil begins with a token of an accepted answer"}


def test_a_chat_prompt_gets_no_second_beginning_of_text(embedded):
    prompt = render(FRAMINGS["chat"], "genuine", "Which?", embedded.tokenizer)
    ids = encode(prompt.text, embedded.tokenizer)
    begin = embedded.tokenizer.bos_token_id
    assert ids[0] == begin
    assert ids[1] != begin
    assert embedded.tokenizer.decode(ids) == prompt.text


@pytest.mark.parametrize("framing", [LABELLED, SAME_PREFIX, FRAMINGS["chat"]],
                         ids=lambda framing: framing.name)
@pytest.mark.parametrize("condition", ["genuine", "sandbag"])
def test_scores_are_those_of_a_plain_forward_pass(tiny, log_p, framing, condition):
    several = [question("Mount Everest", "Red Sea", "Nile"),
               question("Pacific Ocean", "Atlantic Ocean Drive", foil="Moon"), question("Gold")]
    asked, _ = scorable([*several, *spread(load_questions(), 7)], framing, tiny.tokenizer)
    longest = 0
    for ours, one in zip(score(tiny, framing, condition, asked, 3), asked, strict=True):
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


def test_scores_do_not_depend_on_the_batches(tiny):
    asked, _ = scorable(spread(load_questions(), 12), LABELLED, tiny.tokenizer)
    one, many = (score(tiny, LABELLED, "genuine", asked, size) for size in (1, 64))
    for a, b in zip(one, many, strict=True):
        assert (a.question, a.p_correct, a.p_foil) == (
            b.question, pytest.approx(b.p_correct, rel=1e-4), pytest.approx(b.p_foil, rel=1e-4))


def test_a_tokenizer_that_begins_every_text_itself_begins_it_once(tiny_llama):
    tokenizer = copy.deepcopy(tiny_llama.tokenizer)
    tokenizer.bos_token = "<|im_start|>"
    assert encode("<|im_start|>user\nHi", tokenizer).count(tokenizer.bos_token_id) == 1


def test_a_question_that_cannot_be_scored_is_an_error(tiny_llama):
    asked = Question("same", "t", "Which?", ("Red Sea",), "Red House")
    with pytest.raises(ValueError, match=r"question 'same' cannot be scored.*leave it out"):
        score(tiny_llama, LABELLED, "genuine", [asked], 4)


def test_the_foil_measure_is_the_share_of_the_answer_among_both():
    assert Score("q", "t", 0.3, 0.1, 0.2, " x").foil_measure == pytest.approx(0.75)


@pytest.mark.parametrize(("p", "expected"), [(0.5, 0.0), (0.75, 1.0986123), (1e-9, -20.7232658)])
def test_logit(p, expected):
    assert logit(p) == pytest.approx(expected)
