import re

import pytest

from deception_saes.paper.catalogue import SECTIONS, Section
from deception_saes.paper.profiles import PROFILES, profile_named
from deception_saes.tasks.framings import FRAMINGS


def test_there_are_the_sixteen_sections_of_the_design():
    assert list(SECTIONS) == list(range(17, 33))
    assert len({section.stem for section in SECTIONS.values()}) == 16


def test_names_of_notebooks_are_identifiers():
    for section in SECTIONS.values():
        assert re.fullmatch(r"s\d\d_[a-z0-9_]+", section.stem)


def test_every_section_has_its_notebook_and_every_notebook_its_section(root):
    written = {section.stem for section in SECTIONS.values()}
    assert written == {path.stem for path in (root / "notebooks").glob("s*.py")}


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda section: section.key)
def test_a_notebook_opens_its_own_section_under_its_own_title(root, section):
    text = (root / "notebooks" / f"{section.stem}.py").read_text(encoding="utf-8")
    assert re.findall(r"open_section\((\d+), profile, seed[,)]", text) == [str(section.number)]
    assert re.findall(r"^# # (.*)$", text, re.MULTILINE) == [
        f"§{section.number} {section.title}"]


def test_a_notebook_without_its_title_is_an_error_that_names_it(tmp_path, monkeypatch):
    notebook = tmp_path / "notebooks" / "s23_x.py"
    notebook.parent.mkdir()
    notebook.write_text("# %% [markdown]\n# # The sandbagging task\n")
    monkeypatch.setattr("deception_saes.paper.catalogue.checkout", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"s23_x\.py"):
        Section(23, "x", "a part").title  # noqa: B018


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_a_profile_refers_to_framings_and_sections_that_exist(profile):
    assert set(profile.framings) <= FRAMINGS.keys()
    assert set(profile.primary_framings) <= set(profile.framings)
    assert len(profile.primary_framings) == 2
    assert profile.seconds.keys() <= SECTIONS.keys()


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_a_profile_goes_unjudged_only_if_its_primary_model_is_random(profile):
    random = type(profile.models[0].source).__name__ == "RandomWeights"
    assert random == (not profile.verdicts)


def test_profiles_are_found_by_name():
    assert all(profile_named(name).name == name for name in PROFILES)
    assert PROFILES.keys() == {"smoke", "embedded", "full", "shapes", "paper"}


def test_an_unknown_profile_is_an_error_that_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'fast'.*smoke, embedded, full, shapes, paper"):
        profile_named("fast")
