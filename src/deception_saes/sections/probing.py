"""`experiments.probing` as the sections that are not experiments yet use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from deception_saes.experiments.probing import (
    MEASURES,
    NAME,
    SCALE,
    UNIT,
    Assessed,
    Null,
    assess,
    columns,
    difference,
    labellings,
    null_of,
)

if TYPE_CHECKING:
    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.results import Value

__all__ = ["MEASURES", "NAME", "SCALE", "UNIT", "Assessed", "Null", "answers_primary", "assess",
           "columns", "difference", "labellings", "null_of", "values_of"]


def answers_primary(model: ModelSpec) -> bool:
    """As `paper.settings.Settings.stands_in`."""
    return model.slug == "llama" or not model.of_the_study


def values_of(
    assessed: Assessed, probe: int, id: str, quantity: str, n: int, about: dict[str, Any],
    claims: dict[str, str] | None = None,
) -> Iterator[Value]:
    """Both measures of a probe: values `{id}.accuracy` and `{id}.auroc`. claims: by measure."""
    from deception_saes.sections.results import Value

    row = columns(assessed, probe)
    for what in MEASURES:
        yield Value(f"{id}.{what}", f"{NAME[what]} of {quantity}", row[what], UNIT[what],
                    claim=(claims or {}).get(what), ci_low=row[f"{what}_low"],
                    ci_high=row[f"{what}_high"], n=n, **about)
