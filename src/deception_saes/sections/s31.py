"""§31: the full-SAE-swap on TinyLlama."""

from __future__ import annotations

from functools import partial

from deception_saes.sections import swap_section

DATA = ("tasks/data/questions.csv",)
NEEDS = (23,)

plan = partial(swap_section.plan, 31, "S-06")
compute = swap_section.compute
