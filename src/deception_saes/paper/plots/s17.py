"""§17: behavioural sampling."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deception_saes.experiments.reading import MAIN_ROUND
from deception_saes.paper.model_text import drawn
from deception_saes.paper.plots.common import Colours, legend_below, squares

LABEL_COLOURS = {"honest": "genuine", "deceptive": "sandbag", "ambiguous": "muted"}
_LEAST_LABELLED = 0.09
"""Share of a bar below which its count has no room in it."""


def by_round(
    figure: Figure, colours: Colours, shares: pd.DataFrame, scenarios: pd.DataFrame
) -> None:
    """Labels of the primary judge: one panel a round, one bar a scenario."""
    of_primary = shares[shares["judge"] == _primary(shares)]
    _panels(figure, colours, scenarios, {str(round): of for round, of in
                                         of_primary.groupby("round", sort=False)})


def by_judge(
    figure: Figure, colours: Colours, shares: pd.DataFrame, scenarios: pd.DataFrame
) -> None:
    """Labels in the main round: one panel a judge, one bar a scenario."""
    of_main = shares[shares["round"] == MAIN_ROUND]
    _panels(figure, colours, scenarios, {str(judge): of for judge, of in
                                         of_main.groupby("judge", sort=False)})


def ambiguous(figure: Figure, colours: Colours, shares: pd.DataFrame) -> None:
    """Share of each label in the main round, all scenarios, with its interval, by judge."""
    shares = shares[(shares["round"] == MAIN_ROUND) & (shares["scenario"] == "all")]
    judges = list(dict.fromkeys(shares["judge"]))
    axes = figure.subplots()
    for (label, colour), shift, marker in zip(LABEL_COLOURS.items(), (-0.2, 0.0, 0.2), "oDs",
                                              strict=True):
        rows = shares[shares["label"] == label].set_index("judge").loc[judges]
        _dots(axes, rows, "share", np.arange(len(judges)) + shift, colours[colour], marker, label)
    counts = shares.drop_duplicates("judge").set_index("judge").loc[judges, "of"]
    axes.set_yticks(range(len(judges)),
                    [f"{drawn(judge)} ({of})" for judge, of in counts.items()])
    axes.set_xlim(-2, 102)
    axes.invert_yaxis()
    axes.set_xlabel("share of completions, percent")
    legend_below(figure, axes)


def kappa(figure: Figure, colours: Colours, agreement: pd.DataFrame) -> None:
    """Cohen's kappa of every pair of judges, with its interval."""
    rows = agreement.dropna(subset="kappa")
    axes = figure.subplots()
    axes.axvline(0, color=colours["muted"], linewidth=0.8)
    _dots(axes, rows, "kappa", np.arange(len(rows)), colours["genuine"], "o", None)
    axes.set_yticks(range(len(rows)), [drawn(f"{row.a} with {row.b} ({row.n})")
                                       for row in rows.itertuples()])
    axes.invert_yaxis()
    axes.set_xlim(-0.6, 1.02)
    axes.set_xlabel("Cohen's kappa")


def confusion(
    figure: Figure, colours: Colours, table: pd.DataFrame, judges: pd.DataFrame
) -> None:
    """Labels of the primary judge against those of each other judge, counts."""
    primary = _primary(judges)
    table = table[table["a"] == primary]
    others = list(dict.fromkeys(table["b"]))
    panels = np.atleast_1d(figure.subplots(1, len(others), sharey=True))
    labels = list(LABEL_COLOURS)
    for axes, other in zip(panels, others, strict=True):
        rows = table[table["b"] == other]
        counts = rows.pivot(index="label_a", columns="label_b", values="n").loc[labels, labels]
        shares = counts.to_numpy() / np.maximum(counts.to_numpy().sum(axis=1, keepdims=True), 1)
        _counted_squares(axes, counts.to_numpy(), shares, colours)
        axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
        axes.set_title(_folded(other), fontsize=10)
        axes.set_xlabel("its label")
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].set_ylabel(f"label of {primary}")


def probe(figure: Figure, colours: Colours, table: pd.DataFrame) -> None:
    """AUROC of the probe of each judge's labels, against these and against the primary's."""
    primary = _primary(table)
    axes = figure.subplots()
    axes.axvline(0.5, color=colours["muted"], linewidth=0.8)
    rows = np.arange(len(table))
    for column, shift, colour, marker, label in (
        ("own", -0.22, "neutral", "s", "its labels, against its own"),
        ("primary", 0.0, "sandbag", "D", f"its labels, against those of {primary}"),
        ("same", 0.22, "genuine", "o", f"labels of {primary} of the same completions"),
    ):
        of = table.rename(columns={f"auroc_{column}": "auroc", f"low_{column}": "ci_low",
                                   f"high_{column}": "ci_high"})
        _dots(axes, of, "auroc", rows + shift, colours[colour], marker, drawn(label))
    for row, judge in enumerate(table.itertuples()):
        if np.isnan(judge.auroc_own) and np.isnan(judge.auroc_primary):
            axes.text(0.5, row, " no two classes to learn from", va="center",
                      color=colours["muted"])
    axes.set_yticks(rows, [drawn(f"{judge.judge} ({judge.honest + judge.deceptive})")
                           for judge in table.itertuples()])
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlabel("AUROC")
    legend_below(figure, axes, columns=1)


def facts(table: pd.DataFrame) -> pd.DataFrame:
    """The scenarios and what would be concealed in them."""
    return pd.DataFrame({"scenario": table["title"],
                         "fact that there is a reason to conceal": table["fact"]})


def scenarios(table: pd.DataFrame, shots: pd.DataFrame) -> pd.DataFrame:
    """Each scenario's prompt and rubric, as quotations, behind the examples that all share."""
    first = [{"group": "Before every scenario: two examples of a reply", "label": "prompt",
              "about": "", "before": f"{shot.user}\n", "text": shot.reply}
             for shot in shots.itertuples()]
    parts = {"user": "prompt", "opening": "opening", **dict.fromkeys(LABEL_COLOURS)}
    return pd.DataFrame(first + [
        {"group": row["title"], "label": label or part, "about": "", "before": "",
         "text": row[part]}
        for row in table.to_dict("records") for part, label in parts.items()])


def rounds(table: pd.DataFrame) -> pd.DataFrame:
    """Temperature and counts of each round."""
    return table.rename(columns={"ended": "ended by itself", "balanced": "balanced subset"})


def examples(
    chosen: pd.DataFrame, completions: pd.DataFrame, scenarios: pd.DataFrame,
    judges: pd.DataFrame,
) -> pd.DataFrame:
    """The drawn examples as quotations, under their scenario, with every judge's label."""
    shown, primary = chosen.merge(completions, on="id"), _primary(judges)
    scenarios = scenarios.set_index("id")
    given_by = [name.removeprefix("label_") for name in shown if name.startswith("label_")]

    def others(row: pd.Series) -> str:
        given = [f"{judge}: {row[f'label_{judge}']}" for judge in given_by
                 if judge != primary and isinstance(row[f"label_{judge}"], str)]
        return ", ".join([row["id"], *given])

    return pd.DataFrame({
        "group": shown["scenario"].map(scenarios["title"]),
        "label": shown[f"label_{primary}"],
        "about": [others(row) for _, row in shown.iterrows()],
        "before": shown["scenario"].map(scenarios["opening"]),
        "text": shown["text"],
    })


def judges(table: pd.DataFrame) -> pd.DataFrame:
    """Every judge: what it is, how it reads, how many completions it labelled, or why none."""
    labelled = [row.state if row.labelled == 0 else str(row.labelled)
                for row in table.itertuples()]
    return pd.DataFrame({"judge": table["judge"], "reads": table["reads"], "labelled": labelled,
                         "what it is": table["what"]})


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Kappa and the share of equal labels of every pair of judges."""
    return pd.DataFrame({
        "judges": table["a"] + " with " + table["b"], "n": table["n"],
        "Cohen's kappa": [_interval(row.kappa, row.ci_low, row.ci_high)
                          for row in table.itertuples()],
        "same label": [_percent(share) for share in table["same"]]})


def probes(table: pd.DataFrame) -> pd.DataFrame:
    """What the probe learned from, and how well it does against which labels."""
    primary = _primary(table)
    titles = {"own": "against its own", "primary": f"against {primary}",
              "same": f"{primary} on the same"}
    return pd.DataFrame({
        "labels of": table["judge"], "honest": table["honest"], "deceptive": table["deceptive"],
        **{title: [_interval(getattr(row, f"auroc_{column}"), getattr(row, f"low_{column}"),
                             getattr(row, f"high_{column}")) for row in table.itertuples()]
           for column, title in titles.items()}})


def _panels(
    figure: Figure, colours: Colours, scenarios: pd.DataFrame, parts: dict[str, pd.DataFrame]
) -> None:
    titles = scenarios.set_index("id")["title"]
    panels = np.atleast_1d(figure.subplots(1, len(parts), sharey=True))
    for axes, (title, shares) in zip(panels, parts.items(), strict=True):
        left = np.zeros(len(titles))
        for label, colour in LABEL_COLOURS.items():
            rows = shares[shares["label"] == label].set_index("scenario").reindex(titles.index)
            width = rows["share"].fillna(0).to_numpy()
            axes.barh(range(len(titles)), width, left=left, color=colours[colour], label=label,
                      height=0.8, edgecolor=colours["page"], linewidth=0.5)
            for row, (share, count) in enumerate(zip(width, rows["n"], strict=True)):
                if share >= 100 * _LEAST_LABELLED:
                    axes.text(left[row] + share / 2, row, f"{count:.0f}", ha="center", va="center",
                              fontsize=8, color=colours["page"])
            left += width
        axes.set_title(_folded(title), fontsize=10)
        axes.set_xlim(0, 100)
        axes.set_xticks([0, 50, 100])
        axes.grid(visible=False)
    panels[0].set_yticks(range(len(titles)), titles)
    panels[0].invert_yaxis()
    panels[len(parts) // 2].set_xlabel("share of completions, percent")
    legend_below(figure, panels[0])


def _counted_squares(axes: Axes, counts: np.ndarray, shares: np.ndarray, colours: Colours) -> None:
    squares(axes, shares, colours["genuine"], colours["genuine"], 1.0)
    axes.set_aspect("equal")
    for (row, column), count in np.ndenumerate(counts):
        ink = colours["page"] if shares[row, column] > 0.55 else colours["ink"]
        axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=ink)


def _dots(axes: Axes, rows: pd.DataFrame, column: str, y: np.ndarray, colour: str, marker: str,
          label: str | None) -> None:
    ends = np.stack([rows[column] - rows["ci_low"], rows["ci_high"] - rows[column]])
    # of very few completions a percentile interval may leave out its own estimate
    axes.errorbar(rows[column], y, xerr=np.nan_to_num(ends).clip(min=0), fmt=marker, markersize=5,
                  capsize=2, color=colour, label=label)


def _folded(name: str) -> str:
    """A title on as many lines as it takes to stay over its panel."""
    return "\n".join(textwrap.wrap(drawn(name), 16))


def _interval(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "–"
    ends = "" if np.isnan(low) else f" [{low:.2f},\N{NO-BREAK SPACE}{high:.2f}]"
    return f"{value:.2f}{ends}".replace("-", "−")


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.0f} %"


def _primary(table: pd.DataFrame) -> str:
    """The primary judge stands first in every table."""
    return str(table["judge"].iloc[0])
