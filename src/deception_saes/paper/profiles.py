"""The profiles: which models, how much of everything, on what. Data, not code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from deception_saes.models.registry import get
from deception_saes.models.spec import ModelSpec
from deception_saes.saes.config import Recipe


@dataclass(frozen=True)
class Behaviour:
    """Which completions §17 to §22 are about."""

    model: str
    """Slug of the model of the profile that reads them."""
    sampled_by: str
    """Slug of the model whose shipped completions they are."""
    judge: str = "claude-1"
    """Whose labels are the primary ones."""
    completions_per_scenario: int | None = None
    """The first so many of each scenario and round; None: all."""
    scenarios: int | None = None
    """The first so many of the file; None: all."""


@dataclass(frozen=True)
class Profile:
    """One way to run the book."""

    name: str
    seed: int
    models: tuple[ModelSpec, ...]
    """The primary model first."""
    framings: tuple[str, ...]
    """Names of `tasks.framings.FRAMINGS`."""
    primary_framings: tuple[str, ...]
    """The two co-primary ones."""
    questions: int | None
    """How many of the shipped questions are asked under the co-primary framings, evenly spread over
    the file; None: all."""
    secondary_questions: int | None
    """The same under the other framings."""
    factorial_questions: int | None
    """Questions that are asked in every cell of the factorial, spread over the evaluating half;
    None: the whole half."""
    wording_questions: int | None
    """The same under every wording of every instruction."""
    answerable_min_p: float
    """Least P(correct | genuine) of an answerable question."""
    bootstrap_draws: int
    """Resamples behind every confidence interval."""
    batch_size: int
    """Prompts a forward pass."""
    device: str
    """A torch device."""
    threads: int
    """Of torch in each unit of work, which decide the last bits of results."""
    jobs: int
    """How many units are made at once: on few cores two units of one thread each are faster than
    one of two, since much of a unit does not share its work between threads."""
    circuit_framing: str
    """The framing under which heads are ranked and ablated."""
    circuit_size: int
    """How many suppressor heads are ablated together."""
    sweep_sandbag_questions: int | None
    sweep_genuine_questions: int | None
    """Questions of the head sweep under each condition, spread over the choosing half; None: the
    whole half."""
    arm_sweep_questions: int | None
    """Those of them that heads are swept on under other arms too, and of which each arm's heads are
    chosen; None: as many as under sandbag."""
    draw_questions: int | None
    """Evaluating questions of the random-head draws and of subsets of heads that no claim is about,
    choosing questions for heads' means and the best subset, spread over their half; None: the whole
    half."""
    random_draws: int
    """Draws of each kind of random heads."""
    relabellings: int
    """Of conditions within questions, behind the null of a portion."""
    relabelled_questions: int | None
    """Evaluating questions that the heads so chosen are ablated on, spread over the half; None: the
    whole half."""
    permutations: int
    """Draws of every null."""
    steered_draws: int
    """Completions of a scenario that are sampled under each steering."""
    sae_recipe: Recipe
    """How every SAE is trained."""
    swaps: Mapping[int, tuple[str, str]]
    """By section, §24, §26 and §31, the slug of the model and the framing it is about; a section
    without an entry is not run. §24's model in §31 stands in for TinyLlama, at its depths."""
    swap_draws: int
    """Draws of each random edit, an even number."""
    swap_draw_questions: int | None
    """Evaluating questions that they are run on, spread over the half; None: the whole half."""
    verdicts: bool
    """Whether the front page judges the claims; random weights prove nothing."""
    behaviour: Behaviour | None = None
    """Whose completions are told apart; None: §17 to §22 are not run."""
    behaviour_recipe: Recipe | None = None
    """How the behavioural SAEs are trained; None: as the others."""
    whole_release: bool = True
    """Whether the sandbagging release's 42 SAEs are all trained for §25 and §32; else those that
    `saes.tags.is_compared`."""
    sae_source: str | None = None
    """None: the SAEs are trained here. A hub repository "organisation/name" or a folder: those of
    that release are used."""
    training_seeds: int = 5
    """How many seeds the headline gap is measured with."""
    equivalence_share: float = 0.1
    """What counts as no gap, as a share of the clean genuine − sandbag difference."""
    fuller: str | None = None
    """Name of the profile with more of everything, whose values *status* sets beside this one's."""
    seconds: Mapping[int, float] = field(default_factory=dict)
    """What each section may take on the machine that the profile is meant for."""

    def __post_init__(self) -> None:
        """Raises ValueError where a run would stop only after minutes of work."""
        swept, of_arms = self.sweep_sandbag_questions, self.arm_sweep_questions
        if swept is not None and (of_arms is None or swept % of_arms):
            raise ValueError(f"profile {self.name}: arm_sweep_questions is {of_arms}; give a "
                             f"divisor of sweep_sandbag_questions, {swept}, so that questions "
                             "spread over the half are among the swept ones")
        if self.swap_draws % 2:
            raise ValueError(f"profile {self.name}: swap_draws is {self.swap_draws}; give an even "
                             "number, since the draws come in complements")


_ALL_FRAMINGS = ("two_shot_labelled", "two_shot_same_prefix", "zero_shot", "chat")
_CO_PRIMARY = ("two_shot_labelled", "two_shot_same_prefix")

_EMBEDDED = Profile(
    name="embedded",
    seed=0,
    models=(get("smollm2it"),),
    framings=_CO_PRIMARY,
    primary_framings=_CO_PRIMARY,
    questions=None,
    secondary_questions=96,
    factorial_questions=96,
    wording_questions=32,
    answerable_min_p=0.1,
    bootstrap_draws=10_000,
    batch_size=32,
    device="cpu",
    threads=1,
    jobs=2,
    circuit_framing="two_shot_labelled",
    circuit_size=5,
    sweep_sandbag_questions=40,
    sweep_genuine_questions=20,
    arm_sweep_questions=10,
    draw_questions=24,
    random_draws=20,
    relabellings=99,
    relabelled_questions=12,
    permutations=999,
    steered_draws=1,
    sae_recipe=Recipe(epochs=20, learning_rate=1e-3, threshold_rate=10.0, decay=0.3,
                      l1=3e-3, l0=0.1, target_l0=64.0),
    swaps={24: ("smollm2it", "two_shot_labelled"),
           26: ("smollm2it", "two_shot_same_prefix"),
           31: ("smollm2it", "two_shot_labelled")},
    swap_draws=20,
    swap_draw_questions=32,
    verdicts=True,
    fuller="full",
    whole_release=False,
    behaviour=Behaviour("smollm2it", "smollm2it"),
    seconds={17: 150, 18: 60, 19: 15, 20: 80, 21: 50, 22: 240, 23: 350, 24: 340,
             25: 200, 26: 220, 27: 550, 28: 450, 29: 205, 30: 200, 31: 230, 32: 40},
)
_FULL = replace(
    _EMBEDDED,
    name="full",
    fuller=None,
    framings=_ALL_FRAMINGS,
    secondary_questions=None,
    factorial_questions=None,
    wording_questions=None,
    sweep_sandbag_questions=None,
    sweep_genuine_questions=None,
    arm_sweep_questions=None,
    draw_questions=None,
    random_draws=100,
    relabelled_questions=None,
    steered_draws=4,
    swap_draws=40,
    swap_draw_questions=None,
    training_seeds=10,
    whole_release=True,
    # measured on two AMD cores, but §24, §26, §27, §29 to §31 reckoned from a part of their work
    seconds={17: 250, 18: 60, 19: 15, 20: 600, 21: 50, 22: 500, 23: 400, 24: 3350, 25: 900,
             26: 3200, 27: 2750, 28: 1900, 29: 1750, 30: 130, 31: 600, 32: 120},
)

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            seed=0,
            models=(get("tinyllama-random"), get("tinyneox-random")),
            framings=_ALL_FRAMINGS,
            primary_framings=_CO_PRIMARY,
            questions=48,
            secondary_questions=24,
            factorial_questions=8,
            wording_questions=6,
            answerable_min_p=0.0,
            bootstrap_draws=200,
            batch_size=16,
            device="cpu",
            threads=1,
            jobs=2,
            circuit_framing="two_shot_labelled",
            circuit_size=5,
            sweep_sandbag_questions=None,
            sweep_genuine_questions=8,
            arm_sweep_questions=8,
            draw_questions=8,
            random_draws=20,
            relabellings=19,
            relabelled_questions=8,
            permutations=99,
            steered_draws=2,
            sae_recipe=Recipe(epochs=4, batch_size=32, learning_rate=1e-3, target_l0=16.0, l0=0.1),
            swaps={24: ("tinyllama-random", "two_shot_labelled"),
                   26: ("tinyllama-random", "two_shot_same_prefix"),
                   31: ("tinyneox-random", "two_shot_labelled")},
            swap_draws=6,
            swap_draw_questions=8,
            verdicts=False,
            behaviour=Behaviour("tinyllama-random", "smollm2it", completions_per_scenario=12),
            seconds={17: 30, 18: 30, 19: 15, 20: 40, 21: 40, 22: 50, 23: 20, 24: 30, 25: 30,
                     26: 30, 27: 20, 28: 20, 29: 10, 30: 20, 31: 30, 32: 20},
        ),
        _EMBEDDED,
        _FULL,
        Profile(
            name="shapes",
            seed=0,
            models=tuple(map(get, ("llama-shape", "smollm2it", "tinyllama-shape",
                                   "pythia160m-shape", "pythia410m-shape"))),
            framings=_ALL_FRAMINGS,
            primary_framings=_CO_PRIMARY,
            questions=12,  # the fewest that leave two answerable ones in every half
            secondary_questions=12,
            factorial_questions=2,
            wording_questions=2,
            answerable_min_p=0.0,
            bootstrap_draws=200,
            batch_size=16,
            device="cpu",
            threads=2,
            jobs=1,
            circuit_framing="zero_shot",
            circuit_size=5,
            sweep_sandbag_questions=2,
            sweep_genuine_questions=2,
            arm_sweep_questions=2,
            draw_questions=2,
            random_draws=2,
            relabellings=2,
            relabelled_questions=2,
            permutations=19,
            steered_draws=1,
            sae_recipe=Recipe(epochs=1, batch_size=32, target_l0=64.0, l0=0.1),
            swaps={24: ("llama-shape", "two_shot_labelled"),
                   26: ("smollm2it", "two_shot_labelled"),
                   31: ("tinyllama-shape", "two_shot_labelled")},
            swap_draws=2,
            swap_draw_questions=2,
            training_seeds=2,
            verdicts=False,
            behaviour=Behaviour("llama-shape", "smollm2it", completions_per_scenario=12,
                                scenarios=3),
            seconds=dict.fromkeys(range(17, 33), 120),
        ),
        Profile(
            name="paper",
            seed=0,
            models=tuple(map(get, ("llama", "smollm2", "tinyllama", "pythia160m", "pythia410m"))),
            framings=_ALL_FRAMINGS,
            primary_framings=_CO_PRIMARY,
            questions=None,
            secondary_questions=96,
            factorial_questions=None,
            wording_questions=None,
            answerable_min_p=0.1,
            bootstrap_draws=10_000,
            batch_size=64,
            device="cuda",
            threads=8,
            jobs=1,
            circuit_framing="two_shot_labelled",
            circuit_size=5,
            sweep_sandbag_questions=None,
            sweep_genuine_questions=None,
            arm_sweep_questions=None,
            draw_questions=None,
            random_draws=100,
            relabellings=99,
            relabelled_questions=None,
            permutations=999,
            steered_draws=4,
            sae_recipe=Recipe(epochs=300),  # the study's: batch 128, rate 3e-4, sparsity 1e-3
            swaps={24: ("llama", "two_shot_labelled"), 26: ("smollm2", "two_shot_labelled"),
                   31: ("tinyllama", "two_shot_labelled")},
            swap_draws=100,
            swap_draw_questions=None,
            verdicts=True,
            behaviour=Behaviour("llama", "llama"),
            seconds={17: 900, 18: 600, 19: 120, 20: 3600, 21: 900, 22: 900, 23: 300, 24: 1800,
                     25: 7200, 26: 1800, 27: 1800, 28: 1800, 29: 120, 30: 3600, 31: 1800, 32: 600},
        ),
    )
}


def profile_named(name: str) -> Profile:
    """The profile of this name; ValueError naming the known ones if there is none."""
    if name not in PROFILES:
        raise ValueError(f"no profile {name!r}; choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
