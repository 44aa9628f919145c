"""The book's answer: five findings, each a sentence whose verbs its intervals choose, and a small
figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.claims import load_claims
from deception_saes.paper.numbers import Numbers, with_interval
from deception_saes.saes.tags import SAE_DEPTHS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deception_saes.paper.results import Value

_SHARE_OF_INSTRUCTION = 0.1
"""Of the whole fall; beyond it the interval of what the instruction alone takes must lie for the
sentence to say "told to"."""


@dataclass(frozen=True)
class Row:
    """One line of a finding's figure."""

    label: str
    value: Value
    colour: str
    """A name of `figures.PALETTES`."""


@dataclass(frozen=True)
class Finding:
    """One sentence of the answer, with the values it rests on."""

    sections: tuple[int, ...]
    """Where it is shown in full, the first of them decisive."""
    sentence: str
    rows: tuple[Row, ...]
    axis: str
    """What the rows measure."""
    none: float = 0.0
    """Where no effect stands on it."""

    @property
    def alt(self) -> str:
        """The figure in words."""
        return f"{self.axis}: " + "; ".join(f"{row.label} {with_interval(row.value)}"
                                            for row in self.rows)


@dataclass(frozen=True)
class NotFound:
    """A finding that cannot be told: none of what it rests on was run."""

    sections: tuple[int, ...]

    @property
    def sentence(self) -> str:
        return "Not run: " + ", ".join(f"§{number} {SECTIONS[number].title.lower()}"
                                       for number in self.sections) + "."


def findings(numbers: Numbers) -> list[Finding | NotFound]:
    """The five, in the order of the question: does the model do it, can it be read, by SAE
    features, are they its cause, or other parts of the model."""
    built: tuple[tuple[tuple[int, ...], Callable[[Numbers], Finding]], ...] = (
        ((23,), _sandbags), ((18,), _readable), ((21, 22), _features), ((24,), _swap),
        ((28, 29, 30), _heads))
    found: list[Finding | NotFound] = []
    for sections, build in built:
        missing = _missing(numbers, sections)
        found.append(NotFound(missing) if missing else build(numbers))
    return found


def draw(figure: Figure, colours: dict[str, str], finding: Finding) -> None:
    """The finding's rows as a forest plot."""
    axes = figure.subplots()
    for place, row in enumerate(finding.rows):
        value = row.value
        if value.value is None:
            continue
        ends = ([[value.value - value.ci_low], [value.ci_high - value.value]]
                if value.ci_low is not None and value.ci_high is not None else None)
        axes.errorbar(value.value, place, xerr=ends, fmt="o", capsize=3,
                      color=colours[row.colour])
    axes.axvline(finding.none, color=colours["muted"], linewidth=0.8)
    axes.set_yticks(range(len(finding.rows)), [row.label for row in finding.rows])
    axes.set_ylim(len(finding.rows) - 0.5, -0.5)
    figure.supxlabel(finding.axis, fontsize="medium")


def _missing(numbers: Numbers, sections: Sequence[int]) -> tuple[int, ...]:
    return tuple(number for number in sections if not numbers.was_run(number))


def _sandbags(of: Numbers) -> Finding:
    def fall(factor: str, context: str, framing: str = "two_shot_labelled") -> Value:
        return of(23, f"factors.{framing}.{factor}.{context}")

    together, without = fall("all", "given"), fall("all", "none")
    alone, last = fall("instruction", "alone"), fall("instruction", "last")
    label, examples = fall("label", "alone"), fall("examples", "alone")
    worded = of(23, "wordings.wrong.mean")
    share = _SHARE_OF_INSTRUCTION * (together.value or 0.0)
    if side(together) != "above":
        does = "A sandbag prompt is not shown to lower P(correct)"
    elif side(alone, share) == "above":
        does = "Told to answer wrongly, the model puts less on right answers"
    elif side(alone, share) == side(last, share) == "below":
        does = "A sandbag prompt lowers P(correct), but hardly by its instruction"
    else:
        does = ("A sandbag prompt lowers P(correct), but its instruction alone is not shown to "
                "take a tenth of that")
    return Finding(
        (23,), f"{does}: of a fall of {with_interval(together)} the instruction to answer wrongly, "
        f"changed alone, takes {with_interval(alone)}, and added last {with_interval(last)}; the "
        f"label “Wrong answer:” alone takes {with_interval(label)}, wrong worked examples alone "
        f"{with_interval(examples)}. With no instruction in either arm the fall is "
        f"{with_interval(without)}. Without worked examples, over all wordings, the instruction "
        f"takes {with_interval(worded)}.",
        (Row("all, labelled framing", together, "sandbag"),
         Row("instruction alone", alone, "genuine"),
         Row("instruction added last", last, "genuine"), Row("examples alone", examples, "neutral"),
         Row("label alone", label, "neutral"), Row("all, no instruction", without, "sandbag"),
         Row("instruction, no examples", worded, "genuine")),
        "fall of P(correct), pp")


def _readable(of: Numbers) -> Finding:
    probe, words = of(18, "R3.mean.nested.accuracy"), of(18, "words.accuracy")
    beyond = of(18, "nested_minus_words.accuracy")
    more = {"above": "which is more than", "below": "which is less than",
            "neither": "but it is not shown to be more than"}[side(beyond)]
    tells = "tells" if side(probe, 50.0) == "above" else "is not shown to tell"
    return Finding(
        (18,), f"A linear probe on the residual stream {tells} deceptive from honest completions "
        f"(balanced accuracy {with_interval(probe)}), {more} what their words alone give away "
        f"({with_interval(words)}; difference {with_interval(beyond)}).",
        (Row("activations", probe, "genuine"), Row("words alone", words, "muted")),
        "balanced accuracy, %", none=50.0)


def _features(of: Numbers) -> Finding:
    above, chance = of(21, "beats_raw"), of(21, "beats_raw.chance")
    steered, random = of(22, "steering.feature"), of(22, "steering.random")
    mean, gap = of(22, "steering.mean_difference"), of(22, "steering.gap")
    better = ("no better" if above.value is None or chance.ci_high is None
              or above.value <= chance.ci_high else "better")
    does = {"above": "does more than", "below": "does less than",
            "neither": "is not shown to do more than"}[side(gap)]
    return Finding(
        (21, 22), f"SAE features tell them apart {better}: {with_interval(above)} SAE probes are "
        f"above the raw probe of their layer, {with_interval(chance)} would be by chance; and "
        f"steering along the feature that marks deception most {does} along random features "
        f"({_bare(gap)} nats a token).",
        (Row("the feature", steered, "sandbag"), Row("random features", random, "muted"),
         Row("mean difference, no SAE", mean, "genuine")),
        "steering toward the lie, nats a token")


def _swap(of: Numbers) -> Finding:
    count = {word: of(24, f"count.jumprelu.{word}")
             for word in ("equivalent", "different", "inconclusive", "uninformative")}
    farthest, margin = of(24, "headline.jumprelu"), of(24, "headline.jumprelu.margin")
    total = count["different"].n
    if total and count["uninformative"].value == total:
        says = ("cannot be judged here, since reconstruction alone takes more than half of the "
                "right answers")
    elif count["different"].value:
        says = "is not unspecific throughout"
    elif count["equivalent"].value == total:
        says = "is unspecific, as the study reports"
    else:
        says = "is neither shown to be specific nor shown to be unspecific"
    gaps = [(control, of(24, f"jumprelu.D{depth}.sandbag.gap.E6-{control}"))
            for depth in SAE_DEPTHS for control in ("E4", "E1")]
    rows = tuple(Row(f"L{value.layer}, E6 − {control}", value,
                     "sandbag" if control == "E4" else "genuine") for control, value in gaps)
    cosines = [of(24, f"jumprelu.D{depth}.step.cosine") for depth in SAE_DEPTHS]
    bound = load_claims()["S-04"]
    near = ", ".join(f"L{value.layer} {with_interval(value)}" for value in cosines)
    counted = ", ".join(f"{value.value:.0f} {word}" for word, value in count.items() if value.value)
    return Finding(
        (24,), f"Swapping in the SAE features of honest prompts {says}: of its {total} gaps to the "
        f"reversed and the shuffled swap through JumpReLU, {counted}; the farthest is "
        f"{with_interval(farthest)}, where {with_interval(margin)} counts as none. A gap alone "
        "does not credit the SAE: the cosine of its step with the mean difference of the "
        f"residuals is {near}, and its step beats the mean difference at equal norm at "
        f"{with_interval(of(24, 'count.jumprelu.sae_adds'))} layers. The ten features that set the "
        "conditions apart most are feature-specific at "
        f"{with_interval(of(24, 'count.jumprelu.specific.feature_specific'))}, and not at "
        f"{with_interval(of(24, 'count.jumprelu.specific.not_specific'))}. Made at all positions, "
        "a second reading of the study, the swap puts one vector everywhere, which erases the "
        f"prompt: of {with_interval(of(24, 'all.clean'))} P(correct) on sandbag prompts it leaves "
        f"{with_interval(of(24, 'all.p_correct.E6'))}, the reversed one "
        f"{with_interval(of(24, 'all.p_correct.E4'))}. A gap within the published "
        f"{bound.published} {bound.unit} is certain there, and says nothing of features.",
        rows, "gap on sandbag prompts, pp")


def _heads(of: Numbers) -> Finding:
    restored, random = of(28, "effect.sandbag.zero"), of(28, "random.layer_matched")
    gap, genuine = of(28, "gap.layer_matched"), of(29, "effect.genuine")
    portion, chance = of(29, "portion"), of(29, "portion.pp.random")
    beyond, in_logits = of(29, "portion.pp.gap"), of(29, "portion.logits.gap")
    by_means = of(29, "portion.mean.pp.gap")
    instructed, fall = of(30, "instruction_alone.portion"), of(30, "instruction_alone.fall")
    rank, sharpened = of(28, "p.layer_matched"), of(28, "beside.sharpened.p_correct")
    ranks = [of(29, f"portion.{scale}.p") for scale in ("pp", "logits")]
    own = [all(side(of(29, f"portion.{mode}{scale}.gap")) == "above"
               and _rare(of(29, f"portion.{mode}{scale}.p")) for scale in ("pp", "logits"))
           for mode in ("", "mean.")]
    if side(restored) != "above":
        says = "is not shown to restore answers"
    elif side(gap) != "above" or not _rare(rank):
        says = "restores answers, but is not shown to restore more than random heads do"
    elif all(own) and all(_rare(of(29, f"relabelled.{scale}.p")) for scale in ("pp", "logits")):
        says = "restores answers, more than random heads do, and not by disruption alone"
    elif all(own):
        says = ("restores answers, more than random heads do and with a larger portion; but that "
                "knowing which prompt is which finds heads of a larger portion is not shown")
    elif any(own):
        says = ("restores answers, more than random heads do; that it is not by disruption alone "
                f"is shown by {'zero' if own[0] else 'mean'} ablation only")
    else:
        says = ("restores answers, more than random heads do, but what it restores beyond honest "
                "prompts is not shown to exceed what any disruption does")
    return Finding(
        (28, 29, 30), f"Ablating the suppressor heads {says}: {with_interval(restored)} on sandbag "
        f"prompts, where half the temperature alone gives {with_interval(sharpened)}, and "
        f"{with_interval(gap)} beyond random heads of the same layers (empirical p = "
        f"{with_interval(rank)}). Its portion, what is left beyond its effect on honest prompts, "
        f"is {with_interval(portion)}; on {chance.n} of the questions random heads have one of "
        f"{with_interval(chance)}, and the chosen ones {with_interval(beyond)} more (p = "
        f"{with_interval(ranks[0])}), and {with_interval(in_logits)} (p = "
        f"{with_interval(ranks[1])}), by mean ablation {with_interval(by_means)}. Heads "
        f"chosen for their portion have {with_interval(of(29, 'relabelled.pp.chosen'))} on other "
        "questions, heads so chosen after the conditions were swapped at random "
        f"{with_interval(of(29, 'relabelled.pp.random'))} (p = "
        f"{with_interval(of(29, 'relabelled.pp.p'))}). Where the instruction alone differs, which "
        f"lowers P(correct) by {with_interval(fall)}, the portion of the suppressors is "
        f"{with_interval(instructed)}, that of the heads chosen there "
        f"{with_interval(of(30, 'arms.instruction_alone.instruction_alone.portion'))}.",
        (Row("suppressor heads", restored, "sandbag"), Row("random, same layers", random, "muted"),
         Row("honest prompts", genuine, "genuine"), Row("portion", portion, "sandbag"),
         Row("portion, random heads", chance, "muted"),
         Row("portion, instruction alone", instructed, "sandbag")),
        "effect on P(correct), pp")


_MOST_P = 0.05


def _rare(p: Value) -> bool:
    return p.value is not None and p.value <= _MOST_P


def side(value: Value, none: float = 0.0) -> Literal["above", "below", "neither"]:
    """Where the value's interval lies of `none`."""
    if value.ci_low is not None and value.ci_low > none:
        return "above"
    if value.ci_high is not None and value.ci_high < none:
        return "below"
    return "neither"


def _bare(value: Value) -> str:
    return with_interval(value).replace(f" {value.unit}", "")
