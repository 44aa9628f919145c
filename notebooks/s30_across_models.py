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
# every model of the profile, and under both co-primary framings: the heads are chosen under the labelled
# one, and under the same-prefix one the prompt's end gives no hint of the instruction.

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

from deception_saes.experiments.circuits import across_models, portion, strongest
from deception_saes.experiments.heads import p_correct, sweep
from deception_saes.experiments.task import why_not_asked
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s30

book = open_section(30, profile, seed, model=model, framing=framing, questions=questions,
                    n_heads=n_heads, resamples=resamples)

# %% [markdown]
# Of each model the strongest suppressor heads are set to zero on its own evaluating half, under both framings
# and both conditions. The primary model's are those of §28; another model is swept on its whole choosing half.

# %%
measured, not_run = [], dict(book.missing)
for subject in book.subjects:
    choosing = book.task_of(subject, book.framing).choosing
    tasks = [book.task_of(subject, measured_under) for measured_under in book.primary_framings]
    if why := why_not_asked([choosing, *(task.evaluating for task in tasks)]):
        not_run[subject.model.slug] = why
        continue
    count = book.profile.sweep_sandbag_questions if subject == book.subject else None
    heads = strongest(sweep(choosing.spread(count), "sandbag"), n=book.n_heads)
    for task in tasks:
        effects = {}
        for condition in ("sandbag", "genuine"):
            clean, zero = p_correct(task.evaluating, condition, ablate=[(), heads])
            effects[condition] = zero - clean  # per question, pp
        measured.append((task, heads, portion(effects, draws=book.resamples, seed=seed)))

# %%
models = across_models(measured, not_run)
claims = {"llama": "S-14", "tinyllama": "S-15", "pythia160m": "S-16", "pythia410m": "S-17"}

book.report("models", models)
for slug in dict.fromkeys(task.model for task, *_ in measured):
    claim = claims.get(slug, claims["llama"] if slug == book.model.slug else None)
    chosen_under = book.framing in book.primary_framings  # then the claim's number is measured
    book.report("models", models, "{framing}.{measure}",
                where=f"model == '{slug}' and measure in ['restoration', 'genuine', 'portion']",
                claims={f"{book.framing.name}.portion": claim} if claim and chosen_under else None)

# %%
book.opening()

# %%
book.figure(
    s30.portions, models,
    caption="Restoration, effect on genuine prompts, and their difference, the sandbagging-specific "
    "portion, with 95% bootstrap intervals over the evaluating half's questions (labelled: "
    "n = [[two_shot_labelled.portion|n]]).",
    alt="Forest plot of restoration, effect on genuine prompts and portion by model and framing.",
    size=(8, 3.6),
    min_width=560,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** The portion is [[two_shot_labelled.portion]] under the labelled framing and
[[two_shot_same_prefix.portion]] under the same-prefix one, where the same heads restore
[[two_shot_same_prefix.restoration]] and change genuine prompts by [[two_shot_same_prefix.genuine]].
""")

# %%
book.table(
    partial(s30.models, claims=claims), models,
    caption="Every model of this profile, and the published portions of the study's models.",
)

# %% [markdown]
# Heads that read the word “Wrong” in the answer's label would restore under the labelled framing and do
# nothing under the same-prefix one. Heads that carry the instruction itself would do so under both.
#
# **What would have changed the conclusion.** A portion of like size under both framings would have spoken
# for the instruction; one under the labelled framing alone speaks for the label.

# %% tags=["remove-input"]
book.close()
