"""What tests have a pinned process do: functions of a module, so that they can be pickled."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from deception_saes.saes.config import Recipe, SaeConfig
from deception_saes.saes.files import save
from deception_saes.saes.training import Job, train
from deception_saes.store.pinned import run_pinned


class Odd(Exception):
    """Cannot be pickled back: its constructor takes other arguments."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def settings():
    features = np._core._multiarray_umath.__cpu_features__
    return {"torch": torch.backends.cpu.get_cpu_capability(),
            "numpy": {name for name in ("X86_V4", "AVX512_ICL", "AVX512_SPR") if features[name]},
            "mkl": os.environ["MKL_CBWR"], "threads": torch.get_num_threads(),
            "process": os.getpid()}


def double(x, *, plus=0):
    print("said by a worker")
    return 2 * x + plus


def nested():
    return os.getpid(), run_pinned(os.getpid)


def fails(kind):
    raise kind("what went wrong", 2) if kind is Odd else kind("what went wrong")


def dies():
    os.kill(os.getpid(), 9)


def writes(out):
    (out / "file").write_text("made")


def sleeps(started):
    Path(started).write_text(str(os.getpid()))
    time.sleep(120)


def trains(architecture, out):
    """A small SAE of this architecture in `out`, trained on planted data."""
    torch.set_num_threads(1)
    seeds = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    x = torch.randn(2048, 96, generator=next(seeds)) @ torch.randn(96, 96, generator=next(seeds))
    about = {"model_name": "none", "hook_name": "none", "prepend_bos": False, "context_size": 1}
    config = SaeConfig(architecture, 96, 384, 16 if architecture == "topk" else None,
                       metadata=about)
    recipe = Recipe(epochs=6, learning_rate=1e-3, target_l0=16.0, l0=0.1)
    save(train(Job(architecture, config, recipe, np.arange(2048)), x, 0).sae, Path(out))


if __name__ == "__main__":
    # by that name a worker finds its functions; torch is loaded here before anything is pinned
    import pinned_jobs

    torch.ones(64, 64) @ torch.ones(64, 64)
    match sys.argv[1]:
        case "train":
            for name in ("topk", "jumprelu", "gated"):
                run_pinned(pinned_jobs.trains, name, f"{sys.argv[2]}/{name}")
        case "sleep":
            run_pinned(pinned_jobs.sleeps, sys.argv[2])
        case "settings":
            print(run_pinned(pinned_jobs.settings))
