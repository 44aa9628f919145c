from dataclasses import replace

import pytest

from deception_saes.errors import UserError
from deception_saes.tasks.completions import Completion, write_completions
from deception_saes.tasks.resampling import Round, compared, resample, resample_file
from deception_saes.tasks.scenarios import load_scenarios

SMALL = (Round("R1", 0.7, 2), Round("R3", 1.0, 3))
OLD = Completion("vase-R3-000", "some", "vase", "R3", 0, 1.0, 0, True, "x")


@pytest.fixture
def two():
    return load_scenarios()[:2]


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
    shipped, again = tmp_path / "shipped.csv", tmp_path / "again.csv"
    write_completions(resample(tiny_llama, two, 0, 4, SMALL), shipped)
    assert "10 of 10" in resample_file(tiny_llama, 0, 4, again, two, SMALL, shipped)
    assert again.read_bytes() == shipped.read_bytes()
    assert "0 of 10" in resample_file(tiny_llama, 1, 4, again, two, SMALL, shipped)


def test_an_end_that_differs_is_not_the_same():
    assert compared([replace(OLD, finished=False)], [OLD]).startswith("0 of 1")


def test_a_model_without_shipped_completions_is_named():
    assert "other" in compared([replace(OLD, model="other")], [OLD])


def test_labelled_texts_are_not_overwritten(two, tmp_path):
    shipped, link = tmp_path / "shipped.csv", tmp_path / "link.csv"
    write_completions([OLD], shipped)
    before = shipped.read_bytes()
    link.symlink_to(shipped)
    for out in (shipped, link):
        with pytest.raises(UserError, match=str(out)):
            resample_file(None, 0, 4, out, two, SMALL, shipped)
    assert shipped.read_bytes() == before


def test_a_folder_or_a_place_below_a_file_is_refused_before_anything_is_drawn(two, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path, tmp_path / "file" / "drawn.csv"):
        with pytest.raises(UserError, match=str(out)):
            resample_file(None, 0, 4, out, two, SMALL)
