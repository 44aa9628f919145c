# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §25 SAE zoo
#
# The study is its sparse autoencoders. Here the sandbagging release's tags are trained on this profile's model, at the
# same relative depths, on residuals of the choosing half's question tokens: all 42, or, where the profile says so,
# JumpReLU and TopK of the usual k under every training condition and of all other kinds of the usual size the mixed ones.
# Every figure below is about the evaluating half, which none of them has seen.

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
    architecture_medians,
    measure_table,
    sae_table,
    training_ratios,
)
from deception_saes.experiments.zoo import SWAPS, quality_at
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s25

book = open_section(25, profile, seed, model=model, framing=framing, questions=questions,
                    sandbag_instruction=sandbag_instruction, layers=layers, k=k,
                    resamples=resamples)

# %% [markdown]
# Of every SAE: how well it reconstructs the question's tokens and the last prompt position, what its
# reconstruction in the residual's place does to the prediction there, and what edits through it do to P(correct)
# on sandbag prompts. The edits are §24's: E2 puts the reconstruction in place, E6 decodes the genuine medians, E4
# the sandbag ones, E6Δ and E4Δ add their difference with the error term kept, and E5 swaps the sixteen features of
# largest Cohen's d.

# %%
saes = book.saes
tags = [tag for layer in book.layers for tag in saes.at(layer)]
found, seconds = {}, {}
for layer in book.layers:
    found |= quality_at(saes, layer, SWAPS)
    seconds |= saes.bank(layer).seconds  # of training

# %%
measures = measure_table(tags, found, clusters=book.task.evaluating.clusters,
                         draws=book.resamples, seed=seed)
zoo = sae_table(tags, measures, seconds)
medians = architecture_medians(zoo)
ratios = training_ratios(zoo, k=book.k)

book.report("saes", zoo)
book.report("measures", measures, "{tag}.{measure}")
book.report("medians", medians, "{architecture}.{measure}", where="measure != 'seconds'")
book.report("medians", medians, "timing.{architecture}", where="measure == 'seconds'")
book.number("n_saes", len(zoo), "count", "SAEs trained", n=len(zoo),
            claim="S-01" if book.profile.whole_release else None)
book.number("timing.jumprelu_over_topk", ratios.median(), "ratio", "median training time of JumpReLU over TopK "
            f"(k = {book.k}), matched layer and condition", claim="S-03", n=len(ratios))

# %%
book.opening()

# %%
book.figure(
    s25.front, zoo,
    caption="Every SAE that was trained (n = [[n_saes|value]]) on the evaluating half. Left: mean active features of a question token "
    "against the share of the tokens' variance that the reconstruction explains (predicting the mean scores "
    "0). Right: active features at the last prompt position against KL recovered there, 1 − KL(clean ‖ with "
    "SAE) / KL(clean ‖ mean-replaced). Bootstrap intervals over questions stand in the section's values.",
    alt="Two scatter plots of [[n_saes|value]] SAEs: L0 against explained variance, and against KL recovered, coloured by "
    "architecture, with one marker for each layer.",
    size=(9.5, 4.6),
    min_width=640,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** [[n_saes|value]] SAEs: [[topk.explained_variance|n]] TopK of several k, [[jumprelu.explained_variance|n]]
JumpReLU, [[gated.explained_variance|n]] Gated. Median explained variance of held-out question tokens, of sets that differ in
training conditions and size: TopK [[topk.explained_variance|value]], JumpReLU [[jumprelu.explained_variance|value]], Gated
[[gated.explained_variance|value]], at a median L0 of [[topk.l0|value]], [[jumprelu.l0|value]] and
[[gated.l0|value]]. Median KL recovered at the last prompt position, where interventions act: TopK
[[topk.kl_recovered|value]], JumpReLU [[jumprelu.kl_recovered|value]], Gated [[gated.kl_recovered|value]].
""")

# %% [markdown]
# ## The k sweep

# %%
book.figure(
    s25.k_sweep, zoo,
    caption="TopK SAEs of the middle layer by k and training condition, among n = [[n_saes|value]] SAEs, on the evaluating half. "
    "Bootstrap intervals over questions stand in the section's values.",
    alt="Explained variance and KL recovered against k, one line for each training condition.",
    size=(8.5, 4),
    min_width=560,
)

# %% [markdown]
# ## Swaps across the zoo
#
# Does it depend on the SAE whether swapping in genuine medians (E6) does more than the reverse (E4)? Each point
# is an SAE, at the last prompt position of sandbag prompts; [§24](s24_full_sae_swap_primary.ipynb) has the
# controls with draws.

# %%
book.figure(
    s25.swaps, zoo,
    caption="Active features at the last prompt position against effects and gaps on sandbag prompts of the evaluating half, for every SAE (n = [[n_saes|value]]). E2: reconstruction alone. Bootstrap intervals over questions "
    "stand in the section's values.",
    alt="Four scatter plots of [[n_saes|value]] SAEs: L0 against the effects of E2 and E6, and against two gaps.",
    size=(9.5, 6.4),
    min_width=640,
)

# %% [markdown]
# ## What training costs
#
# The study reports about 500 s for a JumpReLU SAE and 40 s for a TopK one. Here both take the same number of
# steps, each a handful of matrix products of the same size, on one thread.

# %% tags=["remove-input"]
book.say("""
Median seconds an SAE: TopK [[timing.topk|value]], JumpReLU [[timing.jumprelu|value]], Gated
[[timing.gated|value]]. At matched layer and condition JumpReLU costs [[timing.jumprelu_over_topk|value]] of
TopK; the study's figures make [[S-03]]. Seconds differ from run to run; nothing else on this page does.
""")

# %%
book.figure(
    s25.cost, zoo,
    caption="Seconds of training of n = [[n_saes|value]] SAEs, each trained once, so without an interval. Filled: mixed, trained on both conditions' rows; hollow: on one "
    "condition's, half as many. Points far to the right of their kind have twice the features (8x), where such were trained.",
    alt="Training seconds of each SAE by architecture.",
    size=(7.5, 2.8),
    min_width=480,
)

# %% [markdown]
# ## Every SAE
#
# An SAE trained on one condition alone has never seen the other's last tokens, so its explained variance
# over both conditions (EV) may fall far below that on its own (EV own). *EV last* is at the last prompt
# position alone, where a swap acts.

# %%
book.table(
    s25.every_sae, zoo,
    caption="All SAEs on the evaluating half. EV: explained variance of question tokens under both "
    "conditions; own: under its training condition; last: at the last prompt position. KL rec.: KL "
    "recovered. MSE: per coordinate, in squared units of the residual. Dead: active on no question token. "
    "s: seconds of training.",
)

# %% [markdown]
# **What would have changed the conclusion.** An architecture far off the others' front would have made every
# later comparison of architectures a comparison of how well they were trained.

# %% tags=["remove-input"]
book.close()
