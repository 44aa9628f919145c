"""Ablating attention heads: each alone, some together, and random ones beside them.

Shape suffixes: H heads, S head sets, Q questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd

from deception_saes.analysis import circuit
from deception_saes.cache import cached
from deception_saes.experiments.task import AskedHalf, Subject
from deception_saes.interventions.ablation import (
    ablated_p_correct,
    collateral_damage,
    head_means,
)
from deception_saes.interventions.heads import Means, ResumableRun, ablated
from deception_saes.models.anatomy import Head, anatomy
from deception_saes.models.forward import (
    at_temperature,
    last_position_attention,
    shared_prefix,
)
from deception_saes.tasks.framings import Condition
from deception_saes.tasks.prompts import neutral_passages
from deception_saes.tasks.scoring import score
from deception_saes.tidy import described

Heads = tuple[Head, ...]
Kind = Literal["uniform", "layer_matched", "damage_matched"]
KINDS: tuple[Kind, ...] = ("uniform", "layer_matched", "damage_matched")
NEUTRAL = ("tasks/data/neutral_text.txt",)

_WITH_ATTENTION: tuple[Condition, ...] = ("genuine", "sandbag")


def all_heads(subject: Subject) -> list[Head]:
    """Every head of the model, by layer. Loads no model."""
    shape = subject.model.shape
    return [Head(layer, head) for layer in range(shape.layers) for head in range(shape.heads)]


# Each head alone


@cached()
def sweep(half: AskedHalf, condition: Condition) -> pd.DataFrame:
    """Effect on P(correct) of ablating each head alone, in pp: a row a head, a column a question;
    of a half without questions the heads alone.

    Each layer is kept when it is done, so that a killed sweep goes on where it stopped, and a
    cluster may make the layers side by side.
    """
    ids = [question.id for question in half.questions]
    layers = range(half.task.subject.model.shape.layers)
    wide = pd.DataFrame(np.concatenate([sweep_layer(half, condition, layer) for layer in layers]),
                        columns=ids)
    wide.insert(0, "head", [str(head) for head in all_heads(half.task.subject)])
    return described(
        wide, "effect of ablating each head alone, question by question; a column a question",
        **dict.fromkeys(ids, ("pp", "effect of ablating the head on this question")))


@cached()
def sweep_layer(half: AskedHalf, condition: Condition, layer: int) -> np.ndarray:
    """What `sweep` measures, of the heads of one layer, in pp, [heads, questions]."""
    if not half.questions:
        return np.empty((half.task.subject.model.shape.heads, 0))
    lm = half.task.subject.load()
    asked, resumable = half.prompts, anatomy(lm.model).family.resumable
    sets = [(), *((Head(layer, head),) for head in range(anatomy(lm.model).n_heads))]
    found = ablated_p_correct(
        lm.model, asked.prompts[condition], asked.correct[condition], sets,
        run=_clean_run(half, condition) if resumable else None,
        label=f"{asked.framing.name} {condition} L{layer}")
    effects_HQ: np.ndarray = 100 * (found[1:] - found[0])
    return effects_HQ


@lru_cache(maxsize=1)
def _clean_run(half: AskedHalf, condition: Condition) -> ResumableRun:
    return ResumableRun(half.task.subject.load().model, half.prompts.prompts[condition])


@cached()
def attention(half: AskedHalf, heads: Heads) -> pd.DataFrame:
    """Attention from the last position to every token of the shared beginning, to the question as
    a whole, and to the tokens behind it, averaged over questions."""
    lm, asked = half.task.subject.load(), half.prompts
    rows = []
    for condition in _WITH_ATTENTION:
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
    return described(
        pd.DataFrame(rows), "attention of the strongest suppressors from the last prompt position, "
        "token by token; a question counts as one",
        position=("", "number of the token, from 0: the beginning that all prompts share, the "
                      "question as a whole, the tokens behind it"),
        attention=("share", "attention weight, mean over questions"),
        token=("", "text of the token; ‹question›: the question as a whole"),
        n=("count", "questions"))


# Several together


@cached()
def p_correct(
    half: AskedHalf, condition: Condition, ablate: Sequence[Heads], *,
    means_of: AskedHalf | None = None,
) -> np.ndarray:
    """P(correct) in percent under the ablation of each head set, [sets, questions]; an empty set is
    the clean model. A set that stands several times is run once.

    means_of: None: the heads' outputs are set to zero. A half: to their mean over its questions,
    genuine and sandbag prompts weighted equally.
    """
    lm, asked = half.task.subject.load(), half.prompts
    layers = tuple(sorted({head.layer for heads in ablate for head in heads}))
    means = None if means_of is None else _means(means_of, layers)
    mode = "zeros" if means is None else "means"
    distinct = list(dict.fromkeys(map(tuple, ablate)))
    found = 100 * ablated_p_correct(
        lm.model, asked.prompts[condition], asked.correct[condition], distinct, means,
        label=f"{asked.framing.name} {condition}, {len(distinct)} sets by {mode}")
    p_SQ: np.ndarray = found[[distinct.index(tuple(heads)) for heads in ablate]]
    return p_SQ


@cached()
def answers(
    half: AskedHalf, condition: Condition, heads: Heads = (), temperature: float = 1.0
) -> pd.DataFrame:
    """What the model answers with these heads set to zero and its logits divided by `temperature`,
    question by question."""
    lm = half.task.subject.load()
    with ablated(anatomy(lm.model), [heads]), at_temperature(lm.model, temperature):
        found = score(lm, half.framing, condition, half.questions, strings=False)
    return pd.DataFrame({"question": [of.question for of in found], "cluster": half.clusters,
                         "p_correct": [of.p_correct for of in found],
                         "foil_measure": [of.foil_measure for of in found],
                         "top_is_correct": [float(of.top_is_correct) for of in found]})


@lru_cache(maxsize=1)
def _means(half: AskedHalf, layers: tuple[int, ...]) -> Means:
    groups = [half.prompts.prompts[c] for c in ("genuine", "sandbag")]
    return head_means(half.task.subject.load().model, groups, layers)


@cached(data=NEUTRAL)
def damage(subject: Subject, ablate: Sequence[Heads]) -> np.ndarray:
    """Mean KL(clean ‖ ablated) of each head set along the first passage of a neutral text, nats."""
    lm = subject.load()
    passage = neutral_passages(lm.tokenizer)[0]
    found = collateral_damage(lm.model, passage, ablate, f"damage, {len(ablate)} sets")
    return np.array([of.kl for of in found])


@cached(data=NEUTRAL)
def text_cost(subject: Subject, heads: Heads) -> pd.DataFrame:
    """What ablating the heads together costs a neutral text, a passage a row."""
    lm = subject.load()
    rows = []
    for number, passage in enumerate(neutral_passages(lm.tokenizer), start=1):
        clean, ablated = collateral_damage(lm.model, passage, [(), heads], f"passage {number}")
        rows.append({"passage": number, "tokens": len(passage), "clean": clean.cross_entropy,
                     "ablated": ablated.cross_entropy, "kl": ablated.kl})
    return described(
        pd.DataFrame(rows), "a passage of neutral text a row: its cross-entropy, clean and with "
        "the suppressor heads set to 0",
        passage=("", "number of the passage in neutral_text.txt, from 1"),
        tokens=("count", "tokens of the passage"), clean=("nats", "cross-entropy, a token"),
        ablated=("nats", "the same with the heads ablated"),
        kl=("nats", "KL(clean ‖ ablated), mean over positions"))


@dataclass(frozen=True)
class RandomHeads:
    """Heads drawn at random beside the chosen ones."""

    table: pd.DataFrame
    """A row a set, the chosen one first, as kind "circuit"."""
    effects: pd.DataFrame
    """On P(correct) in pp, the same sets, a column a question."""
    p_correct: np.ndarray
    """P(correct) in percent of the clean model and then the same sets, [1 + S, Q]."""

    def of(self, kind: str) -> np.ndarray:
        """The effects of one kind's sets, [S, Q]."""
        effects_SQ: np.ndarray = self.effects[(self.table["kind"] == kind).to_numpy()].to_numpy()
        return effects_SQ


def random_heads(
    half: AskedHalf, condition: Condition, heads: Heads, *, kinds: Sequence[Kind], draws: int,
    seed: int, means_of: AskedHalf | None = None,
) -> RandomHeads:
    """So many random sets of each kind, as many heads as the chosen ones and disjoint from them.

    uniform: of all heads. layer_matched: with the same multiset of layers, see
    `circuit.layer_matched_sets`. damage_matched: for each chosen head one of those whose ablation
    alone changes the predictions on a neutral text most alike. means_of: as for
    `p_correct`; damage is by zeros all the same.
    """
    subject = half.task.subject
    heads_of_model = all_heads(subject)
    alone = damage(subject, [(head,) for head in heads_of_model])
    singly = dict(zip(heads_of_model, alone.tolist(), strict=True))
    drawn = {"uniform": lambda: circuit.uniform_sets(heads_of_model, list(heads), draws, seed),
             "layer_matched": lambda: circuit.layer_matched_sets(
                 heads_of_model, list(heads), draws, seed),
             "damage_matched": lambda: circuit.damage_matched_sets(singly, list(heads), draws,
                                                                   seed)}
    flat = [("circuit", heads), *((kind, of) for kind in kinds for of in drawn[kind]())]
    sets = [of for _, of in flat]
    p_SQ = p_correct(half, condition, [(), *sets], means_of=means_of)
    effects_SQ = p_SQ[1:] - p_SQ[0]
    ids = [question.id for question in half.questions]
    table = pd.DataFrame({"kind": [kind for kind, _ in flat],
                          "heads": [" ".join(map(str, of)) for of in sets],
                          "effect": effects_SQ.mean(axis=1), "kl": damage(subject, sets)})
    effects = pd.DataFrame(effects_SQ, columns=ids)
    return RandomHeads(
        described(table, f"a set of heads a row, the suppressors first; {condition} prompts",
                  kind=("", "circuit: the suppressors; uniform, layer_matched, damage_matched: "
                            "random heads"),
                  heads=("", "the heads that are ablated"),
                  effect=("pp", "effect of ablating them together, mean over questions"),
                  kl=("nats", "mean KL(clean ‖ ablated) on a neutral text, by zeros")),
        described(effects, "the same sets, in the same order; a column a question",
                  **dict.fromkeys(ids, ("pp", "effect on this question"))), p_SQ)


def subset_effects(
    choosing: AskedHalf, evaluating: AskedHalf, heads: Heads, together_Q: np.ndarray, *,
    draw_questions: int | None,
) -> tuple[list[Heads], list[np.ndarray], np.ndarray, set[int]]:
    """Every subset of the heads: the sets, their restorations in pp on the evaluating half,
    [questions] each, their mean restoration on the choosing half, [sets], and the places of the
    best of each size, chosen there.

    Single heads, the best of each size and all together are measured on every evaluating question,
    the others on `draw_questions` of them. together_Q: restoration by all heads, which is known.
    """
    sets = circuit.subsets(list(heads))
    chosen_SQ = p_correct(choosing, "sandbag", [(), *sets])
    on_choosing_S = (chosen_SQ[1:] - chosen_SQ[0]).mean(axis=1)
    best = best_of_size(sets, on_choosing_S)
    found = {len(sets) - 1: together_Q}
    reported = [i for i, of in enumerate(sets[:-1]) if len(of) == 1 or i in best]
    others = [i for i in range(len(sets) - 1) if i not in reported]
    for places, half in ((reported, evaluating), (others, evaluating.spread(draw_questions))):
        if places:
            p_SQ = p_correct(half, "sandbag", [(), *(sets[i] for i in places)])
            found |= dict(zip(places, p_SQ[1:] - p_SQ[0], strict=True))
    return sets, [found[i] for i in range(len(sets))], on_choosing_S, best


def best_of_size(sets: Sequence[Heads], on_choosing_S: np.ndarray) -> set[int]:
    """Of the sets of each size, the place of the one that restores most on the choosing half."""
    sizes = {len(heads) for heads in sets}
    return {max((i for i, heads in enumerate(sets) if len(heads) == size),
                key=lambda i: on_choosing_S[i]) for size in sizes}
