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
# None: what the profile says
model = None  # a slug of models/registry.py: the model that reads the completions
judge = None  # a judge of tasks/data/labels.csv, whose labels are the classes
permutations = None  # of labels, behind every p
resamples = None  # bootstrap resamples behind every interval

# %%
from deception_saes.experiments.layer_probes import leave_scenarios_out
from deception_saes.experiments.layer_tables import (
    baseline_table,
    depths,
    difference_table,
    layer_table,
    nested_table,
    peak_of_all,
    penalty_table,
    prompt_end_table,
    scenario_auroc_table,
    score_table,
    sweep_layers,
    sweep_table,
    text_probes,
    transfer_table,
)
from deception_saes.experiments.probing import NAME
from deception_saes.experiments.reading import ROUNDS
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s18

book = open_section(18, profile, seed, model=model, judge=judge, permutations=permutations,
                    resamples=resamples)

# %% [markdown]
# The model reads every completion behind its prompt, as it stands. A probe at each layer learns to tell the
# deceptive from the honest ones of a round, as many of either in each scenario, and is scored on completions
# that it was not fitted to. The mean over a completion's tokens is the primary pooling, fixed beforehand.

# %%
reading = book.reading
how = {"permutations": book.permutations, "resamples": book.resamples}
rounds = [round for round in ROUNDS if reading.balanced_set(round)]
sweeps = [sweep_layers(reading, round, pooling, **how) for round in rounds for pooling in ("mean", "last")]
(primary,) = [of for of in sweeps if (of.round, of.pooling) == ("R3", "mean")]

# %% [markdown]
# What it is set beside: probes on the words and on the length alone; two layers that no data of this book
# chose; scenarios that are left out of training; the prompt's last token, which cannot know the reply; and
# other strengths of regularisation.

# %%
text = text_probes(reading, "R3", **how)
layers = depths(book.subject, (6, 9))  # the study's peaks, at the same relative depth
left_out = leave_scenarios_out(reading, "R3", "mean")
of_book = {"resamples": book.resamples}

by_layer = layer_table(sweeps)
in_numbers = sweep_table(sweeps)
probes = baseline_table(primary, text, layers)
differences = difference_table(primary, text, layers)
transferred = transfer_table(left_out, seed=seed, **of_book)
scenarios = scenario_auroc_table(reading, primary, left_out, layers["depth_of_L6"], **of_book)
penalties = penalty_table(reading, primary, text, (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0), **of_book)
prompt_end = prompt_end_table(reading, "R3")
scores = score_table(reading, primary)

# %%
book.report("layers", by_layer)
book.report("nested", nested_table(sweeps))
book.report("penalties", penalties)
book.report("scenarios", scenarios)
book.report("scores", scores)
book.report("prompt_end", prompt_end)

claims = {"R3.mean.nested.accuracy": "B-03", "R3.mean.nested.auroc": "B-04",
          **{f"{round}.mean.peak.layer": claim for round, claim in (("R3", "B-06"), ("R2", "B-07"))
             if round in rounds}}
book.report("sweeps", in_numbers, "{round}.{pooling}.{statistic}",
            claims=claims if book.stands_in else None)
book.number("all.peak.layer", unit="layer", quantity="layer of highest balanced accuracy, mean of the "
            "rounds", claim="B-05" if book.stands_in else None,
            **peak_of_all([of for of in sweeps if of.pooling == "mean"]))

for measure, title in NAME.items():  # balanced accuracy and AUROC, with their intervals
    of = {"value": measure, "low": f"{measure}_low", "high": f"{measure}_high"}
    book.report("baselines", probes, "{probe}." + measure, where="probe != 'nested'",
                quantity=title + " of {what}", **of)
    book.report("differences", differences, "{first}_minus_{second}." + measure,
                quantity=title + " of {what}", unit={"accuracy": "pp", "auroc": "auroc"}[measure], **of)
    for depth, layer in layers.items():
        book.report("transfer", transferred, f"transfer.{depth}.{measure}", where=f"layer == {layer}",
                    quantity=f"{title} in scenarios left out of training, mean and interval over "
                    "scenarios", **of)

of_prompt_end = {"unit": "auroc", "n": primary.n}
book.number("prompt_end.least", prompt_end["auroc"].min(), quantity="lowest AUROC over layers at the "
            "prompt's last token", **of_prompt_end)
book.number("prompt_end.most", prompt_end["auroc"].max(), quantity="highest AUROC over layers at the "
            "prompt's last token", **of_prompt_end)
book.number("scenarios", len(scenarios), "count", "scenarios with both labels")
book.number("groups", scores["group"].nunique(), "count", "completions in the balanced set, "
            "near-duplicates counted once", n=primary.n)

# %% [markdown]
# Other cards of the study say the same of other models; where one of these reads here, it answers them too.

# %%
cards = {"smollm2": {"accuracy": "R-01", "auroc": "R-02", "layer": "R-03"},
         "smollm2it": {"accuracy": "R-01", "auroc": "R-02", "layer": "R-03"},
         "tinyllama": {"accuracy": "R-06"}, "pythia160m": {"accuracy": "R-07"}}
for what, claim in cards.get(reading.model, {}).items():
    if what == "layer":
        book.report("sweeps", in_numbers, "card.layer", claims={"card.layer": claim},
                    where="round == 'R3' and pooling == 'mean' and statistic == 'peak.layer'",
                    quantity="layer of highest balanced accuracy in the main round")
    else:
        book.report("baselines", probes, f"card.{what}", claims={f"card.{what}": claim},
                    where="probe == 'nested'", value=what, low=f"{what}_low", high=f"{what}_high",
                    quantity=NAME[what] + " of {what}")

# %%
book.opening()

# %%
book.figure(
    s18.layers, by_layer, probes,
    caption="Balanced accuracy of the probe by layer, main round R3, n = [[R3.mean.nested.accuracy|n]] completions, "
    "with 95% intervals. Grey: the middle 95% of ridge probes on permuted labels "
    "(n = [[R3.mean.null.accuracy|n]] permutations), layer by layer. Dashed: a probe on the words alone, dotted: "
    "on words that know their scenario, in the same folds.",
    alt="Balanced accuracy by layer for two poolings, with the band of permuted labels and the level of words.",
    size=(9, 4.4),
    min_width=640,
)

# %% tags=["remove-input"]
book.say("""
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
book.say("""
Intervals are 95% bootstrap intervals over completions, near-duplicates drawn together. Fitted probes differ from sample
to sample too, which such a bootstrap does not see; permuted labels show by how much, and every interval is
widened by that factor, [[R3.mean.widening|value]] here. The sanity check is the prompt's last token: it is the same for
all completions of a scenario, and AUROC there is [[prompt_end.least|value]] at the worst layer and
[[prompt_end.most|value]] at the best.
""")

# %% [markdown]
# ## Every layer

# %%
book.figure(
    s18.rounds, by_layer,
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
book.table(
    s18.peaks, in_numbers,
    caption="Every sweep in numbers. Peak layer: with the middle 95% of resamples. At the peak: a maximum over "
    "layers, with a bias that permuted labels show. p: of the ridge probe's maximum, corrected for "
    "the number of layers. Nested: the layer chosen on the other folds, hence without that bias.",
)

# %% tags=["remove-input"]
book.say("""
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
book.figure(
    s18.baselines, probes,
    caption="What reads activations (blue) and what reads the text alone (orange), same completions and folds, "
    "n = [[R3.mean.nested.accuracy|n]], with 95% intervals. Length: numbers of tokens and characters.",
    alt="Balanced accuracy and AUROC of probes on activations, words and length.",
    size=(9, 3.6),
    min_width=640,
)

# %% tags=["remove-input"]
book.say("""
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
book.figure(
    s18.transfer, by_layer, transferred,
    caption="AUROC by layer, main round, n = [[R3.mean.nested.accuracy|n]] completions, mean pooling. Blue: within scenarios, held-out folds, with 95% intervals "
    "over completions. Orange: each scenario left out of training altogether, mean over the [[scenarios]] "
    "scenarios with a 95% bootstrap interval over scenarios.",
    alt="AUROC by layer within scenarios and in scenarios left out of training.",
    size=(7.5, 4.2),
    min_width=480,
)

# %%
book.figure(
    s18.scenarios, scenarios,
    caption="Each scenario, with its number of completions, n = [[R3.mean.nested.accuracy|n]] in all. Dots: AUROC of the nested probe, with 95% intervals over its completions; where all are told apart, "
    "resamples have no spread to show. "
    "Diamonds: AUROC of a probe trained on the other scenarios, at the depth of the study's L6.",
    alt="AUROC of each scenario, trained on and left out.",
    size=(7.5, 4.6),
    min_width=480,
)

# %% [markdown]
# ## How much the penalty decides

# %%
book.table(
    s18.penalties, penalties,
    caption="Balanced accuracy with other strengths of regularisation, the layers of the nested choice being kept; C = 1 is "
    "the one reported, and none was chosen by its result. With 95% intervals over "
    "n = [[R3.mean.nested.accuracy|n]] completions.",
)

# %% [markdown]
# **What would have changed the conclusion.** Activations that beat the words by more than the interval of
# their difference would have shown that the residual stream holds more about deception than the text it
# was computed from; a probe that carries over to scenarios it never saw would have shown that what it
# reads is deception and not the wording of one scene.

# %% tags=["remove-input"]
book.close()
