"""The residual stream on completions, read by teacher forcing.

Shape suffixes: L layers, N completions, S scenarios, D d_model.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from tqdm import tqdm

from deception_saes.activations.capture import residuals
from deception_saes.models.anatomy import anatomy
from deception_saes.store.files import write_atomic

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Pooling = Literal["mean", "last", "prompt_end"]
"""What of a completion is kept: the mean over its tokens, its last token, or the last token of the
prompt before it, which is the same for all completions of a scenario."""

_LENGTHS = 8
"""Completions are filled up to a multiple of so many tokens, so that more of them are of one length
and run together. What stands behind a token changes nothing at it."""
COMPLETION_TOKENS_AT_ONCE = 4096
"""Tokens of completions whose residuals, at every layer, stand in memory together."""


@dataclass(frozen=True)
class TokenCompletion:
    """A completion as token ids."""

    id: str
    scenario: str
    """Of its prompt."""
    tokens: Sequence[int]


@dataclass(frozen=True)
class CompletionActivations:
    """resid_post of completions at every layer of a model, float32."""

    ids: tuple[str, ...]
    scenario: tuple[str, ...]
    """Of each completion, [N]."""
    n_tokens: np.ndarray
    """Of each completion, [N]."""
    scenarios: tuple[str, ...]
    """All of them, [S]."""
    mean: torch.Tensor
    """Over a completion's tokens, [L, N, D]."""
    last: torch.Tensor
    """At its last token, [L, N, D]."""
    prompt_end_LSD: torch.Tensor
    """At the last token of a scenario's prompt."""

    @property
    def n_layers(self) -> int:
        return len(self.mean)

    def rows(self, ids: Sequence[str]) -> list[int]:
        """Where these completions stand; KeyError naming the first that is not here."""
        place = {id: row for row, id in enumerate(self.ids)}
        return [place[id] for id in ids]

    def of(self, ids: Sequence[str], pooling: Pooling) -> np.ndarray:
        """These completions at every layer, float64 [L, n, D].

        Raises KeyError for an unknown completion, ValueError for an unknown pooling.
        """
        rows = self.rows(ids)
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling is {pooling!r}; expected one of "
                             f"{', '.join(get_args(Pooling))}")
        if pooling == "prompt_end":
            places = [self.scenarios.index(self.scenario[row]) for row in rows]
            found = self.prompt_end_LSD[:, places]
        else:
            found = getattr(self, pooling)[:, rows]
        x_LND: np.ndarray = found.double().numpy()
        return x_LND


@dataclass(frozen=True)
class TokenRows:
    """resid_post at every token of completions."""

    x_by_layer: dict[int, torch.Tensor]
    """[N, D], float32 on the CPU."""
    completion: np.ndarray
    """Id of each row's completion, strings [N]."""
    position: np.ndarray
    """Of its token, 0-based in prompt and completion, [N]."""

    def of(self, ids: Collection[str]) -> np.ndarray:
        """Indices of the rows of these completions."""
        return np.flatnonzero(np.isin(self.completion, list(ids)))


def joined(parts: Sequence[TokenRows]) -> TokenRows:
    """The rows of all parts, one behind the other. The parts are of the same layers."""
    return TokenRows(
        {layer: torch.cat([part.x_by_layer[layer] for part in parts])
         for layer in parts[0].x_by_layer},
        np.concatenate([part.completion for part in parts]),
        np.concatenate([part.position for part in parts]))


def capture_completions(
    model: PreTrainedModel,
    prompts: Mapping[str, Sequence[int]],
    completions: Sequence[TokenCompletion],
    token_layers: Sequence[int],
    batch_size: int,
) -> tuple[CompletionActivations, TokenRows]:
    """resid_post of completions behind their prompts, scenario by scenario: pooled at every layer,
    and at every token at `token_layers`.

    prompts: token ids by scenario. The order of the completions is kept; tokens are ordered by
    completion, then by position.
    Raises ValueError if there is no completion, one without tokens or of an unknown scenario, and
    as `residuals` does.
    """
    _check(prompts, completions)
    n_layers, width = anatomy(model).n_layers, model.config.hidden_size
    mean, last = (torch.empty(n_layers, len(completions), width) for _ in range(2))
    scenarios = tuple(dict.fromkeys(completion.scenario for completion in completions))
    prompt_end_LSD = torch.empty(n_layers, len(scenarios), width)
    n_tokens = [len(completion.tokens) for completion in completions]
    starts = [0, *accumulate(n_tokens)]
    x_by_layer = {layer: torch.empty(starts[-1], width) for layer in token_layers}
    for row, layer, x_TD, end_D in _read(model, prompts, completions, range(n_layers), batch_size):
        mean[layer, row], last[layer, row] = x_TD.mean(dim=0), x_TD[-1]
        prompt_end_LSD[layer, scenarios.index(completions[row].scenario)] = end_D
        if layer in x_by_layer:
            x_by_layer[layer][starts[row] : starts[row + 1]] = x_TD
    pooled = CompletionActivations(
        tuple(c.id for c in completions), tuple(c.scenario for c in completions),
        np.array(n_tokens), scenarios, mean, last, prompt_end_LSD)
    tokens = TokenRows(x_by_layer, np.repeat([c.id for c in completions], n_tokens),
                       np.concatenate([len(prompts[c.scenario]) + np.arange(len(c.tokens))
                                       for c in completions]))
    return pooled, tokens


def _read(
    model: PreTrainedModel,
    prompts: Mapping[str, Sequence[int]],
    completions: Sequence[TokenCompletion],
    layers: Sequence[int],
    batch_size: int,
) -> Iterator[tuple[int, int, torch.Tensor, torch.Tensor]]:
    """Of each completion at each layer: its place in the list, the layer, resid_post at its tokens
    [T, D], and that at its prompt's last token [D]."""
    with tqdm(total=len(completions), desc="completions", unit="completion") as bar:
        for scenario in dict.fromkeys(completion.scenario for completion in completions):
            prompt = list(prompts[scenario])
            of_scenario = [row for row, c in enumerate(completions) if c.scenario == scenario]
            for rows in _parts(of_scenario, completions):
                # the bare prompt is one of the sequences: what they share ends before its last
                # token
                sequences = [prompt, *([*prompt, *_filled(completions[row].tokens)]
                                       for row in rows)]
                found = residuals(model, sequences, layers, "suffix", batch_size, None)
                starts = np.searchsorted(found.prompt, np.arange(len(sequences)))
                for layer, x_ND in found.x_by_layer.items():
                    for i, row in enumerate(rows, start=1):
                        own_TD = x_ND[starts[i] + 1 :][: len(completions[row].tokens)]
                        yield row, layer, own_TD, x_ND[0]
                bar.update(len(rows))


def write_completions(path: Path, activations: CompletionActivations) -> None:
    """Write a safetensors file that `read_completions` reads; replaces one that is there."""
    tensors = {"mean": activations.mean, "last": activations.last,
               "prompt_end": activations.prompt_end_LSD,
               "n_tokens": torch.from_numpy(activations.n_tokens)}
    texts = {name: json.dumps(getattr(activations, name))
             for name in ("ids", "scenario", "scenarios")}
    write_atomic(path, to_bytes(tensors, texts))


def read_completions(path: Path) -> CompletionActivations:
    """What `write_completions` wrote."""
    with safe_open(path, "pt") as file:
        texts = {name: tuple(json.loads(text)) for name, text in file.metadata().items()}
        return CompletionActivations(
            **texts, n_tokens=file.get_tensor("n_tokens").numpy(), mean=file.get_tensor("mean"),
            last=file.get_tensor("last"), prompt_end_LSD=file.get_tensor("prompt_end"))


def write_tokens(path: Path, rows: TokenRows) -> None:
    """Write a safetensors file that `read_tokens` reads; replaces one that is there."""
    tensors = {str(layer): x_ND for layer, x_ND in rows.x_by_layer.items()}
    write_atomic(path, to_bytes({**tensors, "position": torch.from_numpy(rows.position)},
                                {"completion": json.dumps(rows.completion.tolist())}))


def read_tokens(path: Path) -> TokenRows:
    """What `write_tokens` wrote."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        position = tensors.pop("position").numpy()
        return TokenRows({int(layer): x_ND for layer, x_ND in tensors.items()},
                         np.array(json.loads(file.metadata()["completion"])), position)


def _filled(tokens: Sequence[int]) -> list[int]:
    return [*tokens, *[tokens[-1]] * (-len(tokens) % _LENGTHS)]


def _parts(rows: Sequence[int], completions: Sequence[TokenCompletion]) -> list[list[int]]:
    """The rows by length, in parts of at most COMPLETION_TOKENS_AT_ONCE tokens or one completion:
    those of one length are run together."""
    parts: list[list[int]] = []
    held = 0
    for row in sorted(rows, key=lambda row: len(completions[row].tokens)):
        held += len(completions[row].tokens)
        if not parts or held > COMPLETION_TOKENS_AT_ONCE:
            parts.append([])
            held = len(completions[row].tokens)
        parts[-1].append(row)
    return parts


def _check(
    prompts: Mapping[str, Sequence[int]], completions: Sequence[TokenCompletion]
) -> None:
    if not completions:
        raise ValueError("there is no completion; expected at least one")
    for completion in completions:
        if completion.scenario not in prompts:
            raise ValueError(f"completion {completion.id} is of the unknown scenario "
                             f"{completion.scenario!r}; expected one of {', '.join(prompts)}")
        if not len(completion.tokens):
            raise ValueError(f"completion {completion.id} has no token, so there is no activation "
                             "of it; leave it out")
