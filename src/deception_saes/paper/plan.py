"""`make plan`: what a build would run and cost, roughly, before anything is run or fetched.

The work is matrix products, and these are counted: tokens through blocks, logits, SAE training.
Statistics, figures and starts stand as seconds measured under the embedded profile, which no device
shortens. The counts leave out what is small; expect a factor of two.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deception_saes.models.load import why_unavailable
from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel, ModelSpec, Shape
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.profiles import Profile
from deception_saes.paper.subjects import asked_under, read_under, why_not_read
from deception_saes.paper.units import book_units
from deception_saes.saes.tags import (
    SaeTag,
    behavioural_tags,
    is_compared,
    is_swapped,
    sandbagging_tags,
)
from deception_saes.store.files import artifacts_root
from deception_saes.tasks.scenarios import load_scenarios

# Lengths in tokens, measured with SmolLM2's tokenizer; other tokenizers differ by a tenth or so.
_SHOTS, _QUESTION, _REPLY, _RUBRIC, _NEUTRAL = 42, 13, 20, 260, 96
_ANSWERABLE = 0.6  # share of questions, measured on SmolLM2-135M-Instruct
_SECONDS = {17: 15, 18: 40, 19: 15, 20: 25, 21: 25, 22: 30, 23: 20, 24: 40, 25: 40, 26: 40, 27: 10,
            28: 15, 29: 5, 30: 10, 31: 40, 32: 30}
"""That no device shortens, by section."""
_SAES_OF = {21: 20, 22: 20, 24: 25, 26: 25, 31: 25, 32: 25}
"""By section, the one whose SAEs it needs."""
_SECONDS_A_UNIT, _SECONDS_A_NOTEBOOK, _SECONDS_OF_PAGES = 5.0, 8.0, 15.0


@dataclass(frozen=True)
class Device:
    """Where a book might be built."""

    name: str
    rate: float
    """float32 FLOP/s that the runs reach, all jobs together."""
    memory: float | None
    """Bytes; None: the machine's."""
    source: str
    """Of the rate."""


# Share of a GPU's published rate: training at 2048/8192 on an H200 (benchmarks/gpu_check.py, part
# c), assumed of all else.
_REACHED = 0.4
DEVICES = {
    "cpu": Device("two CPU cores", 1.4e11, None, "measured, benchmarks/"),
    **{slug: Device(name, rate * 1e12 * _REACHED, memory * 1e9,
                    f"{rate:g} TFLOP/s published for float32, of which {_REACHED:.0%} assumed")
       for slug, name, rate, memory in (
           ("t4", "NVIDIA T4", 8.1, 16), ("a100", "NVIDIA A100", 19.5, 80),
           ("rtx4090", "NVIDIA RTX 4090", 82.6, 24), ("h100", "NVIDIA H100 SXM", 67.0, 80),
           ("h200", "NVIDIA H200 SXM", 67.0, 141))}}


@dataclass(frozen=True)
class Work:
    """What a section asks of a device."""

    rows: float
    """Prompts, completions or edits that go through a model."""
    flops: float
    disk: float = 0.0
    """Bytes that stay."""

    def __add__(self, other: Work) -> Work:
        return Work(self.rows + other.rows, self.flops + other.flops, self.disk + other.disk)


@dataclass(frozen=True)
class Plan:
    """A build from nothing; what takes space in bytes."""

    work: dict[int, Work]
    """By section, of those that are run."""
    seconds: dict[int, float]
    total: float
    """Seconds of the whole build, with starts, notebooks and pages."""
    download: float
    disk: float
    memory: float
    """Of a unit."""
    lacking: dict[str, str]
    """Models that are not here yet, and why, by slug."""


def plan(profile: Profile, seed: int, device: Device) -> Plan:
    """What a build costs on a device. Loads and fetches nothing: a model that has yet to be fetched
    counts as here."""
    work = _on_questions(profile) | ({} if why_not_read(profile) else _on_completions(profile))
    seconds = {number: of.flops / device.rate + _SECONDS.get(number, 0) / profile.jobs
               for number, of in sorted(work.items())}
    units = [name for name in book_units(profile, seed) if not name.startswith("notebook-")]
    starts = len(units) * _SECONDS_A_UNIT + len(SECTIONS) * _SECONDS_A_NOTEBOOK
    fetched = sum(model.shape.parameters for model in profile.models
                  if isinstance(model.source, HubModel))
    return Plan(
        work, seconds, sum(seconds.values()) + starts / profile.jobs + _SECONDS_OF_PAGES,
        download=2.0 * fetched,  # published in half precision
        disk=_kept_weights(profile) + sum(of.disk for of in work.values()),
        memory=_memory(profile),
        lacking={model.slug: reason for model in profile.models
                 if (reason := why_unavailable(model)) is not None})


def shortage(
    profile: Profile, number: int, own: ModelSpec | None, memory: float, disk: float
) -> str | None:
    """What a section needs, in a line, if so many free bytes may not do; None if they do. own: the
    model that it is run with in place of the profile's. A GPU's memory is not asked for."""
    if own:
        read = profile.behaviour and replace(profile.behaviour, model=own.slug)
        swaps = {section: (own.slug, framing) for section, (_, framing) in profile.swaps.items()}
        profile = replace(profile, models=(own,), behaviour=read, swaps=swaps)
    work = _on_questions(profile) | ({} if why_not_read(profile) else _on_completions(profile))
    keeps = max(work[of].disk if of in work else 0 for of in (number, _SAES_OF.get(number, number)))
    keeps += _kept_weights(profile)
    holds = _memory(profile) if profile.device == "cpu" else 0.0
    if holds <= memory and keeps <= disk:
        return None
    asked = (("memory", holds, memory), ("disk, from nothing,", keeps, disk))
    return (f"§{number} with {', '.join(model.slug for model in profile.models)} may not fit: "
            + "; ".join(f"{what} about {needs / 1e9:.1f} GB, free {free / 1e9:.1f} GB"
                        for what, needs, free in asked if needs))


def free_memory_and_disk() -> tuple[float, float]:
    """Bytes that new processes may use, infinite where the system does not say, and bytes where the
    artifacts go."""
    info, root = Path("/proc/meminfo"), artifacts_root()
    found = re.search(r"MemAvailable:\s*(\d+) kB",
                      info.read_text(encoding="ascii") if info.is_file() else "")
    folder = next(folder for folder in (root, *root.parents) if folder.exists())
    return 1024.0 * int(found[1]) if found else math.inf, float(shutil.disk_usage(folder).free)


def _memory(profile: Profile) -> float:
    """Bytes of a unit, weights in float32."""
    return 4.0 * max(model.shape.parameters for model in profile.models) + 1.2e9


def _kept_weights(profile: Profile) -> float:
    """Bytes of the models that are converted, to float32; the hub's stay in its cache."""
    return sum(4.0 * model.shape.parameters for model in profile.models
               if not isinstance(model.source, HubModel))


def _on_completions(profile: Profile) -> dict[int, Work]:
    assert profile.behaviour is not None  # else these sections are not run
    of, completions = get(profile.behaviour.model).shape, len(read_under(profile.behaviour))
    scenarios, tokens = len(load_scenarios()[: profile.behaviour.scenarios]), completions * _REPLY
    tags = behavioural_tags("", of.layers)
    tags += [tag for tag in tags if tag.architecture == "jumprelu"]  # with thresholds at 0 too
    recipe = profile.behaviour_recipe or profile.sae_recipe
    residuals = 4.0 * completions * of.layers * of.d_model  # bytes of one position
    judged = min(2 * 16 * scenarios, 2 * completions // 3)  # 16 of a scenario, by two judges
    # two replies that are read under each of seven directions, and those that are drawn
    steered = scenarios * (2 * (1 + 7 * 4) + profile.steered_draws * (1 + 2 * 4))
    return {
        # the batch judge reads its rubric once for four completions
        17: _asked(of, judged, _REPLY + 0.6 * _RUBRIC)
            + Work(completions, tokens * of.flops_of_token, 2 * residuals),
        18: Work(completions, tokens * of.flops_of_token / 2, residuals),
        19: Work(0, 0),
        20: _trained(of, tags, tokens / 7, recipe.epochs)  # a balanced set of one round
            + Work(completions, tokens * of.flops_of_token + _encoded(of, tags, tokens)),
        21: Work(0, _encoded(of, tags, 2 * tokens)),
        22: Work(steered, steered * (_REPLY + _RUBRIC / 4)
                 * (of.flops_of_token + of.flops_of_logits)),
    }


def _on_questions(profile: Profile) -> dict[int, Work]:
    of, heads, epochs = profile.models[0].shape, profile.circuit_size, profile.sae_recipe.epochs
    half, asked = _half(profile), 3 * sum(len(asked_under(profile, framing))
                                          for framing in profile.framings)
    few = min(half, profile.draw_questions or half)
    zoo = [tag for tag in sandbagging_tags(profile.models[0].slug, of.layers)
           if profile.whole_release or is_compared(tag)]
    sets = 3 * profile.random_draws + 2 ** (heads + 1)  # of heads; subsets on both halves
    ablated = (6 + 2 * heads) * half + sets * few  # what claims are about: on every question
    arms = 2 * min(half, profile.arm_sweep_questions or profile.sweep_sandbag_questions or half)
    relabelled = (1 + profile.relabellings) * min(half, profile.relabelled_questions or half)
    texts = of.layers * of.heads / 2 + 3 * profile.random_draws
    sweeps = [_swept(model.shape, half) for model in profile.models[1:]]
    found = {
        # behind the prompt's end the full strings of answers go on
        23: _sum(_asked(model.shape, asked, 1.3 * _QUESTION) for model in profile.models),
        25: _edited(of, len(zoo) * 6 * half)
            + _trained(of, zoo, 1.5 * half * _QUESTION, epochs),  # one condition's rows, or both
        27: _swept(of, (profile.sweep_sandbag_questions or half)
                   + (profile.sweep_genuine_questions or half) + arms),
        28: _asked(of, ablated, _QUESTION) + Work(0, sets * _SHOTS * of.flops_of_token)
            + Work(0, texts * _NEUTRAL * (of.flops_of_token + of.flops_of_logits)),
        29: _asked(of, 4 * half + 2 * (profile.random_draws * few + relabelled), _QUESTION),
        30: _sum([*sweeps, _asked(of, 28 * half + profile.random_draws * few, _QUESTION),
                  *(_asked(model.shape, 8 * half, _QUESTION) for model in profile.models)]),
        32: Work(0, _encoded(of, zoo, 8 * half)),
    }
    for number, (slug, framing) in profile.swaps.items():
        of = get(slug).shape
        few = min(half, profile.swap_draw_questions or half)
        tags = [tag for tag in sandbagging_tags(slug, of.layers) if is_swapped(tag)]
        # so many edits, on either condition's prompts, and so many that are drawn, on sandbag ones
        given, drawn = (18, 2) if number == 31 else (34, 3)
        edits = len(tags) * (given * half + drawn * profile.swap_draws * few)
        found[number] = _edited(of, edits)
        if number == 24:  # whole prompts, edited at all positions
            found[number] += _asked(of, 8 * few, _SHOTS + _QUESTION)
        of_zoo = slug == profile.models[0].slug and framing == profile.circuit_framing
        if number == 31 or not of_zoo:
            found[number] += _trained(of, tags, 2 * half * _QUESTION, epochs)
    return found


def _half(profile: Profile) -> int:
    """Answerable questions of one half under a co-primary framing."""
    return round(len(asked_under(profile, profile.primary_framings[0])) * _ANSWERABLE / 2)


def _asked(of: Shape, rows: float, tokens: float) -> Work:
    """Rows of so many tokens through all blocks, and the logits of their last."""
    return Work(rows, rows * (tokens * of.flops_of_token + of.flops_of_logits))


def _edited(of: Shape, rows: float) -> Work:
    """Last positions that go on from the middle of the model."""
    return Work(rows, rows * (of.flops_of_token / 2 + of.flops_of_logits))


def _swept(of: Shape, questions: int) -> Work:
    """Every head alone, from its block on; what stands before the question once a head."""
    heads = of.layers * of.heads
    return _asked(of, heads * questions, _QUESTION / 2) + Work(
        0, heads * _SHOTS * of.flops_of_token)


def _trained(of: Shape, tags: Sequence[SaeTag], rows: float, epochs: int) -> Work:
    """SAEs on so many rows each: forward and back are six products with a matrix of theirs."""
    matrices = sum(float(of.d_model**2 * tag.expansion) for tag in tags)
    return Work(0, rows * epochs * 6 * 2 * matrices, 2 * 4 * matrices)


def _encoded(of: Shape, tags: Sequence[SaeTag], rows: float) -> float:
    return 2 * rows * sum(float(of.d_model**2 * tag.expansion) for tag in tags)


def _sum(works: Iterable[Work]) -> Work:
    return sum(works, Work(0, 0))


def plan_text(profile: Profile, seed: int, device: Device) -> str:
    """The plan as a table for a terminal."""
    found = plan(profile, seed, device)
    lines = [f"profile {profile.name}, seed {seed}, on {device.name} ({device.source}); "
             f"{profile.jobs} at once, {profile.threads} threads each; rough, within a factor of "
             "two", "", f"{'section':34} {'rows':>9} {'TFLOP':>9} {'seconds':>8} {'budget':>7}"]
    for section in SECTIONS.values():
        title, work = f"§{section.number} {section.title}", found.work.get(section.number)
        if work is None:
            lines.append(f"{title:34} not counted: not run in this profile, or without an estimate")
            continue
        lines.append(f"{title:34} {work.rows:9,.0f} {work.flops / 1e12:9,.1f} "
                     f"{found.seconds[section.number]:8,.0f} "
                     f"{profile.seconds.get(section.number, 0):7,.0f}")
    lines += ["", f"whole build     {found.total / 60:,.0f} min, with starts, notebooks, pages",
              f"memory          {found.memory / 1e9:.1f} GB a unit"
              + (f", of the device's {device.memory / 1e9:.0f} GB" if device.memory else ""),
              f"artifacts       {found.disk / 1e9:.1f} GB",
              f"from the hub    {found.download / 1e9:.1f} GB"]
    lines += [f"unavailable     {slug}: {reason}" for slug, reason in found.lacking.items()]
    return "\n".join(lines)
