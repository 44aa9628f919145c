"""What the full-SAE-swap sections show: effects, doses, top features, gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deception_saes.experiments.gaps import CONCLUSIONS, NAMES, SPECIFIC, gap_name
from deception_saes.experiments.swaps import PLAIN
from deception_saes.paper.plots.common import (
    Colours,
    ends,
    legend_below,
    shifts,
    signed,
    style_of,
    styles_of,
)

_FOREST = ("E2", "E6", "E4", "E1", "E3", "E6Δ", "E4Δ", "E1Δ", "U6Δ")
_PLAIN = ("patch", "median_residual", "mean_difference", "random_direction")
_DECIDING = ("E6-E4", "E6-E1", "E6Δ-E1Δ")


def forest(figure: Figure, colours: Colours, effects: pd.DataFrame) -> None:
    """Effects on sandbag prompts of every intervention, by layer and architecture."""
    table = effects[effects["prompts"] == "sandbag"]
    layers = sorted(table["layer"].unique())
    names = [name for name in (*_FOREST, *_PLAIN) if name in set(table["intervention"])]
    styles = styles_of(table["architecture"])
    shift_of = shifts([name for name in styles if name != PLAIN], 0.44)
    every_axes = figure.subplots(1, len(layers), sharey=True, sharex=True, squeeze=False)[0]
    for axes, layer in zip(every_axes, layers, strict=True):
        for architecture, style in styles.items():
            of = table[(table["layer"] == layer) & (table["architecture"] == architecture)
                       & table["intervention"].isin(names)]
            if of.empty:
                continue
            at = np.array([names.index(found) for found in of["intervention"]])
            axes.errorbar(of["effect"], at + shift_of.get(architecture, 0.0),
                          xerr=ends(of, "effect"), fmt=style.marker, markersize=4, capsize=2,
                          linestyle="none", color=colours[style.colour], label=style.name)
        axes.axvline(0, color=colours["muted"], linewidth=0.8)
        axes.set_title(f"L{layer}")
        axes.set_xlabel("effect, pp")
    every_axes[0].set_yticks(range(len(names)), [NAMES.get(name, name) for name in names])
    every_axes[0].invert_yaxis()
    legend_below(figure, every_axes)


def gap_forest(
    figure: Figure, colours: Colours, gaps: pd.DataFrame, headline: pd.DataFrame
) -> None:
    """The gaps on sandbag prompts against what counts as none, by layer and architecture."""
    table = gaps[(gaps["prompts"] == "sandbag") & gaps["gap"].isin(_DECIDING)]
    margin = headline["margin"].iloc[0]
    layers = sorted(table["layer"].unique())
    styles = styles_of(table["architecture"])
    shift_of = shifts(styles, 0.4)
    every_axes = figure.subplots(1, len(layers), sharey=True, sharex=True, squeeze=False)[0]
    for axes, layer in zip(every_axes, layers, strict=True):
        if margin > 0:
            axes.axvspan(-margin, margin, color=colours["grid"], alpha=0.6, linewidth=0,
                         label="counts as none")
        for architecture, style in styles.items():
            of = table[(table["layer"] == layer) & (table["architecture"] == architecture)]
            if of.empty:
                continue
            at = np.array([_DECIDING.index(found) for found in of["gap"]])
            at = at + shift_of[architecture]
            axes.hlines(at, of["wide_low"], of["wide_high"], color=colours[style.colour],
                        linewidth=1)
            axes.errorbar(of["mean"], at, xerr=ends(of, "mean"), fmt=style.marker,
                          markersize=5, linewidth=3, linestyle="none",
                          color=colours[style.colour], label=style.name)
        axes.axvline(0, color=colours["muted"], linewidth=0.8)
        axes.set_title(f"L{layer}")
        axes.set_xlabel("gap, pp")
    every_axes[0].set_yticks(range(len(_DECIDING)), [gap_name(gap) for gap in _DECIDING])
    every_axes[0].invert_yaxis()
    legend_below(figure, every_axes)


def doses(figure: Figure, colours: Colours, effects: pd.DataFrame) -> None:
    """Effects on sandbag prompts of a part of E6 and of E6Δ."""
    table = effects[(effects["prompts"] == "sandbag") & (effects["architecture"] != PLAIN)]
    layers = sorted(table["layer"].unique())
    grid = figure.subplots(2, len(layers), sharey="row", sharex=True, squeeze=False)
    for row, (swap, start, title) in enumerate((
        ("E6", "E4", "constant, from\ndecode(m_S) to decode(m_G)"),
        ("E6Δ", None, "difference added"),
    )):
        for axes, layer in zip(grid[row], layers, strict=True):
            for architecture, of in table[table["layer"] == layer].groupby("architecture"):
                by_name = of.set_index("intervention")
                points = [(0.0, start), *((d, f"{swap}.{d:g}") for d in (0.25, 0.5, 0.75)),
                          (1.0, swap)]
                found = [(dose, by_name.loc[name] if name else None) for dose, name in points]
                style = style_of(architecture)
                x = [dose for dose, _ in found]
                y = [0.0 if of_dose is None else of_dose["effect"] for _, of_dose in found]
                bands = [(0.0, 0.0) if of_dose is None else
                        (of_dose["ci_low"], of_dose["ci_high"]) for _, of_dose in found]
                axes.plot(x, y, marker=style.marker, markersize=4,
                          color=colours[style.colour], label=style.name)
                axes.fill_between(x, *np.transpose(bands), color=colours[style.colour], alpha=0.15)
            axes.axhline(0, color=colours["muted"], linewidth=0.8)
            axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
            if row == 0:
                axes.set_title(f"L{layer}")
        grid[row][0].set_ylabel(f"effect, pp\n{title}")
    for axes in grid[1]:
        axes.set_xlabel("dose")
    legend_below(figure, grid[0])


def top_features(figure: Figure, colours: Colours, effects: pd.DataFrame) -> None:
    """Effects of E5 by the number of features swapped, on both conditions' prompts."""
    table = effects[effects["intervention"].str.startswith("E5.")]
    layers = sorted(table["layer"].unique())
    every_axes = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, layer in zip(every_axes, layers, strict=True):
        for (architecture, prompts), of in table[table["layer"] == layer].groupby(
                ["architecture", "prompts"]):
            style = style_of(architecture)
            m = of["intervention"].str.removeprefix("E5.").astype(int)
            axes.errorbar(m, of["effect"], yerr=ends(of, "effect"), capsize=2, markersize=4,
                          marker=style.marker, color=colours[style.colour],
                          linestyle="-" if prompts == "sandbag" else ":",
                          label=f"{style.name}, {prompts} prompts")
        axes.axhline(0, color=colours["muted"], linewidth=0.8)
        axes.set_xscale("log", base=4)
        axes.set_xticks(sorted(m.unique()), [str(count) for count in sorted(m.unique())])
        axes.minorticks_off()
        axes.set_title(f"L{layer}")
        axes.set_xlabel("features swapped")
    every_axes[0].set_ylabel("effect, pp")
    legend_below(figure, every_axes, columns=3)


def gap_rows(gaps: pd.DataFrame) -> pd.DataFrame:
    """Every gap on sandbag prompts, with what it can and cannot tell."""
    table = gaps[gaps["prompts"] == "sandbag"]
    return pd.DataFrame({
        "SAE": [style_of(of).name for of in table["architecture"]],
        "layer": [f"L{layer}" for layer in table["layer"]],
        "gap": [gap_name(gap) for gap in table["gap"]],
        "pp, over questions": _intervals(table, "ci_low", "ci_high"),
        "and relabellings": _intervals(table, "wide_low", "wide_high"),
        "n": table["n"],
        "p, Holm": ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in table["p_holm"]],
        "draws beyond": [_or_dash(p, "{:.3f}") for p in table["empirical_p"]],
        "detectable": table["detectable"].map("{:.1f}".format),
        "verdict": table["verdict"], "n for ±0.15": table["n_published"].map("{:,.0f}".format),
    })


def effects_on_both(effects: pd.DataFrame) -> pd.DataFrame:
    """What each intervention does to genuine prompts, and its share of the patch on sandbag."""
    names = [*_FOREST, "U6Δ.frozen", "mean_difference.norm", "E5.64", *_PLAIN]
    rows = []
    for (architecture, layer), of in effects.groupby(["architecture", "layer"], sort=False):
        for name in names:
            found = of[of["intervention"] == name].set_index("prompts")
            if found.empty:
                continue
            rows.append({
                "SAE": style_of(architecture).name,
                "layer": f"L{layer}", "intervention": NAMES.get(name, name),
                **{f"on {prompts}": f"{signed(found.loc[prompts, 'effect'])} ["
                   f"{signed(found.loc[prompts, 'ci_low'])},\N{NO-BREAK SPACE}"
                   f"{signed(found.loc[prompts, 'ci_high'])}]" if prompts in found.index else "–"
                   for prompts in ("sandbag", "genuine")},
                "of the patch": _or_dash(found.loc["sandbag", "share"], "{:.0f} %"),
            })
    return pd.DataFrame(rows)


def credit_rows(steps: pd.DataFrame, gaps: pd.DataFrame) -> pd.DataFrame:
    """Of each SAE's step: how near it is to the mean difference, and what E6Δ does beyond controls
    of it on sandbag prompts."""
    table = gaps[gaps["prompts"] == "sandbag"].set_index(["architecture", "layer", "gap"])
    rows = []
    for step in steps.to_dict("records"):
        row = {"SAE": style_of(step["architecture"]).name, "layer": f"L{step['layer']}",
               "weights": step["sae"], "cosine": _or_dash(step["cosine"], "{:.2f}"),
               "norm ratio": _or_dash(step["norm_ratio"], "{:.2f}")}
        for gap in CONCLUSIONS:
            if gap == "E6Δ-U6Δ.frozen":
                continue  # at one layer alone; it stands in the table of all gaps
            at = (step["architecture"], step["layer"], gap)
            row[gap_name(gap)] = (
                f"{signed(table.loc[at, 'mean'])} [{signed(table.loc[at, 'wide_low'])},"
                f"\N{NO-BREAK SPACE}{signed(table.loc[at, 'wide_high'])}]: "
                f"{table.loc[at, 'conclusion']}" if step["sae"] == "trained" else "")
        rows.append(row)
    return pd.DataFrame(rows)


def all_positions_rows(table: pd.DataFrame) -> pd.DataFrame:
    """What edits at all prompt positions do, and what is left of P(correct)."""
    return pd.DataFrame({
        "position 0": ["edited" if of == "all" else "as it is" for of in table["positions"]],
        "prompts": table["prompts"],
        "intervention": [gap_name(of) for of in table["intervention"]],
        "effect": _intervals(table.rename(columns={"effect": "mean"}), "ci_low", "ci_high"),
        "P(correct), %": [_or_dash(of, "{:.1f}") for of in table["p_correct"]],
        "without, %": [_or_dash(of, "{:.1f}") for of in table["clean"]],
        "left of it": [_or_dash(of, "{:.0f} %") for of in table["left"]],
        "verdict": table["verdict"], "n": table["n"]})


def specific_rows(specific: pd.DataFrame) -> pd.DataFrame:
    """Of each SAE: what must lie beyond the margin for ten features to be feature-specific."""
    rows = []
    for (architecture, layer), of in specific.groupby(["architecture", "layer"], sort=False):
        cells = dict(zip(of["against"], _intervals(of, "ci_low", "ci_high"), strict=True))
        rows.append({"SAE": style_of(architecture).name, "layer": f"L{layer}",
                     **{name: cells.get(against, "–")
                        for against, (name, *_) in SPECIFIC.items()},
                     "verdict": of["verdict"].iloc[0]})
    return pd.DataFrame(rows)


def centre_rows(table: pd.DataFrame) -> pd.DataFrame:
    """How much of a prompt the medians keep."""
    return pd.DataFrame({
        "SAE": [style_of(of).name for of in table["architecture"]],
        "layer": [f"L{layer}" for layer in table["layer"]],
        "L0 of a prompt": table["l0_prompt"].map("{:.0f}".format),
        "L0 of m_G": table["l0_m_G"].map("{:.0f}".format),
        "L0 of m_S": table["l0_m_S"].map("{:.0f}".format),
        "L0 of the mean": table["l0_mean_G"].map("{:.0f}".format),
        "‖step‖, medians": table["step_median"].map("{:.1f}".format),
        "‖step‖, means": table["step_mean"].map("{:.1f}".format),
        "‖mean difference‖": table["mean_difference"].map("{:.1f}".format),
    })


def seed_forest(figure: Figure, colours: Colours, over_seeds: pd.DataFrame) -> None:
    """The headline gaps of SAEs trained with different seeds."""
    axes = figure.subplots()
    names = list(dict.fromkeys(over_seeds["gap"]))
    for row, gap in enumerate(names):
        of = over_seeds[over_seeds["gap"] == gap]
        at = row + np.linspace(-0.2, 0.2, len(of))
        axes.errorbar(of["mean"], at, xerr=ends(of, "mean"), fmt="s", markersize=4, capsize=2,
                      color=colours["sandbag"])
    axes.axvline(0, color=colours["muted"], linewidth=0.8)
    axes.set_yticks(range(len(names)), [gap_name(gap) for gap in names])
    axes.invert_yaxis()
    axes.set_xlabel("gap on sandbag prompts, pp")


def _intervals(table: pd.DataFrame, low: str, high: str) -> list[str]:
    return [f"{signed(mean)} [{signed(least)},\N{NO-BREAK SPACE}{signed(most)}]"
            for mean, least, most in zip(table["mean"], table[low], table[high], strict=True)]


def _or_dash(value: float, form: str) -> str:
    return "–" if value is None or np.isnan(value) else form.format(value)
