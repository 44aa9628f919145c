# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §20 Behavioural SAE grid
#
# Eighteen SAEs of the residual stream on honest and deceptive completions: three layers, two architectures, three training sets. In
# the study's first release no JumpReLU threshold had been learned. What did that defect look like, and
# what does the fix change?

# %% tags=["parameters"]
profile = "embedded"
seed = 0
# None: what the profile says
model = None  # a slug of models/registry.py: the model that reads the completions
judge = None  # a judge of tasks/data/labels.csv, whose labels are the classes
resamples = None  # bootstrap resamples behind every interval

# %%
from deception_saes.experiments.on_completions import kl_of, quality_of
from deception_saes.experiments.sae_tables import by_kind, grid_table, threshold_histogram
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s20

book = open_section(20, profile, seed, model=model, judge=judge, resamples=resamples)

# %% [markdown]
# The SAEs are trained on residuals at the tokens of completions of rounds R1 and R2, the JumpReLUs of the
# middle layer twice: with learned thresholds and, as the study first had them, with thresholds at 0. All are measured on round R3.

# %%
learned = book.behavioural_saes
grids = [learned, learned.before_fix(learned.layers[1:2])]
quality = quality_of(grids)  # on every token
kl = kl_of(grids, completions=1)  # of each scenario

# %%
saes = grid_table(quality, kl, grids)
kinds = by_kind(saes, kl, draws=book.resamples, seed=seed)
thresholds = threshold_histogram(grids, bins=24)

# %%
book.report("saes", saes)
book.report("kl", kl)
book.report("thresholds", thresholds)
book.report("kinds", kinds, "{kind}.{measure}",
            claims={"prefix.threshold": "B-12", "prefix.l0_share": "B-13"})
book.number("saes", len(learned.tags), "count", "SAEs in the grid", claim="B-11",
            n=len(learned.tags))

# %%
book.opening()

# %%
book.figure(
    s20.grid, saes,
    caption="L0 against explained variance and against KL recovered, one dot an SAE. Held out: every token of round R3 "
    "(n = [[learned.l0|n]] tokens; KL on n = [[learned.kl_recovered|n]] completions). Bootstrap "
    "intervals of the active shares, over SAEs, stand in the section's values.",
    alt="Scatter plots of L0 against explained variance and KL recovered for three kinds of SAE.",
    size=(9, 4.2),
    min_width=560,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** With thresholds left at 0, as in the study's first release, a JumpReLU is a ReLU: at the middle layer
[[prefix.l0_share]] of its features are active on a token (the study: [[B-13]]). Over all layers, with thresholds learned by the Gaussian-kernel estimator, it is
[[learned.l0_share]], at an explained variance of [[learned.explained_variance|value]] instead of
[[prefix.explained_variance|value]]; TopK has [[topk.explained_variance|value]] at [[topk.l0|value]] features.
""")

# %% [markdown]
# ## What they are trained on
#
# Residuals at the tokens of completions of rounds R1 and R2, by the labels of the primary judge: honest ones, deceptive ones, or
# both; ambiguous ones train none. Completions that are near-duplicates of one of R3 are left out, so that R3, on which
# everything here and in §21 and §22 is measured, is held out altogether. Reconstruction is judged at every token of R3's completions. KL
# recovered is 1 − KL(clean ‖ with SAE) / KL(clean ‖ mean residual), the residual replaced at every token of
# the completion, the prompt left as it is.

# %%
book.figure(
    s20.thresholds, thresholds,
    caption="Thresholds of all features of a layer's JumpReLU SAEs, in the residual's units: learned (n = [[learned.l0_share|n]] SAEs), "
    "and left at 0 (n = [[prefix.threshold|n]]). The last bin holds what is larger. A census of features, so no interval.",
    alt="Histograms of learned thresholds at three layers beside thresholds at zero.",
    size=(9, 3.6),
    min_width=560,
)

# %%
book.table(
    s20.saes, saes,
    caption="The 18 SAEs, and [[prefix.threshold|n]] JumpReLUs again with thresholds at 0. Held out on n = [[learned.l0|n]] tokens of round R3.",
)

# %% [markdown]
# Two things are not matched here. The mixed sets have about twice the rows of the others, so that a better
# reconstruction by them may be one of rows. And JumpReLU ends at another L0 on these held-out tokens than
# TopK's k, so that their explained variances are no ranking of the two.

# %% tags=["remove-input"]
book.say("""
What the fix does to the probes of [§21](s21_sae_probes.ipynb) stands there: both kinds are probed on the same
completions.
""")

# %% [markdown]
# **What would have changed the conclusion.** Learned thresholds that stay near 0, or an L0 that hardly falls, would have meant that
# the estimator does not learn and that the defect was not the cause.

# %% tags=["remove-input"]
book.close()
