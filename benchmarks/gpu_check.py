# ruff: noqa: E402
"""What this code does on a GPU, beside a CPU, the plain way and its peers: one table.

a  engines on the device against the CPU, models of every family with random weights: the largest
   differences, and what is allowed
b  sections under the profile `smoke`: values that differ between device and CPU by more than
   `make verify` allows; none may where no SAE is trained, which other last bits make another SAE
c  rows/s of SAE training, beside SAELens' trainer and the bare matrix products (five, gated seven),
   in float32 and under autocast to bfloat16; several SAEs at once beside one after the other; what
   the study's SAEs of Llama-3.2-1B would take
d  head sweep and edits at the last position, beside whole forward passes, on random weights in
   Llama-3.2-1B's shape
e  sections under the profile `shapes`: seconds, and the most GPU memory in use

Each part has a share of the minutes; what that leaves no time for is skipped, and its row says so.
A ratio is value / reference, of seconds reference / value. What is made goes to a folder that is
removed in the end. Ends with `ratio` lines; with 1 if a difference is larger than allowed or a row
failed.

usage: python benchmarks/gpu_check.py [--device cuda] [--parts abcde] [--minutes 8] [--tiny]
"""

from __future__ import annotations

from deception_saes.store.pinned import pin

pin()  # else activations and SAEs are made in other processes, whose GPU memory is not seen here

import argparse
import copy
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from io import StringIO
from itertools import product
from typing import Any

import numpy as np
import sae_training as training
import torch
import transformers
from sae_training import now
from swap import plain_p_correct as plain_edits

from deception_saes.activations.capture import capture
from deception_saes.interventions.ablation import ablated_p_correct, plain_p_correct
from deception_saes.interventions.swap import AddDifference, SwapTo, SwapTop, Training
from deception_saes.models.anatomy import Head, anatomy
from deception_saes.models.forward import token_mass
from deception_saes.models.last_position import LastPositionRun
from deception_saes.models.load import (
    LanguageModel,
    avoid_wrong_attention,
    converted,
    load,
    why_unavailable,
)
from deception_saes.models.registry import get
from deception_saes.models.spec import ModelUnavailable
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.profiles import Profile, profile_named
from deception_saes.saes.bank import train_bank
from deception_saes.saes.config import Recipe, SaeConfig
from deception_saes.saes.registry import ARCHITECTURES
from deception_saes.saes.training import Job, train, untrained
from deception_saes.store.files import ARTIFACTS_VARIABLE, artifacts_root, checkout
from deception_saes.tasks.framings import FRAMINGS
from deception_saes.tasks.prompts import PromptSet, prompt_set, scorable
from deception_saes.tasks.scoring import score
from deception_saes.tasks.trivia import Question, load_questions, spread

SHARES = {"a": 0.08, "b": 0.12, "c": 0.5, "d": 0.1, "e": 0.2}  # of the minutes
ALLOWED = 1e-3  # nats, and SDs of a layer's residuals
FRAMING = FRAMINGS["two_shot_labelled"]
BOTH = ("genuine", "sandbag")
WITHOUT_SAES = (23, 27, 28, 29)
SMOKE = (*WITHOUT_SAES, 24, 25, 31, 32)
SHAPES = (27, 28, 29, 24, 25, 32, 23, 31, 30, 26, 17, 18, 19, 20, 21, 22)
OF_ALL_MODELS = (23, 30)
SHOWS = (".figure(", ".table(", ".quotations(", ".tokens(", ".say(", ".opening(")
STUDY = {"topk": 40.0, "jumprelu": 500.0}  # seconds an SAE, 300 epochs: S-03, published_claims.csv
WIDTHS = "{:4} {:60} {:>14} {:8} {:>14} {:>7}"

Measured = float | str
"""A number, or why there is none."""


@dataclass
class Check:
    """The table while it is made."""

    device: str
    tiny: bool
    part: str = ""
    ends: float = 0.0
    """Of the part, by `time.monotonic`."""
    ratios: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def measured(self, work: Callable[[], Any]) -> Any:
        """What `work` gives, without its progress bars, or why it gives nothing."""
        if time.monotonic() > self.ends:
            return "skipped, late"
        try:
            with redirect_stderr(StringIO()):
                return work()
        except ModuleNotFoundError as error:
            return f"no {error.name}"
        except torch.OutOfMemoryError:
            return "out of memory"
        except ModelUnavailable:
            return "no such model"
        except Exception as error:  # the other rows are worth having
            traceback.print_exc()
            self.wrong.append(f"{self.part}: {error!r}")
            return "failed"

    def row(self, what: str, value: Measured, unit: str, reference: Measured | None = None) -> None:
        """Print a row. unit: "at most" for a value that is wrong if it exceeds the reference."""
        ratio = ""
        if isinstance(value, float) and isinstance(reference, float) and reference:
            ratio = f"{reference / value if unit == 's' else value / reference:.2f}"
        print(WIDTHS.format(self.part, what, shown(value), unit, shown(reference), ratio),
              flush=True)
        if unit != "at most":
            self.ratios += [] if reference is None else [f"ratio {what}: {ratio or 'not measured'}"]
        elif isinstance(value, float) and not value <= reference:
            self.wrong.append(f"{self.part}: {what}: {value:.2g}, at most {reference:.2g}")


def shown(value: Measured | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:,.0f}" if value > 99 else f"{value:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", help="a torch device; by default cuda")
    parser.add_argument("--parts", default="".join(PARTS))
    parser.add_argument("--minutes", type=float, default=8.0, help="of all parts together")
    parser.add_argument("--tiny", action="store_true",
                        help="as little as runs: to try the script with --device cpu")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {min(unknown)!r}; there are {', '.join(PARTS)}")
    if options.device != "cpu" and not torch.cuda.is_available():
        print("ratio GPU: not run, torch finds no CUDA device; to try it: --device cpu --tiny")
        sys.exit(1 if options.device else 0)
    # a CPU by another name, so that results of "cpu" are not taken for its own
    device = "cpu:0" if options.device == "cpu" else options.device or "cuda"
    check = Check(device, options.tiny)
    print("CPU" if device == "cpu:0" else torch.cuda.get_device_name(device),
          f"torch {torch.__version__}, transformers {transformers.__version__}",
          *["tiny sizes, whose numbers say nothing"] * check.tiny, sep=", ")
    print(WIDTHS.format("part", "what", "value", "unit", "reference", "ratio"))
    artifacts_root().mkdir(parents=True, exist_ok=True)
    begun, share, whole = time.monotonic(), 0.0, sum(SHARES[of] for of in options.parts)
    with tempfile.TemporaryDirectory(prefix="gpu-check-", dir=artifacts_root()) as folder:
        os.environ[ARTIFACTS_VARIABLE] = folder
        for part in options.parts:
            share += SHARES[part] / whole
            check.part, check.ends = part, begun + 60 * options.minutes * share
            check.row("the whole part", check.measured(lambda of=PARTS[part]: seconds(
                lambda: of(check))), "s")
    print("\n".join(check.ratios))
    if check.wrong:
        sys.exit("\n".join(("wrong:", *check.wrong)))


def seconds(work: Callable[[], object]) -> float:
    begun = now()
    work()
    return now() - begun


# a: engines, each giving the numbers that two devices are compared by


def engines(check: Check) -> None:
    for name, lm in models(check):
        asked = questions(lm, 6 if check.tiny else 24)
        there = replace(lm, model=copy.deepcopy(lm.model).to(check.device))
        avoid_wrong_attention(there.model)
        for what, engine in ENGINES.items():
            check.row(f"{name}: {what}", check.measured(
                partial(largest, partial(engine, there), partial(engine, lm), asked)),
                "at most", ALLOWED)


def largest(one: Callable[[Any], np.ndarray], other: Callable[[Any], np.ndarray], of: Any) -> float:
    """The largest difference between what both give."""
    return float(np.abs(one(of) - other(of)).max())


def models(check: Check) -> Iterator[tuple[str, LanguageModel]]:
    llama = get("tinyllama-random")
    lm = load(llama, artifacts_root(), "cpu")
    yield "tiny Llama", lm
    torch.manual_seed(0)
    gemma = transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(
        vocab_size=len(lm.tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, initializer_range=0.3,
        sliding_window=3, layer_types=["sliding_attention", "full_attention", "sliding_attention"]))
    yield "tiny Gemma", replace(lm, model=gemma.eval().requires_grad_(False))
    yield "tiny GPT-NeoX", load(get("tinyneox-random"), artifacts_root(), "cpu")
    if not check.tiny:
        source = replace(llama.source, shape=get("smollm2").shape)
        yield "SmolLM2's shape", load(replace(llama, slug="smollm2-shape", source=source),
                                      artifacts_root(), "cpu")


def questions(lm: LanguageModel, count: int) -> list[Question]:
    return scorable(spread(load_questions(), count + 10), FRAMING, lm.tokenizer)[0][:count]


def prompts_of(lm: LanguageModel, asked: list[Question]) -> PromptSet:
    return prompt_set(FRAMING, asked, lm.tokenizer)


def ablated(lm: LanguageModel, asked: list[Question]) -> np.ndarray:
    of, parts = prompts_of(lm, asked), anatomy(lm.model)
    heads = tuple(Head(layer, layer % parts.n_heads) for layer in range(parts.n_layers))
    return np.log(ablated_p_correct(lm.model, of.prompts["sandbag"], of.correct["sandbag"],
                                    [(), heads, *((head,) for head in heads)]))


def edited(lm: LanguageModel, asked: list[Question]) -> np.ndarray:
    """By noise, and through an SAE that is not trained."""
    of, layer, device = prompts_of(lm, asked), anatomy(lm.model).n_layers // 2, lm.model.device
    x_ND = capture(lm.model, of, BOTH, "", [layer], "last", 16).x_by_layer[layer]
    job = Job("check", SaeConfig("jumprelu", x_ND.shape[1], 4 * x_ND.shape[1]),
              Recipe(epochs=1, batch_size=4, target_l0=16.0), np.arange(len(x_ND)))
    sae = untrained(job, x_ND, training.SEED).to(str(device))
    genuine_QD, sandbag_QD = x_ND.to(device).split(len(asked))
    run = LastPositionRun(lm.model, of.prompts["sandbag"], [layer])
    x_QD = run.residual(layer)
    noise_QD = torch.randn(x_QD.shape, generator=torch.Generator().manual_seed(0)).to(device)
    x_NQD = torch.stack([x_QD + x_QD.std() * noise_QD, *(
        edit(Training(sae, genuine_QD, sandbag_QD), x_QD, genuine_QD)
        for edit in (SwapTo("genuine"), AddDifference("genuine"), SwapTop(8)))])
    return np.log(token_mass(lm.model, run.final_hidden(layer, x_NQD), of.correct["sandbag"]))


def captured(lm: LanguageModel, asked: list[Question]) -> np.ndarray:
    found = capture(lm.model, prompts_of(lm, asked), BOTH, "", range(anatomy(lm.model).n_layers),
                    "suffix", 16)
    return np.stack([(x_ND / x_ND.std()).numpy() for x_ND in found.x_by_layer.values()])


def scored(lm: LanguageModel, asked: list[Question]) -> np.ndarray:
    return np.log([[of.p_correct, of.p_foil, of.p_string]
                   for of in score(lm, FRAMING, "sandbag", asked)])


ENGINES = {"log P(correct), heads ablated": ablated, "log P(correct), last position edited": edited,
           "captured residuals, in SDs": captured, "log P of scored answers": scored}


# b and e: sections


def smoke(check: Check) -> None:
    from deception_saes.paper.reference import differences

    for number in SMOKE[:1] if check.tiny else SMOKE:
        runs = [check.measured(partial(run_section, number, replace(profile_named("smoke"),
                                                                    device=device)))
                for device in ("cpu", check.device)]
        if why := [run for run in runs if isinstance(run, str)]:
            check.row(f"§{number} of smoke", why[0], "values")
            continue
        (here, expected), (there, found) = runs
        check.row(f"§{number} of smoke: of {len(expected.values)} values, beyond tolerance",
                  float(len(differences([expected], [found]))),
                  *(["at most", 0.0] if number in WITHOUT_SAES else ["values"]))
        check.row(f"CPU / this device, §{number} of smoke", there, "s", here)


def shapes(check: Check) -> None:
    profile = replace(profile_named("smoke" if check.tiny else "shapes"), device=check.device)
    for number in SHAPES[:1] if check.tiny else SHAPES:
        ran = check.measured(partial(run_section, number, profile))
        check.row(f"§{number} of {profile.name}, beyond what sections above made",
                  ran if isinstance(ran, str) else ran[0], "s")
        if torch.cuda.is_initialized() and not isinstance(ran, str):
            check.row(f"§{number}: GPU memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")


def run_section(number: int, profile: Profile) -> tuple[float, Any]:
    """Seconds and results of a section, whose notebook's cells are run here, but for those that
    only show something. Models are made before, and not timed."""
    from deception_saes.paper.settings import Settings

    of, space = Settings(number, profile, profile.seed).model, {}
    for model in profile.models if number in OF_ALL_MODELS else [of]:
        if model and why_unavailable(model) is None:
            converted(model, artifacts_root())
    import_module("deception_saes.paper.book")  # nor is its import timed
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    begun = now()
    text = (checkout() / "notebooks" / f"{SECTIONS[number].stem}.py").read_text(encoding="utf-8")
    for cell in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        kind, _, source = cell.partition("\n")
        if "[markdown]" not in kind and not any(shows in source for shows in SHOWS):
            exec(compile(source, f"s{number}", "exec"), space)
        if "parameters" in kind:
            space |= {"profile": profile, "seed": profile.seed}
    return now() - begun, space["book"].results


# c: SAE training


def saes(check: Check) -> None:
    sizes = [(64, 256)] if check.tiny else [training.LARGE, (4096, 32768)]
    kinds = [(128, False), (128, True)] if check.tiny else [
        (4096, True), (128, False), (128, True), (4096, False)]
    as_the_study = {}
    for size in sizes:
        x_ND = training.planted(size[0]).to(check.device)
        for (batch, low), name in product(kinds, ARCHITECTURES):
            steps = 4 if check.tiny else 60 if batch == 128 else 20 if size == training.LARGE else 4
            job = training.job_of(name, size, steps, batch=batch)
            what = (f"{name} {size[0]}/{size[1]}, batch {batch}, "
                    f"{'bfloat16' if low else 'float32'}")
            ours = ("for a GPU" if low and x_ND.device.type == "cpu" else
                    check.measured(partial(our_rate, job, x_ND, low)))
            for who, rate in (("SAELens", sae_lens_rate), ("products", products_rate)):
                theirs = check.measured(partial(rate, job, x_ND, low))
                check.row(f"ours / {who}, {what}", ours, "rows/s", theirs)
            if (size, batch, low) == (training.LARGE, 128, False):
                as_the_study[name] = ours
        if size == sizes[0]:
            several(check, size, x_ND)
    # both conditions' rows or one's, of half of the answerable questions: as paper/plan.py has it
    rows = 1.5 * round(len(load_questions()) * 0.6 / 2) * 13
    for name, theirs in STUDY.items():
        rate = as_the_study.get(name, "not measured")
        check.row(f"study / this device, {name} SAE, 300 epochs of {rows:,.0f} rows",
                  rate if isinstance(rate, str) else 300 * rows / rate, "s", theirs)


def several(check: Check, size: tuple[int, int], x_ND: torch.Tensor) -> None:
    """A bank beside its SAEs one after the other."""
    jobs = [training.job_of("jumprelu", size, 4 if check.tiny else 1000, name=f"{number}")
            for number in range(4)]
    ways = (lambda: train_bank(jobs, x_ND, training.SEED),
            lambda: [train(job, x_ND, training.SEED) for job in jobs])
    rows = sum(len(job.rows) for job in jobs)
    # the second time, when all is compiled
    rates = [check.measured(lambda way=way: [rows / seconds(way) for _ in range(2)][-1])
             for way in ways]
    check.row(f"4 SAEs as a bank / one after the other, jumprelu {size[0]}/{size[1]}",
              rates[0], "rows/s", rates[1])


def our_rate(job: Job, x_ND: torch.Tensor, low: bool) -> float:
    """The best epoch but the first."""
    ends: list[float] = []
    job = replace(job, recipe=replace(job.recipe, epochs=1 + training.ROUNDS, bfloat16=low))
    train(job, x_ND, training.SEED, progress=lambda steps: ends.append(now()))
    return len(job.rows) / float(np.diff(ends).min())


def sae_lens_rate(job: Job, x_ND: torch.Tensor, low: bool) -> float:
    trainer = training.sae_lens_trainer(job, untrained(job, x_ND, training.SEED), autocast=low)
    return best_rate(job, x_ND, partial(training.sae_lens_seconds, trainer))


def products_rate(job: Job, x_ND: torch.Tensor, low: bool) -> float:
    return best_rate(job, x_ND.bfloat16() if low else x_ND, partial(training.products_seconds, job))


def best_rate(job: Job, x_ND: torch.Tensor, run: Callable[[training.Batches], float]) -> float:
    """The best round but the first."""
    batches = training.batches_of(job, x_ND)
    return len(job.rows) / min([run(batches) for _ in range(1 + training.ROUNDS)][1:])


# d: engines beside the plain way


def beside_plain(check: Check) -> None:
    model = get("tinyllama-random" if check.tiny else "llama-shape")
    lm = load(model, artifacts_root(), check.device)
    parts, of = anatomy(lm.model), prompts_of(lm, questions(lm, 6 if check.tiny else 50))
    prompts, correct = of.prompts["sandbag"], of.correct["sandbag"]
    layer = parts.n_layers // 2
    every = [(Head(above, head),) for above in range(parts.n_layers)
             for head in range(parts.n_heads)]
    run = LastPositionRun(lm.model, prompts, [layer])
    x_QD = run.residual(layer)
    noise = torch.randn(200, *x_QD.shape, generator=torch.Generator().manual_seed(0))
    edits_NQD = x_QD + 0.1 * x_QD.std() * noise.to(x_QD.device)
    for what, few, whole, engine, plain in (
        ("heads", every[:: 3 * parts.n_heads + 1], every,
         lambda of: np.log(ablated_p_correct(lm.model, prompts, correct, of)),
         lambda of: np.log(plain_p_correct(lm.model, prompts, correct, of, batch_size=64))),
        ("edits", edits_NQD[:3], edits_NQD,
         lambda of: np.log(token_mass(lm.model, run.final_hidden(layer, of), correct)),
         lambda of: np.log(plain_edits(lm, prompts, correct, layer, of))),
    ):
        check.row(f"{what}: log P(correct), engine and plain way",
                  check.measured(partial(largest, engine, plain, few)), "at most", ALLOWED)
        theirs, ours = (check.measured(lambda way=way, of=of: len(of) / seconds(lambda: way(of)))
                        for way, of in ((plain, few), (engine, whole)))
        check.row(f"engine / whole forward passes, {what}", ours, f"{what}/s", theirs)


PARTS = {"a": engines, "b": smoke, "c": saes, "d": beside_plain, "e": shapes}


if __name__ == "__main__":
    main()
