from collections import Counter
from dataclasses import replace

import pytest

from deception_saes.tasks.completions import (
    COLUMNS,
    COMPLETIONS,
    ROUNDS,
    Completion,
    CompletionFileError,
    Round,
    completion_ids,
    load_completions,
    resample,
    write_completions,
)
from deception_saes.tasks.resampling import ResampleError, compared, resample_file
from deception_saes.tasks.scenarios import load_scenarios

HEADER = ",".join(COLUMNS)
ROW = "vase-R3-000,some,vase,R3,0,1.0,0,true, yes."
SMALL = (Round("R1", 0.7, 2), Round("R3", 1.0, 3))

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


@pytest.fixture
def two():
    return load_scenarios()[:2]


def of_texts(texts):
    return [Completion(f"vase-R3-{i:03d}", "some", "vase", "R3", i, 1.0, 0, i % 2 == 0, text)
            for i, text in enumerate(texts)]


def test_every_draw_of_every_scenario_and_round_is_shipped():
    shipped = load_completions()
    counts = Counter((of.scenario, of.round, of.temperature) for of in shipped)
    assert counts == {(scenario.id, each.name, each.temperature): each.draws
                      for scenario in load_scenarios() for each in ROUNDS}
    assert [of.draw for of in shipped] == [
        draw for _ in load_scenarios() for each in ROUNDS for draw in range(each.draws)]


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
    ([HEADER], "row 2: there is no completion; draw some: make resample"),
    ([HEADER.replace("seed", "sed"), ROW], "row 1: the columns are .*; expected"),
    ([HEADER, ROW, "vase-R3-001,some"], "row 3: 2 cells; expected 9"),
    ([HEADER, ROW + ", no."], "row 2: 10 cells; expected 9; quote a cell"),
    ([HEADER, ROW.replace(" yes", '"yes')], "row 2: unexpected end of data; mend the quoting"),
    ([HEADER, ROW.replace(",0,1.0", ",x,1.0")], "row 2: a cell holds .*'x'; draw and seed are"),
    ([HEADER, ROW.replace("1.0", "warm")], "row 2: a cell holds .*'warm'; .* temperature a number"),
    ([HEADER, ROW.replace("true", "yes")], "row 2: a cell holds 'yes'; .* finished true or false"),
    ([HEADER, ROW.replace("R3-000", "R3-0")], "row 2: the id is 'vase-R3-0'; expected .*R3-000"),
    ([HEADER, ROW, ROW], "row 3: 'vase-R3-000' stands in row 2 already; remove one"),
    ([HEADER, ROW.encode() + b"\xff"], "row 2: byte 0xff is not UTF-8; save the file as UTF-8"),
])
def test_a_malformed_row_is_named_with_the_remedy(file, lines, message):
    with pytest.raises(CompletionFileError, match=rf"^completions\.csv, {message}"):
        load_completions(file(*lines))


def test_resampling_draws_every_round_of_every_scenario(tiny, two):
    drawn = list(resample(tiny, two, 0, 4, SMALL))
    assert [of.id for of in drawn] == [f"{scenario.id}-{each.name}-{draw:03d}" for scenario in two
                                       for each in SMALL for draw in range(each.draws)]
    assert {of.model for of in drawn} == {tiny.spec.slug}


def test_a_draw_depends_on_its_own_scenario_round_and_seed_alone(tiny, two):
    def texts(scenarios, rounds, seed=0):
        return {of.id: of.text for of in resample(tiny, scenarios, seed, 4, rounds)}

    whole = texts(two, SMALL)
    assert texts(two[1:], SMALL[1:]).items() <= whole.items()
    assert texts(two, SMALL, seed=1) != whole
    same_temperature = texts(two[:1], [Round("R2", 1.0, 3), Round("R3", 1.0, 3)])
    assert len(set(same_temperature.values())) > 3  # another round is another sample


def test_the_command_writes_what_it_drew_and_counts_what_is_the_same(tiny_llama, two, tmp_path):
    def run(seed, name, shipped):
        return resample_file(tiny_llama, seed, 4, tmp_path / name, two, SMALL, tmp_path / shipped)

    write_completions(resample(tiny_llama, two, 0, 4, SMALL), tmp_path / "shipped.csv")
    assert run(0, "again.csv", "shipped.csv").endswith("10 of 10 texts are the same as the shipped "
                                                       "ones")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "shipped.csv").read_bytes()
    assert run(1, "other.csv", "shipped.csv").endswith("0 of 10 texts are the same as the shipped "
                                                       "ones")


def test_an_end_that_differs_is_not_the_same():
    [old] = of_texts(["x"])
    assert compared([replace(old, finished=False)], [old]).startswith("0 of 1 texts")


def test_a_model_that_none_are_shipped_of_is_named():
    [old] = of_texts(["x"])
    assert "none of other is shipped" in compared([replace(old, model="other")], [old])


def test_labelled_texts_are_not_overwritten(tiny_llama, two, tmp_path):
    shipped = tmp_path / "shipped.csv"
    write_completions(of_texts(["x"]), shipped)
    before = shipped.read_bytes()
    link = tmp_path / "link.csv"
    link.symlink_to(shipped)
    for out in (shipped, link):
        with pytest.raises(ResampleError, match=r"is the shipped file.*write to another file"):
            resample_file(tiny_llama, 0, 4, out, two, SMALL, shipped)
    assert shipped.read_bytes() == before


def test_a_place_below_a_file_is_refused_before_anything_is_drawn(two, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResampleError, match=r"cannot be written.*name another place"):
        resample_file(None, 0, 4, tmp_path / "file" / "drawn.csv", two, SMALL)


def test_a_folder_is_refused_before_anything_is_drawn(two, tmp_path):
    with pytest.raises(ResampleError, match="is a folder; name a CSV file in it"):
        resample_file(None, 0, 4, tmp_path, two, SMALL)
