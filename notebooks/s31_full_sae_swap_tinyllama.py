# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §31 Full-SAE-swap, TinyLlama
#
# The same interventions as in [§24](s24_full_sae_swap_primary.ipynb), on the third model of the study.
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
from deception_saes.paper.plots import s31

page = open_section(31, profile, seed)
page.opening()

# %%
page.figure(s31.swap.gap_forest, **s31.FIGURES["gap_forest"])

# %% tags=["remove-input"]
page.say(s31.SUMMARY)

# %%
page.figure(s31.swap.forest, **s31.FIGURES["forest"])

# %%
page.table(s31.swap.gaps, **s31.TABLES["gaps"])

# %% [markdown]
# ## Dose

# %%
page.figure(s31.swap.doses, **s31.FIGURES["doses"])

# %% [markdown]
# ## The features of largest d

# %%
page.figure(s31.swap.top_features, **s31.FIGURES["top_features"])

# %% [markdown]
# ## Both conditions, and the share of the ceiling

# %%
page.table(s31.swap.genuine_effects, **s31.TABLES["genuine_effects"])

# %%
page.table(s31.swap.centres, **s31.TABLES["centres"])

# %% [markdown]
# **What would have changed the conclusion.** The study's claim would stand if E6 did no more than E4, the
# reversed direction, at every depth and through every architecture. It would fall with one informative cell in
# which E6 beats E4, or E6Δ its null E1Δ, by more than the margin.
