# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §30 Across models
#
# The study finds a sandbagging-specific portion in Llama-3.2-1B alone. Here the portion is measured on
# every model of the profile, and under both co-primary framings: the heads are chosen under the labelled
# one, and under the same-prefix one the prompt's end gives no hint of the instruction.

# %% tags=["parameters"]
profile = "embedded"
seed = 0

# %%
from deception_saes.paper.page import open_section
from deception_saes.paper.plots import s30

page = open_section(30, profile, seed)
page.opening()

# %%
page.figure(
    s30.portions,
    caption="Restoration, effect on genuine prompts, and their difference, the sandbagging-specific "
    "portion, with 95% bootstrap intervals over the evaluating half's questions (labelled: "
    "n = [[two_shot_labelled.portion|n]]).",
    alt="Forest plot of restoration, effect on genuine prompts and portion by model and framing.",
    size=(8, 3.6),
    min_width=560,
)

# %% tags=["remove-input"]
page.say("""
**What it shows.** The portion is [[two_shot_labelled.portion]] under the labelled framing and
[[two_shot_same_prefix.portion]] under the same-prefix one, where the same heads restore
[[two_shot_same_prefix.restoration]] and change genuine prompts by [[two_shot_same_prefix.genuine]].
""")

# %%
page.table(
    s30.models,
    caption="Every model of this profile, and the published portions of the study's models.",
)

# %% [markdown]
# Heads that read the word “Wrong” in the answer's label would restore under the labelled framing and do
# nothing under the same-prefix one. Heads that carry the instruction itself would do so under both.
#
# **What would have changed the conclusion.** A portion of like size under both framings would have spoken
# for the instruction; one under the labelled framing alone speaks for the label.
