# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §24 Full-SAE-swap, primary model
#
# The study swaps in the median features of genuine prompts (E6) and finds that a reversed (E4) or a
# shuffled-label median (E1) does the same: the swap is said to be unspecific disruption. Here every swap and
# every control acts at the last prompt position, at the relative depths of its layers, through JumpReLU as in the study, then
# TopK, and Gated where the release has it. What edits a question is learned from other questions.
#
# *E1 is a half dose, not a null*: it takes genuine features from half of the questions and sandbag features
# from the rest, so it stands between E4 and E6, and a small gap E6 − E1 is what even a specific swap would
# give. *E1Δ*, the difference between complementary relabelled halves, is a null with mean zero.
#
# *An interval over questions is not enough.* It says how one learned edit acts on other questions. An edit
# learned from noise still acts on all of them alike, so such an interval excludes none far too often when
# there is nothing to find. The spread between relabelled sets, in which there is nothing to find, is added.

# %% tags=["parameters"]
profile = "embedded"
seed = 0
# None: what the profile says
model = None  # a slug of models/registry.py
framing = None  # a name of tasks/data/framings.toml
questions = None  # the path of a CSV like tasks/data/questions.csv
sandbag_instruction = None  # a sentence that asks for wrong answers
layers = None  # any layers, like 14 or [7, 14]; SAEs are trained for them
k = None  # features of a TopK SAE that may be active
draws = None  # draws of each random edit, an even number
resamples = None  # bootstrap resamples behind every interval

# %%
from deception_saes.experiments.all_positions import all_positions, all_positions_table
from deception_saes.experiments.gaps import (
    credit,
    effect_table,
    gap_table,
    headline,
    margin_of,
    over_seeds,
    seed_table,
    specific_counts,
    specific_table,
)
from deception_saes.experiments.saes import TrainedSae
from deception_saes.experiments.swaps import (
    chosen_effects_at,
    effects_at,
    effects_by_seed,
)
from deception_saes.interventions.swap import (
    AddDifference,
    AddMeanDifference,
    AddRandomDirection,
    AddRelabelledDifference,
    AtNormOf,
    MedianResidual,
    Patch,
    RandomFeatures,
    Reconstruct,
    SwapComponents,
    SwapMatched,
    SwapRelabelled,
    SwapTo,
    SwapTop,
)
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import swap_figures
from deception_saes.paper.plots.swap_captions import (
    ALL_POSITIONS,
    CREDIT,
    FIGURES,
    SPECIFIC,
    SUMMARY,
    TABLES,
    report,
    report_all_positions,
    report_seeds,
    report_specific,
)
from deception_saes.saes.tags import swapped_at

book = open_section(24, profile, seed, model=model, framing=framing, questions=questions,
                    sandbag_instruction=sandbag_instruction, layers=layers, k=k, draws=draws,
                    resamples=resamples)

# %% [markdown]
# Each intervention puts another residual in the place of x, the output of one decoder block at the last
# prompt position. f(x): the features of x. m_G, m_S: medians of the features on genuine and on sandbag
# prompts of other questions.

# %%
edits = {
    "E2": Reconstruct(),  # decode(f(x)): what the SAE loses by itself
    "E6": SwapTo("genuine"),  # decode(m_G): the full swap
    "E4": SwapTo("sandbag"),  # decode(m_S): the reversed direction
    "E6Δ": AddDifference("genuine"),  # x + (m_G − m_S) W_dec: the error term kept
    "E4Δ": AddDifference("sandbag"),  # x − (m_G − m_S) W_dec
    **{f"E5.{m}": SwapTop(m) for m in (1, 4, 16, 64)},  # only the m features of largest Cohen's d
    # the mean difference, as long as the step of E6Δ: they differ in direction alone
    "mean_difference.norm": AtNormOf(AddMeanDifference(), reference=AddDifference("genuine")),
}
on_sandbag = {  # on sandbag prompts alone: means in the place of medians
    "E6.mean": SwapTo("genuine", "mean"), "E4.mean": SwapTo("sandbag", "mean"),
    "E6Δ.mean": AddDifference("genuine", "mean"), "E4Δ.mean": AddDifference("sandbag", "mean"),
}
for dose in (0.25, 0.5, 0.75):  # and a part of the way
    on_sandbag |= {f"E6.{dose}": SwapTo("genuine", dose=dose),
                   f"E6Δ.{dose}": AddDifference("genuine", dose=dose)}
drawn = {
    "E1": SwapRelabelled(),  # decode(median of a relabelled half-and-half set): a half dose
    "E1Δ": AddRelabelledDifference(),  # x + difference of relabelled halves: the null of E6Δ
    "E3": RandomFeatures(),  # decode(m_S) + random features, norm-matched
}
without_sae = {"patch": Patch(), "median_residual": MedianResidual(),
               "mean_difference": AddMeanDifference()}
random_direction = {"random_direction": AddRandomDirection()}
# E6Δ through the SAE before its training, as long as the step of the trained one
e6_at_norm = AtNormOf(AddDifference("genuine"), reference=AddDifference("genuine"))
untrained = {"U6Δ": e6_at_norm}
frozen_decoder = {"U6Δ.frozen": e6_at_norm}  # through a JumpReLU whose decoder never learned

# %% [markdown]
# They act on the evaluating half, at every layer, through every SAE and without one. The SAEs are trained on
# the choosing half.

# %%
half = book.task.evaluating
how = {"draws": book.draws, "draw_questions": book.draw_questions}
cells, centres, steps = effects_at(half, book.layers, book.saes, edits, drawn, without_sae,
                                   random_direction, on_sandbag=on_sandbag, untrained=untrained,
                                   frozen_decoder=frozen_decoder, frozen_at=book.frozen_at, k=book.k, **how)

# %% [markdown]
# Training once more with another seed says how much of a gap is this one SAE's: JumpReLU at the middle
# layer, the headline gaps alone.

# %%
again = effects_by_seed(half, book.middle, book.saes, {name: edits[name] for name in ("E6", "E4")},
                        {"E1": drawn["E1"]}, seeds=book.training_seeds, **how)

# %% [markdown]
# Are a few features the cause? The ten of largest |Cohen's d| on the choosing half, which everything is learned from
# here, act on sandbag prompts of the evaluating half, beside others that go as far.

# %%
ten = {
    "ten": SwapTop(10),  # x + Σ over the ten of (m_G,j − f_j(x)) W_dec,j
    "ten.matched": AtNormOf(SwapMatched(10), reference=SwapTop(10)),  # others that are active as often
    "ten.components": AtNormOf(SwapComponents(10), reference=SwapTop(10)),  # of the paired differences
    "E6Δ": AddDifference("genuine"),
    "E6Δ.without": AddDifference("genuine", without_top=10),  # the ten taken out of m_G − m_S
}
ten_of_other = AtNormOf(SwapTop(10), reference=SwapTop(10))  # another SAE's own ten
chosen = chosen_effects_at(half, book.layers, book.saes, ten, untrained={"ten.untrained": ten_of_other},
                           frozen_decoder={"ten.frozen": ten_of_other}, frozen_at=book.frozen_at,
                           k=book.k)

# %% [markdown]
# The study's cards do not say at which positions it edits; code of its author puts decoded features at *all* of them.
# Here that is one cell: JumpReLU at the middle layer, position 0 edited too, or left as it is, since attention rests
# there. What reconstruction alone leaves of genuine prompts says whether the reading is informative.

# %%
(tag,) = swapped_at(book.saes.tags, book.middle, "jumprelu")
everywhere = all_positions(half, book.middle, TrainedSae(book.saes, tag),
                           {name: edits[name] for name in ("E2", "E6", "E4")},
                           on_genuine=("E2",), questions=16, spare_first=(False, True))

# %% [markdown]
# A *gap* is the effect of an intervention less that of its control, question by question. It counts as none
# if it lies within a fixed share of what the sandbag prompt takes from P(correct). E6Δ beats E1Δ if it matters
# which prompts its step was learned from; the SAE has a share in that only if E6Δ also beats the mean difference at equal norm, and an SAE that
# learned nothing, at equal norm too.

# %%
of_book = {"draws": book.resamples, "seed": seed}  # of the bootstrap over questions
margin = margin_of(cells, share=book.profile.equivalence_share)
effects = effect_table(cells, **of_book)
gaps = gap_table(cells, margin, **of_book)
summary = headline(gaps, margin, claimed=("E6-E4", "E6-E1"))
report(book, effects, gaps, centres, steps, summary, credit(gaps), claim="S-04")
specific = specific_table(chosen, cells, margin, **of_book)
report_specific(book, specific, specific_counts(specific))

# %%
seeds = seed_table(again, **of_book)
report_seeds(book, seeds, over_seeds(seeds))
at_all = all_positions_table(everywhere, margin, **of_book)
report_all_positions(book, at_all)

# %%
book.opening()

# %%
book.figure(swap_figures.gap_forest, gaps, summary, **FIGURES["gap_forest"])

# %% tags=["remove-input"]
book.say(SUMMARY)

# %% tags=["remove-input"]
book.say(CREDIT)

# %%
book.table(swap_figures.credit_rows, steps, gaps, **TABLES["credit"])

# %% tags=["remove-input"]
book.say(SPECIFIC)

# %%
book.table(swap_figures.specific_rows, specific, **TABLES["specific"])

# %%
book.figure(swap_figures.forest, effects, **FIGURES["forest"])

# %%
book.table(swap_figures.gap_rows, gaps, **TABLES["gaps"])

# %% [markdown]
# ## Dose

# %%
book.figure(swap_figures.doses, effects, **FIGURES["doses"])

# %% [markdown]
# ## The features of largest d

# %%
book.figure(swap_figures.top_features, effects, **FIGURES["top_features"])

# %% [markdown]
# ## Does the training seed matter?

# %%
book.figure(swap_figures.seed_forest, seeds, **FIGURES["seeds"])

# %% [markdown]
# ## At all positions
#
# A vector that stands at every position alike leaves nothing of the prompt above its layer: whatever the medians are,
# the model gives one distribution for all questions. So a small gap between E6 and E4 is certain under this reading, and
# says nothing of what they swap. It counts for no claim.

# %%
book.table(swap_figures.all_positions_rows, at_all, **TABLES["all_positions"])

# %% tags=["remove-input"]
book.say(ALL_POSITIONS)

# %% [markdown]
# ## Both conditions, and the share of the ceiling

# %%
book.table(swap_figures.effects_on_both, effects, **TABLES["genuine_effects"])

# %%
book.table(swap_figures.centre_rows, centres, **TABLES["centres"])

# %% [markdown]
# **What would have changed the conclusion.** The study's claim would stand if E6 did no more than E4, the
# reversed direction, at every depth and through every architecture. It would fall with one informative cell in
# which E6 beats E4, or E6Δ its null E1Δ, by more than the margin. That alone would be the direction's merit, which
# the mean difference has without an SAE: it would be the SAE's only where E6Δ also beats the mean difference at equal
# norm, and what an untrained SAE gives; and a few features would be the cause only where ten of them meet every
# condition of their table.

# %% tags=["remove-input"]
book.close()
