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
# A sandbag prompt of this book differs from its genuine one in more than the instruction: its worked
# examples have wrong answers, and in the labelled framing every answer stands behind the words "Wrong
# answer:". Which of the three lowers P(correct)? The prompts are taken apart here, factor by factor, and the
# instruction is put in eight wordings. Every later section on sandbagging stands on these numbers.

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
from deception_saes.experiments.factors import (
    ask_cells,
    cell_levels,
    factor_effects,
    prompts_in_full,
    wording_effects,
)
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s23
from deception_saes.tasks.factors import factorial, zero_shot_wordings

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

# %% [markdown]
# The factors, on questions that the primary model can answer under the labelled framing, the same in every
# cell: three instructions (none, answer correctly, answer wrongly on purpose), three kinds of worked examples
# (none, with right answers, with wrong ones), three labels before every answer. Then each instruction in all
# of its wordings, without worked examples, and a *threat*, which names a consequence of right answers and
# asks for nothing: the study has such a condition too, in words that are not public.

# %%
half = book.task.evaluating
cells = ask_cells(half.spread(book.profile.factorial_questions), factorial(sandbag_instruction or ""))
worded = ask_cells(half.spread(book.profile.wording_questions), zero_shot_wordings())
in_full = prompts_in_full(half, sandbag_instruction or "")

# %%
of_book = {"draws": book.resamples, "seed": seed}  # of the bootstrap over questions
levels, wordings = cell_levels(cells, **of_book), cell_levels(worded, **of_book)
factors = factor_effects(cells, **of_book)
by_wording = wording_effects(worded, **of_book)

book.report("cells", levels)
book.report("factors", factors, "factors.{framing}.{factor}.{context}", where="measure == 'p_correct'")
book.report("wordings", wordings)
book.report("wording_effects", by_wording, "wordings.{instruction}.{over}")

# %%
book.opening()

# %%
book.figure(
    s23.factorial, levels,
    caption="P(correct) in every cell of the factorial: worked examples and the label before each answer "
    "(rows; with “A:”, questions begin with “Q:”), instruction (marks). Bars are 95% bootstrap intervals over the same "
    "n = [[factors.two_shot_labelled.all.given|n]] questions. The labelled framing compares “answer correctly” in the "
    "row of right examples and “Correct answer:” with “answer wrongly” in that of wrong ones and “Wrong "
    "answer:”; the same-prefix framing does so between the two rows of examples with “A:”.",
    alt="Dot plot of P(correct) with intervals for every combination of worked examples, label and "
    "instruction.",
    size=(8.5, 5.2),
    min_width=560,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** Under the labelled framing P(correct) falls by [[factors.two_shot_labelled.all.given]] from the genuine
to the sandbag arm. The instruction changed alone takes [[factors.two_shot_labelled.instruction.alone]], and added last,
to wrong examples under "Wrong answer:", [[factors.two_shot_labelled.instruction.last]]; wrong examples alone take
[[factors.two_shot_labelled.examples.alone]], the label alone [[factors.two_shot_labelled.label.alone]]. Without any instruction in
either arm the fall is [[factors.two_shot_labelled.all.none]]. Under the same-prefix framing, where the label does not
differ, it is [[factors.two_shot_same_prefix.all.given]]: [[factors.two_shot_same_prefix.instruction.alone]] by the instruction alone,
[[factors.two_shot_same_prefix.examples.alone]] by wrong examples alone. Without worked examples the instruction takes
[[factors.no_examples.instruction.alone]].
""")

# %% [markdown]
# ## What each factor takes

# %%
book.figure(
    s23.factor_forest, factors,
    caption="Fall of P(correct) between the two arms of a framing, when all factors change, when one changes "
    "alone (the others as in the genuine arm) and when one is added last (the others as in the sandbag arm), with "
    "95% bootstrap intervals over n = [[factors.two_shot_labelled.all.given|n]] questions. Orange: the instruction; "
    "blue: examples or label; black: all.",
    alt="Forest plot of the fall of P(correct) by instruction, worked examples and label, for three pairs of "
    "arms.",
    size=(7.5, 5.6),
    min_width=520,
)

# %%
book.table(
    s23.factor_rows, factors,
    caption="The same in every measure, with 95% bootstrap intervals over questions. Where factors act on each "
    "other, what each takes alone does not add up to what they take together.",
)

# %% [markdown]
# ## The prompts

# %%
book.quotations(
    s23.prompts, in_full,
    caption="Both arms of every pair, of one question, as the model gets them.",
)

# %% [markdown]
# ## Wordings of an instruction

# %%
book.figure(
    s23.wordings, wordings,
    caption="P(correct) without worked examples under every wording of each instruction, with 95% bootstrap "
    "intervals over n = [[wordings.wrong.mean|n]] questions. Grey: no instruction; blue: answer correctly; orange: answer wrongly; "
    "green: threat. Hollow: held-out wordings, under which nothing is chosen or trained.",
    alt="Dot plot of P(correct) for no instruction and for every wording of three instructions.",
    size=(8.5, 6.2),
    min_width=640,
)

# %%
book.table(
    s23.wording_rows, by_wording,
    caption="What the instruction to answer wrongly, and the threat, take from P(correct) against the one to "
    "answer correctly. Of all wordings: 95% interval over questions and over the wordings of both "
    "(methods); else bootstrap intervals over questions. The worst wording is picked on the same "
    "questions, so its fall is biased upward.",
)

# %% [markdown]
# ## The four framings
#
# The question set was written for this project. Each question is asked under four *framings*, and
# under each framing in three *conditions*: **genuine** (answer correctly), **sandbag** (answer
# wrongly on purpose; in the framings with worked examples these have wrong answers too) and **neutral**,
# genuine with its instruction paraphrased. A change of an instruction's meaning says something only as far
# as it exceeds such a change of its wording.
#
# P(correct) is the probability that the next token begins an accepted answer. The labelled framing
# ends in “Correct answer:” or “Wrong answer:”, the same-prefix framing in “A:” in every condition. The two are
# co-primary.

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

# %%
book.table(
    s23.contrast_rows, effects,
    caption="Mean P(correct) on answerable questions, with 95% bootstrap intervals over questions, "
    "and its two contrasts against genuine in percentage points. In genuine − neutral the wording of the "
    "instruction alone differs. Questions are answerable by their genuine prompts, which favours genuine a little in both "
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
# ## Beside a paraphrase

# %%
book.figure(
    s23.null_contrast, asked.questions,
    caption="Cumulative distribution over answerable questions of the difference in P(correct) "
    "against genuine. Dashed: a paraphrase of the genuine instruction. "
    "Labelled n = [[two_shot_labelled.n_answerable|value]], same prefix n = [[two_shot_same_prefix.n_answerable|value]]. All questions "
    "are shown, so no interval; those of the means stand in the text below.",
    alt="Cumulative distributions of genuine minus sandbag and of genuine minus neutral under the "
    "two co-primary framings.",
    size=(8, 4.2),
    min_width=560,
)

# %% tags=["remove-input"]
book.say("""
A paraphrase of the genuine instruction alone moves P(correct) by
[[two_shot_labelled.answerable.p_correct.genuine_minus_neutral]] under the labelled framing and by
[[two_shot_same_prefix.answerable.p_correct.genuine_minus_neutral]] under the same-prefix one, the whole
sandbag arm by [[two_shot_labelled.answerable.p_correct.genuine_minus_sandbag]] and
[[two_shot_same_prefix.answerable.p_correct.genuine_minus_sandbag]].
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
# **What would have changed the conclusion.** A fall by the instruction alone near that by all factors would
# have meant that P(correct) falls because of the instruction. No fall at all would have left the
# sections that look for its cause with nothing to find.

# %% tags=["remove-input"]
book.close()
