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
# None: what the profile says
model = None  # a slug of models/registry.py
framing = None  # a name of tasks/data/framings.toml
questions = None  # the path of a CSV like tasks/data/questions.csv
sandbag_instruction = None  # a sentence that asks for wrong answers
layers = None  # any layers, like 14 or [7, 14]; SAEs are trained for them
k = None  # features of a TopK SAE that may be active
resamples = None  # bootstrap resamples behind every interval

# %%
from deception_saes.experiments.sae_tables import (
    outlier_table,
    pair_table,
    separation_table,
    topk_less_jumprelu,
)
from deception_saes.experiments.separation import separation_at
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s32
from deception_saes.saes.tags import layer_at_same_depth

book = open_section(32, profile, seed, model=model, framing=framing, questions=questions,
                    sandbag_instruction=sandbag_instruction, layers=layers, k=k,
                    resamples=resamples)

# %% [markdown]
# Every SAE encodes the last prompt position of both halves' sandbag and genuine prompts. JumpReLU and TopK of
# the same size are compared at matched layer and training condition, and only these before training too.

# %%
saes = book.saes
found = [separation_at(saes, layer, k=book.k, draws=book.resamples,
                       permutations=book.profile.permutations, seed=seed) for layer in book.layers]
separations = separation_table(found)
pairs = pair_table(separations, found, blocks=book.subject.model.shape.layers)

# %% [markdown]
# The study's sharpest separator of all is L8, mixed, TopK; its analogue stands at the same relative depth.

# %%
layer = layer_at_same_depth(8, book.subject.model.shape.layers)
outliers = outlier_table(separations, layer, permutations=book.profile.permutations)
contrast = topk_less_jumprelu(separations, found, layer)

book.report("separation", separations)
book.report("pairs", pairs, "{measure}", claims={
    "wins.jumprelu": "S-18", "wins.topk": "S-19", "wins.topk.late_mixed": "S-26",
    "d_mean_ratio": "S-22"})
book.report("outliers", outliers, "outlier.{architecture}.{measure}", claims={
    "outlier.topk.d_max": "S-20", "outlier.jumprelu.d_max": "S-21"})
book.report("contrast", contrast, "outlier.topk_minus_jumprelu.{measure}", claims={
    "outlier.topk_minus_jumprelu.picked": "S-25"})
book.report("separation", separations, "{dictionary}.L{layer}.d_max", where="dictionary == 'raw'",
            value="d_max", n="n_questions", quantity="d_max of raw coordinates")
book.report("separation", separations, "{dictionary}.L{layer}.d_max", where="dictionary == 'components'",
            value="d_max", n="n_questions", quantity="d_max of principal components")

# %%
book.opening()

# %%
book.figure(
    s32.pairs, separations,
    caption="Matched layer and training condition, last prompt position, evaluating half (n = [[d_mean_ratio|n]] questions). Diamonds: the "
    "feature of largest d on the choosing half, measured on the evaluating half, with 95% bootstrap interval "
    "over questions. Crosses: the SAE before training. Grey bars: 95% quantile of d_max when conditions "
    "are swapped at random question by question.",
    alt="d_max of TopK and JumpReLU SAEs in matched pairs, beside null, untrained start and picked "
    "feature.",
    size=(8, 5.6),
    min_width=560,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** JumpReLU has the larger d_max in [[wins.jumprelu|value]] pairs, TopK in
[[wins.topk|value]]; of these [[wins.topk.late_mixed|value]] are at half of the depth or later with mixed training
(published: [[S-26]]). The pairs share questions and layers, so these counts have no binomial interval. In
[[beats_untrained|value]] SAEs training raised d_max above that of the random dictionary it began from.
Mean d over all features, JumpReLU over TopK: [[d_mean_ratio]] (published: [[S-22]]).
""")

# %% [markdown]
# ## The study's outlier
#
# The study names one SAE as its sharpest separator of all: L8, mixed, TopK. If a d that large came from a
# feature that hardly varies, a floor under the standard deviation would take it away.

# %% tags=["remove-input"]
book.say("""
Its analogue here has a d_max of [[outlier.topk.d_max|value]] with the floor and
[[outlier.topk.no_floor|value]] without (published: [[S-20]]); under swapped conditions 95 % of maxima stay
below [[outlier.topk.null_95|value]] (p = [[outlier.topk.p|value]]). The feature picked on the choosing half
has [[outlier.topk.picked]], the untrained dictionary [[outlier.topk.untrained|value]]. By d_max it ranks
[[outlier.topk.rank|value]] of [[outlier.topk.rank|n]]; the matched JumpReLU, with
[[outlier.jumprelu.d_max|value]] (published: [[S-21]]), ranks [[outlier.jumprelu.rank|value]]. TopK less JumpReLU, of the
features picked on the choosing half: [[outlier.topk_minus_jumprelu.picked]] (published, of d_max: [[S-25]]), an interval over
questions for one training of each.
""")

# %%
book.figure(
    s32.dictionaries, separations,
    caption="d_max of every SAE that was trained beside that of the residual's own coordinates and of its "
    "principal components (found on the choosing half), by layer; n = [[d_mean_ratio|n]] questions. A maximum has no "
    "bootstrap interval of use; its null stands in the first figure.",
    alt="d_max of all SAEs by layer and architecture, beside raw coordinates and principal components.",
    size=(8, 4.4),
    min_width=520,
)

# %%
book.table(
    s32.matched, separations,
    caption="The matched pairs. Live: features active on at least 5 % of the prompts. p: (1 + draws at least "
    "as large) / (draws + 1). Picked: d of the feature picked on the choosing half. No floor: d_max without "
    "a floor of 5 % of the median standard deviation.",
)

# %% [markdown]
# **What would have changed the conclusion.** A d_max far above those of an untrained dictionary and of raw
# coordinates would have spoken for features that training found; d_max inside its null, for chance.

# %% tags=["remove-input"]
book.close()
