import dataclasses

from deception_saes.__main__ import main
from deception_saes.paper.units import book_units, urgency
from deception_saes.sections.profiles import profile_named

EMBEDDED = profile_named("embedded")


def test_every_unit_stands_behind_those_it_needs():
    seen = set()
    for name, unit in book_units(EMBEDDED, 0).items():
        assert set(unit.needs) <= seen
        seen.add(name)


def test_what_much_waits_for_is_urgent():
    units = book_units(EMBEDDED, 0)
    found = urgency(units, EMBEDDED)
    seconds = EMBEDDED.seconds
    assert found["html"] < found["notebook-s29"] < found["s29"] < found["s28"] < found["s27"]
    assert found["s28"] - found["s29"] >= seconds[28]
    assert found["s23"] >= found["s27"] + seconds[23]
    for name, unit in units.items():
        for needed in unit.needs:
            assert found[needed] > found[name], (needed, name)


def test_urgency_follows_the_profiles_seconds():
    slow = dataclasses.replace(EMBEDDED, seconds={**EMBEDDED.seconds, 32: 5000})
    units = book_units(EMBEDDED, 0)
    assert urgency(units, slow)["s32"] > urgency(units, EMBEDDED)["s27"]


def test_the_key_is_the_hash_that_the_pages_are_kept_under(smoke, artifacts, monkeypatch, capsys):
    monkeypatch.setenv("DECEPTION_SAES_ARTIFACTS", str(artifacts))
    assert main(["key", "--profile", "smoke"]) == 0
    units = book_units(smoke, smoke.seed)
    assert capsys.readouterr().out.strip() == units["html"].spec.hash
