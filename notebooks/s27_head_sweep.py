# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §27 Head sweep
#
# Which attention heads, taken away one at a time, make the model answer *better* when it is told to
# answer wrongly? The study names five such suppressor heads in Llama-3.2-1B. Here every head of the
# profile's model is ablated alone, on the sandbag and on the genuine prompts of as many questions of the
# choosing half as the profile asks for.

# %% tags=["parameters"]
profile = "embedded"
seed = 0

# %%
from deception_saes.paper.page import open_section
from deception_saes.paper.plots import s27

page = open_section(27, profile, seed)
page.opening()

# %%
page.figure(
    s27.heat_map,
    caption="Effect on P(correct) of ablating each head alone, in pp: means over the choosing half (sandbag: n = [[top1.sandbag|n]] questions, genuine: "
    "n = [[top1.genuine|n]]). Dots: p < 0.05 corrected for all heads (largest studentised effect under "
    "random flips of the questions' signs). Intervals of the strongest stand in the next figure.",
    alt="Two heat maps, layer by head, of the effect of ablating each head under sandbag and genuine "
    "prompts.",
    size=(8.5, 6.5),
    min_width=560,
)

# %% tags=["remove-input"]
page.say("""
**What it shows.** With a p corrected for the number of heads, [[suppressors.sandbag|value]] of
[[suppressors.sandbag|n]] heads raise P(correct | sandbag) and [[promoters.sandbag|value]] lower it. The
strongest suppressor alone adds [[top1.sandbag]] on sandbag prompts and [[top1.genuine]] on genuine ones. The
ranking of heads correlates between random halves of the questions by [[split_half.sandbag]], and heads'
effects under the two conditions by [[between_conditions|value]].
""")

# %% [markdown]
# Ablation sets a head's slice of the input to the attention output projection to zero, at all prompt
# positions. The effect is P(correct) with the head ablated minus P(correct) of the clean model: above
# zero the head is a *suppressor*, below zero a *promoter*. These numbers choose the heads and so
# flatter them; §28 measures the chosen ones on the other half of the questions.
#
# ## Every head

# %%
page.figure(
    s27.extremes,
    caption="The eight strongest suppressors and promoters by their effect on sandbag prompts, with 95% bootstrap intervals over n = [[top1.sandbag|n]] questions (not corrected for the choice), and the same heads on genuine "
    "prompts.",
    alt="Forest plot of the strongest suppressor and promoter heads under sandbag and genuine prompts.",
    size=(7.5, 6),
    min_width=480,
)

# %%
page.table(
    s27.top_table,
    caption="The strongest suppressors: mean effect with 95% bootstrap interval, and p corrected for the "
    "number of heads.",
)

# %% [markdown]
# A head whose ablation helps under both conditions holds answers back whatever the instruction; a head
# of sandbagging would help under sandbag alone. The two columns above and the correlation between them
# say which kind these are.
#
# ## What the strongest suppressors attend to

# %%
page.figure(
    s27.attention,
    caption="Attention of the last prompt position, averaged over n = [[top1.genuine|n]] questions of the "
    "choosing half, token by token over the beginning that all prompts share and the end; means, without "
    "intervals. The question's own tokens are summed in ‹question›, those of each worked example's question in "
    "‹shot›. ␣ is a space, \\x0a a line break.",
    alt="Bar charts of attention over prompt tokens for the three strongest suppressor heads, under "
    "sandbag and genuine prompts.",
    size=(9, 13),
    min_width=640,
)

# %% [markdown]
# **What would have changed the conclusion.** No head beyond the corrected threshold, or a ranking that
# does not repeat between halves, would have left no circuit to ablate in §28.
