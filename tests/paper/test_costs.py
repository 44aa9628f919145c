import dataclasses

import pytest

from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.costs import peak_memory, section_cost
from deception_saes.paper.profiles import profile_named

EMBEDDED = profile_named("embedded")


def cost(section, **changed):
    return section_cost(SECTIONS[section], dataclasses.replace(EMBEDDED, **changed), 0)


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda section: section.key)
def test_every_section_that_is_run_costs_something(section, smoke):
    found = section_cost(section, smoke, 0)
    assert found.forward + found.training + found.fixed > 0


def test_a_section_without_a_model_costs_nothing():
    assert cost(31) is None


def test_models_that_are_not_fetched_yet_are_counted():
    assert section_cost(SECTIONS[24], profile_named("paper"), 0).rows > 0


@pytest.mark.parametrize(("section", "changed", "what"), [
    (28, {"random_draws": 128}, "forward"), (27, {"sweep_sandbag_questions": 115}, "forward"),
    (24, {"swap_draws": 60}, "rows"), (26, {"swap_draw_questions": None}, "rows"),
    (23, {"framings": EMBEDDED.framings[:2]}, "rows"),
    (25, {"sae_recipe": dataclasses.replace(EMBEDDED.sae_recipe, epochs=40)}, "training"),
])
def test_the_parameters_of_the_run_decide_the_cost(section, changed, what):
    assert getattr(cost(section, **changed), what) != getattr(cost(section), what)


def test_twice_the_epochs_are_twice_the_training():
    twice = dataclasses.replace(EMBEDDED.sae_recipe, epochs=2 * EMBEDDED.sae_recipe.epochs)
    assert cost(25, sae_recipe=twice).training == 2 * cost(25).training


def test_memory_is_of_the_largest_model():
    assert peak_memory(profile_named("paper")) - peak_memory(EMBEDDED) == pytest.approx(
        4 * (1236e6 - 134.5e6), rel=0.02)
