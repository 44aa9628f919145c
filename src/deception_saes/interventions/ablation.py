"""P(correct) under head ablation, for any number of head sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from deception_saes.interventions.heads import (
    HeadSet,
    Means,
    ResumableRun,
    ablated,
    check_heads,
)
from deception_saes.models.anatomy import Anatomy, anatomy
from deception_saes.models.forward import finite_logits, right_padded, token_mass

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def ablated_p_correct(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    correct: Sequence[Sequence[int]],
    sets: Sequence[HeadSet],
    means: Means | None = None,
    label: str = "ablation",
    run: ResumableRun | None = None,
) -> np.ndarray:
    """P(correct) of every prompt under every head set, [sets, prompts].

    prompts: token ids; correct: the tokens T(q) of each. An empty set gives the clean model.
    means: by layer, for mean mode; zeros if None. run: of these prompts, if there is one already.
    A family whose runs cannot be resumed goes the plain way, and the progress bar says so.
    Raises ValueError if there is no prompt, or for a head that does not exist or stands twice;
    FloatingPointError if the model gives a logit that is not finite.
    """
    if not prompts:
        raise ValueError("there is no question to ask: no question is answerable under this "
                         "framing; lower least_p_correct, or choose another framing or model")
    parts = anatomy(model)
    for heads in sets:
        check_heads(heads, parts)
    if not parts.family.resumable:
        return plain_p_correct(model, prompts, correct, sets, means, f"{label} (plain loop: "
                               f"{model.config.model_type} runs cannot be resumed)")
    p_correct = np.full((len(sets), len(prompts)), np.nan)
    some = [index for index, heads in enumerate(sets) if heads]
    none = [index for index, heads in enumerate(sets) if not heads]
    run = run or ResumableRun(model, prompts)
    p_correct[none] = token_mass(model, run.clean_QD, correct)
    with tqdm(total=len(some) * len(prompts), desc=label, unit="prompt") as bar:
        for batch in run.batches([sets[index] for index in some]):
            picked = [some[index] for index in batch]
            hidden_NQD = run.last_hidden([sets[index] for index in picked], means)
            for index, hidden_QD in zip(picked, hidden_NQD, strict=True):
                p_correct[index] = token_mass(model, hidden_QD, correct)
            bar.update(len(picked) * len(prompts))
    return p_correct


@torch.inference_mode()
def plain_p_correct(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    correct: Sequence[Sequence[int]],
    sets: Sequence[HeadSet],
    means: Means | None = None,
    label: str = "plain ablation",
    batch_size: int = 64,
) -> np.ndarray:
    """As `ablated_p_correct`, by a whole forward pass of every prompt for every set."""
    parts = anatomy(model)
    p_correct = np.full((len(sets), len(prompts)), np.nan)
    with tqdm(total=len(sets) * len(prompts), desc=label, unit="prompt") as bar:
        for index, heads in enumerate(sets):
            for first in range(0, len(prompts), batch_size):
                rows = range(first, min(first + batch_size, len(prompts)))
                lengths = [len(prompts[row]) for row in rows]
                ids_BT = right_padded([prompts[row] for row in rows], model.device)
                with ablated(parts, [heads], means):
                    hidden_BTD = model.base_model(ids_BT, use_cache=False).last_hidden_state
                last = torch.tensor(lengths, device=model.device) - 1
                hidden_BD = hidden_BTD[torch.arange(len(rows), device=model.device), last]
                p_correct[index, list(rows)] = token_mass(model, hidden_BD,
                                                          [correct[row] for row in rows])
                bar.update(len(rows))
    return p_correct


@torch.inference_mode()
def head_means(
    model: PreTrainedModel, groups: Sequence[Sequence[Sequence[int]]], layers: Sequence[int]
) -> dict[int, torch.Tensor]:
    """By layer, the mean input of the attention output projection, [heads * head_dim].

    groups: prompts by condition; conditions weigh the same, positions within one the same.
    Position 0 is left out: attention sinks make it unlike any other.
    """
    parts = anatomy(model)
    totals: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    for prompts in groups:
        sums = {layer: torch.zeros(parts.n_heads * parts.head_dim, dtype=torch.float64)
                for layer in layers}
        with _collecting(parts, sums):
            for prompt in prompts:
                model.base_model(torch.tensor([list(prompt)], device=model.device),
                                 use_cache=False)
        positions = sum(len(prompt) - 1 for prompt in prompts)
        for layer in layers:
            totals[layer].append(sums[layer] / positions)
    return {layer: torch.stack(of_layer).mean(dim=0).float().to(model.device)
            for layer, of_layer in totals.items()}


@contextmanager
def _collecting(parts: Anatomy, sums: dict[int, torch.Tensor]) -> Iterator[None]:
    """While open, add every projection input but the first position's to `sums` of its layer."""
    with ExitStack() as hooks:
        for layer, total in sums.items():

            def hook(_: nn.Module, args: tuple[torch.Tensor], total: torch.Tensor = total) -> None:
                total += args[0][:, 1:].sum(dim=(0, 1)).double().cpu()

            hooks.enter_context(parts.projection(layer).register_forward_pre_hook(hook))
        yield


@dataclass(frozen=True)
class Damage:
    """What an ablation does to a neutral text, means over positions in nats."""

    kl: float
    """KL(clean ‖ ablated)."""
    cross_entropy: float


@torch.inference_mode()
def collateral_damage(
    model: PreTrainedModel, text: Sequence[int], sets: Sequence[HeadSet], label: str = "damage"
) -> list[Damage]:
    """What each head set's ablation does to the next-token distributions along a text.

    text: token ids. The text is run as the tree of all its beginnings, a chain.
    """
    beginnings = [text[:end] for end in range(1, len(text))]
    following = torch.tensor(list(text[1:]), device=model.device)
    run = ResumableRun(model, beginnings)
    # in float32, whose rounding is a millionth of a nat here, since float64 would take much longer
    clean_TV = finite_logits(model, run.clean_QD).log_softmax(dim=-1)
    p_TV = clean_TV.exp()
    damages: dict[int, Damage] = {}

    def note(index: int, log_p_TV: torch.Tensor) -> None:
        kl = (p_TV * (clean_TV - log_p_TV)).sum(dim=-1, dtype=torch.float64).mean()
        entropy = -log_p_TV.gather(1, following[:, None]).mean()
        damages[index] = Damage(float(kl), float(entropy))

    some = [index for index, heads in enumerate(sets) if heads]
    with tqdm(total=len(some), desc=label, unit="set") as bar:
        for batch in run.batches([sets[index] for index in some]):
            picked = [some[index] for index in batch]
            hidden_NTD = run.last_hidden([sets[index] for index in picked], None)
            for index, hidden_TD in zip(picked, hidden_NTD, strict=True):
                note(index, finite_logits(model, hidden_TD).log_softmax(dim=-1))
                bar.update()
    for index in set(range(len(sets))) - set(some):
        note(index, clean_TV)
    return [damages[index] for index in range(len(sets))]
