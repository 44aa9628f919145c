"""Read the residual stream at chosen layers and positions, all layers in one pass, and keep it in
files.

Shape suffixes: N rows (tokens kept), B prompts of a batch, T positions, D d_model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from tqdm import tqdm

from deception_saes.models.anatomy import anatomy
from deception_saes.models.forward import behind_prefix, shared_prefix
from deception_saes.store.files import write_atomic

if TYPE_CHECKING:
    from torch import nn
    from transformers import DynamicCache, PreTrainedModel

    from deception_saes.tasks.framings import Condition
    from deception_saes.tasks.prompts import PromptSet

Positions = Literal["suffix", "last"]
"""Which tokens of a prompt are kept: those behind the prefix that the prompts of one condition
share (the question's own), or the last one (where the answer begins)."""


@dataclass(frozen=True)
class Residuals:
    """resid_post of some tokens of a list of prompts, by prompt and then by position."""

    x_by_layer: dict[int, torch.Tensor]
    """[N, D], float32 on the CPU."""
    prompt: np.ndarray
    """Index in the list, [N]."""
    position: np.ndarray
    """0-based in the prompt, [N]."""


@dataclass(frozen=True)
class Activations:
    """resid_post of some tokens of questions asked under some conditions. All but `x_by_layer` is
    of each row, [N]."""

    x_by_layer: dict[int, torch.Tensor]
    """[N, D], float32 on the CPU."""
    question: np.ndarray
    """Its id."""
    condition: np.ndarray
    position: np.ndarray
    """Of the token, 0-based in its prompt."""
    half: np.ndarray


_TEXTS = ("question", "condition", "half")


def capture(
    model: PreTrainedModel,
    asked: PromptSet,
    conditions: Sequence[Condition],
    half: str,
    layers: Sequence[int],
    positions: Positions,
    batch_size: int,
) -> Activations:
    """resid_post of questions: rows by condition, then question, then position, as they are given.

    half: what to note in every row. The shared prefix is that of one condition's prompts.
    Raises ValueError if there is no condition or one stands twice, and as `residuals` does.
    """
    if not conditions or len(set(conditions)) < len(conditions):
        raise ValueError(f"conditions are {list(conditions)}; expected at least one, none twice")
    found = {c: residuals(model, asked.prompts[c], layers, positions, batch_size,
                          f"{asked.framing.name} {c} activations") for c in conditions}
    ids = np.array(asked.ids)
    rows = sum(len(of.prompt) for of in found.values())
    return Activations(
        # pop: at no time does more than one layer stand in memory twice
        x_by_layer={layer: torch.cat([of.x_by_layer.pop(layer) for of in found.values()])
                    for layer in layers},
        question=np.concatenate([ids[of.prompt] for of in found.values()]),
        condition=np.repeat(list(found), [len(of.prompt) for of in found.values()]),
        position=np.concatenate([of.position for of in found.values()]),
        half=np.full(rows, half),
    )


def residuals(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[int],
    positions: Positions,
    batch_size: int,
    label: str | None = "activations",
) -> Residuals:
    """resid_post of the prompts (token ids) at `layers`, which the model is not run beyond.

    What hooks that stand on the blocks already make of a block's output is what is read.
    label: of the progress bar; None: without one.
    Raises ValueError if there is no prompt or an empty one, no layer, one that does not exist or
    stands twice, or for unknown positions; FloatingPointError if an activation is not finite.
    """
    blocks = anatomy(model).blocks
    _check_layers(layers, len(blocks))
    if positions not in get_args(Positions):
        raise ValueError(f"positions is {positions!r}; expected one of "
                         f"{', '.join(get_args(Positions))}")
    before = len(shared_prefix(prompts))
    counts = [1 if positions == "last" else len(prompt) - before for prompt in prompts]
    ends = list(accumulate(counts))
    # not under inference_mode: what is trained on these could not save them for its backward pass
    x_by_layer = {layer: torch.empty(ends[-1], model.config.hidden_size) for layer in layers}

    def run(ids_BT: torch.Tensor, past: DynamicCache) -> dict[int, torch.Tensor]:
        with _block_outputs(blocks, layers) as seen, suppress(_Enough):
            model.base_model(input_ids=ids_BT, past_key_values=past, use_cache=True)
        return seen

    with tqdm(total=len(prompts), desc=label, unit="prompt", disable=label is None) as bar:
        for rows, seen in behind_prefix(model, prompts, batch_size, run):
            for layer, x_BTD in seen.items():
                kept_BTD = x_BTD[:, -counts[rows[0]] :].to("cpu", torch.float32)
                _check_finite(kept_BTD, layer, model)
                for row, kept_TD in zip(rows, kept_BTD, strict=True):
                    x_by_layer[layer][ends[row] - counts[row] : ends[row]] = kept_TD
            bar.update(len(rows))
    return Residuals(
        x_by_layer,
        prompt=np.repeat(np.arange(len(prompts)), counts),
        position=np.concatenate([np.arange(len(prompt) - count, len(prompt))
                                 for prompt, count in zip(prompts, counts, strict=True)]),
    )


def write_activations(path: Path, activations: Activations) -> None:
    """Write a file that `read_activations` reads; replaces one that is there."""
    tensors = {str(layer): x_ND.contiguous() for layer, x_ND in activations.x_by_layer.items()}
    tensors["position"] = torch.from_numpy(activations.position)
    texts = {name: json.dumps(getattr(activations, name).tolist()) for name in _TEXTS}
    write_atomic(path, to_bytes(tensors, texts))


def read_activations(path: Path, layers: Sequence[int] | None = None) -> Activations:
    """The activations of a file, at these layers only, or at all of them if None.

    Raises ValueError, naming the layers that the file has, for one that it has not.
    """
    with safe_open(path, "pt") as file:
        stored = sorted(int(name) for name in file.keys() if name != "position")  # noqa: SIM118
        wanted = stored if layers is None else layers
        missing = sorted(set(wanted) - set(stored))
        if missing:
            raise ValueError(f"{path} has no layer {missing[0]}; it has {stored}")
        texts = {name: np.array(json.loads(file.metadata()[name])) for name in _TEXTS}
        return Activations(
            x_by_layer={layer: file.get_tensor(str(layer)) for layer in wanted},
            position=file.get_tensor("position").numpy(),
            **texts,
        )


class _Enough(Exception):
    """The last wanted layer has run."""


@contextmanager
def _block_outputs(
    blocks: Sequence[nn.Module], layers: Sequence[int]
) -> Iterator[dict[int, torch.Tensor]]:
    """Collects the outputs [B, T, D] of these blocks; the last of them ends the pass by _Enough."""
    seen: dict[int, torch.Tensor] = {}

    def reader(layer: int) -> Any:
        def read(_module: nn.Module, _args: Any, output: Any) -> None:
            seen[layer] = output[0] if isinstance(output, tuple) else output
            if layer == max(layers):
                raise _Enough

        return read

    handles = [blocks[layer].register_forward_hook(reader(layer)) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _check_layers(layers: Sequence[int], n_layers: int) -> None:
    if not layers or len(set(layers)) < len(layers):
        raise ValueError(f"layers are {list(layers)}; expected at least one, none twice")
    outside = [layer for layer in layers if not 0 <= layer < n_layers]
    if outside:
        raise ValueError(f"the model has no layer {outside[0]}; expected 0 to {n_layers - 1}")


def _check_finite(x: torch.Tensor, layer: int, model: PreTrainedModel) -> None:
    if not torch.isfinite(x).all():
        raise FloatingPointError(f"{type(model).__name__} gave an activation that is not finite "
                                 f"behind layer {layer}: its weights or an edit are broken")
