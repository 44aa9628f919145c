"""P(correct) under head ablation, for any number of head sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from deception_saes.interventions.heads import HeadSet, Means, ablated, check_heads
from deception_saes.interventions.resume import ResumableRun
from deception_saes.models.anatomy import anatomy

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def ablated_p_correct(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    correct: Sequence[Sequence[int]],
    sets: Sequence[HeadSet],
    means: Means | None = None,
    label: str = "ablation",
) -> np.ndarray:
    """P(correct) of every prompt under every head set, [sets, prompts].

    prompts: token ids; correct: the tokens T(q) of each. An empty set gives the clean model.
    means: by layer, for mean mode; zeros if None. A family whose runs cannot be resumed goes the
    plain way, and the progress bar says so.
    Raises ValueError if there is no prompt, or for a head that does not exist or stands twice;
    FloatingPointError if the model gives a logit that is not finite.
    """
    if not prompts:
        raise ValueError("there is no question to ask: no question is answerable under this "
                         "framing; see §23, and lower answerable_min_p or choose another framing")
    parts = anatomy(model)
    for heads in sets:
        check_heads(heads, parts)
    if not parts.family.resumable:
        return plain_p_correct(model, prompts, correct, sets, means, f"{label} (plain loop: "
                               f"{model.config.model_type} runs cannot be resumed)")
    p_correct = np.full((len(sets), len(prompts)), np.nan)
    some = [index for index, heads in enumerate(sets) if heads]
    none = [index for index, heads in enumerate(sets) if not heads]
    run = ResumableRun(model, prompts)
    p_correct[none] = _mass(model, run.clean_QD, correct)
    with tqdm(total=len(some) * len(prompts), desc=label, unit="prompt") as bar:
        for batch in run.batches([sets[index] for index in some]):
            picked = [some[index] for index in batch]
            hidden_NQD = run.last_hidden([sets[index] for index in picked], means)
            p_correct[picked] = _mass(model, hidden_NQD, correct)
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
                # padding stands on the right, where a causal model never looks back from
                ids_BT = torch.zeros(len(rows), max(lengths), dtype=torch.long,
                                     device=model.device)
                for i, row in enumerate(rows):
                    ids_BT[i, : lengths[i]] = torch.tensor(list(prompts[row]))
                with ablated(parts, [heads], means):
                    hidden_BTD = model.base_model(ids_BT, use_cache=False).last_hidden_state
                last = torch.tensor(lengths, device=model.device) - 1
                hidden_BD = hidden_BTD[torch.arange(len(rows), device=model.device), last]
                p_correct[index, list(rows)] = _mass(model, hidden_BD, [correct[r] for r in rows])
                bar.update(len(rows))
    return p_correct


@torch.inference_mode()
def _mass(
    model: PreTrainedModel, hidden: torch.Tensor, correct: Sequence[Sequence[int]]
) -> np.ndarray:
    """Probability of the tokens `correct[q]` given hidden states [..., q, d_model]."""
    logits = model.get_output_embeddings()(hidden)
    if not torch.isfinite(logits).all():
        raise FloatingPointError(f"{type(model).__name__} gave a logit that is not finite: its "
                                 "weights or the edit of its activations are broken")
    total = torch.logsumexp(logits, dim=-1)
    picked = [torch.logsumexp(logits[..., q, list(tokens)], dim=-1) - total[..., q]
              for q, tokens in enumerate(correct)]
    return torch.stack(picked, dim=-1).double().exp().cpu().numpy()
