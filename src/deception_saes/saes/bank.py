"""Train many SAEs from one activation matrix, several at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from deception_saes.saes.errors import SaeError
from deception_saes.saes.training import Job, Trained, check, train


def train_bank(
    jobs: Sequence[Job], x_ND: torch.Tensor, seed: int, checkpoints: Path | None = None,
    label: str = "SAEs",
) -> dict[str, Trained]:
    """The trained SAE of every job, by name, in the order of `jobs`.

    On the CPU each SAE is trained by one thread, as many at once as torch has threads: two SAEs on
    a thread each are done sooner than one after the other on two, and no bit hangs on the number
    of threads. checkpoints: a folder in which each run keeps its progress.
    Raises SaeError, before anything is trained, if one of them cannot be.
    """
    names = [job.name for job in jobs]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SaeError(f"{doubled[0]} stands twice among the SAEs to train; names are unique")
    for job in jobs:
        check(job, x_ND)
    at_once = torch.get_num_threads() if x_ND.device.type == "cpu" else 1
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
