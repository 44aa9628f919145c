"""§26: the full-SAE-swap on SmolLM2."""

from __future__ import annotations

from functools import partial

from deception_saes.sections import swap_section

DATA = ("tasks/data/questions.csv",)
NEEDS = (23,)

plan = partial(swap_section.plan, 26, "S-05")
compute = swap_section.compute
