# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §27 Head sweep
#
# Which attention heads, taken away one at a time, make the model answer *better* on sandbag
# prompts? The study names five such suppressor heads in Llama-3.2-1B. Here every head of the
# profile's model is ablated alone, on the sandbag and on the genuine prompts of as many questions of the
# choosing half as the profile asks for. On fewer of them the sweep is made under other arms too: are they the same heads?

# %% tags=["parameters"]
profile = "embedded"
seed = 0
# None: what the profile says
model = None  # a slug of models/registry.py
framing = None  # a name of tasks/data/framings.toml
questions = None  # the path of a CSV like tasks/data/questions.csv
n_heads = None  # suppressor heads that are named and counted
resamples = None  # bootstrap resamples behind every interval

# %%
from functools import partial

from deception_saes.experiments.circuits import (
    arm_agreement,
    between_conditions,
    head_table,
    n_early,
    of_questions,
    split_half,
    standing_out,
    strongest,
    suppressors,
)
from deception_saes.experiments.heads import attention, sweep
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s27

book = open_section(27, profile, seed, model=model, framing=framing, questions=questions,
                    n_heads=n_heads, resamples=resamples)

# %% [markdown]
# Each head is ablated alone: its slice of the input to the attention output projection is set to zero at
# all prompt positions. The effect of one head on one question is P(correct) with it ablated less P(correct)
# of the clean model.

# %%
choosing = book.task.choosing
sandbag = sweep(choosing.spread(book.profile.sweep_sandbag_questions), "sandbag")
genuine = sweep(choosing.spread(book.profile.sweep_genuine_questions), "genuine")

# %% [markdown]
# Under the labelled framing instruction, worked examples and label all change between the two conditions. So the same
# is done, on part of the questions, under the same-prefix framing, where the label does not, and where the instruction alone
# does: two right examples and "A:" before every answer.

# %%
some = choosing.spread(book.profile.arm_sweep_questions)  # the same under every arm
by_arm = {name: of_questions(sandbag, some) if name == "section" else sweep(some.under(arm), "sandbag")
          for name, arm in book.arms.items()}

# %% [markdown]
# The suppressor heads are those of largest mean effect on sandbag prompts. Which effects are above chance,
# a p says that is corrected for the number of heads; whether the ranking repeats, its correlation between
# random halves of the questions.

# %%
heads = strongest(sandbag, n=book.n_heads)
effects = head_table(choosing, sandbag, genuine, draws=book.resamples,
                     permutations=book.profile.permutations, seed=seed)
chosen = suppressors(effects, heads)
counts = standing_out(effects)
stable = split_half({"sandbag": sandbag, "genuine": genuine}, splits=200, seed=seed)
agreement = arm_agreement(by_arm, book.n_heads, splits=200, seed=seed)
attended = attention(choosing.spread(book.profile.sweep_genuine_questions), heads[:3])

# %%
book.report("heads", effects)
book.report("sandbag_effects", sandbag)
book.report("attention", attended)
book.report("suppressors", chosen, "top{rank}.{condition}", value="effect",
            quantity="effect of {head} alone, suppressor {rank} (choosing half)")
book.report("counts", counts, "{kind}s.{condition}", value="heads",
            quantity="{kind} heads at corrected p < 0.05")
book.report("split_half", stable, "split_half.{condition}", value="correlation",
            quantity="split-half rank correlation of heads")
book.report("arms", agreement, "arms.{arm}.{other}", value="correlation",
            quantity="rank correlation of heads' effects under {arm} and {other}, between halves of the questions")
book.report("arms", agreement, "shared.{arm}.{other}", where="arm != other", value="shared", low=None, high=None,
            quantity="heads among the strongest under both {arm} and {other}")
book.number("early", n_early(heads, book.subject), "count", f"heads of the {len(heads)} strongest "
            "suppressors in the first quarter of depth", claim="S-09", n=len(heads),
            condition="sandbag")
book.number("between_conditions", between_conditions(sandbag, genuine), "correlation",
            "correlation of heads' effects, sandbag and genuine", n=sandbag.shape[1] - 1)

# %%
book.opening()

# %%
book.figure(
    s27.heat_map, effects,
    caption="Effect on P(correct) of ablating each head alone, in pp: means over the choosing half (sandbag: n = [[top1.sandbag|n]] questions, genuine: "
    "n = [[top1.genuine|n]]). Dots: p < 0.05 corrected for all heads (largest studentised effect under "
    "random flips of the questions' signs). Intervals of the strongest stand in the next figure.",
    alt="Two heat maps, layer by head, of the effect of ablating each head under sandbag and genuine "
    "prompts.",
    size=(8.5, 6.5),
    min_width=560,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** With a p corrected for the number of heads, [[suppressors.sandbag|value]] of
[[suppressors.sandbag|n]] heads raise P(correct | sandbag) and [[promoters.sandbag|value]] lower it. The
strongest suppressor alone adds [[top1.sandbag]] on sandbag prompts and [[top1.genuine]] on genuine ones. The
ranking of heads correlates between random halves of the questions by [[split_half.sandbag]], and heads'
effects under the two conditions by [[between_conditions|value]].
""")

# %% [markdown]
# Above zero a head is a *suppressor*, below zero a *promoter*. These numbers choose the heads and so
# flatter them; §28 measures the chosen ones on the other half of the questions.
#
# ## Every head

# %%
book.figure(
    s27.extremes, effects,
    caption="The eight strongest suppressors and promoters by their effect on sandbag prompts, with 95% bootstrap intervals over n = [[top1.sandbag|n]] questions (not corrected for the choice), and the same heads on genuine "
    "prompts.",
    alt="Forest plot of the strongest suppressor and promoter heads under sandbag and genuine prompts.",
    size=(7.5, 6),
    min_width=480,
)

# %%
book.table(
    s27.strongest_rows, effects,
    caption="The strongest suppressors: mean effect with 95% bootstrap interval, and p corrected for the "
    "number of heads.",
)

# %% [markdown]
# A head whose ablation helps under both conditions holds answers back on either prompt; a head
# of sandbagging would help under sandbag alone. The two columns above and the correlation between them
# say which kind these are.
#
# ## Under other arms

# %%
book.table(
    partial(s27.arms, titles={name: arm.title for name, arm in book.arms.items()}), agreement,
    caption="Heads' effects on sandbag prompts under two arms, n = [[arms.section.section|n]] questions. Rank correlation: one arm's on a random half of the questions, "
    "the other's on the other half, mean and 95% of 200 splits; an arm with itself is as far as two could agree. Shared: of the [[n_heads]] strongest, those that are among both arms', "
    "on all these questions and, mean over splits, each arm's on another half.",
)

# %% tags=["remove-input"]
book.say("""
Heads' effects correlate between the arm of this section and the same-prefix one by [[arms.section.two_shot_same_prefix|value]], and with those
where the instruction alone differs by [[arms.section.instruction_alone|value]]; within one arm, between halves of the same size,
by [[arms.section.section|value]], [[arms.two_shot_same_prefix.two_shot_same_prefix|value]] and [[arms.instruction_alone.instruction_alone|value]]. Of an arm's [[n_heads]] strongest
[[shared.section.two_shot_same_prefix]] and [[shared.section.instruction_alone]] are among the section's, chosen of the same questions.
""")

# %% [markdown]
# What heads that were chosen under one arm do under another, [§30](s30_across_models.ipynb) measures.
#
# ## What the strongest suppressors attend to

# %%
book.figure(
    s27.attention, attended,
    caption="Attention of the last prompt position, averaged over n = [[top1.genuine|n]] questions of the "
    "choosing half, token by token over the beginning that all prompts share and the end; means, without "
    "intervals. The question's own tokens are summed in ‹question›, those of each worked example's question in "
    "‹shot›. ␣ is a space, \\x0a a line break.",
    alt="Bar charts of attention over prompt tokens for the three strongest suppressor heads, under "
    "sandbag and genuine prompts.",
    size=(9, 13),
    min_width=640,
)

# %% [markdown]
# **What would have changed the conclusion.** No head beyond the corrected threshold, or a ranking that
# does not repeat between halves, would have left no circuit to ablate in §28.

# %% tags=["remove-input"]
book.close()
