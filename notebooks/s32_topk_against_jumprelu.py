# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §32 TopK against JumpReLU
#
# Which architecture has the sharper single features? The study compares the largest Cohen's d of any feature,
# *d_max*, between sandbag and genuine prompts. A maximum over thousands of features is large by chance
# alone, and the labelled framing changes the prompt's last words, so each d_max stands beside four others:
# its null (the conditions swapped question by question), the d of the one feature picked on the choosing
# half, the same SAE before training, and the residual's own coordinates and principal components.

# %% tags=["parameters"]
profile = "embedded"
seed = 0

# %%
from deception_saes.paper.page import open_section
from deception_saes.paper.plots import s32

page = open_section(32, profile, seed)
page.opening()

# %%
page.figure(
    s32.pairs,
    caption="Matched layer and training condition, last prompt position, evaluating half (n = [[d_mean_ratio|n]] questions). Diamonds: the "
    "feature of largest d on the choosing half, measured on the evaluating half, with 95% bootstrap interval "
    "over questions. Crosses: the SAE before training. Grey bars: 95% quantile of d_max when conditions "
    "are swapped at random question by question.",
    alt="d_max of TopK and JumpReLU SAEs in nine matched pairs, beside null, untrained start and picked "
    "feature.",
    size=(8, 5.6),
    min_width=560,
)

# %% tags=["remove-input"]
page.say("""
**What it shows.** JumpReLU has the larger d_max in [[wins.jumprelu|value]] pairs, TopK in
[[wins.topk|value]]. The pairs share questions and layers, so these counts have no binomial interval. In
[[beats_untrained|value]] SAEs training raised d_max above that of the random dictionary it began from.
Mean d over all features, JumpReLU over TopK: [[d_mean_ratio]] (published: [[S-22]]).
""")

# %% [markdown]
# ## The study's outlier
#
# The study names one SAE as its sharpest separator of all: L8, mixed, TopK. If a d that large came from a
# feature that hardly varies, a floor under the standard deviation would take it away.

# %% tags=["remove-input"]
page.say("""
Its analogue here has a d_max of [[outlier.topk.d_max|value]] with the floor and
[[outlier.topk.no_floor|value]] without (published: [[S-20]]); under swapped conditions 95 % of maxima stay
below [[outlier.topk.null_95|value]] (p = [[outlier.topk.p|value]]). The feature picked on the choosing half
has [[outlier.topk.picked]], the untrained dictionary [[outlier.topk.untrained|value]]. By d_max it ranks
[[outlier.topk.rank|value]] of [[outlier.topk.rank|n]]; the matched JumpReLU, with
[[outlier.jumprelu.d_max|value]] (published: [[S-21]]), ranks [[outlier.jumprelu.rank|value]].
""")

# %%
page.figure(
    s32.dictionaries,
    caption="d_max of every SAE of the release beside that of the residual's own coordinates and of its "
    "principal components (found on the choosing half), by layer; n = [[d_mean_ratio|n]] questions. A maximum has no "
    "bootstrap interval of use; its null stands in the first figure.",
    alt="d_max of all SAEs by layer and architecture, beside raw coordinates and principal components.",
    size=(8, 4.4),
    min_width=520,
)

# %%
page.table(
    s32.matched,
    caption="The matched pairs. Live: features active on at least 5 % of the prompts. p: (1 + draws at least "
    "as large) / (draws + 1). Picked: d of the feature picked on the choosing half. No floor: d_max without "
    "a floor of 5 % of the median standard deviation.",
)

# %% [markdown]
# **What would have changed the conclusion.** A d_max far above those of an untrained dictionary and of raw
# coordinates would have spoken for features that training found; d_max inside its null, for chance.
