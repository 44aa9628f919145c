"""The trained SAEs of one model under one framing, and the activations they are about.

Both are kept in the profile's tree. The unit of training is a bank: all SAEs of one depth, which
share one activation matrix.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deception_saes.store.ensure import ensure
from deception_saes.store.files import write_atomic
from deception_saes.store.spec import Spec

if TYPE_CHECKING:
    from deception_saes.activations.capture import Activations, Positions
    from deception_saes.models.load import LanguageModel
    from deception_saes.models.spec import ModelSpec
    from deception_saes.saes.recipe import Recipe
    from deception_saes.saes.sae import Sae
    from deception_saes.saes.tags import SaeTag
    from deception_saes.saes.training import Job
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.run import SectionRun
    from deception_saes.tasks.framings import Condition

DEPTHS = (4, 8, 12)
"""The layers of the study's model; on another, those at the same relative depth."""

CONDITIONS: tuple[Condition, ...] = ("genuine", "sandbag")
TRAIN_SETS: dict[str, tuple[Condition, ...]] = {
    "genuine_only": ("genuine",), "sandbagging_only": ("sandbag",), "mixed": CONDITIONS}


@dataclass(frozen=True)
class SaeParams:
    """What decides the SAEs of one model under one framing; see `sections.profiles.Profile`.

    folder: of the profile's tree, in which each has a folder of its own.
    """

    model: ModelSpec
    framing: str
    folder: str
    sae_recipe: Recipe
    batch_size: int
    device: str
    threads: int
    seed: int


@dataclass(frozen=True)
class Source:
    """Where a bank is made from and kept. task: §23, whose answerable questions are asked."""

    artifacts: Path
    tree: Path
    task: SectionRun


@dataclass(frozen=True)
class Bank:
    """The SAEs of one depth. folder: below the profile's tree. seconds: of training, by tag."""

    tags: list[SaeTag]
    folder: Path
    seconds: dict[str, float]

    def sae(self, tag: SaeTag, device: str = "cpu") -> Sae:
        """The SAE of this tag, read from its files."""
        from deception_saes.saes.files import load

        return load(self.folder / tag.name).to(device)


def sae_params(profile: Profile, seed: int, model: ModelSpec, framing: str) -> SaeParams:
    """The SAEs of a model under a framing, by the profile's recipe."""
    from deception_saes.sections.run import params_from

    folder = "saes" if framing == profile.circuit_framing else f"saes-{framing}"
    return params_from(SaeParams, profile, seed, model=model, framing=framing, folder=folder)


def bank_spec(params: SaeParams, depth: int, task_hash: str) -> Spec:
    """What decides a bank's files. depth: one of DEPTHS."""
    return Spec(f"{params.folder}-{params.model.slug}-D{depth}",
                {"bank": params, "depth": depth}, sources=(__name__,), inputs=(task_hash,))


def bank(params: SaeParams, depth: int, source: Source) -> Bank:
    """The SAEs of one depth, trained unless they have been. A killed training goes on where each
    SAE's last checkpoint left it.

    Raises SaeError if one of them cannot be trained.
    """
    spec = bank_spec(params, depth, source.task.hash)
    checkpoints = source.tree / "checkpoints" / f"{spec.unit}-{spec.hash}"
    timing = f"{params.folder}/{spec.unit}.seconds.json"

    def make(out: Path) -> None:
        import torch

        from deception_saes.saes.bank import train_bank
        from deception_saes.saes.files import save

        torch.set_num_threads(params.threads)
        lm = _model(params, source)
        tags = _tags(lm, depth)
        rows = activations(params, "choosing", "suffix", source)
        x_ND = rows.x_by_layer[tags[0].layer].to(params.device)
        trained = train_bank(list(_jobs(lm, tags, rows, params)), x_ND, params.seed, checkpoints,
                             f"SAEs of {lm.spec.slug} L{tags[0].layer}, {params.framing}")
        for name, of in trained.items():
            save(of.sae.to("cpu"), out / params.folder / name)
        write_atomic(out / timing, json.dumps({name: round(of.seconds, 3)
                                               for name, of in trained.items()}, indent=1) + "\n")

    ensure(source.tree, spec, make)
    shutil.rmtree(checkpoints, ignore_errors=True)
    seconds = json.loads((source.tree / timing).read_text(encoding="utf-8"))
    return Bank(_tags(_model(params, source), depth), source.tree / params.folder, seconds)


def untrained(params: SaeParams, tag: SaeTag, source: Source) -> Sae:
    """The SAE from which the training of this tag starts."""
    from deception_saes.saes.training import untrained

    rows = activations(params, "choosing", "suffix", source)
    (job,) = _jobs(_model(params, source), [tag], rows, params)
    return untrained(job, rows.x_by_layer[tag.layer], params.seed)


def activations(
    params: SaeParams, half: str, positions: Positions, source: Source
) -> Activations:
    """resid_post at every depth, under genuine and sandbag, of one half of the answerable
    questions."""
    from deception_saes.activations.capture import capture
    from deception_saes.activations.files import read_activations, write_activations
    from deception_saes.sections.halves import half_of

    unit = f"activations-{params.model.slug}-{params.framing}-{half}-{positions}"
    run_by = ("model", "framing", "batch_size", "device", "threads")
    spec = Spec(unit, {"half": half, "positions": positions,
                       **{name: getattr(params, name) for name in run_by}},
                sources=("deception_saes.activations.files", "deception_saes.tasks.prompts"),
                inputs=(source.task.hash,))
    name = f"activations/{unit.removeprefix('activations-')}.safetensors"

    def make(out: Path) -> None:
        lm = _model(params, source)
        layers = [_tags(lm, depth)[0].layer for depth in DEPTHS]
        asked = half_of(source.task, lm, params.framing, half)
        write_activations(out / name, capture(lm.model, asked, CONDITIONS, half, layers, positions,
                                              params.batch_size))

    ensure(source.tree, spec, make)
    return read_activations(source.tree / name)


def _model(params: SaeParams, source: Source) -> LanguageModel:
    from deception_saes.models.load import load

    return load(params.model, source.artifacts, params.device)


def _tags(lm: LanguageModel, depth: int) -> list[SaeTag]:
    from deception_saes.models.anatomy import anatomy
    from deception_saes.saes.tags import layer_at_same_depth, sandbagging_tags

    n_layers = anatomy(lm.model).n_layers
    layer = layer_at_same_depth(depth, n_layers)
    return [tag for tag in sandbagging_tags(lm.spec.slug, n_layers) if tag.layer == layer]


def _jobs(
    lm: LanguageModel, tags: list[SaeTag], rows: Activations, params: SaeParams
) -> Iterator[Job]:
    from deception_saes.saes.sae import SaeConfig
    from deception_saes.saes.training import Job

    d_in = lm.model.config.hidden_size
    for tag in tags:
        of = np.flatnonzero(np.isin(rows.condition, TRAIN_SETS[tag.train_set]))
        about = {
            "model_name": lm.spec.name, "model_class_name": "AutoModelForCausalLM",
            "hook_name": f"{lm.model.base_model_prefix}.layers.{tag.layer}",
            "hook_layer": tag.layer, "prepend_bos": False,
            "context_size": int(rows.position.max()) + 1, "tag": tag.name,
            "training_condition": tag.train_set, "framing": params.framing,
            "training_rows": len(of), "seed": params.seed,
            "recipe": dataclasses.asdict(params.sae_recipe),
        }
        yield Job(tag.name, SaeConfig(tag.architecture, d_in, tag.expansion * d_in, tag.k,
                                      metadata=about), params.sae_recipe, of)
