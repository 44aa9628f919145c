"""Many SAEs from one activation matrix: what is trained for a tag, several at once, and where they
are kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from deception_saes.models.anatomy import FAMILIES
from deception_saes.models.load import family
from deception_saes.models.spec import ModelSpec
from deception_saes.saes.config import Recipe, SaeConfig, SaeError
from deception_saes.saes.files import save
from deception_saes.saes.hub import load
from deception_saes.saes.sae import Sae
from deception_saes.saes.tags import SaeTag
from deception_saes.saes.training import Job, Trained, check, train
from deception_saes.store.files import write_atomic

_SECONDS = "seconds.json"
_ON_A_GPU = 4  # SAEs at once


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


def train_bank(
    jobs: Sequence[Job], x_ND: torch.Tensor, seed: int, checkpoints: Path | None = None,
    label: str = "SAEs",
) -> dict[str, Trained]:
    """The trained SAE of every job, by name, in the order of `jobs`.

    On the CPU each SAE is trained by one thread, as many at once as torch has threads: two SAEs on
    a thread each are done sooner than one after the other on two, and they are bit-identical for
    any number of threads. On a GPU several are trained at once, as far as its memory goes.
    checkpoints: a folder in which each run keeps its progress.
    Raises SaeError, before anything is trained, if one of them cannot be.
    """
    names = [job.name for job in jobs]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SaeError(f"{doubled[0]} stands twice among the SAEs to train; names are unique")
    for job in jobs:
        check(job, x_ND)
    at_once = torch.get_num_threads() if x_ND.device.type == "cpu" else _that_fit(jobs, x_ND)
    steps = sum(len(job.rows) // job.recipe.batch_size * job.recipe.epochs for job in jobs)
    with tqdm(total=steps, desc=label, unit="step") as bar, _one_thread():

        def work(job: Job) -> Trained:
            torch.set_num_threads(1)
            kept = checkpoints / f"{job.name}.safetensors" if checkpoints else None
            return train(job, x_ND, seed, kept, bar.update)

        with ThreadPoolExecutor(at_once) as pool:
            # the longest first, so that none of them is left over at the end
            waiting = {job.name: pool.submit(work, job)
                       for job in sorted(jobs, key=_size, reverse=True)}
            try:
                for done in as_completed(waiting.values()):
                    done.result()  # the first failure ends the bank
                return {job.name: waiting[job.name].result() for job in jobs}
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _that_fit(jobs: Sequence[Job], x_ND: torch.Tensor) -> int:
    if not x_ND.is_cuda:
        return 1
    # weights, gradients, Adam's two moments and what autograd copies; a batch's features and theirs
    floats = max(12 * job.config.d_in * job.config.d_sae + 8 * job.recipe.batch_size
                 * job.config.d_sae for job in jobs)
    free, _ = torch.cuda.mem_get_info(x_ND.device)
    return max(1, min(_ON_A_GPU, free // (4 * floats)))


def _size(job: Job) -> int:
    return len(job.rows) * job.recipe.epochs * job.config.d_sae


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Bank:
    """The SAEs of one layer."""

    tags: Sequence[SaeTag]
    source: str | Path
    """Where they are, a folder or a hub repository."""
    d_in: int
    """The model's width."""
    seconds: Mapping[str, float]
    """Of training, by tag; none of downloaded ones."""

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
