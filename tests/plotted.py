"""Which numbers of its tables every plot of the notebooks must draw, and what a drawing holds."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from deception_saes.experiments.sae_tables import compared
from deception_saes.experiments.swaps import PLAIN
from deception_saes.paper.figures import PALETTES
from deception_saes.paper.plots import (
    s17,
    s18,
    s19,
    s20,
    s21,
    s22,
    s23,
    s25,
    s27,
    s28,
    s29,
    s30,
    s32,
    swap_figures,
)

R3, MEAN = "round == 'R3'", "pooling == 'mean'"


def points(x, *ys):
    """Where markers must stand: x and each y together, as complex numbers."""
    return [x + 1j * y for y in ys]


def with_ends(of, name, low="ci_low", high="ci_high"):
    """A column and the ends of its intervals; an estimate outside its interval is an end itself."""
    return [of[name], of[[name, low]].min(axis=1, skipna=False),
            of[[name, high]].max(axis=1, skipna=False)]


def named(of, *names):
    """The same of intervals that are named as their column is."""
    return [part for name in names for part in with_ends(of, name, f"{name}_low", f"{name}_high")]


def of_first(table, column):
    return table[table[column] == table[column].iloc[0]]


def topics(table):
    of = of_first(table, "model")
    return of[of["framing"].isin(s23.CO_PRIMARY) & of["condition"].isin(["genuine", "sandbag"])]


def answerable(questions):
    of = of_first(questions, "model")
    return of[of["framing"].isin(s23.CO_PRIMARY) & of["half"].notna()]


def of_scenarios(shares):
    return shares[shares["scenario"] != "all"]


def steered(replies):
    """By direction and strength, means over scenarios of what steering changes."""
    of = replies.merge(replies.query("direction == 'none'"), on="scenario", suffixes=("", "_clean"))
    honest, deceptive = (of[label] - of[f"{label}_clean"] for label in ("honest", "deceptive"))
    return of.assign(favour=deceptive - honest, cost=(deceptive + honest) / 2).groupby(
        ["direction", "strength"])[["favour", "cost"]].mean()


DRAWN = {
    s17.by_round: lambda shares, _: of_scenarios(of_first(shares, "judge"))[["share"]],
    s17.by_judge: lambda shares, _: of_scenarios(shares.query(R3))[["share"]],
    s17.ambiguous: lambda shares: with_ends(
        shares.query(f"{R3} and scenario == 'all'"), "share"),
    s17.kappa: lambda agreement: with_ends(agreement, "kappa"),
    s17.confusion: lambda table, judges: table[table["a"] == judges["judge"].iloc[0]][["n"]],
    s17.probe: lambda table: [of for name in ("own", "primary", "same") for of in with_ends(
        table, f"auroc_{name}", f"low_{name}", f"high_{name}")],
    s18.layers: lambda table, probes: [
        *named(table.query(R3), "accuracy"),
        *points(table.query(R3)["layer"], table.query(R3)["accuracy"]),
        table.query(R3)[["null_low", "null_high"]],
        probes.query("probe in ('words', 'words_of_scenario')")["accuracy"]],
    s18.rounds: lambda table: [
        *points(table.query(MEAN)["layer"], table.query(MEAN)["accuracy"]),
        100 * table.query(MEAN)["peak_share"]],
    s18.baselines: lambda table: named(table, "accuracy", "auroc"),
    s18.transfer: lambda table, left_out: [
        *named(table.query(f"{R3} and {MEAN}"), "auroc"),
        *named(left_out, "auroc")],
    s18.scenarios: lambda table: [*named(table, "auroc"), table["transfer"]],
    s19.ladder: lambda table, drawn: [
        *named(table, "accuracy"), table.query("layers == 'nested'")[["null_low", "null_high"]],
        100 * drawn["share"]],
    s20.grid: lambda table: points(table["l0"], table["explained_variance"], table["kl_recovered"]),
    s20.thresholds: lambda table: [of for end in ("low", "high") for of in points(
        table[end], 100 * table["share"])],
    s21.differences: lambda table: named(table.query("kind == 'trained'"), "minus_raw"),
    s21.chance: lambda exchanged, counts: [
        counts.query("measure == 'beats_raw'")["value"],
        100 * exchanged["better"].value_counts(normalize=True)],
    s21.baselines: lambda table: table["accuracy"],
    s22.rates: lambda features: named(features.head(12), "honest", "deceptive"),
    s22.largest: lambda table: [*named(table, "remeasured"), table[["null_95", "difference"]]],
    s22.steering: steered,
    s23.factorial: lambda levels: with_ends(levels, "p_correct"),
    s23.factor_forest: lambda effects: with_ends(
        effects.query("measure == 'p_correct'"), "value"),
    s23.wordings: lambda levels: with_ends(levels, "p_correct"),
    s23.by_framing: lambda contrasts: with_ends(of_first(contrasts, "model").query(
        "measure == 'p_correct' and contrast in ('genuine', 'sandbag', 'neutral')"), "value"),
    s23.paired: lambda questions: answerable(questions)[
        ["p_correct_genuine", "p_correct_sandbag"]],
    s23.null_contrast: lambda questions: [
        100 * (answerable(questions)["p_correct_genuine"] - answerable(questions)[f"p_correct_{c}"])
        for c in ("sandbag", "neutral")],
    s23.by_topic: lambda table: with_ends(topics(table), "p_correct"),
    s25.front: lambda table: [*points(table["l0"], table["explained_variance"]),
                              *points(table["l0_last"], table["kl_recovered"])],
    s25.k_sweep: lambda table: table.query(  # layer 4, the middle one, has every k
        "architecture == 'topk' and expansion == expansion.min() and layer == 4")[
        ["k", "explained_variance_own", "kl_recovered"]],
    s25.swaps: lambda table: points(table["l0_last"], *(
        table[name] for name in ("E2", "E6", "E6-E4", "E6Δ-E4Δ"))),
    s25.cost: lambda table: table["seconds"],
    s27.heat_map: lambda table: table[["effect_sandbag", "effect_genuine"]],
    s27.extremes: lambda table: [of for c in ("sandbag", "genuine") for of in with_ends(
        table.sort_values("effect_sandbag").iloc[[*range(8), *range(-8, 0)]], f"effect_{c}",
        f"ci_low_{c}", f"ci_high_{c}")],
    s27.attention: lambda table: table.query("token == '‹question›'")["attention"],
    s28.random_heads: lambda table: points(table["kl"], table["effect"]),
    s28.modes: lambda levels: with_ends(
        levels.query("measure == 'effect' and mode in ('zero', 'mean')"), "value"),
    s28.subset_forest: lambda table: with_ends(table, "restoration"),
    s28.stability: lambda table: 100 * table["share_of_splits"].nlargest(15),
    s29.by_question: lambda table: points(
        pd.concat([table["genuine"], pd.Series(table["genuine"].mean())]),
        pd.concat([table["sandbag"], pd.Series(table["sandbag"].mean())])),
    s29.headroom: lambda table: points(table["p_correct_genuine"], table["genuine"]),
    s30.portions: lambda table: with_ends(
        table.query("measure in ('restoration', 'genuine', 'portion')"), "value"),
    s32.pairs: lambda table: [
        *named(compared(table), "d_picked"),
        compared(table)[["d_max", "untrained_d_max", "null_95"]]],
    s32.dictionaries: lambda table: table["d_max"],
    swap_figures.forest: lambda effects: with_ends(effects[
        (effects["prompts"] == "sandbag")
        & ~effects["intervention"].str.contains(r"\.")], "effect"),
    swap_figures.gap_forest: lambda gaps, headline: [
        headline["margin"].clip(lower=0),  # a margin below 0 is not drawn
        *with_ends(gaps.query("prompts == 'sandbag' and gap in ('E6-E4', 'E6-E1', 'E6Δ-E1Δ')"),
                   "mean"),
        gaps.query("prompts == 'sandbag' and gap in ('E6-E4', 'E6-E1', 'E6Δ-E1Δ')")[
            ["wide_low", "wide_high"]]],
    swap_figures.doses: lambda effects: with_ends(effects[
        (effects["prompts"] == "sandbag") & (effects["architecture"] != PLAIN)
        & effects["intervention"].str.fullmatch(r"E4|E6Δ?(\.0\.\d+)?")], "effect"),
    swap_figures.top_features: lambda effects: with_ends(
        effects[effects["intervention"].str.startswith("E5.")], "effect"),
    swap_figures.seed_forest: lambda seeds: with_ends(seeds, "mean"),
}
"""By plot: those numbers, of the tables that it is given, as they stand in the drawing. A new plot
has its entry here; its query is the plot's own choice of rows, its columns are what readers see."""


def numbers(plot, tables):
    """All coordinates and shades of what a plot draws of tables, and the numbers it writes; then,
    as complex numbers, the points."""
    figure = Figure()
    plot(figure, PALETTES["light"], *tables)
    found, at = [], []
    for axes in figure.axes:
        at += [line.get_xydata() for line in axes.lines]
        for patch in axes.patches:
            assert isinstance(patch, Rectangle)
            at.append(patch.get_corners())
            found.append((patch.get_width(), patch.get_height()))
        for drawn in axes.collections:
            at.append(np.ma.filled(drawn.get_offsets(), np.nan))
            at += [path.vertices for path in drawn.get_paths()]
            if isinstance(drawn, QuadMesh):
                found.append(drawn.get_array())
        found.append([float(text.get_text()) for text in axes.texts
                      if re.fullmatch(r"\d+", text.get_text())])
    at = np.concatenate(at)
    return np.concatenate([at.ravel(), *map(np.ravel, found)]), at @ [1, 1j]


def missing(plot, tables):
    """The numbers that a plot must draw of tables and does not."""
    coordinates, at = numbers(plot, tables)
    wanted, lacking = DRAWN[plot](*tables), []
    for part in wanted if isinstance(wanted, list) else [wanted]:
        of = np.unique(np.asarray(part))
        of = of[np.isfinite(of)]
        assert len(of), "a column has no number to look for"
        lacking += [x for x in of if not np.isclose(
            at if np.iscomplexobj(of) else coordinates, x, rtol=1e-9, atol=1e-12).any()]
    return lacking


def altered(tables):
    """The same tables with other measurements and counts."""
    return [table.assign(**{name: table[name] * 0.9371 for name in table.select_dtypes("float")},
                         **{name: 3 * table[name] + 1 for name in table.columns.intersection(["n"])
                            if table[name].dtype.kind == "i"}) for table in tables]
