"""§27: the effect of ablating every head alone, and the suppressor heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deception_saes.models.anatomy import Head
    from deception_saes.models.load import LanguageModel
    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import NotRun, Output, Work
    from deception_saes.tasks.framings import Condition
    from deception_saes.tasks.prompts import PromptSet

DATA = ("tasks/data/questions.csv",)
NEEDS = (23,)

SINGLE_HEAD_CLAIMS = ("R-11", "R-12", "R-13", "R-14", "R-15")
DRAWN_HEADS = 3
_SPLITS = 200
_EARLY = 0.25  # of depth, as the card counts


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`."""

    model: ModelSpec
    framing: str
    circuit_size: int
    sweep_sandbag_questions: int | None
    sweep_genuine_questions: int | None
    bootstrap_draws: int
    permutations: int
    device: str
    seed: int


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params | NotRun:
    """The part of a profile that decides this section; it is about the primary model."""
    from deception_saes.sections.run import primary_params

    return primary_params(Params, profile, seed, models, missing)


def compute(params: Params, work: Work) -> Output:
    """Sweep all heads on the choosing half, under sandbag and under genuine."""
    import pandas as pd

    from deception_saes.models.load import load
    from deception_saes.sections.halves import half_of
    from deception_saes.sections.run import Output
    from deception_saes.sections.sweep import all_heads, circuit, sweep

    lm = load(params.model, work.artifacts, params.device)
    half = half_of(work.needed[23], lm, params.framing, "choosing")
    asked = half.spread(params.sweep_sandbag_questions)
    fewer = half.spread(params.sweep_genuine_questions)
    heads = all_heads(lm)
    sandbag_HQ = sweep(lm, asked, "sandbag", work.tree)
    genuine_HQ = sweep(lm, fewer, "genuine", work.tree)
    table = head_table(heads, sandbag_HQ, genuine_HQ, params)
    wide = pd.DataFrame(sandbag_HQ, columns=list(asked.ids))
    wide.insert(0, "head", [str(head) for head in heads])
    seen = attention_table(lm, fewer, circuit(table, DRAWN_HEADS))
    return Output(list(values(table, sandbag_HQ, genuine_HQ, lm, params)),
                  {"heads": table, "sandbag_effects": wide, "attention": seen})


def head_table(
    heads: list[Head], sandbag_HQ: np.ndarray, genuine_HQ: np.ndarray, params: Params
) -> pd.DataFrame:
    """One row a head: effects in pp with intervals, and the p corrected for the number of heads."""
    import pandas as pd

    from deception_saes.analysis.bootstrap import mean_interval
    from deception_saes.analysis.circuit import max_t_p_values

    table = pd.DataFrame({"layer": [h.layer for h in heads], "head": [h.head for h in heads]})
    for condition, effects_HQ in (("sandbag", sandbag_HQ), ("genuine", genuine_HQ)):
        found = [mean_interval(row, params.bootstrap_draws, params.seed) for row in effects_HQ]
        table[f"effect_{condition}"] = [interval.mean for interval in found]
        table[f"ci_low_{condition}"] = [interval.low for interval in found]
        table[f"ci_high_{condition}"] = [interval.high for interval in found]
        table[f"n_{condition}"] = effects_HQ.shape[1]
        table[f"p_{condition}"] = max_t_p_values(effects_HQ, params.permutations, params.seed)
    return table


def values(
    table: pd.DataFrame, sandbag_HQ: np.ndarray, genuine_HQ: np.ndarray, lm: LanguageModel,
    params: Params,
) -> Iterator[Value]:
    """The circuit's heads one by one, how many heads stand out, how stable the ranking is."""
    import numpy as np

    from deception_saes.analysis.circuit import split_half_correlation
    from deception_saes.sections.results import Value
    from deception_saes.sections.sweep import circuit

    base = f"s27.{params.model.slug}"
    about: dict[str, Any] = {"model": params.model.slug, "framing": params.framing}
    n = sandbag_HQ.shape[1]
    chosen = circuit(table, params.circuit_size)
    for rank, head in enumerate(chosen, start=1):
        row = table[(table["layer"] == head.layer) & (table["head"] == head.head)].iloc[0]
        for condition in ("sandbag", "genuine"):
            yield Value(f"{base}.top{rank}.{condition}",
                        f"effect of {head} alone, suppressor {rank} (choosing half)",
                        row[f"effect_{condition}"], "pp", ci_low=row[f"ci_low_{condition}"],
                        ci_high=row[f"ci_high_{condition}"], n=int(row[f"n_{condition}"]),
                        layer=head.layer, condition=condition, **about)
    early = sum(head.layer / lm.model.config.num_hidden_layers <= _EARLY for head in chosen)
    yield Value(f"{base}.early", f"heads of the {len(chosen)} strongest suppressors in the first "
                "quarter of depth", float(early), "count", claim="S-09", n=len(chosen),
                condition="sandbag", **about)
    for condition, effects_HQ in (("sandbag", sandbag_HQ), ("genuine", genuine_HQ)):
        significant = table[f"p_{condition}"] < 0.05
        for kind, sign in (("suppressor", 1), ("promoter", -1)):
            count = (significant & (sign * table[f"effect_{condition}"] > 0)).sum()
            yield Value(f"{base}.{kind}s.{condition}", f"{kind} heads at corrected p < 0.05",
                        float(count), "count", n=len(table), condition=condition, **about)
        spread = split_half_correlation(effects_HQ, _SPLITS, params.seed)
        low, high = np.quantile(spread, [0.025, 0.975])
        yield Value(f"{base}.split_half.{condition}", "split-half rank correlation of heads",
                    float(spread.mean()), "correlation", ci_low=float(low), ci_high=float(high),
                    n=effects_HQ.shape[1], condition=condition, **about)
    both = np.corrcoef(sandbag_HQ.mean(axis=1), genuine_HQ.mean(axis=1))[0, 1]
    yield Value(f"{base}.between_conditions", "correlation of heads' effects, sandbag and genuine",
                float(both), "correlation", n=n, **about)


def attention_table(lm: LanguageModel, asked: PromptSet, heads: list[Head]) -> pd.DataFrame:
    """Attention from the last position to every token of the shared beginning, to the question as
    a whole, and to the tokens behind it, averaged over questions."""
    import numpy as np
    import pandas as pd

    from deception_saes.models.attention import last_position_attention
    from deception_saes.models.forward import shared_prefix

    conditions: tuple[Condition, ...] = ("genuine", "sandbag")
    rows = []
    for condition in conditions:
        prompts = asked.prompts[condition]
        before = len(shared_prefix(prompts))
        behind = len(shared_prefix([prompt[::-1] for prompt in prompts]))
        found = last_position_attention(lm.model, prompts, heads)
        names = [lm.tokenizer.decode([t]) for t in prompts[0][:before]]
        names += ["‹question›", *(lm.tokenizer.decode([t]) for t in prompts[0][-behind:])]
        for head in heads:
            weights = np.mean([
                [*w[:before], w[before : len(w) - behind].sum(), *w[len(w) - behind :]]
                for w in found[head]
            ], axis=0)
            rows += [{"head": str(head), "condition": condition, "position": i, "token": name,
                      "attention": weight, "n": len(prompts)}
                     for i, (name, weight) in enumerate(zip(names, weights, strict=True))]
    return pd.DataFrame(rows)
