import dataclasses

import pytest
from places import artifacts_at

from deception_saes.models.registry import get
from deception_saes.paper import build
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.plan import (
    DEVICES,
    free_memory_and_disk,
    plan,
    plan_text,
    shortage,
)
from deception_saes.paper.profiles import profile_named

EMBEDDED = profile_named("embedded")
CPU = DEVICES["cpu"]


def test_the_estimate_is_of_the_scale_of_the_seconds_that_sections_were_measured_at():
    found = plan(EMBEDDED, 0, CPU)
    measured = sum(EMBEDDED.seconds.values()) / EMBEDDED.jobs
    assert measured / 2 < sum(found.seconds.values()) < 2 * measured
    assert found.seconds[28] > found.seconds[29]
    assert found.seconds[27] > found.seconds[30]


def test_every_section_that_is_run_is_counted(smoke):
    assert plan(smoke, 0, CPU).seconds.keys() == {of.number for of in SECTIONS.values()}
    swaps = {24: EMBEDDED.swaps[24]}
    assert {26, 31}.isdisjoint(plan(dataclasses.replace(EMBEDDED, swaps=swaps), 0, CPU).seconds)


def test_a_stand_in_asks_less_than_the_section_it_repeats_and_trains_saes_of_its_own():
    work = plan(EMBEDDED, 0, CPU).work
    assert work[31].rows < 0.7 * work[24].rows
    assert work[31].disk > work[24].disk == 0


def test_a_faster_device_takes_less_but_not_nothing():
    slow, fast = (plan(EMBEDDED, 0, DEVICES[name]) for name in ("cpu", "h100"))
    assert slow.total > fast.total > 60
    assert slow.work == fast.work


@pytest.mark.parametrize(("section", "changed"), [
    (28, {"random_draws": 128}), (28, {"circuit_size": 8}), (27, {"sweep_sandbag_questions": 120}),
    (27, {"arm_sweep_questions": 40}), (29, {"relabellings": 50}),
    (24, {"swap_draws": 60}), (26, {"swap_draw_questions": None}),
    (23, {"framings": EMBEDDED.framings[:1]}),
    (25, {"sae_recipe": dataclasses.replace(EMBEDDED.sae_recipe, epochs=40)}),
])
def test_the_parameters_of_the_run_decide_the_work(section, changed):
    other = plan(dataclasses.replace(EMBEDDED, **changed), 0, CPU).work[section]
    assert other != plan(EMBEDDED, 0, CPU).work[section]


def test_what_is_to_be_fetched_and_to_be_held_is_counted():
    assert plan(EMBEDDED, 0, CPU).download == 0
    of_paper = plan(profile_named("paper"), 0, DEVICES["a100"])
    assert of_paper.download == pytest.approx(6.1e9, rel=0.05)
    assert of_paper.memory - plan(EMBEDDED, 0, CPU).memory == pytest.approx(
        4 * (1236e6 - 134.5e6), rel=0.02)


def test_the_table_names_every_section():
    text = plan_text(profile_named("paper"), 0, DEVICES["a100"])
    for section in SECTIONS.values():
        assert f"§{section.number} {section.title}" in text


@pytest.mark.parametrize("number", [18, 28, 31])
def test_a_model_that_may_not_fit_is_said_with_what_it_needs_and_what_is_free(number):
    llama = get("llama-shape")
    assert shortage(EMBEDDED, number, llama, 64e9, 64e9) is None
    assert shortage(EMBEDDED, number, None, 3e9, 64e9) is None
    for free in ((5e9, 64e9), (64e9, 4.5e9)):  # its weights alone take 4.9 GB
        said = shortage(EMBEDDED, number, llama, *free)
        assert said is not None
        assert "llama-shape" in said
        assert f"{free[0] / 1e9:.1f}" in said
        assert f"{free[1] / 1e9:.1f}" in said


def test_the_memory_of_a_gpu_is_not_looked_at():
    paper = profile_named("paper")
    assert shortage(paper, 28, None, 1e9, 64e9) is None
    assert shortage(dataclasses.replace(paper, device="cpu"), 28, None, 1e9, 64e9) is not None


def test_saes_need_more_disk_than_heads():
    llama, disk = get("llama-shape"), 6e9
    assert shortage(EMBEDDED, 28, llama, 64e9, disk) is None
    assert shortage(EMBEDDED, 24, llama, 64e9, disk) is not None


def test_free_memory_and_disk_are_found_before_there_are_artifacts(tmp_path):
    with artifacts_at(tmp_path / "not" / "there"):
        memory, disk = free_memory_and_disk()
    assert memory > 1e6
    assert disk > 0


def test_what_may_not_fit_is_said_before_the_section_is_run(artifacts, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "free_memory_and_disk", lambda: (1e9, 1e9))
    monkeypatch.setattr(build, "run_alone", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build.run_own(EMBEDDED, 0, 28, {"model": "llama-shape"})
    assert "llama-shape" in capsys.readouterr().err
