from collections import Counter

import pytest

from deception_saes.errors import UserError
from deception_saes.tasks.completions import (
    COMPLETION_COLUMNS,
    COMPLETIONS,
    Completion,
    completion_ids,
    load_completions,
    write_completions,
)
from deception_saes.tasks.resampling import SAMPLING_ROUNDS
from deception_saes.tasks.scenarios import load_scenarios

HEADER = ",".join(COMPLETION_COLUMNS)
ROW = "vase-R3-000,some,vase,R3,0,1.0,0,true, yes."

HOSTILE = [
    "", " ", "a, b; c", ' "quoted" and ""twice""', "two\nlines", "\r\n\r", "tab\tand \x0b\x0c",
    "NUL \0 inside", "\x1b[31mred\x1b[0m\x07", "\u202eright to left\u2069", "\ufeffmark\u200b",
    "<script>alert(1)</script>", "![](x) {{ a }} {% b %} $x$", "=1+1", "\u2028\x85", "🦊 é e\u0301",
    "\ufffd cut off",
]


@pytest.fixture
def file(tmp_path):
    def write(*lines):
        path = tmp_path / "completions.csv"
        path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n"
                                  for line in lines))
        return path

    return write


def of_texts(texts):
    return [Completion(f"vase-R3-{i:03d}", "some", "vase", "R3", i, 1.0, 0, i % 2 == 0, text)
            for i, text in enumerate(texts)]


def test_every_draw_of_every_scenario_and_round_is_shipped():
    shipped = load_completions()
    counts = Counter((of.scenario, of.round, of.temperature) for of in shipped)
    assert counts == {(scenario.id, each.name, each.temperature): each.draws
                      for scenario in load_scenarios() for each in SAMPLING_ROUNDS}
    assert [of.draw for of in shipped] == [
        draw for _ in load_scenarios() for each in SAMPLING_ROUNDS for draw in range(each.draws)]


def test_the_main_round_is_at_temperature_one_and_has_six_hundred():
    assert sum(of.round == "R3" and of.temperature == 1.0 for of in load_completions()) >= 600


def test_one_prompt_has_many_answers():
    texts = {}
    for of in load_completions():
        if of.round == "R3":
            texts.setdefault(of.scenario, set()).add(of.text)
    assert min(map(len, texts.values())) > 20


def test_the_shipped_file_is_what_would_be_written(tmp_path):
    write_completions(load_completions(), tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == COMPLETIONS.read_bytes()


def test_text_survives_the_file(tmp_path):
    completions = of_texts(HOSTILE)
    path = tmp_path / "completions.csv"
    write_completions(completions, path)
    assert load_completions(path) == completions


def test_a_text_is_tokens_of_its_own(tiny):
    for text in (" broke it.", "'m sorry", " two\nlines", ""):
        ids = completion_ids(of_texts([text])[0], tiny.tokenizer)
        assert tiny.tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
        assert not set(ids) & set(tiny.tokenizer.all_special_ids)


@pytest.mark.parametrize(("lines", "message"), [
    ([HEADER], "row 2: .*make resample"),
    ([HEADER.replace("seed", "sed"), ROW], "row 1: .*'sed'"),
    ([HEADER, ROW, "vase-R3-001,some"], "row 3: 2 cells; expected 9"),
    ([HEADER, ROW + ", no."], "row 2: 10 cells; expected 9"),
    ([HEADER, ROW.replace(" yes", '"yes')], "row 2: .*quoting"),
    ([HEADER, ROW.replace(",0,1.0", ",x,1.0")], "row 2: .*'x'; draw and seed"),
    ([HEADER, ROW.replace("1.0", "warm")], "row 2: .*'warm'; .*temperature"),
    ([HEADER, ROW.replace("true", "yes")], "row 2: .*'yes'; .*finished"),
    ([HEADER, ROW.replace("R3-000", "R3-0")], "row 2: .*'vase-R3-0'; .*R3-000"),
    ([HEADER, ROW, ROW], "row 3: 'vase-R3-000' .*row 2"),
    ([HEADER, ROW.encode() + b"\xff"], "row 2: byte 0xff .*UTF-8"),
])
def test_a_malformed_row_is_named_with_the_remedy(file, lines, message):
    with pytest.raises(UserError, match=rf"^completions\.csv, {message}"):
        load_completions(file(*lines))
