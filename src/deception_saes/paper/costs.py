"""What each section costs, from the parameters that it runs with: for `make plan`.

The work is matrix products, and these are counted: tokens through blocks, logits, steps of SAE
training. What is not (statistics, plots, starts) stands as seconds measured under the embedded
profile, which no device shortens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deception_saes.models.registry import get
from deception_saes.models.spec import Shape
from deception_saes.paper.catalogue import DECEPTION, Section
from deception_saes.paper.profiles import Behaviour, Profile
from deception_saes.paper.subjects import why_not_read
from deception_saes.tasks.completions import load_completions
from deception_saes.tasks.scenarios import load_scenarios
from deception_saes.tasks.trivia import load_questions

# Lengths in tokens, measured with SmolLM2's tokenizer; other tokenizers differ by a tenth or so.
_SHOTS, _QUESTION, _REPLY, _RUBRIC, _NEUTRAL = 42, 13, 20, 260, 96
_ANSWERABLE = 0.6  # share of questions, measured on SmolLM2-135M-Instruct
_SUBSETS, _REPORTED_SUBSETS = 31, 8
_SWAPPED = 7  # SAEs that §24 and its like swap: two architectures at three depths, Gated at one
_SINGLE_EDITS = 18
_ZOO, _ZOO_EDITS = 42, 6
_GRID, _PREFIX = 18, 9
_STEERED_REPLIES = 2 * (1 + 4 * 7)  # of a scenario: two, along seven directions at four strengths
_SAMPLED = 2 * (1 + 2 * 4)  # completions of a scenario: two draws, four directions to both sides
_JUDGED = 16  # completions of a scenario that each embedded judge reads
_OF_TOKENS = 0.14  # share of the completions' tokens that one behavioural SAE is trained on
_PRODUCTS = 6  # of a step of training, forward and back, each 2 d_in d_sae a row
_EXPANSION = 4
_WITH_SEEDS = 24  # the section that trains SAEs anew with other seeds


@dataclass(frozen=True)
class Cost:
    """rows: prompts, completions or edits that go through the model. forward, training: FLOPs.
    disk: bytes that stay. fixed: seconds that no device shortens."""

    rows: int
    forward: float
    training: float = 0.0
    disk: float = 0.0
    fixed: float = 0.0


def section_cost(section: Section, profile: Profile, seed: int) -> Cost | None:
    """What the section costs by itself, the SAEs that it is about with the first that needs them;
    None if the profile does not run it. A section that is not counted here costs its budget. Models
    that have yet to be fetched count as had."""
    if section.part == DECEPTION and why_not_read(profile):
        return None
    if section.number not in _COSTS:
        return Cost(0, 0.0, fixed=profile.seconds.get(section.number, 0.0))
    return _COSTS[section.number](profile, section.number)


def peak_memory(profile: Profile) -> float:
    """Bytes: the largest model in float32, and what stands beside it."""
    largest = max(model.shape.parameters for model in profile.models)
    return 4.0 * largest + 1.2e9


def _half(profile: Profile) -> int:
    asked = profile.questions or len(load_questions())
    return round(asked * _ANSWERABLE / 2)


def _judged(profile: Profile, _: int) -> Cost:
    read, of = _read(profile)
    judged = 2 * min(_JUDGED, read.completions_per_scenario or 48) * _scenarios(read)
    completions = _completions(read)
    rows = judged + completions
    # the batch judge gives every completion of a request its own prompt
    tokens = judged / 2 * (_REPLY + _RUBRIC / 4) + judged / 2 * (_REPLY + _RUBRIC)
    return Cost(rows, (tokens + completions * _REPLY) * of.flops_of_token
                + judged * of.flops_of_logits,
                disk=completions * of.layers * of.d_model * 8.0, fixed=15)


def _read(profile: Profile) -> tuple[Behaviour, Shape]:
    assert profile.behaviour is not None  # else these sections are not run
    return profile.behaviour, get(profile.behaviour.model).shape


def _completions(params: Behaviour) -> int:
    shipped, every = len(load_completions()), len(load_scenarios())
    each = params.completions_per_scenario or shipped / (3 * every)
    return round(3 * each * _scenarios(params))


def _scenarios(params: Behaviour) -> int:
    return len(load_scenarios()[: params.scenarios])


def _layers(profile: Profile, _: int) -> Cost:
    read, of = _read(profile)
    rows = _completions(read)
    return Cost(rows, rows * _REPLY * of.flops_of_token / 2,
                disk=rows * of.layers * of.d_model * 4.0, fixed=40)


def _components(profile: Profile, _: int) -> Cost:
    return Cost(0, 0.0, fixed=15)


def _grid(profile: Profile, _: int) -> Cost:
    read, of = _read(profile)
    completions, recipe = _completions(read), profile.behaviour_recipe or profile.sae_recipe
    tokens = completions * _REPLY
    encoded = tokens * (_GRID + _PREFIX) * 4.0 * of.d_model**2 * _EXPANSION
    return Cost(completions, tokens * of.flops_of_token + encoded,
                (_GRID + _PREFIX) * _training(of, tokens * _OF_TOKENS, recipe.epochs, _EXPANSION),
                disk=(_GRID + _PREFIX) * _bytes(of, _EXPANSION), fixed=25)


def _sae_probes(profile: Profile, _: int) -> Cost:
    read, of = _read(profile)
    tokens = _completions(read) * _REPLY
    return Cost(0, tokens * 2 * _GRID * 2.0 * of.d_model**2 * _EXPANSION, fixed=25)


def _attribution(profile: Profile, _: int) -> Cost:
    read, of = _read(profile)
    replies, sampled = (_scenarios(read) * each for each in (_STEERED_REPLIES, _SAMPLED))
    tokens = replies * _REPLY + sampled * (_REPLY + _RUBRIC + 40)
    return Cost(replies + sampled, tokens * (of.flops_of_token + of.flops_of_logits), fixed=30)


def _task(profile: Profile, _: int) -> Cost:
    rows, forward = 0, 0.0
    for model in profile.models:
        of = model.shape
        for framing in profile.framings:
            asked = profile.questions or len(load_questions())
            if framing not in profile.primary_framings:
                asked = min(asked, profile.secondary_questions or asked)
            prompts = 3 * asked
            rows += prompts
            # the full strings of answers go on from the prompt's end
            forward += prompts * 2 * (_QUESTION * of.flops_of_token + of.flops_of_logits)
    return Cost(rows, forward, fixed=20)


def _zoo_training(of: Shape, count: int, profile: Profile) -> tuple[float, float]:
    """FLOPs of training so many of a framing's SAEs, and bytes that they take."""
    each = _half(profile) * _QUESTION * 1.4  # mixed sets have the rows of both conditions
    return (count * _training(of, each, profile.sae_recipe.epochs, _EXPANSION * 1.1),
            count * _bytes(of, _EXPANSION))


def _zoo(profile: Profile, _: int) -> Cost:
    of, half = profile.models[0].shape, _half(profile)
    rows = _ZOO * _ZOO_EDITS * half
    training, disk = _zoo_training(of, _ZOO, profile)
    return Cost(rows, rows * _from_middle(of), training, disk, fixed=40)


def _swap(profile: Profile, number: int) -> Cost | None:
    if number not in profile.swaps:
        return None
    slug, framing = profile.swaps[number]
    of, half = get(slug).shape, _half(profile)
    few = profile.swap_draw_questions or half
    rows = 2 * _SWAPPED * (_SINGLE_EDITS * half + 3 * profile.swap_draws * few)
    if number == _WITH_SEEDS:
        rows += profile.training_seeds * (2 * half + profile.swap_draws * few)
    # the release's own SAEs are counted in §25
    in_zoo = slug == profile.models[0].slug and framing == profile.circuit_framing
    training, disk = (0.0, 0.0) if in_zoo else _zoo_training(of, _SWAPPED, profile)
    return Cost(rows, rows * _from_middle(of), training, disk, fixed=40)


def _sweep(profile: Profile, _: int) -> Cost:
    return _swept(profile.models[0].shape, (profile.sweep_sandbag_questions or _half(profile))
                  + (profile.sweep_genuine_questions or _half(profile)))


def _swept(of: Shape, questions: int) -> Cost:
    heads = of.layers * of.heads
    tokens = heads * (questions * _QUESTION + 2 * _SHOTS)
    return Cost(heads * questions, tokens * of.flops_of_token / 2
                + heads * questions * of.flops_of_logits, fixed=10)


def _circuit(profile: Profile, _: int) -> Cost:
    of, half = profile.models[0].shape, _half(profile)
    few = min(profile.draw_questions or half, half)
    sets = 3 * profile.random_draws
    few_subsets = 2 * _SUBSETS - _REPORTED_SUBSETS
    questions = _REPORTED_SUBSETS * half + few_subsets * few + sets * few + 6 * half
    tokens = questions * _QUESTION + (sets + 2 * _SUBSETS) * _SHOTS
    damaged = of.layers * of.heads * _NEUTRAL / 2 + sets * _NEUTRAL
    return Cost(questions, (tokens * 0.9 + damaged) * of.flops_of_token
                + (questions + damaged) * of.flops_of_logits, fixed=15)


def _neutral(profile: Profile, _: int) -> Cost:
    of, half = profile.models[0].shape, _half(profile)
    return Cost(4 * half, 4 * half * (_QUESTION * of.flops_of_token + of.flops_of_logits), fixed=5)


def _models(profile: Profile, _: int) -> Cost:
    rows, forward = 0, 0.0
    for place, model in enumerate(profile.models):
        of, half = model.shape, _half(profile)
        rows += 8 * half
        forward += 8 * half * (_QUESTION * of.flops_of_token + of.flops_of_logits)
        if place:  # the first model's heads are §27's
            swept = _swept(of, half)
            rows, forward = rows + swept.rows, forward + swept.forward
    return Cost(rows, forward, fixed=10)


def _separation(profile: Profile, _: int) -> Cost:
    of, half = profile.models[0].shape, _half(profile)
    return Cost(0, _ZOO * 2 * 4 * half * 2.0 * of.d_model**2 * _EXPANSION, fixed=30)


def _from_middle(of: Shape) -> float:
    """FLOPs of one token that goes on from the middle of the model to its logits."""
    return of.flops_of_token / 2 + of.flops_of_logits


def _training(of: Shape, rows: float, epochs: int, expansion: float) -> float:
    return rows * epochs * _PRODUCTS * 2.0 * of.d_model**2 * expansion


def _bytes(of: Shape, expansion: float) -> float:
    return 4.0 * 2 * of.d_model**2 * expansion


_COSTS: dict[int, Callable[[Profile, int], Cost | None]] = {
    17: _judged, 18: _layers, 19: _components, 20: _grid, 21: _sae_probes, 22: _attribution,
    23: _task, 24: _swap, 25: _zoo, 26: _swap, 27: _sweep, 28: _circuit, 29: _neutral, 30: _models,
    31: _swap, 32: _separation}
