import pytest

from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.plan import DEVICES, plan, plan_text
from deception_saes.paper.profiles import profile_named

EMBEDDED = profile_named("embedded")


def test_the_plan_is_within_a_factor_of_two_of_the_seconds_that_sections_were_measured_at():
    found = plan(EMBEDDED, 0, DEVICES["cpu"])
    measured = sum(EMBEDDED.seconds.values()) / EMBEDDED.jobs
    assert measured / 2 < sum(of or 0.0 for of in found.seconds.values()) < 2 * measured


def test_a_faster_device_takes_less_but_not_nothing():
    slow, fast = (plan(EMBEDDED, 0, DEVICES[name]) for name in ("cpu", "h100"))
    assert slow.total > fast.total > 60
    assert slow.costs == fast.costs


def test_what_is_to_be_fetched_is_counted():
    assert plan(EMBEDDED, 0, DEVICES["cpu"]).download == 0
    of_paper = plan(profile_named("paper"), 0, DEVICES["a100"])
    assert of_paper.download == pytest.approx(6.1e9, rel=0.05)


def test_the_table_names_every_section_and_what_is_lacking():
    text = plan_text(profile_named("paper"), 0, DEVICES["a100"])
    for section in SECTIONS.values():
        assert f"§{section.number} {section.title}" in text
    assert "not run: no model" in text
    assert "30% assumed" in text
