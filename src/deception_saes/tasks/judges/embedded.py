"""A local model as judge: the label is read from the probabilities of the label words.

A small model prefers one label whatever it reads. So a label's log-probability is compared with
the one that it has where the completion is replaced by a text that says nothing (contextual
calibration: Zhao et al. 2021, arXiv:2102.09690).

Shape suffixes: B prompts of a batch, L labels in the order of LABELS, D d_model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from deception_saes.models.forward import (
    SuffixBatch,
    continuation_states,
    log_probabilities,
    suffix_batches,
)
from deception_saes.models.tree import following
from deception_saes.tasks.judges.rubric import CUE, batch_prompt, individual_prompt
from deception_saes.tasks.labels import LABELS
from deception_saes.tasks.prompts import encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from deception_saes.models.load import LanguageModel
    from deception_saes.tasks.completions import Completion
    from deception_saes.tasks.scenarios import Scenario

NOTHING = " N/A"
"""The completion that says nothing."""
LABEL_TIE = 1e-4
"""Labels nearer to one another than this, in nats, are a tie: float32 cannot tell them apart."""


@dataclass(frozen=True)
class Judgement:
    """What the judge makes of one completion."""

    completion: str
    """Its id."""
    log_p: tuple[float, ...]
    """Log-probability of each label word at the answer position, in the order of LABELS."""
    log_prior: tuple[float, ...]
    """The same where every completion of the prompt is NOTHING, after the same labels."""

    @property
    def label(self) -> str:
        """That of the largest log_p − log_prior; ambiguous if two are largest (see LABEL_TIE)."""
        gains = [p - prior for p, prior in zip(self.log_p, self.log_prior, strict=True)]
        largest = [label for label, gain in zip(LABELS, gains, strict=True)
                   if gain > max(gains) - LABEL_TIE]
        return largest[0] if len(largest) == 1 else "ambiguous"

    @property
    def probabilities(self) -> dict[str, float]:
        """By label, its share of what the three have together, the prior taken out."""
        gain_L = torch.tensor(self.log_p) - torch.tensor(self.log_prior)
        return dict(zip(LABELS, torch.softmax(gain_L.double(), dim=0).tolist(), strict=True))


def judge_single(
    lm: LanguageModel,
    scenarios: Sequence[Scenario],
    completions: Sequence[Completion],
) -> list[Judgement]:
    """One completion a prompt; judgements in the order given. The rubric is run once a scenario.

    Raises KeyError for a completion of no given scenario; ValueError if this tokenizer gives a
    label no tokens of its own behind the cue.
    """
    labels = _continuations(lm, CUE, [f" {label}" for label in LABELS])
    found: dict[str, Judgement] = {}
    with tqdm(total=len(completions), desc=f"judging with {lm.spec.slug}",
              unit="completion") as bar:
        for scenario, of_scenario in _by_scenario(scenarios, completions):
            texts = [*(c.text for c in of_scenario), NOTHING]
            prompts = [_reply_of(lm, individual_prompt(scenario, text), CUE) for text in texts]
            *log_p, log_prior = (tuple(of.log_p) for of in following(
                lm.model, prompts, [labels] * len(prompts)))
            for completion, of_completion in zip(of_scenario, log_p, strict=True):
                found[completion.id] = Judgement(completion.id, of_completion, log_prior)
            bar.update(len(of_scenario))
    return [found[completion.id] for completion in completions]


def judge_batch(
    lm: LanguageModel,
    scenarios: Sequence[Scenario],
    completions: Sequence[Completion],
    per_prompt: int,
) -> list[Judgement]:
    """`per_prompt` neighbouring completions of a scenario in one prompt, the last perhaps fewer.

    Labels are read item by item, each chosen one written into the reply before the next is read.
    Judgements in the order given. Raises as `judge_single` does, and ValueError if `per_prompt`
    is not positive.
    """
    if per_prompt < 1:
        raise ValueError(f"per_prompt is {per_prompt}; expected at least 1")
    items = _items(lm, per_prompt)
    found: dict[str, Judgement] = {}
    with tqdm(total=len(completions), desc=f"judging with {lm.spec.slug}, {per_prompt} a prompt",
              unit="completion") as bar:
        for scenario, of_scenario in _by_scenario(scenarios, completions):
            chunks = [of_scenario[start : start + per_prompt]
                      for start in range(0, len(of_scenario), per_prompt)]
            blank = {n: next(_read(lm, scenario, [[NOTHING] * n]))
                     for n in {len(chunk) for chunk in chunks}}
            for batch in _read(lm, scenario, [[c.text for c in chunk] for chunk in chunks]):
                chunk = chunks[batch.rows[0]]
                for judgement in _judge_chunk(lm, chunk, items, batch, blank[len(chunk)]):
                    found[judgement.completion] = judgement
                bar.update(len(chunk))
    return [found[completion.id] for completion in completions]


@dataclass(frozen=True)
class _Item:
    """The part of a reply that is about one completion."""

    labels: list[tuple[int, ...]]
    """Token ids of each label after the number."""
    cues: list[tuple[int, ...]]
    """Token ids of the next number after each label."""


def _items(lm: LanguageModel, n: int) -> list[_Item]:
    return [_Item(_continuations(lm, f"{i}:", [f" {label}" for label in LABELS]),
                  [_continuations(lm, f"{i}: {label}", [f"\n{i + 1}:"])[0] for label in LABELS])
            for i in range(1, n + 1)]


def _read(
    lm: LanguageModel, scenario: Scenario, texts: Sequence[Sequence[str]]
) -> Iterator[SuffixBatch]:
    """Batch prompts, one a batch, up to where the first label stands in the reply."""
    prompts = [_reply_of(lm, batch_prompt(scenario, of_prompt), "1:") for of_prompt in texts]
    return suffix_batches(lm.model, prompts, 1)


def _judge_chunk(
    lm: LanguageModel,
    chunk: Sequence[Completion],
    items: Sequence[_Item],
    batch: SuffixBatch,
    blank: SuffixBatch,
) -> Iterator[Judgement]:
    """Judgements of one prompt; uses up `batch`. blank: the prompt of NOTHING as often."""
    blank = SuffixBatch(blank.rows, blank.hidden_BTD, copy.deepcopy(blank.cache))
    for place, (completion, item) in enumerate(zip(chunk, items, strict=False), 1):
        log_p, log_prior = (tuple(_label_log_p(lm.model, of, item.labels)[0].tolist())
                            for of in (batch, blank))
        judgement = Judgement(completion.id, log_p, log_prior)
        yield judgement
        if place < len(chunk):
            chosen = LABELS.index(judgement.label)
            written = (*item.labels[chosen], *item.cues[chosen])
            batch, blank = (_written(lm.model, of, written) for of in (batch, blank))


@torch.inference_mode()
def _written(model: PreTrainedModel, batch: SuffixBatch, tokens: Sequence[int]) -> SuffixBatch:
    """A batch of one prompt with these tokens behind it; takes over its keys and values."""
    ids_1T = torch.tensor([list(tokens)], device=model.device)
    out = model.base_model(input_ids=ids_1T, past_key_values=batch.cache, use_cache=True)
    return SuffixBatch(batch.rows, out.last_hidden_state, out.past_key_values)


def _by_scenario(
    scenarios: Sequence[Scenario], completions: Sequence[Completion]
) -> Iterator[tuple[Scenario, list[Completion]]]:
    of: dict[str, list[Completion]] = {}
    for completion in completions:
        of.setdefault(completion.scenario, []).append(completion)
    by_id = {scenario.id: scenario for scenario in scenarios}
    for id, of_scenario in of.items():
        if id not in by_id:
            raise KeyError(f"completion {of_scenario[0].id!r} is of scenario {id!r}, which has no "
                           f"rubric here; known: {', '.join(by_id)}")
        yield by_id[id], of_scenario


def _reply_of(lm: LanguageModel, message: str, begun: str) -> list[int]:
    """Token ids of a user message and of the beginning of the reply to it."""
    if lm.tokenizer.chat_template:
        turn = [{"role": "user", "content": message}]
        asked = str(lm.tokenizer.apply_chat_template(turn, tokenize=False,
                                                     add_generation_prompt=True))
    else:
        asked = f"{message}\n\n"
    return encode(asked + begun, lm.tokenizer)


def _continuations(lm: LanguageModel, before: str, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """The token ids that each text gets after `before`."""
    def ids(text: str) -> list[int]:
        found: list[int] = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    context, whole = ids(before), [ids(before + text) for text in texts]
    for text, of_text in zip(texts, whole, strict=True):
        if of_text[: len(context)] != context or len(of_text) == len(context):
            raise ValueError(f"this tokenizer merges {before!r} with {text!r}, so that the label "
                             "has no position of its own; judge with another model")
    return [tuple(of_text[len(context) :]) for of_text in whole]


def _label_log_p(
    model: PreTrainedModel, batch: SuffixBatch, labels: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Log-probability that each label follows each prompt, float64 [B, L]."""
    first_BV = log_probabilities(model, batch.hidden_BTD[:, -1])
    log_p_BL = first_BV[:, [label[0] for label in labels]]
    longer = [(place, column) for place in range(len(batch.rows))
              for column, label in enumerate(labels) if len(label) > 1]
    states = continuation_states(model, batch.cache, [(place, labels[column][:-1])
                                                      for place, column in longer])
    for (place, column), hidden_TD in zip(longer, states, strict=True):
        after_TV = log_probabilities(model, hidden_TD)
        rest = labels[column][1:]
        log_p_BL[place, column] += after_TV[range(len(rest)), list(rest)].sum()
    return log_p_BL
