# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §17 Behavioural sampling
#
# Does one and the same prompt make this model lie on one draw and tell the truth on the next, and can it
# be settled which of the two a completion does? Every later section on behavioural deception stands on
# the labels made here.

# %% tags=["parameters"]
profile = "embedded"
seed = 0
# None: what the profile says
model = None  # a slug of models/registry.py: the model that reads the completions, and judges them
judge = None  # a judge of tasks/data/labels.csv, whose labels are the primary ones
resamples = None  # bootstrap resamples behind every interval

# %%
from deception_saes.experiments.judge_tables import (
    agreement_tables,
    balanced_table,
    completion_table,
    examples,
    judge_probe_table,
    round_table,
    scenario_table,
    share_table,
    shot_table,
)
from deception_saes.experiments.judging import (
    all_labels,
    judge_table,
    judged_in_batches,
    judged_singly,
    short_names,
)
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s17
from deception_saes.saes.tags import layer_at_same_depth

book = open_section(17, profile, seed, model=model, judge=judge, resamples=resamples)

# %% [markdown]
# One prompt a scenario, many completions of each. Beside the labels that are shipped, the model itself judges
# the first draws of the main round, one completion at a time and several at once.

# %%
reading = book.reading
judged_draws, per_prompt = 16, 8  # of each scenario; of these in one request of the batch judge
of_main = reading.of_round("R3")
judged = tuple(completion for completion in of_main if completion.draw < judged_draws)
own = {"single": judged_singly(reading.subject, judged),
       "batch": judged_in_batches(reading.subject, judged, per_prompt=per_prompt)}

second = "claude-2"  # the second, independent pass of the reader
hosted = ("gpt-4o-mini-batch", "gemini-2.5-flash-single")  # the judges of the study
labels = all_labels(reading, own, second=second)
short = short_names(reading, own, labels)  # "single", "batch"

# %% [markdown]
# How the judges' labels agree, and what they do to a probe: one layer, the study's L9 at the same relative
# depth, and one set of folds for all of them.

# %%
of_book = {"resamples": book.resamples, "seed": seed}  # of the bootstrap over completions
shares = share_table(reading.completions, labels, short, **of_book)
agreed, confusion = agreement_tables(reading.completions, labels, short, **of_book).values()
probes = judge_probe_table(reading, labels, short, permutations=200, resamples=book.resamples,
                           layer=layer_at_same_depth(9, book.subject.model.shape.layers))

# %%
scenarios, shots = scenario_table(reading), shot_table()
completions = completion_table(reading, labels)
rounds = round_table(reading, completions)
chosen = examples(reading.completions, labels[reading.judge], each=2, seed=seed)
judges = judge_table(reading, own, labels, second=second, hosted=hosted)

book.report("scenarios", scenarios)
book.report("shots", shots)
book.report("completions", completions)
book.report("balanced", balanced_table(reading))
book.report("examples", chosen)
book.report("judges", judges)
book.report("confusion", confusion)
book.report("rounds", rounds, "draws.{round}", value="draws", n="draws",
            quantity="completions of round {round}")
book.report("rounds", rounds, "balanced.{round}", value="balanced", n="draws",
            quantity="completions in the balanced round {round}", claims={"balanced.R3": "B-02"})
book.report("shares", shares, "share.{short}.{label}", where="round == 'R3' and scenario == 'all'",
            value="share", n="of", quantity="share labelled {label} by {judge}, {round}",
            claims={"share.batch.ambiguous": "B-01"})
book.report("agreement", agreed, "kappa.{short_a}.{short_b}", value="kappa",
            quantity="Cohen's kappa of {a} with {b}")
book.report("agreement", agreed, "same.{short_a}.{short_b}", value="same", low=None, high=None,
            quantity="share of equal labels of {a} and {b}")
for against, learned in {"own": "labels of {judge}, against the same",
                         "primary": "labels of {judge}, against those of " + reading.judge,
                         "same": f"labels of {reading.judge} of what " + "{judge} read"}.items():
    book.report("probe", probes, "probe.{short}." + against, value=f"auroc_{against}",
                low=f"low_{against}", high=f"high_{against}",
                quantity="AUROC of a probe trained on " + learned)

draws = max(completion.draw for completion in of_main) + 1
book.number("judged_per_scenario", min(judged_draws, draws), "count",
            "draws of a scenario that an embedded judge reads")
book.number("per_prompt", per_prompt, "count",
            "completions that an embedded batch judge is given at once")
book.number("scenarios", len(scenarios), "count", "scenarios")
book.number("draws", len(completions), "count", "completions of all rounds")
book.number("finished", 100 * completions["finished"].mean(), "percent",
            "share of completions that end by themselves", n=len(completions))

# %%
book.opening()

# %%
book.figure(
    s17.ambiguous, shares,
    caption="Share of each label in the main round, over all scenarios; in brackets the completions that a "
    "judge read, at most n = [[share.claude-1.ambiguous|n]]. Bars are 95% bootstrap intervals over completions.",
    alt="Dot plot of the shares labelled honest, deceptive and ambiguous, with intervals, by judge.",
    size=(8, 3.6),
    min_width=520,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** [[scenarios|value]] scenarios, each one prompt, gave [[draws|value]] completions in three
rounds. In the main round, R3 at T = 1.0, a reader who read them one by one calls [[share.claude-1.honest]]
honest, [[share.claude-1.deceptive]] deceptive and [[share.claude-1.ambiguous]] neither
(n = [[share.claude-1.honest|n]]). A second, independent pass of that reader agrees with the first at κ =
[[kappa.claude-1.claude-2]] (n = [[kappa.claude-1.claude-2|n]]). The model as its own judge agrees with that
reader at κ = [[kappa.claude-1.single]] when it reads one completion at a time and at
[[kappa.claude-1.batch]] when it reads several at once; it calls [[share.single.ambiguous]] ambiguous the first
way and [[share.batch.ambiguous]] the second. A probe that learned the reader's labels tells lies from truth at an
AUROC of [[probe.claude-1.primary]]; one that learned the model's own labels, individual or batch, at
[[probe.single.primary]] or [[probe.batch.primary]].
""")

# %% [markdown]
# ## What was asked
#
# The study samples many completions of one ambiguous prompt. Whatever differs between an honest and a
# deceptive completion of one prompt cannot lie in the prompt: a probe that tells them apart must go by what
# the model is doing. Each scenario here gives a reason to conceal one known fact, and ends with a question
# that somebody asks about it. It assigns no role that lies, and asks neither for the truth nor for a lie.
#
# The role-play scenarios of the study are left out. Its cards do not print them; and where a model plays a
# character who is told to lie, a false sentence is the right answer to the prompt. A probe would then find
# the part being played, which is no deception of anybody.

# %%
book.table(
    s17.facts, scenarios,
    caption="The scenarios, written for this book.",
)

# %%
book.quotations(
    s17.scenarios, scenarios, shots,
    caption="What the model gets, and the rubric: what counts as which label. Every judge is given the scenario "
    "and the rubric.",
)

# %% [markdown]
# ## What was drawn
#
# R1 is drawn at a lower temperature, R2 and R3 are two sets of one temperature. Every draw is kept, also the
# broken ones. The draws are shipped with this book, so that its results do not depend on one machine's last
# bits; `make resample` draws them again. For the probes, each scenario of a round is cut down to as many
# honest as deceptive completions, by a seeded choice among the more frequent ones, which is recorded.

# %%
book.table(
    s17.rounds, rounds,
    caption="Completions of each round, their labels by the primary judge, and the size of the balanced "
    "subset. Ended by itself: with an end token before the limit of tokens.",
)

# %%
book.figure(
    s17.by_round, shares, scenarios,
    caption="Labels of the primary judge by scenario and round; the numbers in the bars are completions, "
    "n = [[finished|n]] in all. Counts of everything that was drawn, so no interval.",
    alt="Stacked bars: shares labelled honest, deceptive and ambiguous in each scenario, one panel for each of "
    "three rounds.",
    size=(8.5, 5),
    min_width=640,
)

# %%
book.quotations(
    s17.examples, chosen, completions, scenarios, judges,
    caption="Examples of the main round: of every scenario and label two completions, by a seeded draw, not "
    "by choice. In italics the opening that was given; the rest is what the model wrote, shown as it stands, with "
    "signs that cannot be seen spelled out. Coloured: the label of the primary judge; beside it the id, and the "
    "labels of the other judges that read it.",
)

# %% [markdown]
# ## Who judges
#
# *Individual* judges are given one completion at a time with the rubric; *batch* judges several of them in one
# request. The primary judge is the language model Claude, who read every completion by itself; `claude-2` is a
# second pass, which did not see the first. Both are one model, and share its blind spots:
# their agreement bounds the noise of a reading, not its error. The embedded model judges by the probability
# that it gives to each label as its next word, less what it gives where there is nothing to judge. The hosted
# judges of the study can be asked by whoever has a key (`python -m deception_saes judge`); a judge stands beside
# the others as soon as its labels stand in the file.

# %% tags=["remove-input"]
book.say("""
The embedded judges read while this page is made. For time they read a part of the main round, the first
[[judged_per_scenario|value]] draws of each scenario, and the batch judge is given [[per_prompt|value]] of them at
once.
""")

# %%
book.table(
    s17.judges, judges,
    caption="The judges. A hosted one that was not asked is not run.",
)

# %%
book.figure(
    s17.by_judge, shares, scenarios,
    caption="Labels in the main round by judge and scenario; the numbers in the bars are completions. At most "
    "n = [[share.claude-1.ambiguous|n]] a judge; an empty row: it read none of that scenario. Counts, so no interval.",
    alt="Stacked bars: shares labelled honest, deceptive and ambiguous in each scenario, one panel for each "
    "judge.",
    size=(9, 5),
    min_width=680,
)

# %% tags=["remove-input"]
book.say("""
The study reports that batch judging labelled [[B-01]] of the completions ambiguous, and a probe accuracy near
chance on the same labels. The two cannot both be as printed: with every label ambiguous there are no two
classes to probe. Here the batch judge calls [[share.batch.ambiguous]] ambiguous (n =
[[share.batch.ambiguous|n]]), so its labels can be learned from; below stands what a probe makes of them.
""")

# %% [markdown]
# ## Agreement
#
# Cohen's kappa is 1 where two judges always agree and 0 where they agree as often as two that draw their
# labels blindly, each in its own proportions.

# %%
book.figure(
    s17.kappa, agreed,
    caption="Cohen's kappa of every two judges on what both read; in brackets how many, of "
    "n = [[finished|n]] in all rounds. Bars are 95% bootstrap intervals over completions, near-duplicates together.",
    alt="Dot plot of Cohen's kappa with intervals for every pair of judges.",
    size=(8, 3.6),
    min_width=520,
)

# %%
book.table(
    s17.agreement, agreed,
    caption="The same in numbers, and the share of completions given the same label.",
)

# %%
book.figure(
    s17.confusion, confusion, judges,
    caption="Labels of the primary judge (rows) against those of every other judge (columns): numbers of "
    "completions that both read, of n = [[finished|n]], shaded by their share of the row. Counts, so no interval.",
    alt="Confusion matrices of three labels: the primary judge against each other judge.",
    size=(9, 3.6),
    min_width=640,
)

# %% [markdown]
# ## What the labels do to a probe
#
# The study's point is that batch judging destroys the signal that a probe finds. Tested here with one probe
# (logistic regression on the completion's mean residual), at one layer, fixed before any probe was fitted:
# the study's L9 of 16 at the same relative depth. All judges share the folds. Each probe learns from
# everything in the main round that its judge called honest or deceptive, weighted so that both count the
# same within a scenario. Its held-out scores are measured twice: against that judge's own labels, and against
# the primary judge's. Labels can be learned without meaning what they say, such as labels that follow length;
# only the second measure shows that. (Whether
# a probe knows more than the words themselves tell is §18's question.)
#
# A judge that read fewer completions, or called more of them ambiguous, leaves less to learn from. The third
# measure sets reading less apart: a probe that learned the primary judge's labels of the very completions
# that the other judge read.

# %%
book.figure(
    s17.probe, probes,
    caption="AUROC within scenario of probes that learned from each judge's labels (in brackets how many, at most n = [[share.claude-1.ambiguous|n]]), held out. Squares: against the judge's own labels. Diamonds: against the primary judge's. Circles: the same, "
    "learned from the primary judge's labels of what the judge read. Bars are 95% bootstrap intervals over "
    "completions, near-duplicates together, widened for the probe's own uncertainty. Line: chance.",
    alt="Dot plot of AUROC with intervals by judge: its labels against its own, its labels against those of the "
    "primary judge, and labels of the primary judge on the same completions.",
    size=(8, 4.6),
    min_width=520,
)

# %%
book.table(
    s17.probes, probes,
    caption="The same in numbers, with the labels that each probe learned from. A dash: no scenario has two "
    "classes.",
)

# %% tags=["remove-input"]
book.say("""
Against the primary judge's labels, a probe that learned from them scores [[probe.claude-1.primary]]. One that
learned from the embedded model's individual labels scores [[probe.single.primary]], where the primary judge's
labels of the same completions give [[probe.single.same]]; one that learned from its batch labels
[[probe.batch.primary]], against [[probe.batch.same]]. The two of a pair differ in the labels alone.
""")

# %% [markdown]
# **What would have changed the conclusion.** A second pass that agrees with the first no better than the
# embedded model does would have meant that these labels are one reader's mood, and that no probe of later
# sections could be trusted. Individual labels of the embedded model as good as its batch labels are bad would
# have borne out the study: its contrast is between ways of asking one judge. And a probe trained on batch
# labels that does as well against the primary judge's as one trained on these would have refuted it.

# %% tags=["remove-input"]
book.close()
