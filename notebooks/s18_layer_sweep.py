# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §18 Layer sweep
#
# Completions of one and the same prompt, some honest, some deceptive: can a linear probe on the residual
# stream tell them apart, at which layer does it do so best, and does it know more than the words say?

# %% tags=["parameters"]
profile = "embedded"
seed = 0

# %%
from deception_saes.paper.page import open_section
from deception_saes.paper.plots import s18

page = open_section(18, profile, seed)
page.opening()

# %%
page.figure(
    s18.layers,
    caption="Balanced accuracy of the probe by layer, main round R3, n = [[R3.mean.nested.accuracy|n]] completions, "
    "with 95% intervals. Grey: the middle 95% of ridge probes on permuted labels "
    "(n = [[R3.mean.null.accuracy|n]] permutations), layer by layer. Dashed: a probe on the words alone, dotted: "
    "on words that know their scenario, in the same folds.",
    alt="Balanced accuracy by layer for two poolings, with the band of permuted labels and the level of words.",
    size=(9, 4.4),
    min_width=640,
)

# %% tags=["remove-input"]
page.say("""
**What it shows.** On [[R3.mean.nested.accuracy|n]] completions of [[scenarios]] scenarios, as many honest as
deceptive in each, a probe on mean activations reaches a balanced accuracy of [[R3.mean.nested.accuracy]] and an AUROC of
[[R3.mean.nested.auroc]], its layer having been chosen without the completions it is scored on (the study, a maximum
over layers: [[B-03]] and [[B-04]]). As a maximum over layers it is [[R3.mean.peak.accuracy|value]], at
[[R3.mean.peak.layer]]; of permuted labels the largest of all layers stays below
[[R3.mean.null.accuracy|value]] in 95% of draws (p = [[R3.mean.p.accuracy|value]], corrected for the number of layers). A probe that
reads the words alone reaches [[words.accuracy]], one that also knows which scenario they are said in [[words_of_scenario.accuracy]], and one that
knows the length alone [[length.accuracy]]. Activations less words is [[nested_minus_words.accuracy]], and
[[nested_minus_words_of_scenario.accuracy]] where the words know their scenario. In scenarios left out of training, at the depth of the study's L6, the AUROC is
[[transfer.depth_of_L6.auroc]].
""")

# %% [markdown]
# ## How it is measured
#
# The prompt and one completion are read by the model as they stand (teacher forcing); the residual stream
# is averaged over the completion's tokens, which is the primary pooling, fixed beforehand, or taken at its last token. The probe is
# scaling and logistic regression (scikit-learn, C = 1, its default, not tuned), fitted on four of five
# folds and scored on the fifth. Labels vary within a prompt, so every scenario is spread over all folds and both its
# labels weigh the same in training: what only tells scenarios apart scores nothing. Near-duplicate
# completions stay in one fold. Balanced accuracy is pooled over scenarios; AUROC ranks completions of one
# scenario and fold, and is averaged over scenarios. Permutations exchange labels within a scenario,
# those of near-duplicates together, and are scored by ridge regression, the logistic probe's counterpart
# with a closed form.

# %% tags=["remove-input"]
page.say("""
Intervals are 95% bootstrap intervals over completions, near-duplicates drawn together. Fitted probes differ from sample
to sample too, which such a bootstrap does not see; permuted labels show by how much, and every interval is
widened by that factor, [[R3.mean.widening|value]] here. The sanity check is the prompt's last token: it is the same for
all completions of a scenario, and AUROC there is [[prompt_end.least|value]] at the worst layer and
[[prompt_end.most|value]] at the best.
""")

# %% [markdown]
# ## Every layer

# %%
page.figure(
    s18.rounds,
    caption="Mean-pooled probes in three rounds of sampling: R1 at temperature 0.7 (n = [[R1.mean.nested.accuracy|n]] "
    "completions), R2 (n = [[R2.mean.nested.accuracy|n]]) and R3 (n = [[R3.mean.nested.accuracy|n]]) at 1.0. Above: "
    "balanced accuracy, the peak of each round marked. Below: share of bootstrap resamples in which a "
    "layer is the peak. A peak is the largest of many noisy numbers, so its place is known no better than "
    "the bars are narrow; they stand in place of an interval.",
    alt="Balanced accuracy by layer in three rounds, and the distribution of the peak layer of each.",
    size=(8, 5.6),
    min_width=560,
)

# %%
page.table(
    s18.peaks,
    caption="Every sweep in numbers. Peak layer: with the middle 95% of resamples. At the peak: a maximum over "
    "layers, with a bias that permuted labels show. p: of the ridge probe's maximum, corrected for "
    "the number of layers. Nested: the layer chosen on the other folds, hence without that bias.",
)

# %% tags=["remove-input"]
page.say("""
By the mean of all rounds the peak is at [[all.peak.layer]]. The study names three peaks, [[B-05]] for the full
sweep, [[B-06]] for R3 and [[B-07]] for R2.
""")

# %% [markdown]
# ## More than the words?
#
# Whatever a completion says, its activations are computed from its words, so a probe on activations may do
# no more than read them. The words alone (tf-idf of words and pairs of words, no model) are the bar to
# clear. It is set twice, for activations also know which prompt they stand behind, and one word may be a
# lie in one scenario and the truth in another: the second time every word stands once more as a word of its
# scenario. Two further layers stand beside the nested choice that no data of this book chose: those at the
# relative depth of the two peaks that the study's card names.

# %%
page.figure(
    s18.baselines,
    caption="What reads activations (blue) and what reads the text alone (orange), same completions and folds, "
    "n = [[R3.mean.nested.accuracy|n]], with 95% intervals. Length: numbers of tokens and characters.",
    alt="Balanced accuracy and AUROC of probes on activations, words and length.",
    size=(9, 3.6),
    min_width=640,
)

# %% tags=["remove-input"]
page.say("""
Paired by completion, activations less words: [[nested_minus_words.accuracy]] in balanced accuracy and
[[nested_minus_words.auroc]] in AUROC; at the depth of the study's L6
[[depth_of_L6_minus_words.accuracy]], at that of its L9 [[depth_of_L9_minus_words.accuracy]]. Activations less words that
know their scenario: [[nested_minus_words_of_scenario.accuracy]] and [[nested_minus_words_of_scenario.auroc]];
[[depth_of_L6_minus_words_of_scenario.accuracy]] and [[depth_of_L9_minus_words_of_scenario.accuracy]] at the two depths.
Words less length: [[words_minus_length.accuracy]].
""")

# %% [markdown]
# ## From one scenario to another

# %%
page.figure(
    s18.transfer,
    caption="AUROC by layer, main round, n = [[R3.mean.nested.accuracy|n]] completions, mean pooling. Blue: within scenarios, held-out folds, with 95% intervals "
    "over completions. Orange: each scenario left out of training altogether, mean over the [[scenarios]] "
    "scenarios with a 95% bootstrap interval over scenarios.",
    alt="AUROC by layer within scenarios and in scenarios left out of training.",
    size=(7.5, 4.2),
    min_width=480,
)

# %%
page.figure(
    s18.scenarios,
    caption="Each scenario, with its number of completions, n = [[R3.mean.nested.accuracy|n]] in all. Dots: AUROC of the nested probe, with 95% intervals over its completions; where all are told apart, "
    "resamples have no spread to show. "
    "Diamonds: AUROC of a probe trained on the other scenarios, at the depth of the study's L6.",
    alt="AUROC of each scenario, trained on and left out.",
    size=(7.5, 4.6),
    min_width=480,
)

# %% [markdown]
# ## How much hangs on the penalty

# %%
page.table(
    s18.penalties,
    caption="Balanced accuracy with other strengths of regularisation, the layers of the nested choice being kept; C = 1 is "
    "the one reported, and none was chosen by its result. With 95% intervals over "
    "n = [[R3.mean.nested.accuracy|n]] completions.",
)

# %% [markdown]
# **What would have changed the conclusion.** Activations that beat the words by more than the interval of
# their difference would have shown that the residual stream holds more about deception than the text it
# was computed from; a probe that carries over to scenarios it never saw would have shown that what it
# reads is deception and not the wording of one scene.
