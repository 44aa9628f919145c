"""Is it told apart whether ten features are the cause, or a direction that no ten of them hold?"""

import numpy as np
import pytest
import torch

from deception_saes.experiments.gaps import SPECIFIC, specific_table
from deception_saes.experiments.swaps import PLAIN, Cell
from deception_saes.interventions.swap import (
    AddDifference,
    AtNormOf,
    Patch,
    SwapComponents,
    SwapMatched,
    SwapTop,
    Training,
)
from deception_saes.saes.config import SaeConfig
from deception_saes.saes.registry import build

WIDTH, QUESTIONS, NUISANCE = 64, 60, 20
TEN = AtNormOf(SwapTop(10), reference=SwapTop(10))


def sae_along(rows_SD):
    """Features are the parts of x along these rows, where they are above 0."""
    features = len(rows_SD)
    return build(SaeConfig("jumprelu", WIDTH, features), {
        "W_enc": rows_SD.T.contiguous(), "W_dec": rows_SD, "b_enc": torch.zeros(features),
        "b_dec": torch.zeros(WIDTH), "threshold": torch.zeros(features)})


def sae_of_random_rows(seed):
    random = torch.Generator().manual_seed(seed)
    rows_SD = torch.randn(2 * WIDTH, WIDTH, generator=random)
    return sae_along(torch.nn.functional.normalize(rows_SD, dim=1))


def residuals(shift_D, seed):
    """Of genuine and sandbag prompts of the same questions: they differ by `shift_D`, and along
    other axes at random and by more."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=random)

    question_QD = 2 + 0.2 * draw(QUESTIONS, WIDTH)
    nuisance = torch.zeros(2, QUESTIONS, WIDTH)
    nuisance[..., -NUISANCE:] = 6 * draw(2, QUESTIONS, NUISANCE)
    return question_QD + shift_D + nuisance[0], question_QD + nuisance[1]


def verdict_of(shift_D, cause_D, *, frozen=True):
    """Of an SAE with a feature for each axis and sign, on a model whose P(correct) is read off
    `cause_D`; by condition its contrast, and the verdict."""
    axes = torch.eye(WIDTH)
    trained = sae_along(torch.cat([axes, -axes]))
    learned_from, (other_QD, x_QD) = residuals(shift_D, 1), residuals(shift_D, 2)
    through = {"ten": (SwapTop(10), trained),
               "ten.matched": (AtNormOf(SwapMatched(10), reference=SwapTop(10)), trained),
               "ten.components": (AtNormOf(SwapComponents(10), reference=SwapTop(10)), trained),
               "E6Δ": (AddDifference("genuine"), trained),
               "E6Δ.without": (AddDifference("genuine", without_top=10), trained),
               "ten.untrained": (TEN, sae_of_random_rows(3)), "patch": (Patch(), trained)}
    if frozen:
        through["ten.frozen"] = TEN, sae_of_random_rows(4)

    middle = float((x_QD.mean(0) + shift_D / 2) @ cause_D)

    def percent(x):
        return 100 * torch.sigmoid(6 * (x @ cause_D - middle) / float(shift_D @ cause_D)).numpy()

    clean = {"genuine": percent(other_QD), "sandbag": percent(x_QD)}
    effects = {name: (percent(edit(Training(sae, *learned_from, trained), x_QD, other_QD))
                      - clean["sandbag"])[None] for name, (edit, sae) in through.items()}

    def cell(name, condition, **of):
        return Cell(name, "D8", 4, condition, of, clean[condition], np.arange(QUESTIONS),
                    tuple(map(str, range(QUESTIONS))))

    around = [cell(PLAIN, "sandbag", patch=effects.pop("patch")),
              cell("jumprelu", "genuine", E2=np.zeros((1, QUESTIONS)))]
    margin = 0.1 * float(clean["genuine"].mean() - clean["sandbag"].mean())
    table = specific_table([cell("jumprelu", "sandbag", **effects)], around, margin, draws=500,
                           seed=0)
    (verdict,) = set(table["verdict"])
    return table.set_index("against"), verdict


def along(axes, size):
    """A direction that is shared by the first so many axes, of this length."""
    shared_D = torch.zeros(WIDTH)
    shared_D[:axes] = size / axes**0.5
    return shared_D


@pytest.mark.parametrize(("frozen", "expected"), [
    (True, "feature-specific"), (False, "not refuted")])
def test_ten_features_that_are_the_cause_are_feature_specific(frozen, expected):
    shift_D = along(10, 4.0)
    found, verdict = verdict_of(shift_D, shift_D / shift_D.norm(), frozen=frozen)
    assert verdict == expected
    assert list(found.index) == [of for of in SPECIFIC if frozen or of != "frozen"]
    assert set(found["outcome"]) == {"holds"}


def test_a_direction_that_is_spread_over_all_features_is_not_feature_specific():
    shift_D = along(WIDTH - NUISANCE, 4.0)
    found, verdict = verdict_of(shift_D, shift_D / shift_D.norm())
    assert verdict == "not feature-specific"
    assert found["outcome"]["patch"] == found["outcome"]["removed"] == "fails"


def test_ten_features_are_not_specific_if_a_principal_component_does_the_same():
    """They restore all, but so does the first component, which is their sum."""
    shift_D = along(10, 60.0)
    found, verdict = verdict_of(shift_D, shift_D / shift_D.norm())
    assert verdict == "not feature-specific"
    assert found["outcome"]["patch"] == found["outcome"]["removed"] == "holds"
    assert found["outcome"]["components"] == "fails"


def test_ten_features_that_tell_the_conditions_apart_but_cause_nothing_are_not_specific():
    shift_D = along(10, 4.0)
    shift_D[20:40] = 0.2  # the cause: less than the ten are set apart by
    cause_D = torch.zeros(WIDTH)
    cause_D[20:40] = 1.0
    found, verdict = verdict_of(shift_D, cause_D)
    assert verdict == "not feature-specific"
    assert found["outcome"]["patch"] == "fails"
    assert abs(found["treated"]["patch"]) < 1
