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
# beside that of random heads of the same layers.

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
    over_passages,
    portion,
    portion_against_random,
    portion_by_question,
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
# are among those of §28.

# %%
few = task.evaluating.spread(book.profile.draw_questions)
how = {"draws": book.draws, "seed": seed}
chance = {"sandbag": random_heads(few, "sandbag", heads, kinds=KINDS, **how),
          "genuine": random_heads(few, "genuine", heads, kinds=("layer_matched",), **how)}

# %% [markdown]
# What the ablation costs where nobody asks a question: the next token of a text that has nothing to do with
# the task is predicted with and without the heads.

# %%
cost = text_cost(book.subject, heads)

# %%
by_question = portion_by_question(task.evaluating, effects, clean["genuine"] / 100)
of_book = {"draws": book.resamples, "seed": seed}  # of the bootstrap over questions
found = portion(effects, clean, clusters=task.evaluating.clusters, **of_book)
beyond = portion_against_random(chance["sandbag"], chance["genuine"], clusters=few.clusters,
                                **of_book)
text = over_passages(cost)

book.report("effects", by_question)
book.report("cost", cost)
book.report("portion", found, "effect.{condition}", where="measure == 'genuine'",
            quantity="effect of the ablation on genuine prompts", claims={"effect.genuine": "S-13"})
book.report("portion", found, "effect.{condition}", where="measure == 'restoration'")
book.report("portion", found, "portion", where="measure == 'portion'",
            quantity="portion, restoration − effect on genuine prompts")
book.report("portion_random", beyond, "portion.{scale}.{measure}", condition="sandbag")
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
(empirical p = [[portion.pp.p]]), in logits [[portion.logits.gap]] (p = [[portion.logits.p]]). A portion is the heads' own
only as far as it exceeds that.
""")

# %% [markdown]
# Heads are set to zero here, as in the study. How much of the effect on genuine prompts is damage by
# zeroing alone, §28.3 shows: there the heads' mean output is put in place instead.
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
# portion no larger than that of random heads, that any disruption does the same.

# %% tags=["remove-input"]
book.close()
