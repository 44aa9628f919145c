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
none is [[headline.jumprelu.margin]], a fixed share of what the instruction takes from P(correct). With the
questions at hand a gap of [[headline.jumprelu.detectable]] is found with a power of 80 %; to show that a
gap lies within the published bound would need [[headline.jumprelu.n_published|value]] questions.

Where both E6 and its control take nearly all of P(correct), their equivalence is a floor and not a finding;
the figure shows where that is, and the last table how few features the medians keep there.
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
        "features, norm-matched. Δ: the difference added, error kept. Below, edits without an SAE; the "
        "patch is the ceiling.",
        "alt": "Forest plot of the effects of twelve interventions, one panel for each layer.",
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
             "the 90% interval lies within the margin; uninformative where reconstruction alone loses half "
             "of the genuine P(correct). Last column: questions needed to show a gap within the published "
             "bound."},
    "genuine_effects": {
        "caption": "Effects in pp on sandbag and on genuine prompts, with 95% bootstrap intervals. Of the "
        "patch: share of the effect of patching in the same question's genuine residual (– where that "
        "effect is not above none). On genuine prompts the patch is the sandbag residual."},
    "centres": {
        "caption": "What medians keep: active features of a prompt, of the medians and of the mean; norms of "
        "the steps between genuine and sandbag by medians and by means, and of the difference of mean "
        "residuals."},
}


def report(
    book: Book, effects: pd.DataFrame, gaps: pd.DataFrame, centres: pd.DataFrame,
    headline: pd.DataFrame, *, claim: str,
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
    book.report("headline", headline, "headline.{through}", value="mean", low="low90",
                high="high90", claims={"headline.jumprelu": claim},
                quantity="gap of E6 against E1 or E4 whose 90% interval, over questions and "
                "relabellings, reaches farthest{which}")
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


def report_seeds(book: Book, seeds: pd.DataFrame, over_seeds: pd.DataFrame) -> None:
    """Report the gaps of SAEs that differ in their training seed."""
    book.report("seeds", seeds)
    book.report("over_seeds", over_seeds, "seeds.{gap}", value="mean",
                quantity="mean of the gap {name} over training seeds")
    book.report("over_seeds", over_seeds, "seeds_sd.{gap}", value="sd",
                quantity="SD of the gap {name} over training seeds")
