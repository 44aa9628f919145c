# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §21 SAE probes
#
# Do SAEs help to detect deception? Each of the 18 behavioural SAEs gives a probe its features; beside it
# stands a probe on the residual stream of the same layer, on the same completions and folds.

# %% tags=["parameters"]
profile = "embedded"
seed = 0

# %%
from deception_saes.paper.page import open_section
from deception_saes.paper.plots import s21

page = open_section(21, profile, seed)
page.opening()

# %%
page.figure(
    s21.differences,
    caption="Balanced accuracy of each SAE probe less that of the raw probe of its layer, same completions and folds "
    "(n = [[tested|value]]), with 95% intervals over completions. Blue: TopK, orange: JumpReLU; circles: honest_only, squares: "
    "deceptive_only, diamonds: mixed.",
    alt="Eighteen differences between SAE probes and raw probes with their intervals, around zero.",
    size=(8, 5.2),
    min_width=520,
)

# %% tags=["remove-input"]
page.say("""
**What it shows.** On [[tested|value]] completions that no SAE was trained on, [[beats_raw|value]] SAE probes
are above the raw probe of their layer (the study: [[B-15]]); if probe and rival were exchanged at random it would be
[[beats_raw.chance]]. [[differs|value]] of them differ from the raw probe at a Holm-corrected p of 0.05. The best
reaches a balanced accuracy of [[best.accuracy]] (the study: [[B-14]]), a maximum of 18. Above the features of their
own random start are [[beats_untrained|value]], above the layer's principal components [[beats_components|value]].
""")

# %% [markdown]
# ## How it is measured
#
# The SAEs see rounds R1 and R2 alone, near-duplicates of R3 left out, so that no completion of R3 has
# shaped a feature, be it by its activations or by the label that puts it into a training set. Features are averaged over a
# completion's tokens, as the raw residual is. Folds, scaling, penalty, permutations and intervals are those of
# [§18](s18_layer_sweep.ipynb). The p of a probe is that of its ridge counterpart on labels permuted within
# scenario and fold. The p of a difference is that of an exchange test: what SAE probe and raw probe say of a completion is
# exchanged at random, near-duplicates together, for all 18 pairs at once; that gives the number expected by chance too.

# %%
page.figure(
    s21.chance,
    caption="SAE probes above the raw probe of their layer, of 18: measured, and over "
    "n = [[beats_raw.chance|n]] exchanges. The spread of the bars is the "
    "interval that chance allows. SAEs of one layer are alike, so the count spreads wider than 18 independent ones would.",
    alt="Histogram of the number of SAE probes above the raw probe under exchange, with the measured number.",
    size=(6.5, 3.6),
    min_width=420,
)

# %% tags=["remove-input"]
page.say("""
**Power.** At this n a difference of [[power.here|value]] from the raw probe is found with 80% power (a median over the
SAEs); with the [[power.study|n]] completions of the study's test it would have to be
[[power.study|value]].
""")

# %% [markdown]
# ## Is it the training?

# %%
page.figure(
    s21.baselines,
    caption="Balanced accuracy of every probe by layer, n = [[tested|value]] completions. Random start: the same SAE before "
    "training. Threshold at 0: JumpReLU as the study had it before its fix. Principal components: all of them, of the tokens that the SAEs were trained on. Intervals "
    "of the differences stand in the table.",
    alt="Balanced accuracy of probes on trained, untrained and pre-fix SAEs, raw residuals and components, by layer.",
    size=(7.5, 4.4),
    min_width=480,
)

# %% tags=["remove-input"]
page.say("""
SAEs trained on honest completions alone differ from those trained on deceptive ones by
[[honest_minus_deceptive_only]] and from mixed ones by [[honest_minus_mixed]], all of one dimension; honest_only is the best of
the three at [[honest_best|value]] layers and architectures (the study: [[B-16]], on other models). The fix,
learned thresholds instead of 0, changes a JumpReLU probe by [[fix]].
""")

# %%
page.table(
    s21.probes,
    caption="The probes in numbers, n = [[tested|value]] completions, 95% intervals over completions. p: against permuted labels. "
    "Less raw: with the p of the exchange test. Holm: corrected for 18 tests.",
)

# %% [markdown]
# **What would have changed the conclusion.** More SAE probes above the raw one than exchanges allow, or one
# whose difference survives the correction, would have shown that sparse features make deception easier
# to read; a trained SAE no better than its random start shows that it is dimension and not training that helps.
