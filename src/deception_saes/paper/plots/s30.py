"""§30: across models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deception_saes.paper.claims import load_claims
from deception_saes.paper.front_page import published
from deception_saes.paper.numbers import with_interval
from deception_saes.sections.s30 import PUBLISHED
from deception_saes.tasks.wordings import FRAMINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deception_saes.sections.run import SectionRun

_STYLES = (("sandbag", "D"), ("genuine", "o"), ("ink", "s"))  # in the order of the row's ids


def portions(figure: Figure, colours: dict[str, str], run: SectionRun) -> None:
    """Restoration, effect on genuine prompts and their difference, by model and framing."""
    table = run.table("models")
    done = table[table["status"] == "done"]
    axes = figure.subplots()
    labels = []
    for row, (name, framing, ids) in enumerate(
        zip(done["model"], done["framing"], done["ids"], strict=True)
    ):
        labels.append(f"{name}\n{FRAMINGS[framing].title}")
        for shift, (colour, marker), id in zip(
            (-0.2, 0.0, 0.2), _STYLES, ids.split(), strict=True
        ):
            value = run.results.value(id)
            if value.value is None or value.ci_low is None or value.ci_high is None:
                continue
            axes.errorbar(value.value, row + shift, fmt=marker, color=colours[colour], capsize=2,
                          xerr=[[value.value - value.ci_low], [value.ci_high - value.value]],
                          label=value.quantity if row == 0 else None)
    axes.axvline(0, color=colours["muted"], linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("effect on P(correct), pp")
    figure.legend(loc="outside lower center", ncols=3)


def models(run: SectionRun) -> pd.DataFrame:
    """Every model of the profile and of the study: measured, or why not, beside the published."""
    table = run.table("models")
    rows = []
    for row in table.itertuples():
        if row.status == "done":
            found = {id.rsplit(".", 1)[1]: with_interval(run.results.value(id))
                     for id in row.ids.split()}
            rows.append({"model": row.model, "framing": FRAMINGS[row.framing].title,
                         "heads": row.heads, "restoration": found["restoration"],
                         "on genuine": found["genuine"], "portion": found["portion"]})
        else:
            rows.append({"model": row.model, "portion": f"not run: {row.reason}"})
    claims = load_claims()
    for slug, id in (("llama", "S-14"), *PUBLISHED.items()):
        rows.append({"model": f"{claims[id].model} (published, {id})",
                     "portion": published(claims[id]) + ("" if slug in set(table["model"]) else
                                                         "; not run in this profile")})
    return pd.DataFrame(rows)
