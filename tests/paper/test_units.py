import dataclasses

import pytest

from deception_saes.__main__ import main
from deception_saes.paper import units
from deception_saes.paper.units import NotebookFailed, book_units, urgency
from deception_saes.sections.profiles import profile_named

EMBEDDED = profile_named("embedded")


def test_every_unit_stands_behind_those_it_needs():
    seen = set()
    for name, unit in book_units(EMBEDDED, 0).items():
        assert set(unit.needs) <= seen
        seen.add(name)


def test_what_much_waits_for_is_urgent():
    all_units = book_units(EMBEDDED, 0)
    found = urgency(all_units, EMBEDDED)
    seconds = EMBEDDED.seconds
    assert found["html"] < found["notebook-s29"] < found["s29"] < found["s28"] < found["s27"]
    assert found["s28"] - found["s29"] >= seconds[28]
    assert found["s23"] >= found["s27"] + seconds[23]
    for name, unit in all_units.items():
        for needed in unit.needs:
            assert found[needed] > found[name], (needed, name)


def test_urgency_follows_the_profiles_seconds():
    slow = dataclasses.replace(EMBEDDED, seconds={**EMBEDDED.seconds, 32: 5000})
    all_units = book_units(EMBEDDED, 0)
    assert urgency(all_units, slow)["s32"] > urgency(all_units, EMBEDDED)["s27"]


def test_the_key_is_the_hash_that_the_pages_are_kept_under(smoke, artifacts, monkeypatch, capsys):
    monkeypatch.setenv("DECEPTION_SAES_ARTIFACTS", str(artifacts))
    assert main(["key", "--profile", "smoke"]) == 0
    html = book_units(smoke, smoke.seed)["html"]
    assert capsys.readouterr().out.strip() == html.spec.hash


KERNEL = ("# ---\n# jupyter:\n#   kernelspec:\n#     display_name: Python 3\n"
          "#     language: python\n#     name: python3\n# ---\n\n")
PARAMETERS = '# %% tags=["parameters"]\nprofile = "embedded"\nseed = 0\n'
OPENING = ('\n# %%\nfrom deception_saes.paper.page import open_section\n'
           'page = open_section(29, profile, seed)\nprint("opened")\n')


def execute(tmp_path, text):
    source = tmp_path / "s29.py"
    source.write_text(KERNEL + text)
    units._execute(source, "smoke", 0, tmp_path / "tree", tmp_path / "out")


@pytest.mark.parametrize(("text", "found"), [
    ("# %%\n" + PARAMETERS.partition("\n")[2] + OPENING, 0),  # it lost its tag
    (PARAMETERS + PARAMETERS + OPENING, 2),
])
def test_a_notebook_whose_parameters_would_be_overwritten_is_refused_before_it_runs(
        tmp_path, text, found):
    with pytest.raises(NotebookFailed, match=rf"s29.py has {found} cells tagged .parameters.; "
                                             "expected one"):
        execute(tmp_path, text)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.ipynb"))


@pytest.mark.parametrize("by_hand", ['"embedded", 0', '"smoke", 1'])
def test_a_notebook_that_opens_another_profile_or_seed_than_it_is_built_for_fails(
        tmp_path, by_hand):
    with pytest.raises(NotebookFailed, match=r"in a build of .smoke 0.; pass `profile` and `seed`"):
        execute(tmp_path, PARAMETERS + OPENING.replace("profile, seed", by_hand))
