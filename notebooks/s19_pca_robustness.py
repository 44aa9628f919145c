# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §19 PCA robustness
#
# Does the probe of §18 need all dimensions of the residual stream, or do a few principal components
# hold what it reads?

# %% tags=["parameters"]
profile = "embedded"
seed = 0
# None: what the profile says
model = None  # a slug of models/registry.py: the model that reads the completions
judge = None  # a judge of tasks/data/labels.csv, whose labels are the classes
permutations = None  # of labels, behind every p
resamples = None  # bootstrap resamples behind every interval

# %%
import numpy as np

from deception_saes.experiments.component_tables import (
    component_table,
    gain_table,
    ladder,
    saturation_table,
)
from deception_saes.experiments.layer_probes import chosen_layers
from deception_saes.experiments.layer_tables import depths
from deception_saes.experiments.probing import NAME
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s19

book = open_section(19, profile, seed, model=model, judge=judge, permutations=permutations,
                    resamples=resamples)

# %% [markdown]
# The probe of §18 on the first principal components and on all dimensions. Each fold is scored at the layer
# that §18 chose without it; beside that stand two layers that no data of this book chose.

# %%
reading = book.reading
nested = chosen_layers(reading, "R3", "mean")  # a layer for each fold
choices = {"nested": nested, **{depth: np.full(len(nested), layer) for depth, layer in
                                depths(book.subject, (6, 9)).items()}}
ladders = {name: ladder(reading, "R3", "mean", layer_of_fold, (1, 2, 5, 10, 20, 50, 100),
                        permutations=book.permutations, resamples=book.resamples)
           for name, layer_of_fold in choices.items()}

# %%
by_components = component_table(ladders)
saturated = saturation_table(ladders)
gains = gain_table(ladders, components=5)  # components at which the study saturates

# %%
for measure, title in NAME.items():
    claims = {"nested.pc5.accuracy": "B-08", "nested.all.accuracy": "B-09"}
    book.report("components", by_components, "{layers}.{probe}." + measure, value=measure,
                low=f"{measure}_low", high=f"{measure}_high",
                quantity=title + " of a probe on {what}",
                claims=claims if book.stands_in and measure == "accuracy" else None)
claims = {"nested.saturation": "B-10", "nested.pc5_minus_all": "B-21"}
book.report("gains", gains, "{layers}.{statistic}", claims=claims if book.stands_in else None)
book.report("saturation", saturated)

# %%
book.opening()

# %%
book.figure(
    s19.ladder, by_components, saturated,
    caption="Above: balanced accuracy on the first principal components, n = [[nested.all.accuracy|n]] completions, with 95% "
    "intervals. Grey: the middle 95% of ridge probes on permuted labels. Below: share of bootstrap resamples in "
    "which a number of components is the saturation point.",
    alt="Balanced accuracy against the number of principal components at three choices of layer, and the "
    "distribution of the saturation point.",
    size=(8, 5.6),
    min_width=560,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** On five components the probe's balanced accuracy is [[nested.pc5.accuracy]], on all dimensions
[[nested.all.accuracy]] (n = [[nested.all.accuracy|n]]; the study: [[B-08]] and [[B-09]]). The difference, paired by
completion, is [[nested.pc5_minus_all]] (the study: [[B-21]]). The saturation point is [[nested.saturation]] components (the study: [[B-10]]; no
number is given where the interval of all dimensions includes chance).
""")

# %% [markdown]
# ## How it is measured
#
# As in §18, on the same completions and folds and with mean-pooled activations: scaling, principal
# components and logistic regression are all fitted on the training folds. Which layer? The best layer of
# §18 was found with these very labels, and a probe on it would be flattered. So each fold is scored at the
# layer that §18 chose without it; and beside it stand two layers that no data of this book chose, at the
# relative depth of the two peaks that the study's card names, L6 and L9. The study says neither its
# layer nor its measure.
#
# The *saturation point* is the smallest number of components with 95% of what all dimensions gain over
# chance in balanced accuracy. Its interval is that of the same number in bootstrap resamples.

# %%
book.table(
    s19.components, by_components,
    caption="Probes on principal components at the layers of the nested choice, with 95% intervals over "
    "n = [[nested.all.accuracy|n]] completions. Variance explained: a mean over training sets.",
)

# %% tags=["remove-input"]
book.say("""
At the depth of the study's L6: five components [[depth_of_L6.pc5.accuracy]], all dimensions [[depth_of_L6.all.accuracy]],
saturation at [[depth_of_L6.saturation]]. At that of its L9: [[depth_of_L9.pc5.accuracy]],
[[depth_of_L9.all.accuracy]], [[depth_of_L9.saturation]].
""")

# %% [markdown]
# **What would have changed the conclusion.** Five components on a par with all dimensions, at a level that
# permuted labels do not reach, would have meant that the signal lies in the few directions along which
# completions vary most. A rise up to all dimensions means that it lies where they vary little.

# %% tags=["remove-input"]
book.close()
