"""Banks: the SAEs of one depth, which share one activation matrix, are trained together and kept in
the profile's tree."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deception_saes.store.ensure import ensure
from deception_saes.store.files import write_atomic

if TYPE_CHECKING:
    import numpy as np

    from deception_saes.models.spec import ModelSpec
    from deception_saes.saes.recipe import Recipe
    from deception_saes.saes.sae import Sae
    from deception_saes.saes.tags import SaeTag
    from deception_saes.saes.training import Job, Trained
    from deception_saes.store.spec import Spec


@dataclass(frozen=True)
class Bank:
    """The SAEs of one depth. source: where they are, a folder or a hub repository.
    d_in: the model's width. seconds: of training, by tag; none of downloaded ones."""

    tags: list[SaeTag]
    source: str | Path
    d_in: int
    seconds: dict[str, float]

    def sae(self, tag: SaeTag, device: str = "cpu") -> Sae:
        """The SAE of this tag, read from its files. Raises SaeError if it is of another model."""
        from deception_saes.saes.errors import SaeError
        from deception_saes.saes.hub import load

        sae = load(self.source, tag.name)
        if sae.config.d_in != self.d_in:
            raise SaeError(f"{self.source}, {tag.name}: its d_in is {sae.config.d_in}, the "
                           f"residual of {tag.model} is {self.d_in} wide; name a release of this "
                           "model in sae_source")
        return sae.to(device)


def kept_bank(
    tree: Path, folder: str, spec: Spec, tags: list[SaeTag], d_in: int,
    train: Callable[[Path], Mapping[str, Trained]],
) -> Bank:
    """The SAEs of these tags, each in a folder of its own below `tree / folder`: trained unless
    they have been.

    train: given a folder for its checkpoints, which outlives a killed run, gives each tag's SAE.
        Pickled, as `ensure` says, if the spec is pinned.
    """
    checkpoints = tree / "checkpoints" / f"{spec.unit}-{spec.hash}"
    timing = f"{folder}/{spec.unit}.seconds.json"
    ensure(tree, spec, partial(_train_and_save, train, checkpoints, folder, timing))
    shutil.rmtree(checkpoints, ignore_errors=True)
    seconds = json.loads((tree / timing).read_text(encoding="utf-8"))
    return Bank(tags, tree / folder, d_in, seconds)


def _train_and_save(
    train: Callable[[Path], Mapping[str, Trained]], checkpoints: Path, folder: str, timing: str,
    out: Path,
) -> None:
    from deception_saes.saes.files import save

    trained = train(checkpoints)
    for name, of in trained.items():
        save(of.sae.to("cpu"), out / folder / name)
    write_atomic(out / timing, json.dumps({name: round(of.seconds, 3)
                                           for name, of in trained.items()}, indent=1) + "\n")


def path_of_blocks(model: ModelSpec, artifacts: Path) -> str:
    """Where the model keeps its blocks: "model.layers"."""
    from deception_saes.models.anatomy import FAMILIES
    from deception_saes.models.load import family

    return f"{FAMILIES[family(model, artifacts)].base}.layers"


def training_job(
    model: ModelSpec, blocks: str, tag: SaeTag, recipe: Recipe, rows: np.ndarray,
    positions: np.ndarray, seed: int, **also: str,
) -> Job:
    """The training of one SAE, with what its files say of it.

    blocks: path of the model's list of blocks, see `path_of_blocks`. rows: places of its training
    rows in the bank's matrix. positions: of the matrix's tokens in their sequences. also: further
    entries of its metadata.
    """
    from deception_saes.saes.sae import SaeConfig
    from deception_saes.saes.training import Job

    d_in = model.shape.d_model
    about = {
        "model_name": model.name, "model_class_name": "AutoModelForCausalLM",
        "hook_name": f"{blocks}.{tag.layer}",
        "hook_layer": tag.layer, "prepend_bos": False,
        "context_size": int(positions.max()) + 1, "tag": tag.name,
        "training_condition": tag.train_set, **also,
        "training_rows": len(rows), "seed": seed, "recipe": dataclasses.asdict(recipe),
    }
    config = SaeConfig(tag.architecture, d_in, tag.expansion * d_in, tag.k, metadata=about)
    return Job(tag.name, config, recipe, rows)
