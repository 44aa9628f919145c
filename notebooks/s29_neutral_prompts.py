# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §29 Neutral prompts
#
# Are the suppressor heads about sandbagging at all? The same ablation on genuine prompts tells: what it
# adds there is general, and only the rest of the restoration is specific to sandbagging.

# %% tags=["parameters"]
profile = "embedded"
seed = 0

# %%
from deception_saes.paper.page import open_section
from deception_saes.paper.plots import s29

page = open_section(29, profile, seed)
page.opening()

# %%
page.figure(
    s29.by_question,
    caption="Every evaluating question (n = [[effect.genuine|n]]): effect of ablating the suppressor heads on its genuine prompt and "
    "on its sandbag prompt. Above the dashed line the ablation does more under sandbag. Star: the means, "
    "whose 95% intervals stand in the claims above.",
    alt="Scatter plot of the effect on sandbag prompts against the effect on genuine prompts.",
    size=(6.5, 5),
    min_width=420,
)

# %% tags=["remove-input"]
page.say("""
**What it shows.** On genuine prompts the same ablation changes P(correct) by [[effect.genuine]]
(n = [[effect.genuine|n]]); it improves [[improved.genuine]] of the questions. The sandbagging-specific
portion, restoration minus this, is [[portion]].
""")

# %% [markdown]
# Heads are set to zero here, as in the study. How much of the effect on genuine prompts is damage by
# zeroing alone, §28.3 shows: there the heads' mean output is put in place instead.
#
# ## Question by question

# %%
page.figure(
    s29.headroom,
    caption="Effect on the genuine prompt against the P(correct) it starts from: a genuine prompt near its "
    "ceiling has little room to rise. n = [[effect.genuine|n]] questions, each shown, so no interval.",
    alt="Scatter plot of the effect on genuine prompts against clean P(correct).",
    size=(6.5, 4),
    min_width=420,
)

# %% [markdown]
# ## What it costs elsewhere

# %%
page.table(
    s29.cost,
    caption="Cross-entropy of the next token on three public-domain passages, clean and with the "
    "suppressor heads ablated, and KL(clean ‖ ablated), means over positions.",
)

# %% [markdown]
# **What would have changed the conclusion.** An effect on genuine prompts as large as the restoration would
# have meant that the heads hold answers back in general, and that sandbagging only shows it.
