"""Many SAEs at once: each as if it were alone."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deception_saes.saes import bank, training
from deception_saes.saes.bank import train_bank
from deception_saes.saes.config import Recipe, SaeConfig, SaeError
from deception_saes.saes.training import Job, train

D_IN = 24
RECIPE = Recipe(epochs=3, batch_size=32, learning_rate=3e-3, target_l0=6.0, l0=0.1)


def jobs_of(**changed):
    """Of every architecture, of several sizes and on other rows."""
    kinds = [("topk", 48, 6, 0), ("jumprelu", 96, None, 40), ("gated", 48, None, 80),
             ("topk", 96, 3, 120)]
    return [Job(f"{name}-{d_sae}", SaeConfig(name, D_IN, d_sae, k),
                dataclasses.replace(RECIPE, **changed), np.arange(first, 240))
            for name, d_sae, k, first in kinds]


@pytest.fixture(scope="module")
def x():
    random = torch.Generator().manual_seed(0)
    return torch.randn(240, D_IN, generator=random).relu() @ torch.randn(D_IN, D_IN,
                                                                         generator=random)


@pytest.fixture(scope="module")
def alone(x):
    """Each SAE trained by itself, on one thread."""
    torch.set_num_threads(1)
    return {job.name: train(job, x, 7).sae for job in jobs_of()}


def assert_same(found, alone):
    assert list(found) == list(alone)
    for name, trained in found.items():
        for weight, values in alone[name].weights.items():
            assert torch.equal(trained.sae.weights[weight], values), (name, weight)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_bank_gives_what_each_training_alone_gives(x, alone, threads):
    torch.set_num_threads(threads)
    assert_same(train_bank(jobs_of(), x, 7), alone)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("threads", [1, 2])
def test_as_many_are_trained_at_once_as_torch_has_threads_each_on_one(x, monkeypatch, threads):
    pools, seen = [], []
    pool_of = bank.ThreadPoolExecutor
    monkeypatch.setattr(bank, "ThreadPoolExecutor",
                        lambda workers: pools.append(workers) or pool_of(workers))
    monkeypatch.setattr(bank, "train", lambda *args: (
        seen.append(torch.get_num_threads()), train(*args))[1])
    torch.set_num_threads(threads)
    train_bank(jobs_of(epochs=1), x, 7)
    assert pools == [threads]
    assert seen == [1] * 4


@pytest.mark.parametrize(("free", "at_once"), [(2**40, 4), (4 * 10**9, 2), (10**9, 1)])
def test_a_gpu_trains_as_many_at_once_as_its_memory_holds(monkeypatch, free, at_once):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**40))
    x_ND = SimpleNamespace(is_cuda=True, device="cuda")
    small, large = (Job(name, SaeConfig("gated", 2048, d_sae), RECIPE, np.arange(240))
                    for name, d_sae in (("small", 2048), ("large", 16384)))
    # 1.6 GB of weights, gradients, moments and copies; the batch's features are few
    assert bank._that_fit([small, large], x_ND) == at_once


def test_every_step_is_counted(x, capsys):
    train_bank(jobs_of(), x, 7, label="SAEs of the test")
    steps = 3 * (240 // 32 + 200 // 32 + 160 // 32 + 120 // 32)
    shown = capsys.readouterr().err
    assert "SAEs of the test" in shown
    assert f"{steps}/{steps}" in shown


def test_no_jobs_give_nothing(x):
    assert train_bank([], x, 0) == {}


@pytest.mark.parametrize("place", [0, 2, 3])
def test_one_job_that_cannot_be_trained_stops_all_before_any_begins(x, tmp_path, place):
    jobs = jobs_of()
    jobs[place] = dataclasses.replace(jobs[place], name="the bad one", rows=np.arange(31))
    torch.set_num_threads(2)
    with pytest.raises(SaeError, match="the bad one: 31 "):
        train_bank(jobs, x, 7, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    assert torch.get_num_threads() == 2


class Broken(Exception):
    pass


def break_at(monkeypatch, name, epoch):
    """Let this SAE's training fail at the end of an epoch."""
    whole = train

    def broken(job, x_ND, seed, kept, progress):
        done = []

        def report(steps):
            progress(steps)
            done.append(steps)
            if job.name == name and len(done) == epoch:
                raise Broken(name)

        return whole(job, x_ND, seed, kept, report)

    monkeypatch.setattr(bank, "train", broken)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_given_back_after_an_error(x, monkeypatch, threads):
    break_at(monkeypatch, "jumprelu-96", 1)
    torch.set_num_threads(threads)
    with pytest.raises(Broken, match="jumprelu-96"):
        train_bank(jobs_of(), x, 7)
    assert torch.get_num_threads() == threads


def test_after_an_error_what_waits_is_not_begun(x, monkeypatch):
    begun = []
    break_at(monkeypatch, "jumprelu-96", 1)  # the largest, so the first to begin
    broken = bank.train
    monkeypatch.setattr(bank, "train", lambda job, *args: (
        begun.append(job.name), broken(job, *args))[1])
    jobs = sorted(jobs_of(), key=lambda job: job.name != "jumprelu-96")
    more = [dataclasses.replace(jobs[1], name=f"waiting {n}") for n in range(50)]
    torch.set_num_threads(1)
    with pytest.raises(Broken):
        train_bank([*jobs, *more], x, 7)
    assert begun[0] == "jumprelu-96"
    assert len(begun) < 10


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupted_bank_goes_on_to_the_same_bits(x, alone, monkeypatch, tmp_path, threads):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    torch.set_num_threads(threads)
    with monkeypatch.context() as patch:
        break_at(patch, "jumprelu-96", 3)
        with pytest.raises(Broken):
            train_bank(jobs_of(), x, 7, tmp_path)
    assert (tmp_path / "jumprelu-96.safetensors").is_file()
    steps = []
    monkeypatch.setattr(bank, "train", lambda job, *args: train(
        job, *args[:-1], lambda done: steps.append(job.name)))
    assert_same(train_bank(jobs_of(), x, 7, tmp_path), alone)
    assert steps.count("jumprelu-96") == 1  # two of its three epochs were kept
    assert {path.stem for path in tmp_path.iterdir()} == set(alone)
