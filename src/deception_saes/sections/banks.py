"""Banks of the behavioural SAEs, kept in the profile's tree."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deception_saes.store.ensure import ensure

if TYPE_CHECKING:
    from deception_saes.saes.jobs import Bank
    from deception_saes.saes.tags import SaeTag
    from deception_saes.saes.training import Trained
    from deception_saes.store.spec import Spec


def kept_bank(
    tree: Path, folder: str, spec: Spec, tags: list[SaeTag], d_in: int,
    train: Callable[[Path], Mapping[str, Trained]],
) -> Bank:
    """The SAEs of these tags, each in a folder of its own below `tree / folder`: trained unless
    they have been.

    train: given a folder for its checkpoints, which outlives a killed run, gives each tag's SAE.
        Pickled, as `ensure` says, if the spec is pinned.
    """
    from deception_saes.saes.jobs import read_bank

    checkpoints = tree / "checkpoints" / f"{spec.unit}-{spec.hash}"
    timing = f"{spec.unit}.seconds.json"
    ensure(tree, spec, partial(_train_and_save, train, checkpoints, folder, timing))
    shutil.rmtree(checkpoints, ignore_errors=True)
    return read_bank(tree / folder, tags, d_in, timing)


def _train_and_save(
    train: Callable[[Path], Mapping[str, Trained]], checkpoints: Path, folder: str, timing: str,
    out: Path,
) -> None:
    from deception_saes.saes.jobs import save_bank

    save_bank(train(checkpoints), out / folder, timing)
