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
# every control acts at the last prompt position, at three depths, through JumpReLU as in the study, then
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

# %%
from deception_saes.paper.page import open_section
from deception_saes.paper.plots import s24

page = open_section(24, profile, seed)
page.opening()

# %%
page.figure(s24.swap.gap_forest, **s24.FIGURES["gap_forest"])

# %% tags=["remove-input"]
page.say(s24.SUMMARY)

# %%
page.figure(s24.swap.forest, **s24.FIGURES["forest"])

# %%
page.table(s24.swap.gaps, **s24.TABLES["gaps"])

# %% [markdown]
# ## Dose

# %%
page.figure(s24.swap.doses, **s24.FIGURES["doses"])

# %% [markdown]
# ## The features of largest d

# %%
page.figure(s24.swap.top_features, **s24.FIGURES["top_features"])

# %% [markdown]
# ## Does the training seed matter?

# %%
page.figure(s24.swap.seeds, **s24.FIGURES["seeds"])

# %% [markdown]
# ## Both conditions, and the share of the ceiling

# %%
page.table(s24.swap.genuine_effects, **s24.TABLES["genuine_effects"])

# %%
page.table(s24.swap.centres, **s24.TABLES["centres"])

# %% [markdown]
# **What would have changed the conclusion.** The study's claim would stand if E6 did no more than E4, the
# reversed direction, at every depth and through every architecture. It would fall with one informative cell in
# which E6 beats E4, or E6Δ its null E1Δ, by more than the margin.
