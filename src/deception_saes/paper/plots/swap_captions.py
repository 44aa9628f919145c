"""What §24, §26 and §31, which are one experiment on three subjects, report and say."""

from __future__ import annotations

from typing import Any

import pandas as pd

from deception_saes.experiments.gaps import WORDS
from deception_saes.paper.book import Book

SUMMARY = """
**What it shows.** Of the gaps E6 − E4 and E6 − E1 through JumpReLU, as in the study,
[[count.jumprelu.equivalent]] are equivalent to none, [[count.jumprelu.different|value]] differ from none,
[[count.jumprelu.inconclusive|value]] are inconclusive and [[count.jumprelu.uninformative|value]]
uninformative; over all architectures [[count.all.equivalent]], [[count.all.different|value]],
[[count.all.inconclusive|value]] and [[count.all.uninformative|value]]. The one whose 90% interval
reaches farthest is [[headline.jumprelu]] through JumpReLU, [[headline.all]] through any. What counts as
none is [[headline.jumprelu.margin]], a fixed share of what the sandbag prompt takes from P(correct). With the
questions at hand a gap of [[headline.jumprelu.detectable]] is found with a power of 80 %; to show that a
gap lies within the published bound would need [[headline.jumprelu.n_published|value]] questions.

Where both E6 and its control take nearly all of P(correct) although reconstruction alone (E2) leaves it, one
constant vector at the last position erases the question. That is a finding, but it leaves no room for a gap, so that
their equivalence says nothing of specificity; the figure shows where that is, and the last table how few features the
medians keep there. Nor does equivalence say anything where the patch itself does nothing, as at a layer so early that the last position
holds nothing of the condition yet.
"""

CREDIT = """
**What of this is the SAE's.** The step of E6Δ is added to the prompt's own residual, like the mean difference of the
residuals, for which no SAE is needed. Through JumpReLU its cosine with that is [[jumprelu.D4.step.cosine]] at the first
layer, [[jumprelu.D8.step.cosine]] at the middle and [[jumprelu.D12.step.cosine]] at the last, and its norm
[[jumprelu.D4.step.norm_ratio]], [[jumprelu.D8.step.norm_ratio]] and [[jumprelu.D12.step.norm_ratio]] times as large. So
far as the two are one vector, what the step does beyond its null is no merit of the SAE. E6Δ is *direction-specific*, which
is to beat its relabelled null E1Δ by more than the margin, at [[count.jumprelu.direction_specific]] layers, over all
architectures at [[count.all.direction_specific]] places. *The SAE adds* to the mean difference, made as long as the
SAE's step, at [[count.jumprelu.sae_adds]] layers and at [[count.all.sae_adds]] places; the mean difference is as good at
[[count.jumprelu.mean_as_good]] and at [[count.all.mean_as_good]], and does more at [[count.jumprelu.mean_does_more]] and
at [[count.all.mean_does_more]]. The step that an untrained SAE of the same size gives, at that length too, is beaten at
[[count.jumprelu.beats_untrained]] and at [[count.all.beats_untrained]]. The table tells the others.
"""

ALL_POSITIONS = """
**What it shows.** Reconstruction alone, at every position, leaves [[all.left]] of the clean genuine P(correct), and
[[but_first.left]] where position 0 is left as it is. Where that is under half, this reading of the study is *uninformative* with such
SAEs, which are trained on the tokens of the question alone: the prompt is lost before anything is swapped. E6 leaves
[[all.p_correct.E6]] on sandbag prompts and E4 [[all.p_correct.E4]], of [[all.clean]] without an edit. The gap between them,
[[all.E6-E4]], or [[but_first.E6-E4]] with position 0 as it is, is small by construction: under this reading a gap within the study's
bound, [[S-04]], needs no SAE that found anything, nor one that found nothing.
"""

SPECIFIC = """
**Are ten features the cause?** The ten features of largest |Cohen's d| on the choosing half are *feature-specific*, by all
conditions of the table, at [[count.all.specific.feature_specific]] places, and not at
[[count.all.specific.not_specific]]; at [[count.all.specific.not_refuted]] all conditions hold that are asked there, and
[[count.all.specific.inconclusive]] are inconclusive and [[count.all.specific.uninformative]] uninformative. By more than the
margin, they recover half of what the patch does at [[count.all.specific.holds.patch]] places, beat at equal norm the ten of
an untrained SAE at [[count.all.specific.holds.untrained]], ten features matched in firing rate at
[[count.all.specific.holds.matched]] and ten principal components at [[count.all.specific.holds.components]], and cost,
taken out of E6Δ, half of its effect at [[count.all.specific.holds.removed]].
"""

FIGURES: dict[str, dict[str, Any]] = {
    "gap_forest": {
        "caption": "The gaps that decide the claim, on sandbag prompts by layer; n = [[headline.jumprelu|n]] "
        "questions. E6 − E4 and E6 − E1 are the study's; E6Δ − E1Δ keeps the error term and has a null with mean "
        "zero. Thick: 95% bootstrap interval over questions. Thin: widened by the spread between relabelled sets, "
        "which verdicts go by. Grey: what counts as none, ± [[headline.jumprelu.margin|value]].",
        "alt": "Forest plot of three specificity gaps, one panel for each layer, beside the band that counts as none.",
        "size": (9, 3.4), "min_width": 600,
    },
    "forest": {
        "caption": "Effects on sandbag prompts by layer, with 95% bootstrap intervals over n = "
        "[[headline.jumprelu|n]] questions of the evaluating half (drawn edits: on part of them, mean over draws). E2: reconstruction alone. E6, "
        "E4, E1: swaps to the genuine, sandbag and shuffled-label median, error dropped. E3: random "
        "features, norm-matched. Δ: the difference added, error kept. U6Δ: E6Δ through the SAE before its "
        "training, at the norm of the trained one's step. Below, edits without an SAE; the patch is the ceiling.",
        "alt": "Forest plot of the effects of thirteen interventions, one panel for each layer.",
        "size": (9.5, 5.6), "min_width": 680,
    },
    "doses": {
        "caption": "Effects on sandbag prompts of a part of the way. Above: the constant between decode(m_S), "
        "which is E4, and decode(m_G), which is E6. Below: a part of the difference added to the prompt's "
        "own residual. Bands: 95% bootstrap intervals over n = [[headline.jumprelu|n]] questions.",
        "alt": "Dose curves of E6 and of its difference form, by layer and architecture.",
        "size": (9, 5.4), "min_width": 640,
    },
    "top_features": {
        "caption": "E5: the top m live features by Cohen's d set to the genuine median, error kept; on "
        "sandbag and on genuine prompts. 95% bootstrap intervals over n = [[headline.jumprelu|n]] questions.",
        "alt": "Effect of E5 against the number of swapped features, by layer, architecture and condition.",
        "size": (9, 4.2), "min_width": 640,
    },
    "seeds": {
        "caption": "The gaps of JumpReLU SAEs of the middle depth that differ in their training seed alone, "
        "with 95% bootstrap intervals over n = [[headline.jumprelu|n]] questions.",
        "alt": "Gaps of SAEs trained with different seeds.",
        "size": (7, 3.2), "min_width": 480,
    },
}

TABLES: dict[str, dict[str, str]] = {
    "gaps": {"caption": "Gaps on sandbag prompts. First interval: 95% bootstrap over questions, of the edit as "
             "it was learned. Second: with what the edit owes to the questions it was learned from, by the "
             "spread of the same gap between relabelled sets; verdicts, p and detectable gap go by it. p: "
             "corrected by Holm over layers and architectures. Draws beyond: (1 + draws at least as large) "
             "/ (draws + 1). Detectable: smallest gap found with a power of 80 %, pp. Verdict: equivalent if "
             "the 90% interval lies within the margin, different if the 95% interval lies beyond it; uninformative where "
             "reconstruction alone leaves "
             "under half of the genuine P(correct), by the upper end of its interval. Last column: questions "
             "needed to show a gap within the published bound. U6Δ: E6Δ through the SAE before its training, and "
             "in §24 at the middle layer through a JumpReLU trained with its decoder frozen as it starts, at the norm of the "
             "trained SAE's step."},
    "credit": {"caption": "What of E6Δ is the SAE's, on sandbag prompts. Cosine and norm ratio: of the decoded step "
               "m_G − m_S to the mean difference of the residuals, means over folds; untrained: the SAE before "
               "its training; frozen decoder, in §24: trained with the decoder left as it starts; their norm ratios are of steps as they "
               "are, in the gaps these are as long as the trained SAE's. Gaps in pp with 95% "
               "intervals over questions and relabellings. Each conclusion but “as good” and “not "
               "direction-specific”, which are equivalence, needs the whole interval beyond the margin. All are "
               "widened as the gap to E1Δ is, which is too much for two edits that are learned from the same "
               "questions: both ways it is hard to conclude."},
    "specific": {"caption": "Ten features of largest |Cohen's d|, chosen on the choosing half, on n = [[headline.jumprelu|n]] sandbag "
                 "prompts of the evaluating half: contrasts in pp with 95% bootstrap intervals over questions. The ten: set to their "
                 "genuine medians, all else kept. Ten of another SAE: its own of largest d. Matched in rate: other features of the "
                 "nearest firing rate. Components: the residual's part in the first ten principal components of the differences genuine "
                 "− sandbag, set to the genuine mean. These four go as far as the ten do, question by question. Last: half of what E6Δ "
                 "does, less what it does without the ten. A condition holds if its interval lies above the margin, "
                 "[[headline.jumprelu.margin|value]], and fails if it lies below; all must hold, and one that fails is enough against. "
                 "Only the middle layer of §24 has an SAE with a frozen decoder (JumpReLU); where all else holds without it, the verdict is “not "
                 "refuted”. Where the patch itself restores nothing, by the table of both conditions, there is nothing to recover, and "
                 "“not” says little."},
    "genuine_effects": {
        "caption": "Effects in pp on sandbag and on genuine prompts, with 95% bootstrap intervals. Of the "
        "patch: share of the effect of patching in the same question's genuine residual (– where that "
        "effect is not above none). On genuine prompts the patch is the sandbag residual."},
    "all_positions": {
        "caption": "Edits of the output of one block at all prompt positions, through JumpReLU at the middle layer, on n = "
        "[[all.E6|n]] questions: effects in pp and P(correct), with 95% bootstrap intervals over questions. Verdict: of the "
        "gap, against the same margin as the others; uninformative where reconstruction alone leaves under half of the "
        "genuine P(correct), by the upper end of its interval."},
    "centres": {
        "caption": "What medians keep: active features of a prompt, of the medians and of the mean; norms of "
        "the steps between genuine and sandbag by medians and by means, and of the difference of mean "
        "residuals."},
}


def report(
    book: Book, effects: pd.DataFrame, gaps: pd.DataFrame, centres: pd.DataFrame,
    steps: pd.DataFrame, headline: pd.DataFrame, credit: pd.DataFrame, *, claim: str,
) -> None:
    """Report the tables of `experiments.swaps`; claim: what the headline gap answers."""
    at = "{architecture}.{depth}.{prompts}"
    book.report("effects", effects, f"{at}.{{intervention}}", value="effect",
                quantity="effect of {intervention} on {prompts} prompts",
                condition="{intervention}")
    book.report("effects", effects, f"{at}.share.{{intervention}}", value="share", low="share_low",
                high="share_high", where="share.notna()", condition="{intervention}",
                quantity="effect of {intervention} as a share of the patch's")
    book.report("gaps", gaps, f"{at}.gap.{{gap}}", value="mean",
                quantity="gap {name} on {prompts} prompts")
    book.report("centres", centres)
    for where, at_step, of in (("sae == 'trained'", "step", "the SAE's step from m_S to m_G"),
                               ("sae != 'trained'", "step.{sae}", "the step of the SAE, {sae},")):
        for value, quantity in (("cosine", f"cosine of {of} with the mean difference"),
                                ("norm_ratio", "norm of that step over that of the mean difference")):
            book.report("steps", steps, f"{{architecture}}.{{depth}}.{at_step}.{value}", n=None,
                        value=value, where=where, quantity=quantity)
    for value, quantity in (
        ("direction_specific", "E6Δ beats its relabelled null E1Δ by more than the margin"),
        ("sae_adds", "E6Δ beats the mean difference at equal norm by more than the margin"),
        ("mean_as_good", "E6Δ is equivalent to the mean difference at equal norm"),
        ("mean_does_more", "the mean difference at equal norm beats E6Δ by more than the margin"),
        ("beats_untrained", "E6Δ beats the same through an untrained SAE at equal norm by more than "
                            "the margin"),
    ):
        book.report("credit", credit, f"count.{{through}}.{value}", unit="of {of}", n="of",
                    value=value, layer=None, quantity=f"places where {quantity}")
    book.report("headline", headline, "headline.{through}", value="mean", low="low90",
                high="high90", claims={"headline.jumprelu": claim},
                quantity="gap of E6 against E1 or E4 whose 90% interval, over questions and "
                "relabellings, reaches farthest{which}")
    book.report("headline", headline, "headline.{through}.informative", value="informative",
                unit="of {of}", n="of", layer=None, quantity="claimed gaps that are informative")
    book.report("headline", headline, "headline.{through}.detectable", value="detectable",
                quantity="smallest gap that this number of questions shows with a power of 80 %")
    book.report("headline", headline, "headline.{through}.margin", value="margin", n=None,
                layer=None, quantity="what counts as no gap")
    book.report("headline", headline, "headline.{through}.n_published", value="n_published",
                n=None, layer=None,
                quantity="questions needed to show that a gap lies within the published bound")
    for word in WORDS:
        book.report("headline", headline, f"count.{{through}}.{word}", value=word, unit="of {of}",
                    n="of", layer=None, quantity=f"claimed gaps that are {word}")


def report_specific(book: Book, specific: pd.DataFrame, counts: pd.DataFrame) -> None:
    """Report the conditions of feature-specificity, and at how many places they hold."""
    book.report("specific", specific, "specific.{architecture}.{depth}.{against}", value="mean",
                quantity="{name} on sandbag prompts", condition="ten features of largest d")
    book.report("specific_counts", counts, "count.{through}.specific.{what}", value="count",
                unit="of {of}", n="of", layer=None, quantity="places where {name}")


def report_seeds(book: Book, seeds: pd.DataFrame, over_seeds: pd.DataFrame) -> None:
    """Report the gaps of SAEs that differ in their training seed."""
    book.report("seeds", seeds)
    book.report("over_seeds", over_seeds, "seeds.{gap}", value="mean",
                quantity="mean of the gap {name} over training seeds")
    book.report("over_seeds", over_seeds, "seeds_sd.{gap}", value="sd",
                quantity="SD of the gap {name} over training seeds")


def report_all_positions(book: Book, table: pd.DataFrame) -> None:
    """Report `experiments.all_positions`."""
    done = "at all prompt positions"
    for positions, where in (("all", done), ("but_first", f"{done} but the first")):
        for prompts, id in (("sandbag", positions), ("genuine", f"{positions}.genuine")):
            book.report("all_positions", table, id + ".{intervention}", value="effect",
                        where=f"prompts == '{prompts}' and positions == '{positions}'",
                        condition="{intervention}",
                        quantity=f"effect of {{intervention}} {where}, {prompts} prompts")
        book.report("all_positions", table, f"{positions}.left", value="left", low="left_low",
                    high="left_high", where=f"positions == '{positions}' and left.notna()",
                    quantity="of the clean genuine P(correct), what reconstruction alone leaves "
                             + where)
    on_sandbag = "prompts == 'sandbag' and positions == 'all' and "
    book.report("all_positions", table, "all.p_correct.{intervention}", value="p_correct",
                where=on_sandbag + "p_correct.notna()", low="", high="",
                quantity=f"P(correct) under {{intervention}} {done}, sandbag prompts")
    book.report("all_positions", table, "all.clean", value="clean", low="", high="",
                where=on_sandbag + "intervention == 'E6'",
                quantity="P(correct) of the same sandbag prompts without an edit")
