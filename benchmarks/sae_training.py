"""How fast SAEs are trained here, beside SAELens, dictionary_learning and the bare matrix products.

Planted data: 5,000 rows, each a sparse positive mixture of 300 directions, plus noise. Timed are
whole training loops of a fresh SAE, ready-made rows in, trained weights out; nothing but the making
of the SAE and of its optimiser is left out:

- ours: `saes.training.train`, by its own count of seconds: gathering and scaling rows, gradients,
  dead-feature bookkeeping, Adam, decoder norm.
- SAELens: `SAETrainer.step` as its `fit` calls it, without progress bar, logging or checkpoints.
- dictionary_learning: `update` of its trainer of the architecture.
- products: the matrix products of a step alone, into buffers that are there: five, gated seven, as
  its loss reconstructs twice.

The peers are handed their batches ready and scaled, and keep their own defaults where these do not
decide the loss. Within the timed steps no feature counts as dead for anybody. JumpReLU is timed
twice: with thresholds under which about as many features are active as TopK's k, where the runs of
this project stand from beginning to end, and with lower ones, under which five times as many are.
The contestants run
one after the other in this process, on the same threads and rows: once untimed, then in ROUNDS
rounds; the best round of each counts. Under each row stands where a step's time goes. Then a bank
of different SAEs, and one of seeds of one SAE: as `train_bank` trains them, one after the other,
and the products of the seeds stacked into one. Then, on the same rows in the same order, from the
same weights, towards the same loss: how far ours and SAELens get, and how fast over this longer
run, in which thresholds and gates settle. Ends with `ratio` lines, of rows per second.

usage: python benchmarks/sae_training.py [--steps 30] [--large-steps 4] [--loss-steps 800]
       [--threads 1 2]
Peers are measured where they are installed; `make bench` runs this in an environment with them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import wraps
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from deception_saes.rng import generator
from deception_saes.saes import steps as training_steps
from deception_saes.saes import topk
from deception_saes.saes.bank import train_bank
from deception_saes.saes.config import Recipe, SaeConfig
from deception_saes.saes.products import Products
from deception_saes.saes.registry import ARCHITECTURES, build
from deception_saes.saes.sae import Sae
from deception_saes.saes.training import Job, train, untrained

ROWS, HELD_OUT = 5000, 1000
DIRECTIONS, ACTIVE, NOISE = 300, 20, 0.1
BATCH, K = 128, 64
SMALL, LARGE = (576, 2304), (2048, 8192)
THRESHOLD, LOW_THRESHOLD = 1.9, 1.0  # of pre-activations with a standard deviation of about 1
BANK, SEEDS = 6, 4
ROUNDS = 3
SEED = 0

Batches = tuple[torch.Tensor, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30, help=f"timed steps at {SMALL}")
    parser.add_argument("--large-steps", type=int, default=4, help=f"timed steps at {LARGE}")
    parser.add_argument("--loss-steps", type=int, default=800, help="steps to the loss reached")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    for threads in options.threads:
        torch.set_num_threads(threads)
        print(f"rows/s, batch {BATCH}, best of {ROUNDS} rounds, threads: {threads}, kernels: "
              f"{torch.backends.cpu.get_cpu_capability()}")
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Every comparison on the present number of threads."""
    ratios = []
    for size, steps in ((SMALL, options.steps), (LARGE, options.large_steps)):
        x_ND = planted(size[0])
        for name in ARCHITECTURES:
            ratios += speed(job_of(name, size, steps), x_ND)
        ratios += speed(job_of("jumprelu", size, steps, threshold=LOW_THRESHOLD), x_ND)
    x_ND = planted(SMALL[0])
    names = list(ARCHITECTURES)
    ratios += speed_of_a_bank("SAEs", [job_of(names[i % len(names)], SMALL, options.steps, f"{i}")
                                       for i in range(BANK)], x_ND)
    ratios += speed_of_a_bank("seeds of JumpReLU", [
        job_of("jumprelu", SMALL, options.steps, f"{i}") for i in range(SEEDS)], x_ND)
    ratios.append(stacked_products())
    if find_spec("sae_lens"):
        for name in ARCHITECTURES:
            ratios += loss_reached(job_of(name, SMALL, options.loss_steps), x_ND)
    print("\n".join(ratios))


def planted(d_in: int) -> torch.Tensor:
    """Rows [ROWS, d_in] of mean 0 and mean square 1: to these, the scaling of ours does nothing."""
    random = torch.Generator().manual_seed(SEED)
    directions_SD = torch.randn(DIRECTIONS, d_in, generator=random)
    on_NS = torch.rand(ROWS, DIRECTIONS, generator=random) < ACTIVE / DIRECTIONS
    strength_NS = torch.empty(ROWS, DIRECTIONS).exponential_(generator=random)
    x_ND = (strength_NS * on_NS) @ directions_SD
    x_ND += NOISE * ACTIVE**0.5 * torch.randn(x_ND.shape, generator=random)
    x_ND -= x_ND.mean(0)
    return x_ND / x_ND.square().mean().sqrt()


def job_of(
    architecture: str, size: tuple[int, int], steps: int, name: str = "",
    threshold: float = THRESHOLD, batch: int = BATCH,
) -> Job:
    """Training in one epoch of `steps` batches, over the rows again and again."""
    config = SaeConfig(architecture, *size, k=K if architecture == "topk" else None)
    recipe = Recipe(epochs=1, batch_size=batch, learning_rate=1e-3, l1=1e-2, l0=1e-3,
                    initial_threshold=threshold, dead_window=1.0)
    rows = np.arange(steps * batch) % (ROWS - HELD_OUT)
    return Job(name or architecture, config, recipe, rows)


def batches_of(job: Job, x_ND: torch.Tensor) -> Batches:
    """What ours is trained on, in the same order."""
    order = generator(SEED, "rows", job.name, "0").permutation(job.rows)
    return x_ND[torch.from_numpy(order)].split(job.recipe.batch_size)


def speed(job: Job, x_ND: torch.Tensor) -> list[str]:
    """Print a row of the table; the ratios."""
    config, batches = job.config, batches_of(job, x_ND)
    start = untrained(job, x_ND, SEED)
    contestants: dict[str, Callable[[], float]] = {
        "ours": lambda: train(job, x_ND, SEED).seconds,
        "products": lambda: products_seconds(job, batches),
    }
    if find_spec("sae_lens"):
        contestants["SAELens"] = lambda: sae_lens_seconds(sae_lens_trainer(job, start), batches)
    if find_spec("dictionary_learning"):
        contestants["dictionary_learning"] = lambda: dictionary_learning_seconds(
            dictionary_learning_trainer(job), batches)
    best = rows_per_second(contestants, len(job.rows))
    active = float((start.encode(x_ND[-HELD_OUT:]) > 0).sum(1).float().mean())
    size = f"{config.architecture} {config.d_in}/{config.d_sae}, L0 {active:.0f} at first"
    print(f"{size:38}" + "".join(f"  {who} {rate:.0f}" for who, rate in best.items()))
    print(f"    ms a step: {where_time_goes(job, x_ND)}", flush=True)
    return [f"ratio ours / {who} {size}: " + (f"{best['ours'] / best[who]:.2f}" if who in best
                                              else "not run, it is not installed")
            for who in ("SAELens", "dictionary_learning", "products")]


def where_time_goes(job: Job, x_ND: torch.Tensor) -> str:
    """Milliseconds and share of a step by its parts, of the best of ROUNDS trainings; gathering,
    scaling and element-wise passes are the rest."""
    rule = ARCHITECTURES[job.config.architecture].rule
    parts = {"encode": [(rule, "encode_into")], "top-k": [(topk, "_largest")],
             "decode": [(Products, "by_row"), (topk, "embedding_bag")],
             "error to features": [(Products, "back")],
             "gradients of weights": [(Products, "by_feature")],
             "norm, clipping": [(training_steps, "get_total_norm"),
                               (training_steps, "clip_grads_with_norm_")],
             "Adam": [(torch.optim.Adam, "step")], "decoder norm": [(rule, "project")]}
    runs = []
    for _ in range(ROUNDS):
        spent = dict.fromkeys(parts, 0.0)

        def clocked(function: Callable[..., Any], part: str, into: dict[str, float]) -> Any:
            @wraps(function)
            def call(*args: Any, **kwargs: Any) -> Any:
                start = now()
                result = function(*args, **kwargs)
                into[part] += now() - start
                return result

            return call

        with ExitStack() as patches:
            for part, places in parts.items():
                for owner, name in places:
                    patches.enter_context(patch.object(
                        owner, name, clocked(getattr(owner, name), part, spent)))
            total = train(job, x_ND, SEED).seconds
        runs.append((total, spent | {"rest": total - sum(spent.values())}))
    total, spent = min(runs, key=lambda run: run[0])
    steps = len(job.rows) // job.recipe.batch_size
    return ", ".join(f"{part} {1e3 * seconds / steps:.2f} ({seconds / total:.0%})"
                     for part, seconds in spent.items() if seconds)


def rows_per_second(contestants: dict[str, Callable[[], float]], rows: int) -> dict[str, float]:
    """The best round of each, rounds interleaved, the first one untimed."""
    took = [{who: run() for who, run in contestants.items()} for _ in range(1 + ROUNDS)]
    return {who: rows / min(seconds[who] for seconds in took[1:]) for who in contestants}


def timed(work: Callable[[torch.Tensor], object], batches: Iterable[torch.Tensor]) -> float:
    """Seconds of one call for each batch."""
    start = now()
    for batch in batches:
        work(batch)
    return now() - start


def now() -> float:
    """Seconds, when a GPU that is in use has done all that it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def products_seconds(job: Job, batches: Batches) -> float:
    d_in, d_sae, rows = job.config.d_in, job.config.d_sae, job.recipe.batch_size
    encoder_DS, d_encoder_DS, decoder_SD, d_decoder_SD, f_BS, back_BS, r_BD = (
        batches[0].new_empty(shape).normal_()
        for shape in (*2 * [(d_in, d_sae)], *2 * [(d_sae, d_in)], *2 * [(rows, d_sae)],
                      (rows, d_in)))
    reconstructions = 2 if job.config.architecture == "gated" else 1

    def step(x_BD: torch.Tensor) -> None:
        torch.mm(x_BD, encoder_DS, out=f_BS)
        for _ in range(reconstructions):
            torch.mm(f_BS, decoder_SD, out=r_BD)
            torch.mm(r_BD, decoder_SD.T, out=back_BS)
        torch.mm(f_BS.T, r_BD, out=d_decoder_SD)
        torch.mm(x_BD.T, back_BS, out=d_encoder_DS)

    return timed(step, batches)


def sae_lens_trainer(job: Job, start: Sae, **options: Any) -> Any:
    """Its trainer, from the weights of `start` and on their device, towards our loss. Its squared
    error is summed over coordinates where ours is their mean, so its penalties are d_in times ours.
    options: more of its configuration."""
    import sae_lens
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    config, recipe, device = job.config, job.recipe, str(start.weights["b_dec"].device)
    kind, own = {
        "topk": ("TopK", {"k": config.k}),
        "jumprelu": ("JumpReLU", {"l0_coefficient": recipe.l0 * config.d_in,
                                  "jumprelu_init_threshold": recipe.initial_threshold,
                                  "jumprelu_bandwidth": recipe.bandwidth}),
        "gated": ("Gated", {"l1_coefficient": recipe.l1 * config.d_in}),
    }[config.architecture]
    sae = getattr(sae_lens, f"{kind}TrainingSAE")(
        getattr(sae_lens, f"{kind}TrainingSAEConfig")(config.d_in, config.d_sae,
                                                     device=device, **own))
    sae.load_state_dict(start.weights)
    return SAETrainer(SAETrainerConfig(
        len(job.rows), recipe.batch_size, lr=recipe.learning_rate, lr_end=recipe.learning_rate,
        device=device, **options), sae, iter(()))


def sae_lens_seconds(trainer: Any, batches: Batches) -> float:
    def step(batch: torch.Tensor) -> None:
        trainer.step(batch)
        trainer.n_training_steps += 1

    return timed(step, batches)


def dictionary_learning_trainer(job: Job) -> Any:
    """Its trainer of the architecture, with its own initial weights and penalties."""
    from dictionary_learning.trainers.gdm import GatedSAETrainer
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    config = job.config
    trainer, own = {
        "topk": (TopKTrainer, {"k": config.k}),
        "jumprelu": (JumpReluTrainer, {"sparsity_warmup_steps": None}),
        "gated": (GatedSAETrainer, {"sparsity_warmup_steps": None}),
    }[config.architecture]
    return trainer(steps=len(job.rows), activation_dim=config.d_in, dict_size=config.d_sae,
                   layer=0, lm_name="none", lr=job.recipe.learning_rate, warmup_steps=0,
                   device="cpu", **own)


def dictionary_learning_seconds(trainer: Any, batches: Batches) -> float:
    # from 1, as step 0 also looks for a geometric median
    numbers = iter(range(1, len(batches) + 1))
    return timed(lambda batch: trainer.update(next(numbers), batch), batches)


def speed_of_a_bank(what: str, jobs: list[Job], x_ND: torch.Tensor) -> list[str]:
    """A bank, an SAE on each thread, beside its SAEs one after the other on all of them."""
    best = rows_per_second({
        "bank": lambda: timed(lambda x: train_bank(jobs, x, SEED), [x_ND]),
        "singly": lambda: timed(lambda x: [train(job, x, SEED) for job in jobs], [x_ND]),
    }, sum(len(job.rows) for job in jobs))
    print(f"{len(jobs)} {what} of {SMALL[0]}/{SMALL[1]}, start to end: {best['bank']:.0f} rows/s "
          f"as a bank, {best['singly']:.0f} one after the other", flush=True)
    return [f"ratio bank / one after the other, {what}: {best['bank'] / best['singly']:.2f}"]


def stacked_products() -> str:
    """What there is to gain from training seeds in step: their products in one call."""
    x_RBD, encoder_RDS = torch.randn(SEEDS, BATCH, SMALL[0]), torch.randn(SEEDS, *SMALL)
    out_RBS = torch.empty(SEEDS, BATCH, SMALL[1])
    best = rows_per_second({
        "stacked": lambda: timed(lambda x: torch.bmm(x, encoder_RDS, out=out_RBS), 10 * [x_RBD]),
        "singly": lambda: timed(lambda x: [torch.mm(*each[:2], out=each[2]) for each in zip(
            x, encoder_RDS, out_RBS, strict=True)], 10 * [x_RBD]),
    }, 10 * SEEDS * BATCH)
    return (f"ratio products of {SEEDS} seeds stacked / singly: "
            f"{best['stacked'] / best['singly']:.2f}")


def loss_reached(job: Job, x_ND: torch.Tensor) -> list[str]:
    """Print what both reach on rows held out; the ratios of the losses and of rows per second.

    What SAELens has not: decoder rows are free (their norm is folded into the encoder in the end),
    the gate's reconstruction trains its decoder too, the JumpReLU kernel is a rectangle. Its
    gradient is clipped.
    """
    trainer = sae_lens_trainer(job, untrained(job, x_ND, SEED))
    their_seconds = sae_lens_seconds(trainer, batches_of(job, x_ND))
    trainer.sae.fold_W_dec_norm()
    theirs = build(job.config, {name: weight.detach()
                                for name, weight in trainer.sae.state_dict().items()})
    ours = train(job, x_ND, SEED)
    losses = [held_out_loss(sae, job.recipe, x_ND[-HELD_OUT:], who)
              for who, sae in (("ours", ours.sae), ("SAELens", theirs))]
    steps = len(job.rows) // job.recipe.batch_size
    return [f"ratio of losses ours / SAELens {job.name}: {losses[0] / losses[1]:.3f}",
            f"ratio ours / SAELens {job.name}, over {steps} steps: "
            f"{their_seconds / ours.seconds:.2f}"]


def held_out_loss(sae: Sae, recipe: Recipe, x_ND: torch.Tensor, who: str) -> float:
    """The training loss on these rows, printed beside squared error and L0."""
    f_NS = sae.encode(x_ND)
    mse = float((sae.decode(f_NS) - x_ND).square().mean())
    l0 = float((f_NS > 0).sum(1).float().mean())
    loss = float(ARCHITECTURES[sae.config.architecture].rule.loss(
        sae.config, recipe, sae.weights, x_ND, None).total)
    print(f"{sae.config.architecture:9} {who:8} held out: mse {mse:.4f}, L0 {l0:.1f}, "
          f"loss {loss:.4f}", flush=True)
    return loss


if __name__ == "__main__":
    main()
