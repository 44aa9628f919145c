# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §21 SAE probes
#
# Do SAEs help to detect deception? Each of the 18 behavioural SAEs gives a probe its features; beside it
# stands a probe on the residual stream of the same layer, on the same completions and folds.

# %% tags=["parameters"]
profile = "embedded"
seed = 0
# None: what the profile says
model = None  # a slug of models/registry.py: the model that reads the completions
judge = None  # a judge of tasks/data/labels.csv, whose labels are the classes
permutations = None  # draws of permuted labels and of exchanged probes
resamples = None  # bootstrap resamples behind every interval

# %%
from deception_saes.experiments.probe_grid import (
    assess_grid,
    counts,
    exchanged,
    power,
    probe_table,
    trainings,
)
from deception_saes.experiments.probing import NAME
from deception_saes.experiments.sae_probes import score_probes
from deception_saes.paper.book import open_section
from deception_saes.paper.plots import s21

book = open_section(21, profile, seed, model=model, judge=judge, permutations=permutations,
                    resamples=resamples)

# %% [markdown]
# Every probe is fitted and scored on the same completions of round R3, as many honest as deceptive ones of each
# scenario, and on the same folds: on the features of each SAE as it is trained and before its training, of
# the middle layer's JumpReLUs with thresholds at 0, on the residual of its layer and on the residual's principal components.

# %%
saes = book.behavioural_saes
design = saes.reading.main.design  # labels, scenarios, near-duplicates and folds
before_fix = saes.before_fix(saes.layers[1:2])
scored = score_probes(saes, before_fix, permutations=book.permutations)

# %%
grid = assess_grid(scored, design, draws=book.resamples, seed=seed)
against = {rival: grid.against(rival, permutations=book.permutations, seed=seed)
           for rival in ("raw", "components", "untrained")}
probes = probe_table(grid, against)
by_chance = exchanged(against["raw"])
how_many = counts(grid, probes, against["raw"])
found = power(probes, studied=33)
differ = trainings(grid)

# %%
book.report("exchanged", by_chance)
for measure, name in NAME.items():
    ends = {"value": measure, "low": f"{measure}_low", "high": f"{measure}_high"}
    book.report("probes", probes, "raw.{name}." + measure, where="kind == 'raw'", **ends,
                quantity=f"{name} of the raw probe")
    book.report("probes", probes, f"best.{measure}", where="best", **ends,
                quantity=f"{name} of the best of {len(saes.tags)} SAE probes",
                claims={"best.accuracy": "B-14"}
                if measure == "accuracy" and book.stands_in else None)
book.report("counts", how_many, "{measure}", claims={"beats_raw": "B-15", "beats_raw.share": "R-16"})
book.report("trainings", differ, "{measure}", claims={"honest_best": "B-16"})
book.report("power", found, "power.{completions}", value="difference",
            quantity="difference from the raw probe that is found with 80% power, a median over SAEs")
tested = len(design.deceptive_N)
book.number("tested", tested, "count", "completions in the permutation test", claim="B-17", n=tested)
if book.model.slug in ("smollm2", "smollm2it"):  # the study's SmolLM2-135M, and its relative
    book.report("probes", probes, "related.best", where="best", value="accuracy",
                low="accuracy_low", high="accuracy_high", claims={"related.best": "R-04"},
                quantity="balanced accuracy of the best SAE probe, beside that of the study's base "
                "model")
    book.report("counts", how_many, "related.{measure}", where="measure == 'beats_raw'",
                claims={"related.beats_raw": "R-05"}, quantity="SAE probes above the raw probe, "
                "beside the count of the study's base model")

# %%
book.opening()

# %%
book.figure(
    s21.differences, probes,
    caption="Balanced accuracy of each SAE probe less that of the raw probe of its layer, same completions and folds "
    "(n = [[tested|value]]), with 95% intervals over completions. Blue: TopK, orange: JumpReLU; circles: honest_only, squares: "
    "deceptive_only, diamonds: mixed.",
    alt="Eighteen differences between SAE probes and raw probes with their intervals, around zero.",
    size=(8, 5.2),
    min_width=520,
)

# %% tags=["remove-input"]
book.say("""
**What it shows.** On [[tested|value]] completions that no SAE was trained on, [[beats_raw|value]] SAE probes
are above the raw probe of their layer (the study: [[B-15]]); if probe and rival were exchanged at random it would be
[[beats_raw.chance]]. [[differs|value]] of them differ from the raw probe at a Holm-corrected p of 0.05. The best
reaches a balanced accuracy of [[best.accuracy]] (the study: [[B-14]]), a maximum of 18. Above the features of their
own random start are [[beats_untrained|value]], above the layer's principal components [[beats_components|value]].
""")

# %% [markdown]
# ## How it is measured
#
# The SAEs see rounds R1 and R2 alone, near-duplicates of R3 left out, so that no completion of R3 has
# shaped a feature, be it by its activations or by the label that puts it into a training set. Features are averaged over a
# completion's tokens, as the raw residual is. Folds, scaling, penalty, permutations and intervals are those of
# [§18](s18_layer_sweep.ipynb). The p of a probe is that of its ridge counterpart on labels permuted within
# scenario and fold. The p of a difference is that of an exchange test: what SAE probe and raw probe say of a completion is
# exchanged at random, near-duplicates together, for all 18 pairs at once; that gives the number expected by chance too.

# %%
book.figure(
    s21.chance, by_chance, how_many,
    caption="SAE probes above the raw probe of their layer, of 18: measured, and over "
    "n = [[beats_raw.chance|n]] exchanges. The spread of the bars is the "
    "interval that chance allows. SAEs of one layer are alike, so the count spreads wider than 18 independent ones would.",
    alt="Histogram of the number of SAE probes above the raw probe under exchange, with the measured number.",
    size=(6.5, 3.6),
    min_width=420,
)

# %% tags=["remove-input"]
book.say("""
**Power.** At this n a difference of [[power.here|value]] from the raw probe is found with 80% power (a median over the
SAEs); with the [[power.study|n]] completions of the study's test it would have to be
[[power.study|value]].
""")

# %% [markdown]
# ## Is it the training?

# %%
book.figure(
    s21.baselines, probes,
    caption="Balanced accuracy of every probe by layer, n = [[tested|value]] completions. Random start: the same SAE before "
    "training. Threshold at 0: the middle layer's JumpReLUs as the study had them before its fix. Principal components: all of them, of the tokens that the SAEs were trained on. Intervals "
    "of the differences stand in the table.",
    alt="Balanced accuracy of probes on trained, untrained and pre-fix SAEs, raw residuals and components, by layer.",
    size=(7.5, 4.4),
    min_width=480,
)

# %% tags=["remove-input"]
book.say(f"""
The study advises JumpReLU for probing and gives no number for it: a probe on a JumpReLU SAE less one on the TopK SAE of the same
layer and training set is [[jumprelu_minus_topk]] here, in the mean. SAEs trained on honest completions alone differ from those trained on deceptive ones by
[[honest_minus_deceptive_only]] and from mixed ones by [[honest_minus_mixed]], all of one dimension; honest_only is the best of
the three at [[honest_best|value]] layers and architectures (the study: [[B-16]], on other models). The fix,
learned thresholds instead of 0, changes a JumpReLU probe by [[fix]], a mean over {len(before_fix.tags)} SAEs.
""")

# %%
book.table(
    s21.probes, probes,
    caption="The probes in numbers, n = [[tested|value]] completions, 95% intervals over completions. p: against permuted labels. "
    "Less raw: with the p of the exchange test. Holm: corrected for 18 tests.",
)

# %% [markdown]
# **What would have changed the conclusion.** More SAE probes above the raw one than exchanges allow, or one
# whose difference survives the correction, would have shown that sparse features make deception easier
# to read; a trained SAE no better than its random start shows that it is dimension and not training that helps.

# %% tags=["remove-input"]
book.close()
