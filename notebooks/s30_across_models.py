# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §30 Across models
#
# The study finds a sandbagging-specific portion in Llama-3.2-1B alone. Here the portion is measured on
# every model of the profile, under both co-primary framings, and where the instruction alone differs: there
# the worked examples are right in both arms, the label is the same, and the wording is one under which no head
# was chosen. The heads are chosen under the labelled framing; of the primary model then under each of the three, too.

# %% tags=["parameters"]
profile = "embedded"
seed = 0
# None: what the profile says
model = None  # a slug of models/registry.py, in the place of all models
framing = None  # a name of tasks/data/framings.toml, under which heads are chosen
questions = None  # the path of a CSV like tasks/data/questions.csv
n_heads = None  # suppressor heads that are ablated together
resamples = None  # bootstrap resamples behind every interval

# %%
from functools import partial

from deception_saes.experiments.circuits import (
    across_arms,
    across_models,
    against_random,
    of_questions,
    portion,
    strongest,
)
from deception_saes.experiments.heads import p_correct, random_heads, sweep
from deception_saes.experiments.task import why_not_asked
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s30
from deception_saes.tasks.framings import FRAMINGS

book = open_section(30, profile, seed, model=model, framing=framing, questions=questions,
                    n_heads=n_heads, resamples=resamples)

# %% [markdown]
# Of each model the strongest suppressor heads are set to zero on its own evaluating half, under each framing
# and both conditions; on the questions of the framing that chose them also in a wording that did not, and where the instruction alone differs. The primary model's are those of §28; another model is swept on its whole choosing half.

# %%
measured, not_run = [], dict(book.missing)
for subject in book.subjects:
    chosen_under = book.task_of(subject, book.framing)
    halves = [book.task_of(subject, framing).evaluating for framing in book.primary_framings]
    if why := why_not_asked([chosen_under.choosing, chosen_under.evaluating, *halves]):
        not_run[subject.model.slug] = why
        continue
    count = book.profile.sweep_sandbag_questions if subject == book.subject else None
    heads = strongest(sweep(chosen_under.choosing.spread(count), "sandbag"), n=book.n_heads)
    others = [chosen_under.evaluating.under(FRAMINGS[name])
              for name in ("two_shot_labelled_held_out", "instruction_alone")]
    for half in (*halves, *others):
        clean, effects = {}, {}
        for condition in ("sandbag", "genuine"):
            clean[condition], zero = p_correct(half, condition, ablate=[(), heads])
            effects[condition] = zero - clean[condition]  # per question, pp
        found = portion(effects, clean, clusters=half.clusters, draws=book.resamples, seed=seed)
        measured.append((half, heads, found))

# %% [markdown]
# Random heads of the same layers, in the wording that did not choose the primary model's.

# %%
few = book.task.evaluating.spread(book.profile.draw_questions)
chance = None
if book.model.slug not in not_run:
    swept = sweep(book.task.choosing.spread(book.profile.sweep_sandbag_questions), "sandbag")
    chance = random_heads(few.under(FRAMINGS["two_shot_labelled_held_out"]), "sandbag",
                          strongest(swept, n=book.n_heads), kinds=("layer_matched",),
                          draws=book.profile.random_draws, seed=seed)

# %% [markdown]
# Were other heads to be found under another arm? Of the primary model the heads are chosen under each arm from one
# set of questions (fewer than §28's, so that all choices rest on as many), and ablated under each arm on one other set, all of its
# evaluating half. Where the instruction alone differs, they are chosen in one wording and tested in another.

# %%
under_arms = []
some = book.task.choosing.spread(book.profile.arm_sweep_questions)
if chance:
    chosen = {name: strongest(of_questions(swept, some) if name == "section"
                              else sweep(some.under(arm), "sandbag"), n=book.n_heads)
              for name, arm in book.arms.items()}
    for tested, arm in {**book.arms, "instruction_alone": FRAMINGS["instruction_alone"]}.items():
        found = {condition: p_correct(book.task.evaluating.under(arm), condition, ablate=[(), *chosen.values()])
                 for condition in ("sandbag", "genuine")}
        clean = {condition: p_SQ[0] for condition, p_SQ in found.items()}
        for place, (name, heads) in enumerate(chosen.items(), start=1):
            effects = {condition: p_SQ[place] - p_SQ[0] for condition, p_SQ in found.items()}
            under_arms.append((name, tested, heads, effects, clean))

# %%
of_book = {"draws": book.resamples, "seed": seed}  # of the bootstrap over questions
models = across_models(measured, not_run)
arms = across_arms(under_arms, share=book.profile.equivalence_share,
                   clusters=book.task.evaluating.clusters, **of_book)
claims = {"llama": "S-14", "tinyllama": "S-15", "pythia160m": "S-16", "pythia410m": "S-17"}

book.report("models", models)
for slug in dict.fromkeys(half.task.model for half, *_ in measured):
    claim = claims.get(slug, claims["llama"] if slug == book.model.slug else None)
    answers = book.framing in book.primary_framings  # then the claim's number is measured
    book.report("models", models, "{framing}.{measure}",
                where=f"model == '{slug}' and measure in ['restoration', 'genuine', 'portion', 'fall']",
                claims={f"{book.framing.name}.portion": claim} if claim and answers else None)
book.report("arms", arms, "arms.{chosen}.{tested}.{measure}",
            where="measure in ['restoration', 'genuine', 'portion', 'fall']")
if chance:
    book.report("held_out", against_random(chance, clusters=few.clusters, **of_book),
                "held_out.{measure}", where="kind == 'layer_matched'", condition="sandbag")
book.number("arm_questions", len(some.questions), "count", "questions of which each arm's heads are chosen")

# %%
book.opening()

# %%
book.figure(
    s30.portions, models,
    caption="Restoration, effect on genuine prompts, and their difference, the portion, "
    "with 95% bootstrap intervals over the evaluating half's questions (labelled: "
    "n = [[two_shot_labelled.portion|n]]).",
    alt="Forest plot of restoration, effect on genuine prompts and portion by model and framing.",
    size=(8, 4.4),
    min_width=560,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** The portion is [[two_shot_labelled.portion]] under the labelled framing and
[[two_shot_same_prefix.portion]] under the same-prefix one, where the same heads restore
[[two_shot_same_prefix.restoration]] and change genuine prompts by [[two_shot_same_prefix.genuine]]. Under the labelled framing in a
wording that did not choose them, the heads restore [[two_shot_labelled_held_out.restoration]] of a fall of [[two_shot_labelled_held_out.fall]], a portion of
[[two_shot_labelled_held_out.portion]]; random heads of the same layers give [[held_out.random]] there, and the heads
[[held_out.gap]] more (p = [[held_out.p]]). Where the
instruction alone differs, P(correct) falls by [[instruction_alone.fall]] before any ablation, and no more than that is there
to restore: the heads restore [[instruction_alone.restoration]] and change genuine prompts by
[[instruction_alone.genuine]], a portion of [[instruction_alone.portion]]. What part of a portion random heads have too,
§29 shows.
""")

# %%
book.table(
    partial(s30.models, claims=claims), models,
    caption="Every model of this profile, and the published portions of the study's models.",
)

# %% [markdown]
# ## Chosen under one arm, tested under another

# %%
book.table(
    partial(s30.arms, titles={name: arm.title for name, arm in book.arms.items()}), arms,
    caption="The [[n_heads]] heads of largest effect under one arm (n = [[arm_questions|value]] questions of the choosing half), set to zero together under another, on n = [[arms.instruction_alone.instruction_alone.portion|n]] "
    "questions of the evaluating half, with 95% bootstrap intervals. Fall: clean genuine less clean sandbag, all that there is to restore. Of restoration and portion, whether they lie "
    "beyond a tenth of the fall, within it, or neither.",
)

# %% tags=["remove-input"]
book.say("""
Where the instruction alone differs, the heads chosen there restore [[arms.instruction_alone.instruction_alone.restoration]] of a fall of
[[arms.instruction_alone.instruction_alone.fall]], in a wording that did not choose them, and change genuine prompts by [[arms.instruction_alone.instruction_alone.genuine]], a portion of
[[arms.instruction_alone.instruction_alone.portion]]. Under the same prefix the heads chosen there restore
[[arms.two_shot_same_prefix.two_shot_same_prefix.restoration]] of [[arms.two_shot_same_prefix.two_shot_same_prefix.fall]] and have a portion of
[[arms.two_shot_same_prefix.two_shot_same_prefix.portion]]. No random heads stand beside these portions; §29 has some for the labelled framing. Heads that restore more than the fall do more
than undo what the prompt does.
""")

# %% [markdown]
# Heads that read the word “Wrong” in the answer's label would restore under the labelled framing alone; heads
# that copy from worked examples, under both framings with wrong ones; heads that carry the instruction, under
# all three.
#
# **What would have changed the conclusion.** A portion of like size in all three, as a share of each one's fall, would have
# spoken for the instruction; so would heads chosen under the instruction alone whose restoration and portion, in the wording
# that did not choose them, lie beyond a tenth of the fall.

# %% tags=["remove-input"]
book.close()
