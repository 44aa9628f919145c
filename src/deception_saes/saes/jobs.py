"""What is trained, from a tag: the job with all that the SAE's files say of it, and where they lie.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deception_saes.models.anatomy import FAMILIES
from deception_saes.models.load import family
from deception_saes.models.spec import ModelSpec
from deception_saes.saes.errors import SaeError
from deception_saes.saes.files import save
from deception_saes.saes.hub import load
from deception_saes.saes.recipe import Recipe
from deception_saes.saes.sae import Sae, SaeConfig
from deception_saes.saes.tags import SaeTag
from deception_saes.saes.training import Job, Trained
from deception_saes.store.files import write_atomic

_SECONDS = "seconds.json"


@dataclass(frozen=True)
class Bank:
    """The SAEs of one layer. source: where they are, a folder or a hub repository.
    d_in: the model's width. seconds: of training, by tag; none of downloaded ones."""

    tags: Sequence[SaeTag]
    source: str | Path
    d_in: int
    seconds: Mapping[str, float]

    def sae(self, tag: SaeTag, device: str = "cpu") -> Sae:
        """The SAE of this tag, read from its files. Raises SaeError if it is of another model."""
        sae = load(self.source, tag.name)
        if sae.config.d_in != self.d_in:
            raise SaeError(f"{self.source}, {tag.name}: its d_in is {sae.config.d_in}, the "
                           f"residual of {tag.model} is {self.d_in} wide; name a release of this "
                           "model in sae_source")
        return sae.to(device)


def save_bank(trained: Mapping[str, Trained], folder: Path) -> None:
    """Write each SAE into a folder of its own, and their training times into one file."""
    for name, of in trained.items():
        save(of.sae.to("cpu"), folder / name)
    write_atomic(folder / _SECONDS, json.dumps({name: round(of.seconds, 3)
                                              for name, of in trained.items()}, indent=1) + "\n")


def read_bank(folder: Path, tags: Sequence[SaeTag], d_in: int) -> Bank:
    """What `save_bank` wrote."""
    return Bank(tags, folder, d_in, json.loads((folder / _SECONDS).read_text(encoding="utf-8")))


def path_of_blocks(model: ModelSpec, artifacts: Path) -> str:
    """Where the model keeps its blocks: "model.layers"."""
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
