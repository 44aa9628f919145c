# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §28 Circuit ablation
#
# The study's one positive finding: a few suppressor heads ablated together give back much of
# P(correct) under the sandbag instruction, far more than random heads do. Here the strongest
# suppressors of §27 are ablated on the questions that did not choose them.

# %% tags=["parameters"]
profile = "embedded"
seed = 0

# %%
from deception_saes.paper.page import open_section
from deception_saes.paper.plots import s28

page = open_section(28, profile, seed)
page.opening()

# %%
page.figure(
    s28.random_heads,
    caption="Left: mean effect of each random set of heads on sandbag prompts of n = [[random.uniform|n]] questions, one dot a draw; the vertical "
    "line is the suppressor heads on the same questions. The dots' spread is what chance gives; intervals of the gaps stand in the table of 28.4. Right: the same against the damage to a neutral text, KL(clean ‖ "
    "ablated).",
    alt="Effects of random head sets of three kinds against the effect of the suppressor heads, and "
    "against their damage to a neutral text.",
    size=(9, 4.6),
    min_width=640,
)

# %% tags=["remove-input"]
page.say("""
**What it shows.** Restoration is [[effect.sandbag.zero]] on [[effect.sandbag.zero|n]] held-out questions
(the study, on Llama-3.2-1B: [[S-07]]). Random heads give [[random.uniform]] (there: [[S-23]]), so the
specificity gap is [[gap.uniform]] (there: [[S-08]]); against random heads of the same layers it is [[gap.layer_matched]], and
against random heads that damage a neutral text as much one by one, [[gap.damage_matched]].
""")

# %% [markdown]
# ## 28.1 and 28.3 Restoration, by zeros and by means
#
# Zero ablation takes away what a head writes on average too, and may harm for that alone. Mean ablation
# puts the head's mean output in place (over questions of the choosing half, both conditions weighted equally).

# %%
page.figure(
    s28.modes,
    caption="Effect of ablating the five suppressor heads on P(correct), with 95% bootstrap intervals over "
    "n = [[effect.sandbag.zero|n]] questions of the evaluating half.",
    alt="Forest plot of the effect of zero and mean ablation under sandbag and genuine prompts.",
    size=(7, 3),
    min_width=460,
)

# %% tags=["remove-input"]
page.say("""
Zero minus mean ablation: [[effect.sandbag.zero_minus_mean]] on sandbag prompts,
[[effect.genuine.zero_minus_mean]] on genuine ones.
""")

# %% [markdown]
# ## 28.2 Every subset

# %%
page.figure(
    s28.subset_forest,
    caption="Restoration by every subset of the five, with 95% bootstrap intervals over questions of the evaluating half: n = [[effect.sandbag.zero|n]] for single heads, for the best subset of each size, chosen on the choosing half, and for all five, n = [[random.uniform|n]] for the others.",
    alt="Forest plot of restoration by each of the 31 subsets of the suppressor heads.",
    size=(7.5, 8.5),
    min_width=520,
)

# %% tags=["remove-input"]
page.say("""
Alone, the heads' effects add up to [[sum_of_singles]]; together they give [[effect.sandbag.zero]].
Redundancy, 1 − combined / sum: [[redundancy]] (below zero: together they do more than the sum; no number is
given where the sum's interval is not above zero).
""")

# %% [markdown]
# ## 28.4 Random heads
#
# Three kinds of random sets, all disjoint from the five: *uniform*; *layer-matched*, with the same
# multiset of layers; *damage-matched*, each head replaced by one of the twelve whose ablation alone
# changes the predictions on a neutral text most alike.

# %%
page.table(
    s28.gaps,
    caption="Random heads in numbers. Gap: suppressor heads − mean of the draws, question by question, with "
    "95% bootstrap interval. Sigma: SD over draws. Empirical p: (1 + draws at least as large) / (draws + "
    "1).",
)

# %% [markdown]
# ## Stability of the choice

# %%
page.figure(
    s28.stability,
    caption="How often each head is among the five strongest on a random half of the choosing half (n = [[stability|n]] splits, a share of "
    "which has no interval). On average a head of the five is chosen again in [[stability|value]] of the splits.",
    alt="Bar chart of the share of splits in which each head is chosen.",
    size=(7.5, 3.6),
    min_width=480,
)

# %% [markdown]
# **What would have changed the conclusion.** A gap whose interval includes zero against any kind of random
# heads would have meant that taking out any heads like these does the same.
