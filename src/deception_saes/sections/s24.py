"""§24: the full-SAE-swap on the primary model."""

from __future__ import annotations

from functools import partial

from deception_saes.sections import swap_section

DATA = ("tasks/data/questions.csv",)
NEEDS = (23,)

plan = partial(swap_section.plan, 24, "S-04")
compute = swap_section.compute
