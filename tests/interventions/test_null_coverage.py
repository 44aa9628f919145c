"""With nothing to find, does the interval of a gap cover none as often as it says?"""

import numpy as np
import torch

from deception_saes.analysis.equivalence import contrast, widened
from deception_saes.experiments.gaps import gaps
from deception_saes.experiments.swaps import Cell
from deception_saes.interventions.swap import (
    AddDifference,
    AddRelabelledDifference,
    Draws,
    Training,
    relabellings,
)
from deception_saes.saes.config import SaeConfig
from deception_saes.saes.registry import build

D_IN, D_SAE, QUESTIONS, FOLDS, DRAWS, REPEATS = 16, 64, 60, 5, 40, 400


def a_gap_of_nothing(seed):
    """E6Δ − E1Δ through a random TopK SAE and a random readout, both conditions drawn alike."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=random)

    decoder = torch.nn.functional.normalize(draw(D_SAE, D_IN), dim=1)
    sae = build(SaeConfig("topk", D_IN, D_SAE, 8), {
        "W_enc": decoder.T.contiguous(), "W_dec": decoder, "b_enc": torch.zeros(D_SAE),
        "b_dec": torch.zeros(D_IN)})
    question, readout = draw(QUESTIONS, D_IN) + 1, draw(D_IN) / 2
    genuine, sandbag = (question + draw(QUESTIONS, D_IN) / 2 for _ in range(2))

    def percent(x):
        return 100 * torch.sigmoid(x @ readout).numpy()

    fold = np.arange(QUESTIONS) % FOLDS
    halves = relabellings(fold, DRAWS, seed)
    effects = {"E6Δ": np.empty((1, QUESTIONS)), "E1Δ": np.empty((DRAWS, QUESTIONS))}
    for number in range(FOLDS):
        here, others = torch.from_numpy(fold == number), torch.from_numpy(fold != number)
        training = Training(sae, genuine[others], sandbag[others])
        x = sandbag[here]
        added = AddDifference("genuine")(training, x, x)
        relabelled = AddRelabelledDifference()(training, x, Draws(halves[:, others], seed))
        effects["E6Δ"][:, here] = percent(added) - percent(x)
        effects["E1Δ"][:, here] = percent(relabelled) - percent(x)
    cell = Cell("topk", "D8", 15, "sandbag", effects, percent(sandbag), np.arange(QUESTIONS),
                tuple(map(str, range(QUESTIONS))))
    return gaps(cell)["E6Δ-E1Δ"]


def test_a_gap_of_nothing_is_covered_by_the_wider_interval_and_not_by_questions_alone():
    covered = {"questions": 0, "relabellings": 0}
    for seed in range(REPEATS):
        gap = a_gap_of_nothing(seed)
        given = contrast(gap.per_question, 400, seed)
        wide = widened(given, gap.sigma, gap.freedom)
        covered["questions"] += given.low <= 0 <= given.high
        covered["relabellings"] += wide.low <= 0 <= wide.high
    print({name: count / REPEATS for name, count in covered.items()})
    assert 0.92 <= covered["relabellings"] / REPEATS <= 0.98
    assert covered["questions"] / REPEATS < 0.5  # why the wider one is needed
