"""§30: across models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deception_saes.paper.claims import load_claims
from deception_saes.paper.front_page import published
from deception_saes.paper.numbers import row_value, with_interval
from deception_saes.tasks.framings import FRAMINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES = {"restoration": ("sandbag", "D"), "genuine": ("genuine", "o"), "portion": ("ink", "s")}
_PUBLISHED = {"llama": "S-14", "tinyllama": "S-15", "pythia160m": "S-16", "pythia410m": "S-17"}


def portions(figure: Figure, colours: dict[str, str], table: pd.DataFrame) -> None:
    """Restoration, effect on genuine prompts and their difference, by model and framing."""
    axes = figure.subplots()
    labels = []
    for place, ((name, framing), of) in enumerate(table.groupby(["name", "framing"], sort=False)):
        labels.append(f"{name}\n{FRAMINGS[framing].title}")
        rows = of.set_index("measure")
        for shift, (measure, (colour, marker)) in zip((-0.2, 0.0, 0.2), _STYLES.items(),
                                                      strict=True):
            row = rows.loc[measure]
            if pd.isna(row["ci_low"]):
                continue
            axes.errorbar(row["value"], place + shift, fmt=marker, color=colours[colour],
                          capsize=2, xerr=[[row["value"] - row["ci_low"]],
                                           [row["ci_high"] - row["value"]]],
                          label=row["quantity"] if place == 0 else None)
    axes.axvline(0, color=colours["muted"], linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("effect on P(correct), pp")
    figure.legend(loc="outside lower center", ncols=3)


def models(table: pd.DataFrame) -> pd.DataFrame:
    """Every model of the profile and of the study: measured, or why not, beside the published."""
    rows = []
    for (name, framing, heads), of in table.groupby(["name", "framing", "heads"], sort=False):
        found = {row["measure"]: with_interval(row_value(row)) for _, row in of.iterrows()}
        rows.append({"model": name, "framing": FRAMINGS[framing].title, "heads": heads,
                     "restoration": found["restoration"], "on genuine": found["genuine"],
                     "portion": found["portion"]})
    rows += [{"model": row.model, "portion": f"not run: {row.reason}"}
             for row in table[table["status"] == "not run"].itertuples()]
    claims = load_claims()
    for slug, id in _PUBLISHED.items():
        rows.append({"model": f"{claims[id].model} (published, {id})",
                     "portion": published(claims[id]) + ("" if slug in set(table["model"]) else
                                                         "; not run in this profile")})
    return pd.DataFrame(rows)
