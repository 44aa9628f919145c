"""§30: across models."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from deception_saes.paper.claims import load_claims
from deception_saes.paper.front_page import published
from deception_saes.paper.numbers import row_value, with_interval
from deception_saes.paper.plots.common import Colours
from deception_saes.tasks.framings import FRAMINGS

_STYLES = {"restoration": ("sandbag", "D"), "genuine": ("genuine", "o"), "portion": ("ink", "s")}


def portions(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
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


def arms(table: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """What heads chosen under one arm do under another. titles: of the arms."""
    rows = []
    for (chosen, tested, heads), of in table.groupby(["chosen", "tested", "heads"], sort=False):
        found = {row["measure"]: with_interval(row_value(row)) for _, row in of.iterrows()}
        outcomes = of.dropna(subset="outcome").set_index("measure")["outcome"]
        rows.append({"chosen under": titles[chosen], "heads": heads, "tested under": titles[tested],
                     "fall": found["fall"],
                     "restoration": f"{found['restoration']}, {outcomes['restoration']}",
                     "on genuine": found["genuine"],
                     "portion": f"{found['portion']}, {outcomes['portion']}"})
    return pd.DataFrame(rows)


def models(table: pd.DataFrame, claims: Mapping[str, str]) -> pd.DataFrame:
    """Every model of the profile and of the study: measured, or why not, and the published.

    claims: the id of the claim about each model of the study, by slug.
    """
    rows = []
    for (name, framing, heads), of in table.groupby(["name", "framing", "heads"], sort=False):
        found = {row["measure"]: with_interval(row_value(row)) for _, row in of.iterrows()}
        rows.append({"model": name, "framing": FRAMINGS[framing].title, "heads": heads,
                     "restoration": found["restoration"], "on genuine": found["genuine"],
                     "portion": found["portion"]})
    rows += [{"model": row.model, "portion": f"not run: {row.reason}"}
             for row in table[table["status"] == "not run"].itertuples()]
    for slug, id in claims.items():
        claim, was_run = load_claims()[id], slug in set(table["model"])
        rows.append({"model": f"{claim.model} (published, {id})",
                     "portion": published(claim) + ("" if was_run else
                                                    "; not run in this profile")})
    return pd.DataFrame(rows)
