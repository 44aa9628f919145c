"""Draw the completions of a profile's model anew."""

from __future__ import annotations

from pathlib import Path

import torch

from deception_saes.errors import UserError
from deception_saes.models.load import load
from deception_saes.models.registry import get
from deception_saes.paper.profiles import Profile
from deception_saes.tasks.resampling import check_out, resample_file

DRAWN_WITH_THREADS = 2
"""Of torch, when the shipped completions were drawn."""


def resample_profile(profile: Profile, seed: int, artifacts: Path, out: Path) -> str:
    """Draw every completion of the model that the profile's completions are of, write them to
    `out` and say how many are the same as the shipped ones.

    Device and batch size are the profile's, threads those that the shipped ones were drawn with:
    all three decide the last bits.
    Raises UserError, before the model is loaded, if the profile reads no completions or `out`
    cannot be written; ModelUnavailable if the model is unavailable.
    """
    if profile.behaviour is None:
        raise UserError(f"the profile {profile.name} reads no completions; choose another one")
    check_out(out)
    torch.set_num_threads(DRAWN_WITH_THREADS)
    lm = load(get(profile.behaviour.sampled_by), artifacts, profile.device)
    return resample_file(lm, seed, profile.batch_size, out)
