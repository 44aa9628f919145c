# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §28 Circuit ablation
#
# The study's one positive finding: a few suppressor heads ablated together give back much of
# P(correct) on sandbag prompts, far more than random heads do. Here the strongest
# suppressors of §27 are ablated on the questions that did not choose them.

# %% tags=["parameters"]
profile = "embedded"
seed = 0
# None: what the profile says
model = None  # a slug of models/registry.py
framing = None  # a name of tasks/data/framings.toml
questions = None  # the path of a CSV like tasks/data/questions.csv
n_heads = None  # suppressor heads that are ablated together
draws = None  # random sets of heads of each kind
resamples = None  # bootstrap resamples behind every interval

# %%
from deception_saes.experiments.circuits import (
    against_random,
    beside_restoration,
    by_question,
    levels,
    mean_share,
    redundancy,
    stability,
    strongest,
    subset_table,
)
from deception_saes.experiments.heads import (
    answers,
    p_correct,
    random_heads,
    subset_effects,
    sweep,
)
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s28

book = open_section(28, profile, seed, model=model, framing=framing, questions=questions,
                    n_heads=n_heads, draws=draws, resamples=resamples)
draw_questions = book.profile.draw_questions  # for what no claim is about

# %% [markdown]
# The heads are chosen by §27's sweep of the choosing half, and ablated together on the evaluating half:
# their slices of the input to the attention output projection are set to zero at all positions, or to what
# they are on average over questions of the choosing half.

# %%
task = book.task
swept = sweep(task.choosing.spread(book.profile.sweep_sandbag_questions), "sandbag")
heads = strongest(swept, n=book.n_heads)

by_mode = {}
for condition in ("sandbag", "genuine"):
    clean, zero = p_correct(task.evaluating, condition, ablate=[(), heads])
    (mean,) = p_correct(task.evaluating, condition, ablate=[heads],
                        means_of=task.choosing.spread(draw_questions))
    by_mode |= {(condition, "clean"): clean, (condition, "zero"): zero, (condition, "mean"): mean}
restoration = by_mode["sandbag", "zero"] - by_mode["sandbag", "clean"]  # per question, pp

# %% [markdown]
# P(correct) alone does not say whether the model answers rightly: it rises too where the distribution is only
# sharper. So the likeliest token and the foil stand beside it, and what half the temperature alone does to
# the clean model.

# %%
other_measures = {
    "sandbag": answers(task.evaluating, "sandbag"),
    "ablated": answers(task.evaluating, "sandbag", heads),
    "sharpened": answers(task.evaluating, "sandbag", temperature=0.5),
    "genuine": answers(task.evaluating, "genuine"),
}

# %% [markdown]
# The controls: random heads of three kinds, as many as the suppressors and disjoint from them; every subset
# of the suppressors, the best of each size being picked on the choosing half; the choice itself, repeated on
# random halves of the choosing half.

# %%
chance = random_heads(task.evaluating.spread(draw_questions), "sandbag", heads,
                      kinds=("uniform", "layer_matched", "damage_matched"), draws=book.draws,
                      seed=seed)
sets, restored, on_choosing, best = subset_effects(
    task.choosing.spread(draw_questions), task.evaluating, heads, restoration,
    draw_questions=draw_questions)
chosen_again = stability(swept, n_heads=book.n_heads, splits=100, seed=seed)

# %%
of_book = {"draws": book.resamples, "seed": seed}  # of the bootstrap over questions
clusters = task.evaluating.clusters  # questions of one template are drawn together
together = levels(by_mode, len(heads), clusters=clusters, **of_book)
gaps = against_random(chance, clusters=task.evaluating.spread(draw_questions).clusters, **of_book)
beside = beside_restoration(other_measures, **of_book)
subsets = subset_table(sets, restored, on_choosing, best, half=task.evaluating, **of_book)
sums = redundancy(restored, sets, clusters=clusters, **of_book)

# %%
book.report("questions", by_question(task.evaluating, by_mode))
book.report("draws", chance.table)
book.report("draw_effects", chance.effects)
book.report("levels", together, "{measure}.{condition}.{mode}", claims={
    "p_correct.genuine.clean": "R-08", "p_correct.sandbag.clean": "R-09",
    "p_correct.sandbag.zero": "R-10", "above_genuine.sandbag.zero": "R-18",
    "effect.sandbag.zero": "S-07"})
book.report("beside", beside, "beside.{state}.{measure}", where="state != 'sandbag'")
book.report("random", gaps, "{measure}.{kind}", condition="sandbag",
            claims={"random.uniform": "S-23", "gap.uniform": "S-08"})
book.report("subsets", subsets, "single{rank}", where="size == 1", value="restoration",
            condition="sandbag", quantity="restoration by {heads} alone, suppressor {rank}",
            claims={"single1": "R-11", "single2": "R-12", "single3": "R-13", "single4": "R-14",
                    "single5": "R-15"})
book.report("subsets", subsets, "best{size}", where="best_of_size", value="restoration",
            layer=None, condition="sandbag", claims={"best3": "S-10"}, quantity="restoration by the best subset "
            "of {size} (chosen on the choosing half): {heads}")
book.report("redundancy", sums, "{measure}", condition="sandbag",
            claims={"sum_of_singles": "S-11", "redundancy": "S-12"})
book.report("stability", chosen_again)
book.number("stability", mean_share(chosen_again, heads), "percent", "share of random half-splits of "
            "the choosing half in which a suppressor head is chosen again, mean over the heads",
            n=100, condition="sandbag")

# %%
book.opening()

# %%
book.figure(
    s28.random_heads, chance.table,
    caption="Left: mean effect of each random set of heads on sandbag prompts of n = [[random.uniform|n]] questions, one dot a draw; the vertical "
    "line is the suppressor heads on the same questions. The dots' spread is what chance gives; intervals of the gaps stand in the table of 28.4. Right: the same against the damage to a neutral text, KL(clean ‖ "
    "ablated).",
    alt="Effects of random head sets of three kinds against the effect of the suppressor heads, and "
    "against their damage to a neutral text.",
    size=(9, 4.6),
    min_width=640,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** Restoration is [[effect.sandbag.zero]] on [[effect.sandbag.zero|n]] held-out questions
(the study, on Llama-3.2-1B: [[S-07]]). Random heads give [[random.uniform]] (there: [[S-23]]), so the
specificity gap is [[gap.uniform]] (there: [[S-08]]); against random heads of the same layers it is [[gap.layer_matched]], and
against random heads that damage a neutral text as much one by one, [[gap.damage_matched]].
""")

# %% [markdown]
# ## 28.1 and 28.3 Restoration, by zeros and by means
#
# Zero ablation takes away what a head writes on average too, and may harm for that alone. Mean ablation
# puts the head's mean output in place (over questions of the choosing half, both conditions weighted equally).

# %%
book.figure(
    s28.modes, together,
    caption="Effect of ablating the [[n_heads]] suppressor heads on P(correct), with 95% bootstrap intervals over "
    "n = [[effect.sandbag.zero|n]] questions of the evaluating half.",
    alt="Forest plot of the effect of zero and mean ablation under sandbag and genuine prompts.",
    size=(7, 3),
    min_width=460,
)

# %% tags=["remove-input"]
book.say("""
Zero minus mean ablation: [[effect.sandbag.zero_minus_mean]] on sandbag prompts,
[[effect.genuine.zero_minus_mean]] on genuine ones. An ablated sandbag prompt less the genuine prompt without
ablation: [[above_genuine.sandbag.zero]] by zeros, [[above_genuine.sandbag.mean]] by means (the study, which says that it
overshoots: [[R-18]]).
""")

# %% [markdown]
# ## Beside P(correct)

# %%
book.table(
    s28.beside, beside,
    caption="The clean sandbag prompt, the same with the suppressor heads set to zero, the clean one at half the "
    "temperature, and the genuine prompt: level, and gain over the clean sandbag prompt with 95% bootstrap interval "
    "over n = [[beside.ablated.p_correct|n]] questions of the evaluating half.",
)

# %% tags=["remove-input"]
book.say("""
The ablation changes P(correct) by [[beside.ablated.p_correct]], half the temperature, which changes no ranking of tokens, by
[[beside.sharpened.p_correct]]. The share of questions whose likeliest token is correct changes by [[beside.ablated.top_is_correct]],
under the genuine prompt by [[beside.genuine.top_is_correct]].
""")

# %% [markdown]
# ## 28.2 Every subset

# %%
book.figure(
    s28.subset_forest, subsets,
    caption="Restoration by every subset of the [[n_heads]] heads, with 95% bootstrap intervals over questions of the evaluating half: n = [[effect.sandbag.zero|n]] for single heads, for the best subset of each size, chosen on the choosing half, and for all together, n = [[random.uniform|n]] for the others.",
    alt="Forest plot of restoration by each of the subsets of the suppressor heads.",
    size=(7.5, 8.5),
    min_width=520,
)

# %% tags=["remove-input"]
book.say("""
Alone, the heads' effects add up to [[sum_of_singles]]; together they give [[effect.sandbag.zero]].
Redundancy, 1 − combined / sum: [[redundancy]] (below zero: together they do more than the sum; no number is
given where the sum's interval is not above zero).
""")

# %% [markdown]
# ## 28.4 Random heads
#
# Three kinds of random sets, all disjoint from the suppressors: *uniform*; *layer-matched*, with the same
# multiset of layers; *damage-matched*, each head replaced by one of those whose ablation alone changes the
# predictions on a neutral text most alike.

# %%
book.table(
    s28.against_random, gaps,
    caption="Random heads in numbers. Gap: suppressor heads − mean of the draws, question by question, with "
    "95% bootstrap interval. Sigma: SD over draws. Empirical p: (1 + draws at least as large) / (draws + "
    "1).",
)

# %% [markdown]
# ## Stability of the choice

# %%
book.figure(
    s28.stability, chosen_again,
    caption="How often each head is among the [[n_heads]] strongest on a random half of the choosing half (n = [[stability|n]] splits, a share of "
    "which has no interval). On average a suppressor head is chosen again in [[stability|value]] of the splits.",
    alt="Bar chart of the share of splits in which each head is chosen.",
    size=(7.5, 3.6),
    min_width=480,
)

# %% [markdown]
# **What would have changed the conclusion.** A gap whose interval includes zero against any kind of random
# heads would have meant that taking out any heads like these does the same.

# %% tags=["remove-input"]
book.close()
