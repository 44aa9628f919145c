"""§28: the suppressor heads ablated together, in every subset, by mean, against random heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deception_saes.interventions.heads import Means
    from deception_saes.models.anatomy import Head
    from deception_saes.models.load import LanguageModel
    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, Work
    from deception_saes.tasks.prompts import PromptSet

DATA = ("tasks/data/questions.csv", "tasks/data/neutral_text.txt")
NEEDS = (23, 27)

_STABILITY_SPLITS = 100
KINDS = ("uniform", "layer_matched", "damage_matched")
CONDITIONS = ("sandbag", "genuine")


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`."""

    model: ModelSpec
    framing: str
    circuit_size: int
    draw_questions: int | None
    random_draws: int
    bootstrap_draws: int
    device: str
    seed: int


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section; it is about the primary model."""
    from deception_saes.sections.run import primary_params

    return primary_params(Params, profile, seed, models, missing)


def compute(params: Params, work: Work) -> Output:
    """Everything on the evaluating half; only the best subset of a size is chosen on the other."""
    import pandas as pd

    from deception_saes.analysis.circuit import selection_frequency, subsets
    from deception_saes.interventions.ablation import head_means
    from deception_saes.models.load import load
    from deception_saes.sections.halves import half_of
    from deception_saes.sections.head_subsets import best_of_size, restorations, table_of_subsets
    from deception_saes.sections.run import Output
    from deception_saes.sections.sweep import circuit, p_correct_under

    lm = load(params.model, work.artifacts, params.device)
    asked = half_of(work.needed[23], lm, params.framing, "evaluating")
    choosing = half_of(work.needed[23], lm, params.framing, "choosing")
    choosing = choosing.spread(params.draw_questions)
    chosen = circuit(work.needed[27].table("heads"), params.circuit_size)
    sets = subsets(chosen)
    on_choosing_SQ = p_correct_under(lm, choosing, "sandbag", [(), *sets], "subsets, choosing")
    on_choosing_S = (on_choosing_SQ[1:] - on_choosing_SQ[0]).mean(axis=1)
    means = head_means(lm.model, [choosing.prompts[c] for c in ("genuine", "sandbag")],
                       sorted({head.layer for head in chosen}))
    by_mode = {(condition, mode): p_Q
               for condition in CONDITIONS
               for mode, p_Q in _modes(lm, asked, condition, chosen, means)}
    together_Q = by_mode["sandbag", "zero"] - by_mode["sandbag", "clean"]
    best = best_of_size(sets, on_choosing_S)
    restored = restorations(lm, asked, sets, best, together_Q, params.draw_questions)
    subset_table = table_of_subsets(sets, restored, on_choosing_S, best, params.bootstrap_draws,
                                    params.seed)
    draws = random_draws(lm, asked.spread(params.draw_questions), chosen, params)
    effects = work.needed[27].table("sandbag_effects")
    frequency = selection_frequency(effects.iloc[:, 1:].to_numpy(), params.circuit_size,
                                    _STABILITY_SPLITS, params.seed)
    stability = pd.DataFrame({"head": effects["head"], "share_of_splits": frequency})
    questions = pd.DataFrame({"question": asked.ids, **{
        f"p_correct_{condition}_{mode}": p_Q / 100 for (condition, mode), p_Q in by_mode.items()}})
    return Output(
        [*_main_values(by_mode, params), *_subset_values(sets, restored, subset_table, params),
         *_draw_values(draws, params), *_stability_values(stability, chosen, params)],
        {"questions": questions, "subsets": subset_table, "draws": draws.table,
         "draw_effects": draws.effects,
         "stability": stability[stability["share_of_splits"] > 0]},
    )


def _modes(
    lm: LanguageModel, asked: PromptSet, condition: Any, chosen: list[Head], means: Means
) -> Iterator[tuple[str, np.ndarray]]:
    """P(correct) in percent, clean, with zeros and with means for the chosen heads, [questions]."""
    from deception_saes.interventions.ablation import ablated_p_correct

    prompts, correct = asked.prompts[condition], asked.correct[condition]
    clean, zero = 100 * ablated_p_correct(lm.model, prompts, correct, [(), tuple(chosen)],
                                          label=f"{condition}, zero")
    mean = 100 * ablated_p_correct(lm.model, prompts, correct, [tuple(chosen)], means,
                                   label=f"{condition}, mean")[0]
    yield from (("clean", clean), ("zero", zero), ("mean", mean))


@dataclass(frozen=True)
class Draws:
    """table: one row a random set; effects: one row a set, a column a question, in pp, the circuit
    first. damage: mean KL on neutral text of the circuit and of each kind's sets."""

    table: pd.DataFrame
    effects: pd.DataFrame
    damage: dict[str, float]


def random_draws(
    lm: LanguageModel, asked: PromptSet, chosen: list[Head], params: Params
) -> Draws:
    """Random heads of three kinds on sandbag prompts, with their damage to a neutral text."""
    import pandas as pd

    from deception_saes.analysis import circuit as draw
    from deception_saes.interventions.ablation import collateral_damage
    from deception_saes.sections.sweep import all_heads, p_correct_under
    from deception_saes.tasks.neutral import neutral_passages

    heads, n, seed = all_heads(lm), params.random_draws, params.seed
    passage = neutral_passages(lm.tokenizer)[0]
    singly = collateral_damage(lm.model, passage, [(head,) for head in heads], "damage, singly")
    damage = {head: found.kl for head, found in zip(heads, singly, strict=True)}
    sets = {
        "circuit": [tuple(chosen)],
        "uniform": draw.uniform_sets(heads, chosen, n, seed),
        "layer_matched": draw.layer_matched_sets(heads, chosen, n, seed),
        "damage_matched": draw.damage_matched_sets(damage, chosen, n, seed),
    }
    flat = [(kind, heads) for kind, of_kind in sets.items() for heads in of_kind]
    together = [heads for _, heads in flat]
    p_SQ = p_correct_under(lm, asked, "sandbag", [(), *together], "random heads")
    kl = [found.kl for found in collateral_damage(lm.model, passage, together, "damage, sets")]
    effects = pd.DataFrame(p_SQ[1:] - p_SQ[0], columns=list(asked.ids))
    table = pd.DataFrame({"kind": [kind for kind, _ in flat],
                          "heads": [" ".join(map(str, heads)) for _, heads in flat],
                          "effect": effects.mean(axis=1), "kl": kl})
    return Draws(table, effects, table.groupby("kind")["kl"].mean().to_dict())


def _value(params: Params, id: str, quantity: str, found: Any, unit: str, **rest: Any) -> Value:
    from deception_saes.sections.results import Value

    return Value(f"s28.{params.model.slug}.{id}", quantity, found.mean, unit, ci_low=found.low,
                 ci_high=found.high, n=found.n, model=params.model.slug, framing=params.framing,
                 **rest)


def _main_values(
    by_mode: dict[tuple[str, str], np.ndarray], params: Params
) -> Iterator[Value]:
    from deception_saes.analysis.bootstrap import mean_interval

    def interval(per_question: np.ndarray) -> Any:
        return mean_interval(per_question, params.bootstrap_draws, params.seed)

    claims = {("genuine", "clean"): "R-08", ("sandbag", "clean"): "R-09",
              ("sandbag", "zero"): "R-10"}
    for (condition, mode), p_Q in by_mode.items():
        yield _value(params, f"p_correct.{condition}.{mode}", f"P(correct), {mode}",
                     interval(p_Q / 100), "probability", condition=condition,
                     claim=claims.get((condition, mode)))
    for condition, name in (("sandbag", "restoration"), ("genuine", "effect on genuine prompts")):
        clean = by_mode[condition, "clean"]
        for mode in ("zero", "mean"):
            yield _value(params, f"effect.{condition}.{mode}",
                         f"{name} by {mode} ablation of the {params.circuit_size} suppressor heads",
                         interval(by_mode[condition, mode] - clean), "pp", condition=condition,
                         claim="S-07" if (condition, mode) == ("sandbag", "zero") else None)
        yield _value(params, f"effect.{condition}.zero_minus_mean", "zero minus mean ablation",
                     interval(by_mode[condition, "zero"] - by_mode[condition, "mean"]), "pp",
                     condition=condition)


def _subset_values(
    sets: Sequence[tuple[Head, ...]], restored: Sequence[np.ndarray], table: pd.DataFrame,
    params: Params,
) -> Iterator[Value]:
    import numpy as np

    from deception_saes.analysis.bootstrap import Interval, mean_interval
    from deception_saes.analysis.circuit import redundancy
    from deception_saes.sections.results import Value
    from deception_saes.sections.s27 import SINGLE_HEAD_CLAIMS

    singles = [i for i, heads in enumerate(sets) if len(heads) == 1]
    for rank, index in enumerate(singles, start=1):
        claim = SINGLE_HEAD_CLAIMS[rank - 1] if rank <= len(SINGLE_HEAD_CLAIMS) else None
        yield _value(params, f"single{rank}", f"restoration by {sets[index][0]} alone, suppressor "
                     f"{rank}", mean_interval(restored[index], params.bootstrap_draws, params.seed),
                     "pp", condition="sandbag", layer=sets[index][0].layer, claim=claim)
    together_Q, alone_HQ = restored[-1], np.stack([restored[i] for i in singles])
    found = redundancy(together_Q, alone_HQ, params.bootstrap_draws, params.seed)
    yield _value(params, "sum_of_singles", "sum of the single-head effects", found.sum_of_singles,
                 "pp", condition="sandbag", claim="S-11")
    share = found.share or Interval(float("nan"), float("nan"), float("nan"), len(together_Q))
    percent = Interval(100 * share.mean, 100 * share.low, 100 * share.high, share.n)
    yield _value(params, "redundancy", "redundancy, 1 − combined / sum of singles", percent,
                 "percent", condition="sandbag", claim="S-12")
    for row in table[table["best_of_size"]].itertuples():
        yield Value(f"s28.{params.model.slug}.best{row.size}", f"restoration by the best subset of "
                    f"{row.size} (chosen on the choosing half): {row.heads}", row.restoration, "pp",
                    ci_low=row.ci_low, ci_high=row.ci_high, n=row.n, model=params.model.slug,
                    framing=params.framing, condition="sandbag",
                    claim="S-10" if row.size == 3 else None)


def _draw_values(draws: Draws, params: Params) -> Iterator[Value]:
    from deception_saes.analysis.bootstrap import mean_interval
    from deception_saes.analysis.circuit import empirical_p
    from deception_saes.sections.results import Value

    about: dict[str, Any] = {"model": params.model.slug, "framing": params.framing,
                             "condition": "sandbag"}
    base = f"s28.{params.model.slug}"
    circuit_Q = draws.effects.iloc[0].to_numpy()
    yield Value(f"{base}.damage.circuit", "mean KL on a neutral text, suppressor heads ablated",
                draws.damage["circuit"], "nats", **about)
    for kind in KINDS:
        rows = (draws.table["kind"] == kind).to_numpy()
        if not rows.any():
            continue
        effects = draws.effects[rows].to_numpy()
        title = kind.replace("_", "-")
        uniform = kind == "uniform"
        mean = mean_interval(effects.mean(axis=0), params.bootstrap_draws, params.seed)
        gap = mean_interval(circuit_Q - effects.mean(axis=0), params.bootstrap_draws, params.seed)
        yield _value(params, f"random.{kind}", f"mean effect of {title} random heads, "
                     f"{rows.sum()} draws", mean, "pp", condition="sandbag",
                     claim="S-23" if uniform else None)
        yield _value(params, f"gap.{kind}", f"specificity gap against {title} random heads", gap,
                     "pp", condition="sandbag", claim="S-08" if uniform else None)
        by_draw = effects.mean(axis=1)
        yield Value(f"{base}.sigma.{kind}", f"SD over draws of {title} random heads",
                    float(by_draw.std(ddof=1)), "pp", n=int(rows.sum()), **about)
        yield Value(f"{base}.p.{kind}", f"empirical p against {title} random heads",
                    empirical_p(float(circuit_Q.mean()), by_draw), "p", n=int(rows.sum()), **about)
        yield Value(f"{base}.damage.{kind}", f"mean KL on a neutral text, {title} random heads",
                    draws.damage[kind], "nats", n=int(rows.sum()), **about)


def _stability_values(
    stability: pd.DataFrame, chosen: list[Head], params: Params
) -> Iterator[Value]:
    from deception_saes.sections.results import Value

    share = stability.set_index("head")["share_of_splits"]
    yield Value(f"s28.{params.model.slug}.stability", "share of random half-splits of the choosing "
                "half in which a suppressor head is chosen again, mean over the heads",
                float(100 * share[[str(head) for head in chosen]].mean()), "percent",
                n=_STABILITY_SPLITS, model=params.model.slug, framing=params.framing,
                condition="sandbag")
