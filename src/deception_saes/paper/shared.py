"""The calls that several notebooks share, or that are worth a unit of work of their own: declared
here, so that they are made before the notebooks, several at once, and no notebook waits for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from deception_saes.activations.capture import Positions
from deception_saes.cache import KEPT_BYTES, Call, calls_tree, drop_others, kept_bytes
from deception_saes.experiments.behavioural_saes import train_behavioural
from deception_saes.experiments.factors import ask_cells
from deception_saes.experiments.heads import sweep, sweep_layer
from deception_saes.experiments.layer_probes import chosen_layers
from deception_saes.experiments.reading import MAIN_ROUND, ROUNDS, capture
from deception_saes.experiments.saes import (
    SaeSet,
    activations,
    train_again,
    train_saes,
    with_frozen_decoder,
)
from deception_saes.experiments.separation import separation_at
from deception_saes.experiments.task import AskedHalf, Task, ask
from deception_saes.experiments.zoo import SWAPS, quality_at
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.profiles import PROFILES, Profile
from deception_saes.paper.settings import Settings
from deception_saes.saes.tags import LLAMA, StudyDepths, swapped_at
from deception_saes.store.ensure import marker_path
from deception_saes.store.files import artifacts_root
from deception_saes.tasks.factors import factorial, zero_shot_wordings
from deception_saes.tasks.framings import Condition


def shared_calls(
    number: int, profile: Profile, seed: int, *, by_layer: bool = False
) -> dict[str, Call]:
    """Those of a section by the names of their units, each after those it needs; none of a section
    that is not run. Loads no model.

    by_layer: each layer of a sweep too, before the sweep that joins them.
    """
    settings = Settings(number, profile, seed)
    if number not in _CALLS or settings.why_not_run:
        return {}
    calls = dict(_CALLS[number](settings))
    sweeps = {name: call for name, call in calls.items() if call.function is sweep}
    others = {name: call for name, call in calls.items() if name not in sweeps}
    layers = dict(of for swept in sweeps.items() for of in _layers(*swept)) if by_layer else {}
    return others | layers | sweeps  # so that no sweep and no layer waits for another


def calls_of_book(profile: Profile, seed: int, *, by_layer: bool = False) -> dict[str, Call]:
    """Those of all sections."""
    return {name: call for number in SECTIONS
            for name, call in shared_calls(number, profile, seed, by_layer=by_layer).items()}


def clean_old() -> str:
    """Drop the calls that no book in the artifacts, of any profile and seed, and no run beside one
    has used with the present code; what this freed and what is left, in a sentence."""
    kept = {marker_path(calls_tree(), call.spec).name for profile in PROFILES.values()
            for seed, tree in seed_trees(profile, artifacts_root()).items() if tree.is_dir()
            for call in calls_of_book(profile, seed, by_layer=True).values()}
    for written in artifacts_root().glob("**/results/s*.calls.json"):
        kept |= {call["marker"] for call in json.loads(written.read_text(encoding="utf-8"))}
    freed = drop_others(calls_tree(), kept)
    left = kept_bytes(calls_tree())
    return (f"{freed / 1e6:.0f} MB freed; {len(left)} calls of {sum(left.values()) / 1e6:.0f} MB "
            f"are kept, of {KEPT_BYTES / 1e6:.0f} MB at most")


def seed_trees(profile: Profile, artifacts: Path) -> dict[int, Path]:
    """The profile's trees in `artifacts` by seed; that of its own seed whether it is there or not.
    """
    trees = {profile.seed: artifacts / profile.name}
    for tree in artifacts.glob(f"{profile.name}-seed*"):
        number = tree.name.removeprefix(f"{profile.name}-seed")
        if number.isdigit():
            trees[int(number)] = tree
    return trees


Named = Iterator[tuple[str, Call]]


def _asked(task: Task) -> Named:
    yield (f"ask-{task.model}-{task.framing.name}",
           ask.call(task.subject, task.framing, task.questions))


def _of_task(of: Settings) -> Named:
    for subject in of.subjects:
        for framing in of.framings:
            yield (f"ask-{subject.model.slug}-{framing.name}",
                   ask.call(subject, framing, of.questions(framing)))
    if of.model is None or of.model.slug in of.missing:
        return
    half = of.task.evaluating
    for name, count, cells in (
        ("factorial", of.profile.factorial_questions, factorial()),
        ("wordings", of.profile.wording_questions, zero_shot_wordings()),
    ):
        yield f"{name}-{of.task.model}", ask_cells.call(half.spread(count), cells)


def _of_swaps(of: Settings) -> Named:
    yield from _trained(of.saes, of.depths)
    yield (f"activations-{of.task.model}-{of.task.framing.name}-choosing-last",
           activations.call(of.task.choosing, of.saes.layers, "last"))
    if of.training_seeds:
        (tag,) = swapped_at(of.saes.tags, of.middle, "jumprelu")
        yield (f"seeds-{of.task.model}-{of.task.framing.name}-L{of.middle}",
               train_again.call(of.saes, tag, of.training_seeds))
        frozen = with_frozen_decoder(of.saes, tag)
        yield (f"saes-frozen-{of.task.model}-{of.task.framing.name}-L{of.middle}",
               train_saes.call(frozen.saes, of.middle))


def _trained(saes: SaeSet, depths: StudyDepths = LLAMA) -> Named:
    task = saes.task
    about = f"{task.model}-{task.framing.name}"
    if depths != LLAMA:  # another set of the same task
        about += f"-depths-of-{depths.slug}"
    yield from _asked(task)
    yield (f"activations-{about}-choosing-suffix",
           activations.call(task.choosing, saes.layers, "suffix"))
    if not saes.release:
        for layer in saes.layers:
            yield f"saes-{about}-L{layer}", train_saes.call(saes, layer)


def _of_zoo(of: Settings) -> Named:
    yield from _trained(of.saes)
    task, layers = of.task, of.saes.layers
    wanted: tuple[tuple[AskedHalf, Positions], ...] = (
        (task.evaluating, "suffix"), (task.evaluating, "last"), (task.choosing, "last"))
    for half, positions in wanted:
        yield (f"activations-{task.model}-{task.framing.name}-{half.half}-{positions}",
               activations.call(half, layers, positions))


def _of_quality(of: Settings) -> Named:
    yield from _of_zoo(of)
    for layer in of.layers:
        yield (f"quality-{of.task.model}-{of.task.framing.name}-L{layer}",
               quality_at.call(of.saes, layer, SWAPS))


def _of_separation(of: Settings) -> Named:
    yield from _of_zoo(of)
    for layer in of.layers:
        yield (f"separation-{of.task.model}-{of.task.framing.name}-L{layer}",
               separation_at.call(of.saes, layer, k=of.k, draws=of.resamples,
                                  permutations=of.profile.permutations, seed=of.seed))


def _of_circuit(of: Settings) -> Named:
    yield from _asked(of.task)
    yield _swept(of.task.choosing.spread(of.profile.sweep_sandbag_questions), "sandbag")


def _of_portion(of: Settings) -> Named:
    yield from _of_circuit(of)
    yield _swept(of.task.choosing.spread(of.profile.sweep_genuine_questions), "genuine")


def _of_sweep(of: Settings) -> Named:
    yield from _of_portion(of)
    yield from _under_arms(of)


def _under_arms(of: Settings) -> Named:
    """The sweeps under the other arms than the section's framing."""
    half = of.task.choosing.spread(of.profile.arm_sweep_questions)
    for name, arm in of.arms.items():
        if name != "section":
            yield _swept(half.under(arm), "sandbag")


def _of_models(of: Settings) -> Named:
    for subject in of.subjects:
        chosen = of.task_of(subject, of.framing)
        for framing in of.primary_framings:
            yield from _asked(of.task_of(subject, framing))
        yield from _asked(chosen)
        count = of.profile.sweep_sandbag_questions if subject == of.subject else None
        yield _swept(chosen.choosing.spread(count), "sandbag")
    yield from _under_arms(of)


def _swept(half: AskedHalf, condition: Condition) -> tuple[str, Call]:
    return (f"sweep-{half.task.model}-{half.framing.name}-{condition}",
            sweep.call(half, condition))


def _layers(name: str, swept: Call) -> Named:
    given = dict(swept.arguments)
    for layer in range(given["half"].task.subject.model.shape.layers):
        yield f"{name}-L{layer}", sweep_layer.call(**given, layer=layer)


def _of_reading(of: Settings) -> Named:
    reading = of.reading
    for round in ROUNDS:
        yield (f"activations-{reading.model}-completions-{round}",
               capture.call(reading.subject, reading.of_round(round), reading.layers))


def _of_probes(of: Settings) -> Named:
    yield from _of_reading(of)
    yield (f"layers-{of.reading.model}-completions-{MAIN_ROUND}",
           chosen_layers.call(of.reading, MAIN_ROUND, "mean"))


def _of_behavioural_saes(of: Settings) -> Named:
    yield from _of_reading(of)
    saes = of.behavioural_saes
    for layer in saes.layers:
        yield (f"saes-{saes.reading.model}-completions-L{layer}",
               train_behavioural.call(saes, layer))
    for layer in saes.layers[1:2]:
        yield (f"saes-before-fix-{saes.reading.model}-completions-L{layer}",
               train_behavioural.call(saes.before_fix([layer]), layer))


_CALLS = {17: _of_reading, 18: _of_probes, 19: _of_probes, 20: _of_behavioural_saes,
          21: _of_behavioural_saes, 22: _of_behavioural_saes, 23: _of_task, 24: _of_swaps,
          25: _of_quality, 26: _of_swaps, 27: _of_sweep, 28: _of_circuit, 29: _of_portion,
          30: _of_models, 31: _of_swaps, 32: _of_separation}
