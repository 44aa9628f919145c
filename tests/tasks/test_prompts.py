import copy

import pytest

from deception_saes.tasks.framings import CONDITIONS, FRAMINGS, Prompt, render
from deception_saes.tasks.prompts import answer_tokens, encode, prompt_set, scorable
from deception_saes.tasks.scoring import score
from deception_saes.tasks.trivia import Question, load_part, load_questions, spread

LABELLED = FRAMINGS["two_shot_labelled"]
UNSCORABLE = Question("same", "t", "Which?", ("Red Sea",), "Red House")


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


@pytest.mark.parametrize(("asked", "named"), [
    (question("jupiter"), "accepted answer"), (question("Mars", foil="jupiter"), "foil"),
    (question("Pacific Ocean", foil="Pacific coast"), "foil begins"),
])
def test_short_pieces_alone_or_a_foil_like_the_answer_cannot_be_scored(tokens, asked, named):
    assert named in tokens(asked)


def test_a_string_that_begins_with_another_is_left_out(tokens, id_of):
    alone, longer = question("Pacific"), question("Pacific", "Pacific Ocean")
    assert tokens(longer).strings == tokens(alone).strings
    assert (id_of(" Pacific"),) in tokens(longer).strings


def test_behind_a_chat_template_the_answer_has_no_space(tokens, id_of):
    found = tokens(question("Sun"), FRAMINGS["chat"]).correct
    assert found == tuple(sorted([id_of("Sun"), id_of("sun")]))


def test_a_prompt_that_merges_with_the_answer_is_an_error(embedded):
    prompt = Prompt("Q: Which?\nA: S", answer_gap="")
    with pytest.raises(ValueError, match="'un'"):
        answer_tokens(question("un"), prompt, embedded.tokenizer)


@pytest.mark.parametrize("name", ["zero_shot", "two_shot_labelled", "two_shot_same_prefix"])
def test_every_shipped_question_can_be_scored_on_the_embedded_model(embedded, name):
    shipped = load_questions() + load_part("training") + load_part("development")
    kept, dropped = scorable(shipped, FRAMINGS[name], embedded.tokenizer)
    assert dropped == {}
    assert kept == shipped


def test_answers_get_the_same_tokens_in_every_condition(embedded):
    for asked in spread(load_questions(), 40):
        found = [answer_tokens(asked, render(LABELLED, c, asked.text, embedded.tokenizer),
                               embedded.tokenizer) for c in CONDITIONS]
        assert found[0] == found[1] == found[2]


def test_scorable_tells_why_a_question_is_dropped(tiny_llama):
    asked = [question("Mars"), UNSCORABLE]
    kept, dropped = scorable(asked, LABELLED, tiny_llama.tokenizer)
    assert kept == asked[:1]
    assert dropped.keys() == {"same"}


def test_a_chat_prompt_gets_no_second_beginning_of_text(embedded):
    prompt = render(FRAMINGS["chat"], "genuine", "Which?", embedded.tokenizer)
    ids = encode(prompt.text, embedded.tokenizer)
    begin = embedded.tokenizer.bos_token_id
    assert ids[0] == begin
    assert ids[1] != begin
    assert embedded.tokenizer.decode(ids) == prompt.text


def test_a_tokenizer_that_begins_every_text_itself_begins_it_once(tiny_llama):
    tokenizer = copy.deepcopy(tiny_llama.tokenizer)
    tokenizer.bos_token = "<|im_start|>"
    assert encode("<|im_start|>user\nHi", tokenizer).count(tokenizer.bos_token_id) == 1


@pytest.fixture(scope="module")
def kept(tiny_llama):
    return scorable(load_questions()[:20], LABELLED, tiny_llama.tokenizer)[0]


def test_holds_prompts_and_answers_of_every_condition_in_the_given_order(tiny_llama, kept):
    asked = prompt_set(LABELLED, kept[::-1], tiny_llama.tokenizer)
    assert list(asked.ids) == [question.id for question in reversed(kept)]
    for condition in CONDITIONS:
        prompt = render(LABELLED, condition, kept[-1].text, tiny_llama.tokenizer)
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


def test_no_question_is_an_error_that_names_the_framing(tiny_llama):
    with pytest.raises(ValueError, match="'two_shot_labelled'"):
        prompt_set(LABELLED, [], tiny_llama.tokenizer)


def test_a_question_that_cannot_be_scored_is_an_error_that_names_it(tiny_llama, kept):
    with pytest.raises(ValueError, match="'same'"):
        prompt_set(LABELLED, [*kept, UNSCORABLE], tiny_llama.tokenizer)
    with pytest.raises(ValueError, match="'same'"):
        score(tiny_llama, LABELLED, "genuine", [UNSCORABLE])
