from dataclasses import replace

import pytest

from deception_saes.__main__ import main
from deception_saes.errors import UserError
from deception_saes.paper import resampling
from deception_saes.paper.profiles import Behaviour
from deception_saes.paper.resampling import resample_profile
from deception_saes.tasks import resampling as tasks_resampling
from deception_saes.tasks.completions import COMPLETIONS, load_completions
from deception_saes.tasks.resampling import Round


@pytest.fixture
def short(monkeypatch):
    """One short round, that the whole path takes a second."""
    whole = tasks_resampling.resample_file
    monkeypatch.setattr(resampling, "resample_file",
                        lambda *given: whole(*given, rounds=(Round("R3", 1.0, 1),)))


def test_the_profile_names_the_model_that_is_drawn_from(smoke, artifacts, tmp_path, short):
    random = replace(smoke, behaviour=Behaviour("tinyllama-random", "tinyllama-random"))
    said = resample_profile(random, 0, artifacts, tmp_path / "new" / "drawn.csv")
    drawn = load_completions(tmp_path / "new" / "drawn.csv")
    assert {of.model for of in drawn} == {"tinyllama-random"}
    assert {of.scenario for of in drawn} == {of.scenario for of in load_completions()}
    assert said.endswith("none of tinyllama-random is shipped to compare them with")


def test_a_profile_without_completions_is_refused(smoke, artifacts, tmp_path):
    with pytest.raises(UserError, match="smoke"):
        resample_profile(replace(smoke, behaviour=None), 0, artifacts, tmp_path / "drawn.csv")


def test_the_command_does_not_overwrite_the_shipped_file(monkeypatch, capsys):
    monkeypatch.setattr(resampling, "load", None)  # refused before a model is asked for
    before = COMPLETIONS.read_bytes()
    assert main(["resample", "--out", str(COMPLETIONS)]) == 1
    assert "is the shipped file" in capsys.readouterr().err
    assert COMPLETIONS.read_bytes() == before
