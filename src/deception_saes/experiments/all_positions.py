"""SAE interventions at one layer and all prompt positions, a second reading of the study.

What an edit puts at every position alike leaves nothing of the prompt above that layer: no
position holds it any more, and what the last one reads of the others is that one vector. So under
E6, as under E4, the model gives one distribution for all prompts, whatever m_G and m_S are, and a
gap between the two says nothing of the conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch

from deception_saes.analysis.bootstrap import Interval, mean_interval
from deception_saes.analysis.equivalence import contrast, verdict
from deception_saes.cache import cached
from deception_saes.experiments.gaps import loses_half, share_left
from deception_saes.experiments.saes import TrainedSae
from deception_saes.experiments.swaps import SWAP_CONDITIONS, Prompts, learned_without, run_clean
from deception_saes.experiments.task import AskedHalf
from deception_saes.interventions.swap import Edit, Training
from deception_saes.models.all_positions import hidden_with_all_edited
from deception_saes.models.forward import token_mass
from deception_saes.tasks.framings import Condition
from deception_saes.tidy import described, with_ends

_POSITIONS = {False: "all", True: "but_first"}


@cached()
def all_positions(
    half: AskedHalf, layer: int, sae: TrainedSae, edits: Mapping[str, Edit], *,
    on_genuine: tuple[str, ...], questions: int | None, spare_first: tuple[bool, ...],
) -> pd.DataFrame:
    """Effects of edits of resid_post at a layer and all prompt positions on sandbag prompts, of
    those named in `on_genuine` on genuine ones too: a row a question, edit, kind of prompt, and
    whether position 0 was edited too, as `spare_first` asks.

    edits: those that ask nothing of the prompt under the other condition, by name; what they know
    of the conditions is learned, as at the last position alone, from the last positions of the
    other folds. questions: so many of the half, evenly spread; None: all.
    """
    asked, learned = run_clean(half, questions), sae.load()
    cluster_of = {question.id: question.cluster for question in half.questions}
    rows = []
    for fold in sorted(set(asked.fold_Q)):
        training = learned_without(fold, run_clean(half, None), learned, layer)
        places = np.flatnonzero(asked.fold_Q == fold)
        for condition, (name, edit), spare in product(SWAP_CONDITIONS, edits.items(), spare_first):
            if condition == "genuine" and name not in on_genuine:
                continue
            p_Q = _p_correct(asked, places, condition, layer, partial(_apply, edit, training),
                             spare_first=spare, batch_size=half.task.subject.batch_size)
            clean_Q = asked.clean[condition][places]
            ids = [asked.asked.ids[place] for place in places]
            rows.append(pd.DataFrame({
                "question": ids, "cluster": [cluster_of[id] for id in ids], "prompts": condition,
                "positions": _POSITIONS[spare], "intervention": name, "layer": layer,
                "clean": clean_Q, "effect": p_Q - clean_Q}))
    return pd.concat(rows, ignore_index=True)


def _apply(edit: Edit, training: Training, x_ND: torch.Tensor) -> torch.Tensor:
    """The edit, of residuals that have no counterpart under the other condition."""
    return edit(training, x_ND, x_ND)


def _p_correct(
    asked: Prompts, places: np.ndarray, condition: Condition, layer: int,
    edit: Callable[[torch.Tensor], torch.Tensor], *, spare_first: bool, batch_size: int,
) -> np.ndarray:
    """P(correct) in percent of the questions at these places, [places]."""
    hidden_QD = hidden_with_all_edited(
        asked.lm.model, [asked.asked.prompts[condition][place] for place in places], layer, edit,
        spare_first=spare_first, batch_size=batch_size)
    correct = [asked.asked.correct[condition][place] for place in places]
    p_Q: np.ndarray = 100 * token_mass(asked.lm.model, hidden_QD, correct)
    return p_Q


@cached()
def all_positions_table(
    found: pd.DataFrame, margin: float, *, draws: int, seed: int
) -> pd.DataFrame:
    """What `all_positions` found of E2, E6 and E4, means over questions; and the gap E6 − E4 on
    sandbag prompts. margin: below which a gap is as good as none, in pp. draws, seed: of the
    bootstrap."""
    rows: list[dict[str, Any]] = []
    for (positions, layer), of in found.groupby(["positions", "layer"], sort=False):
        about = {"positions": positions, "layer": layer}
        left = _left(of, draws, seed)
        for (condition, name), some in of.groupby(["prompts", "intervention"], sort=False):
            row = {**about, "prompts": condition, "intervention": name,
                   **mean_interval(some["effect"], draws, seed,
                                   clusters=some["cluster"].tolist()).columns("effect"),
                   "clean": some["clean"].mean(), "verdict": "",
                   "p_correct": (some["clean"] + some["effect"]).mean()}
            if (condition, name) == ("genuine", "E2"):
                row |= {"left": 100 * left.mean, "left_low": 100 * left.low,
                        "left_high": 100 * left.high}
            rows.append(row)
        effects = of[of["prompts"] == "sandbag"].pivot(
            index=["question", "cluster"], columns="intervention", values="effect")
        gap = contrast(effects["E6"] - effects["E4"], draws, seed,
                       effects.index.get_level_values("cluster").tolist())
        word = verdict(gap, margin) if margin > 0 else "inconclusive"
        rows.append({**about, "prompts": "sandbag", "intervention": "E6-E4", "effect": gap.mean,
                     "ci_low": gap.low, "ci_high": gap.high, "n": gap.n,
                     "verdict": "uninformative" if loses_half(left) else word})
    return described(
        pd.DataFrame(rows), "SAE interventions at all prompt positions, JumpReLU at the middle "
        "layer, the second reading of the study",
        positions=("", "all: every position is edited; but_first: position 0 is left as it is"),
        intervention=("", "E2: decode(f(x)); E6: decode(m_G); E4: decode(m_S); E6-E4: the gap"),
        effect=("pp", "P(correct) with the edit less without it, mean over questions; of the gap, "
                      "E6 less E4"),
        clean=("percent", "P(correct) without an edit, mean over these questions"),
        p_correct=("percent", "the same with it"),
        **with_ends("left", "percent", "of the clean genuine P(correct), what E2 leaves"),
        verdict=("", "of the gap, by the interval over questions alone; uninformative where "
                     "reconstruction alone leaves under half"))


def _left(of: pd.DataFrame, draws: int, seed: int) -> Interval:
    """Of the clean genuine P(correct), the share that E2 leaves."""
    genuine = of[(of["prompts"] == "genuine") & (of["intervention"] == "E2")]
    return share_left(genuine["clean"].to_numpy(), genuine["effect"].to_numpy(),
                      genuine["cluster"].tolist(), draws, seed)
