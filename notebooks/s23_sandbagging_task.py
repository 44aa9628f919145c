# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §23 The sandbagging task
#
# Does this model know the answers, and does it give fewer of them when told to answer wrongly on
# purpose? Every later section on sandbagging stands on these numbers.

# %% tags=["parameters"]
profile = "embedded"
seed = 0
# None: what the profile says
model = None  # a slug of models/registry.py
questions = None  # the path of a CSV like tasks/data/questions.csv
sandbag_instruction = None  # a sentence that asks for wrong answers, in every framing
resamples = None  # bootstrap resamples behind every interval

# %%
from deception_saes.experiments.asking import answerable_sets, ask_all, by_topic, contrasts
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s23

book = open_section(23, profile, seed, model=model, questions=questions,
                    sandbag_instruction=sandbag_instruction, resamples=resamples)

# %% [markdown]
# Every model of the profile is asked each question under each framing, in all three conditions, and its
# next-token distribution is read at the answer position.

# %%
asked = ask_all(
    book.subjects,
    {framing: book.questions(framing) for framing in book.framings},
    least_p_correct=book.least_p_correct,  # of an answerable question, under genuine
    seed=seed,  # of the halves
    missing=book.missing,  # models that are unavailable here, with the reason
)

# %% [markdown]
# From the answers: the answerable set, the mean of every measure under every condition, and its contrasts
# against genuine, with intervals over questions.

# %%
effects = contrasts(asked.questions, draws=book.resamples, seed=seed)
topics = by_topic(asked.questions, draws=book.resamples, seed=seed)
sets = answerable_sets(asked)

book.report("questions", asked.questions)
book.report("dropped", asked.dropped)
book.report("models", asked.subjects)
book.report("topics", topics)
book.report("answerable", sets, "{framing}.n_answerable", value="answerable",
            quantity="answerable questions", condition="genuine")
book.report("contrasts", effects, "{framing}.{questions}.{measure}.{contrast}")

# %%
book.opening()

# %%
book.figure(
    s23.by_framing, effects,
    caption="P(correct) of the primary model under each framing and condition. Bars are 95% "
    "bootstrap intervals over questions. Answerable: P(correct | genuine) above the profile's "
    "threshold and above P(foil). Answerable questions, labelled: n = "
    "[[two_shot_labelled.n_answerable|value]] of [[two_shot_labelled.n_answerable|n]]; "
    "same prefix: n = [[two_shot_same_prefix.n_answerable|value]] of "
    "[[two_shot_same_prefix.n_answerable|n]].",
    alt="Dot plot of P(correct) with intervals: genuine, neutral and sandbag for four framings, on "
    "answerable and on all questions.",
    size=(8.5, 4.2),
    min_width=620,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** On the questions the model can answer, the instruction to answer wrongly lowers
P(correct) by [[two_shot_labelled.answerable.p_correct.genuine_minus_sandbag]] under the labelled
two-shot framing (n = [[two_shot_labelled.answerable.p_correct.genuine_minus_sandbag|n]]) and by
[[two_shot_same_prefix.answerable.p_correct.genuine_minus_sandbag]] under the same-prefix one
(n = [[two_shot_same_prefix.answerable.p_correct.genuine_minus_sandbag|n]]). A mere paraphrase of the
genuine instruction, the null for both contrasts, moves it by
[[two_shot_labelled.answerable.p_correct.genuine_minus_neutral]] and
[[two_shot_same_prefix.answerable.p_correct.genuine_minus_neutral]].
""")

# %% [markdown]
# The question set was written for this project. Each question is asked under four *framings*, and
# under each framing in three *conditions*: **genuine** (answer correctly), **sandbag** (answer
# wrongly on purpose) and **neutral**, a paraphrase of genuine. The last one is there because any
# change of wording moves a small model: a contrast between instructions means something only as far
# as it exceeds that between two ways of saying the same thing.
#
# P(correct) is the probability that the next token begins an accepted answer. The labelled framing
# ends in “Correct answer:” or “Wrong answer:”, so it may test one word more than an intention; the
# same-prefix framing ends in “A:” in every condition. The two are co-primary.

# %% [markdown]
# ## P(correct) per framing

# %%
book.table(
    s23.contrast_rows, effects,
    caption="Mean P(correct) on answerable questions, with 95% bootstrap intervals over questions, "
    "and its two contrasts against genuine in percentage points. genuine − neutral is the null. "
    "Questions are answerable by their genuine prompts, which favours genuine a little in both "
    "contrasts alike.",
)

# %% [markdown]
# A framing under which few questions are answerable is no ground to look for a cause on: the model
# begins a sentence there instead of an answer. Later sections use the two-shot framings.
#
# ## Question by question

# %%
book.figure(
    s23.paired, asked.questions,
    caption="Each line is one answerable question (labelled n = [[two_shot_labelled.n_answerable|value]], same prefix "
    "n = [[two_shot_same_prefix.n_answerable|value]]), from genuine to sandbag; blue where P(correct) "
    "falls, orange where it rises. Thick: the mean. Share that fall: labelled "
    "[[two_shot_labelled.answerable.share_lower.sandbag]], same prefix "
    "[[two_shot_same_prefix.answerable.share_lower.sandbag]] (95% bootstrap intervals over "
    "questions).",
    alt="Paired slope plot of P(correct) from genuine to sandbag for each answerable question under "
    "the two co-primary framings.",
    size=(8, 4.6),
    min_width=560,
)

# %% [markdown]
# ## The null: neutral against neutral

# %%
book.figure(
    s23.null_contrast, asked.questions,
    caption="Cumulative distribution over answerable questions of the difference in P(correct) "
    "against genuine. Dashed: the null, a paraphrase of the genuine instruction. "
    "Labelled n = [[two_shot_labelled.n_answerable|value]], same prefix n = [[two_shot_same_prefix.n_answerable|value]]. All questions "
    "are shown, so no interval; those of the means stand in the text below.",
    alt="Cumulative distributions of genuine minus sandbag and of genuine minus neutral under the "
    "two co-primary framings.",
    size=(8, 4.2),
    min_width=560,
)

# %% tags=["remove-input"]
book.say("""
If the two curves lay on each other, the sandbag instruction would do no more than a change of
wording. The paraphrase alone moves P(correct) by
[[two_shot_labelled.answerable.p_correct.genuine_minus_neutral]] under the labelled framing and by
[[two_shot_same_prefix.answerable.p_correct.genuine_minus_neutral]] under the same-prefix one: the
size below which a contrast between framings says little, whatever its interval.
""")

# %% [markdown]
# ## By topic

# %%
book.figure(
    s23.by_topic, topics,
    caption="Mean P(correct) by topic over all n = [[two_shot_labelled.n_answerable|n]] questions (their number by topic in brackets), with 95% "
    "bootstrap intervals over questions.",
    alt="Dot plot of P(correct) by topic, genuine and sandbag, under the two co-primary framings.",
    size=(8.5, 4.6),
    min_width=620,
)

# %% [markdown]
# ## Other measures
#
# Does the fall depend on how an answer is scored? Beside P(correct): the *foil measure*, in which a
# loss of probability to neither answer cancels; the *full string*, which asks for the whole answer
# and not its first token; and the logit, which does not flatten near 0 and 1.

# %%
book.table(
    s23.measure_rows, effects,
    caption="The contrasts in four measures, on answerable questions, with 95% bootstrap intervals "
    "over questions. The foil measure is near its ceiling, since a question counts as answerable "
    "only if its answer is more probable than its foil.",
)

# %% tags=["remove-input"]
book.say("""
The foil measure falls by
[[two_shot_labelled.answerable.foil_measure.genuine_minus_sandbag]] (labelled) and
[[two_shot_same_prefix.answerable.foil_measure.genuine_minus_sandbag]] (same prefix), against
[[two_shot_labelled.answerable.p_correct.genuine_minus_sandbag]] and
[[two_shot_same_prefix.answerable.p_correct.genuine_minus_sandbag]] of P(correct). As far as it falls
less, what the answer loses goes to other words than the plausible wrong answer: the model then gives
up answering more than it prefers to be wrong.
""")

# %%
book.table(
    s23.examples, asked.questions,
    caption="Answerable questions evenly spread over the file, labelled framing: P(correct), and "
    "the most probable next token (␣ is a space).",
)

# %% [markdown]
# ## The answerable set
#
# Chosen on genuine prompts alone, then halved at random by seed. The *choosing half* trains SAEs and
# ranks heads; the figures of later sections are about the *evaluating half*.

# %%
book.table(
    s23.answerable_rows, sets,
    caption="Questions per model and framing. Not scorable: this tokenizer gives the answer or its "
    "foil no first token of three letters, or both the same one.",
)

# %% [markdown]
# **What would have changed the conclusion.** Overlapping curves in the null figure, or a contrast
# that vanishes under the same-prefix framing, would have meant that there is no sandbagging here to
# explain, and the sections that look for its cause would have had nothing to find.

# %% tags=["remove-input"]
book.close()
