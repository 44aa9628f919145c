# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §22 Feature attribution
#
# Is there a feature that fires when the model deceives, and does it cause what it marks? The study reports one that fires in
# three of four deceptive completions and one of four honest ones; no steering was found to have an effect.

# %% tags=["parameters"]
profile = "embedded"
seed = 0
# None: what the profile says
model = None  # a slug of models/registry.py: the model that reads the completions
judge = None  # a judge of tasks/data/labels.csv, whose labels are the classes
permutations = None  # labellings behind every p
resamples = None  # bootstrap resamples behind every interval

# %%
from deception_saes.experiments.features import (
    feature_table,
    first_feature,
    largest_differences,
    steered_means,
    steering_effects,
)
from deception_saes.experiments.on_completions import fires, most_active
from deception_saes.experiments.steered import (
    FEATURE,
    MEAN,
    Directions,
    random_features,
    steered_completions,
    steered_replies,
)
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s22
from deception_saes.saes.tags import layer_at_same_depth

book = open_section(22, profile, seed, model=model, judge=judge, permutations=permutations,
                    resamples=resamples)

# %% [markdown]
# In which completions of round R3, as many honest as deceptive ones of each scenario, does a feature fire? Of
# every SAE the feature of the largest difference, and all features of the SAE that the study's feature is from. It
# was fixed by the study, not by anything found here.

# %%
saes = book.behavioural_saes
layer = layer_at_same_depth(4, book.subject.model.shape.layers)  # the study's feature is from L4 of 16
tag = saes.tag(layer, "jumprelu", "honest_only")
design = saes.reading.main.design  # labels, scenarios, near-duplicates and folds
fired = fires(saes)  # by SAE, [completions, features]
largest = largest_differences(fired, saes.tags, design, permutations=book.permutations, seed=seed)
features = feature_table(fired[tag.name], design)
of_study = largest.set_index("sae", drop=False).loc[tag.name]
feature = int(of_study["feature"])
shown = most_active(saes, tag, feature, completions=8)

# %% [markdown]
# The residual is moved along the feature's decoder row, the mean difference of the two labels and the decoder rows
# of random features, by shares of the residual's median norm. First two reference replies are scored under each,
# then completions are sampled.

# %%
along = Directions(saes, tag, feature, random_features(fired[tag.name], feature, n=5, seed=seed))
strength = 0.25  # that numbers are about
replies = steered_replies(along, strengths=(-0.5, -strength, strength, 0.5))
generated = steered_completions(along, strength=strength,
                                directions=(FEATURE, MEAN, "random 1", "random 2"),
                                draws=book.profile.steered_draws)

# %%
of_book = {"draws": book.resamples, "seed": seed}  # of the bootstrap
first = first_feature(features, of_study, tag)
steered = steering_effects(replies, tag, strength=strength,
                           margin=book.profile.equivalence_share, **of_book)
sampled = steered_means(generated, tag, **of_book)

# %%
book.report("saes", largest)
book.report("features", features)
book.report("strongest", shown)
book.report("replies", replies)
book.report("generated", generated)
book.report("first", first, "{measure}", claims={
    "rate.deceptive": "B-18", "rate.honest": "B-19", "remeasured": "B-20"})
book.report("steering", steered, "steering.{measure}", claims={"steering.gap": "R-17"})
book.report("sampled", sampled, "steering.said.{along}.{side}.{measure}")
n_saes = len(largest)
book.number("saes.above_null", (largest["p"] <= 0.05).sum(), f"of {n_saes}",
            "SAEs whose largest difference has p at most 0.05", n=n_saes)
book.number("saes.remeasured", (largest["remeasured_low"] > 0).sum(), f"of {n_saes}",
            "SAEs whose re-measured difference has an interval above 0", n=n_saes)

# %%
book.opening()

# %%
book.figure(
    s22.largest, largest,
    caption="Each of the 18 SAEs: the largest difference of a feature's rates (orange), the 95% quantile of that maximum under "
    "labels permuted within scenarios (grey), and the difference of the feature picked without the completions it is measured on, "
    "with Newcombe's 95% interval (blue). n = [[difference|n]] completions of round R3, none of which trained an SAE.",
    alt="Largest rate differences of 18 SAEs beside their permutation null and the re-measured differences.",
    size=(8, 5.6),
    min_width=520,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** In the SAE that the study's feature is from (JumpReLU, honest_only, same relative depth), the feature of the
largest difference fires in [[rate.deceptive]] of deceptive and [[rate.honest]] of honest completions: a difference of
[[difference]] (the study: [[B-20]]). It is the largest of thousands; with labels permuted within scenarios the
largest reaches [[difference.null_95|value]] in 5% of draws (p = [[difference.p|value]]). Picked on four folds and
measured on the fifth, the difference is [[remeasured]]. Steering along it, rather than against it, favours the deceptive reference reply
by [[steering.feature]] a token; random features do by [[steering.random]], and the mean difference of the two labels, for which
no SAE is needed, by [[steering.mean_difference]].
""")

# %% tags=["remove-input"]
book.say("""
[[saes.above_null|value]] SAEs have a largest difference that permuted labels do not explain (p at most 0.05); in
[[saes.remeasured|value]] the re-measured one is above 0. Of the features of the study's SAE, [[discoveries|value]] depend on the label within scenarios at a false discovery rate of 5%.
""")

# %% [markdown]
# ## The features
#
# A feature fires in a completion if it is active at one of its tokens. The set is balanced in every scenario,
# so a feature that only knows the scenario has a difference of 0. Intervals of rates are Wilson's, of
# differences Newcombe's; dependence within scenarios is Mantel and Haenszel's test, corrected by Benjamini and
# Hochberg. None of these counts near-duplicates once, so they are a little too narrow; the permutations and the
# re-measurement are not harmed by that.

# %%
book.figure(
    s22.rates, features,
    caption="The features of the largest differences in the study's SAE: percent of honest (blue) and deceptive (orange) completions in which each "
    "fires, with Wilson 95% intervals; n = [[rate.deceptive|n]] of either label.",
    alt="Firing rates of twelve features in honest and deceptive completions.",
    size=(7, 4.6),
    min_width=460,
)

# %%
book.table(
    s22.saes, largest,
    caption="All 18 SAEs. Re-measured: with Newcombe's 95% interval. The last column: features with a false discovery rate of at most "
    "5%, of those that fire at all.",
)

# %% [markdown]
# ## Where it fires

# %%
book.tokens(
    s22.strongest, shown,
    caption="The first feature's strongest completions: shading is its activation at each token, as a share of the largest. "
    "The text is the model's own.",
)

# %% [markdown]
# ## Does it cause anything?
#
# A vector of a given length, a share of the residual's median norm, is added at the prompt's last position and at every
# position behind it. Nothing is encoded or decoded, so what the SAE does not explain stays, and strength 0 is the clean
# model to the bit. Directions: the feature's decoder row, five random features of the same SAE, and the mean difference between deceptive and honest
# completions of R1 and R2. The first measure needs no judge: log-probability a token of two
# reference replies that stand in the scenario's rubric.

# %%
book.figure(
    s22.steering, replies,
    caption="Change in log-probability a token, mean over n = [[steering.feature|n]] scenarios. Left: of the deceptive reply less the honest one. "
    "Right: of both replies, what steering costs whatever it is along. 95% bootstrap intervals over "
    "scenarios stand in the section's values.",
    alt="Effect of steering by strength along the feature, random features and the mean difference.",
    size=(8, 4),
    min_width=520,
)

# %% tags=["remove-input"]
book.say("""
The feature less the mean of random ones: [[steering.gap]] nats a token (90% interval; the study reports no effect at
any site). Random features differ from each other by an SD of [[steering.random.sd|value]].
""")

# %%
book.table(
    s22.samples, generated,
    caption=f"Completions sampled at temperature 1 under steering, {book.profile.steered_draws} of each scenario, the same random numbers under every vector. Labels: "
    "by the embedded model as judge, which §17 shows to agree with readers hardly more than chance. Cross-entropy: of "
    "the text under the unsteered model, a token.",
)

# %%
book.quotations(
    s22.examples, generated,
    caption="The first draw of three scenarios under every vector. The text is the model's own; labels are the embedded judge's.",
)

# %% [markdown]
# **What would have changed the conclusion.** A re-measured difference as large as the study's would have meant a feature that marks
# deception; a steering effect beyond that of random features of the same length, in one direction of the sign, that the
# feature does something. An effect no larger than theirs leaves it a mark of words.

# %% tags=["remove-input"]
book.close()
