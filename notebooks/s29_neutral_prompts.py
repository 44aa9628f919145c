# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §29 Neutral prompts
#
# Are the suppressor heads about the sandbag prompt at all? The same ablation on genuine prompts tells: the
# restoration less what it does there is the *portion*. But a genuine prompt near its ceiling can only fall,
# and a sandbag prompt near its floor can only rise, so that any disruption may have a positive portion. It is set
# beside that of random heads of the same layers, by zeros and by means, and beside its null: heads chosen by
# portion after the two conditions have been swapped at random.

# %% tags=["parameters"]
profile = "embedded"
seed = 0
# None: what the profile says
model = None  # a slug of models/registry.py
framing = None  # a name of tasks/data/framings.toml
questions = None  # the path of a CSV like tasks/data/questions.csv
n_heads = None  # suppressor heads that are ablated together
draws = None  # random sets of heads
resamples = None  # bootstrap resamples behind every interval

# %%
from deception_saes.experiments.circuits import (
    chosen_by_portion,
    over_passages,
    portion,
    portion_against_random,
    portion_by_question,
    portion_when_relabelled,
    strongest,
)
from deception_saes.experiments.heads import KINDS, p_correct, random_heads, sweep, text_cost
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s29

book = open_section(29, profile, seed, model=model, framing=framing, questions=questions,
                    n_heads=n_heads, draws=draws, resamples=resamples)

# %% [markdown]
# The heads are those of §28, chosen by §27's sweep of the choosing half. They are set to zero together, on
# the genuine and on the sandbag prompts of the evaluating half.

# %%
task = book.task
swept = sweep(task.choosing.spread(book.profile.sweep_sandbag_questions), "sandbag")
heads = strongest(swept, n=book.n_heads)

clean, effects = {}, {}
for condition in ("genuine", "sandbag"):
    clean[condition], zero = p_correct(task.evaluating, condition, ablate=[(), heads])
    effects[condition] = zero - clean[condition]  # per question, pp

# %% [markdown]
# Random heads of the same layers, as many and disjoint from them, under both conditions. Under sandbag they
# are among those of §28. Then all of these by means: the heads' outputs are put to what they are on average
# over questions of the choosing half, which takes away less than zeros do.

# %%
few = task.evaluating.spread(book.profile.draw_questions)
how = {"draws": book.draws, "seed": seed}
chance = {"sandbag": random_heads(few, "sandbag", heads, kinds=KINDS, **how),
          "genuine": random_heads(few, "genuine", heads, kinds=("layer_matched",), **how)}
means_of = task.choosing.spread(book.profile.draw_questions)
by_mode = {"zero": (chance["sandbag"], chance["genuine"]),
           "mean": tuple(random_heads(few, condition, heads, kinds=("layer_matched",),
                                      means_of=means_of, **how)
                         for condition in ("sandbag", "genuine"))}

# %% [markdown]
# Random heads were not chosen for anything. So the null of a portion is a choice too: as many heads are chosen by
# their portion alone on the choosing half's questions, and again after sandbag and genuine have been swapped, or not, within
# each question by the toss of a coin, the same for questions of one template. All are ablated on evaluating questions.

# %%
genuine_sweep = sweep(task.choosing.spread(book.profile.sweep_genuine_questions), "genuine")
by_portion = chosen_by_portion(task.choosing, swept, genuine_sweep, n=book.n_heads,
                               relabellings=book.profile.relabellings, seed=seed)
sets = [tuple(sorted(heads)), *by_portion]
some = task.evaluating.spread(book.profile.relabelled_questions)
p_of_sets = {condition: p_correct(some, condition, ablate=[(), *sets])
             for condition in ("sandbag", "genuine")}

# %% [markdown]
# What the ablation costs where nobody asks a question: the next token of a text that has nothing to do with
# the task is predicted with and without the heads.

# %%
cost = text_cost(book.subject, heads)

# %%
by_question = portion_by_question(task.evaluating, effects, clean["genuine"] / 100)
of_book = {"draws": book.resamples, "seed": seed}  # of the bootstrap over questions
found = portion(effects, clean, clusters=task.evaluating.clusters, **of_book)
beyond = portion_against_random(by_mode, clusters=few.clusters, **of_book)
relabelled_sets, relabelled = portion_when_relabelled(sets, p_of_sets, clusters=some.clusters, **of_book)
text = over_passages(cost)

book.report("effects", by_question)
book.report("cost", cost)
book.report("portion", found, "effect.{condition}", where="measure == 'genuine'",
            quantity="effect of the ablation on genuine prompts", claims={"effect.genuine": "S-13"})
book.report("portion", found, "effect.{condition}", where="measure == 'restoration'")
book.report("portion", found, "portion", where="measure == 'portion'",
            quantity="portion, restoration − effect on genuine prompts")
book.report("portion_random", beyond, "portion.{scale}.{measure}", where="mode == 'zero'",
            condition="sandbag")
book.report("portion_random", beyond, "portion.mean.{scale}.{measure}", where="mode == 'mean'",
            condition="sandbag")
book.report("relabelled_sets", relabelled_sets)
book.report("relabelled", relabelled, "relabelled.{scale}.{measure}", condition="sandbag")
book.number("relabelled.shared", len(set(heads) & set(by_portion[0])), "count",
            "suppressor heads among those chosen by portion", n=len(heads))
book.number("relabelled.distinct", len(set(by_portion[1:])), "count",
            "distinct sets of heads chosen after relabelling", n=len(by_portion) - 1)
book.number("relabelled.same", by_portion[1:].count(by_portion[0]), "count",
            "relabellings that choose the same heads as the true labels", n=len(by_portion) - 1)
book.report("portion", found, "improved.{condition}", where="measure == 'improved'",
            claims={"improved.genuine": "S-24"})
book.report("text", text, "text.{measure}")

# %%
book.opening()

# %%
book.figure(
    s29.by_question, by_question,
    caption="Every evaluating question (n = [[effect.genuine|n]]): effect of ablating the suppressor heads on its genuine prompt and "
    "on its sandbag prompt. Above the dashed line the ablation does more under sandbag. Star: the means, "
    "whose 95% intervals stand in the claims above.",
    alt="Scatter plot of the effect on sandbag prompts against the effect on genuine prompts.",
    size=(6.5, 5),
    min_width=420,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** On genuine prompts the same ablation changes P(correct) by [[effect.genuine]]
(n = [[effect.genuine|n]]); it improves [[improved.genuine]] of the questions (the study: [[S-24]]). The portion, restoration minus this, is [[portion]]. Random heads of
the same layers have one of [[portion.pp.random]] (SD over sets [[portion.pp.sigma]], the largest
[[portion.pp.largest]]): on the same n = [[portion.pp.gap|n]] questions the chosen heads have [[portion.pp.gap]] more
(empirical p = [[portion.pp.p]]), and [[portion.logits.gap]] (p = [[portion.logits.p]]). A portion is the heads' own
only as far as it exceeds that.
""")

# %% [markdown]
# So far heads are set to zero, as in the study.
#
# ## By means

# %% tags=["remove-input"]
book.say("""
With the heads' mean output in place the chosen heads have a portion of [[portion.mean.pp.chosen]] on the same questions, random heads of the same layers
one of [[portion.mean.pp.random]] (SD over sets [[portion.mean.pp.sigma]], the largest [[portion.mean.pp.largest]]): [[portion.mean.pp.gap]] more
(p = [[portion.mean.pp.p]]), and [[portion.mean.logits.gap]] (p = [[portion.mean.logits.p]]). By zeros the chosen heads have
[[portion.pp.chosen]] there. What is lost from zeros to means is harm by zeroing, or what the heads write on average, on either kind of prompt.
""")

# %% [markdown]
# ## Heads chosen by portion, and the null of that choice

# %% tags=["remove-input"]
book.say("""
The [[n_heads]] heads of largest portion on the choosing half, [[relabelled.shared]] of which are among the suppressors, have a portion of
[[relabelled.pp.chosen]] on n = [[relabelled.pp.chosen|n]] evaluating questions. Chosen in the same way after the two conditions were swapped at random within questions
([[relabelled.pp.p|n]] relabellings, [[relabelled.distinct]] distinct sets, [[relabelled.same]] times the very same heads), heads have one of [[relabelled.pp.random]], SD
[[relabelled.pp.sigma]], the largest [[relabelled.pp.largest]]: p = [[relabelled.pp.p]], in logits [[relabelled.logits.p]]
(portion [[relabelled.logits.chosen]], null [[relabelled.logits.random]]). The suppressors, chosen by restoration, have
[[relabelled.pp.suppressors]] on these questions; the p is not theirs.
""")

# %% [markdown]
# The p asks whether knowing which prompt is which matters to the choice. A small one says that heads chosen for doing more
# under sandbag do so on questions that did not choose them, more than heads chosen without that knowledge. A large one
# says that the choice by portion finds nothing that the same choice without labels does not find; unless it is large because relabellings that leave most
# questions as they are choose the very same heads again: then it says nothing. A mean of the null above zero is what headroom alone gives to any heads that matter.
#
# ## Question by question

# %%
book.figure(
    s29.headroom, by_question,
    caption="Effect on the genuine prompt against the P(correct) it starts from: a genuine prompt near its "
    "ceiling has little room to rise. n = [[effect.genuine|n]] questions, each shown, so no interval.",
    alt="Scatter plot of the effect on genuine prompts against clean P(correct).",
    size=(6.5, 4),
    min_width=420,
)

# %% [markdown]
# ## What it costs elsewhere

# %%
book.table(
    s29.cost, cost,
    caption="Cross-entropy of the next token on three public-domain passages, clean and with the "
    "suppressor heads ablated, and KL(clean ‖ ablated), means over positions. Over all of them: "
    "[[text.clean]] clean, [[text.ablated]] ablated, KL [[text.kl]] (n = [[text.kl|n]] positions).",
)

# %% [markdown]
# **What would have changed the conclusion.** An effect on genuine prompts as large as the restoration would
# have meant that the heads hold answers back in general, and that the sandbag prompt only shows it; a
# portion no larger than that of random heads, that any disruption does the same; one that is larger by zeros
# alone, that the heads' absence matters and not what they say about the prompt.

# %% tags=["remove-input"]
book.close()
