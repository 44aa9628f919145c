"""Made-up completions: several scenarios, both labels in each, near-duplicates among them."""

import numpy as np

from deception_saes.analysis.folds import design


def made_up(per_label=20, scenarios=6, doubled=0, seed=0):
    """A design of `scenarios` with `per_label` honest and as many deceptive completions each. The
    first `doubled` completions of every label of a scenario are pairs of near-duplicates."""
    deceptive, names, groups = [], [], []
    for s in range(scenarios):
        for label in (False, True):
            for i in range(per_label):
                deceptive.append(label)
                names.append(f"scenario_{s}")
                pair = i // 2 if i < doubled else i
                groups.append((s, label, pair))
    codes = {key: code for code, key in enumerate(dict.fromkeys(groups))}
    return design(deceptive, names, [codes[key] for key in groups], seed)


def noise(of, width=40, seed=0, offsets=3.0):
    """Activations [N, width] that tell scenarios apart and nothing else."""
    random = np.random.default_rng(seed)
    centres = offsets * random.normal(size=(len(of.scenarios), width))
    return centres[of.scenario_N] + random.normal(size=(len(of.deceptive_N), width))


def planted(of, strength, width=40, seed=0):
    """The same, with the labels along one direction."""
    along = np.random.default_rng(99).normal(size=width) / np.sqrt(width)
    return noise(of, width, seed) + strength * np.where(of.deceptive_N, 1, -1)[:, None] * along
