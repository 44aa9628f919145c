"""Hand-written gradients against autograd of the readable loss."""

import pytest
import torch

from deception_saes.saes.config import Recipe, SaeConfig
from deception_saes.saes.registry import ARCHITECTURES

ROWS, D_IN, D_SAE, K = 16, 10, 24, 5


def rule_of(name, recipe):
    random = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    config = SaeConfig(name, D_IN, D_SAE, K if name == "topk" else None)
    shapes = ARCHITECTURES[name].sae.shapes(config)
    weights = {n: draw(*shape) * 0.3 for n, shape in shapes.items()}
    if "threshold" in weights:
        weights["threshold"] = weights["threshold"].abs()
    return ARCHITECTURES[name].rule(config, recipe, weights), draw(ROWS, D_IN)


@pytest.mark.parametrize(("name", "options"), [
    ("topk", {}), ("gated", {"l1": 0.05}), ("jumprelu", {"l0": 0.05}),
    ("jumprelu", {"l0": 0.05, "target_l0": 3.0}), ("jumprelu", {"learn_threshold": False}),
])
@pytest.mark.parametrize("dead", [[], [1, 4, 5, 9, 20, 21, 22]])
@pytest.mark.parametrize("densest", [0, 2])
def test_gradients_are_those_of_autograd(name, options, dead, densest, monkeypatch):
    monkeypatch.setattr("deception_saes.saes.products.DENSEST", densest)
    recipe = Recipe(epochs=1, batch_size=ROWS, **options)
    rule, x = rule_of(name, recipe)
    dead = torch.tensor(dead, dtype=torch.long)
    for n in rule.trained:
        rule.weights[n].requires_grad_()
    dead_S = torch.isin(torch.arange(D_SAE), dead) if len(dead) else None
    loss = rule.loss(rule.config, recipe, rule.weights, x, dead_S)
    expected = dict(zip(rule.trained, torch.autograd.grad(
        loss.total, [rule.weights[n] for n in rule.trained], allow_unused=True), strict=True))
    for weight in rule.weights.values():
        weight.requires_grad_(False)
    with torch.no_grad():
        found = rule.step(x, dead)
        again = {n: g.clone() for n, g in rule.gradients.items()}
        rule.step(x, dead)
    sae = ARCHITECTURES[name].sae(rule.config, rule.weights)
    torch.testing.assert_close(found, loss.mse)
    assert torch.equal(rule.fired, loss.fired_S)
    torch.testing.assert_close(found, (sae.decode(sae.encode(x)) - x).square().mean())
    for n in rule.trained:
        if expected[n] is None:
            assert n == "threshold"
            assert not recipe.learn_threshold
            assert not rule.gradients[n].any()
            continue
        torch.testing.assert_close(rule.gradients[n], expected[n], rtol=1e-9, atol=1e-12)
        assert torch.equal(rule.gradients[n], again[n])  # nothing is left over from a step


def test_a_topk_row_has_the_k_features_of_its_largest_positive_pre_activations():
    rule, x = rule_of("topk", Recipe(epochs=1, batch_size=ROWS))
    sae = ARCHITECTURES["topk"].sae(rule.config, rule.weights)
    for rows in (x, x / 1000 + rule.weights["b_dec"]):
        f, pre = sae.encode(rows), sae.projected(rows) + rule.weights["b_enc"]
        kth = pre.topk(K).values[:, -1:]
        assert torch.equal(f, torch.where(pre >= kth, pre, 0).relu())
        assert (f > 0).sum(dim=1).max() == K
    rule.weights["b_enc"] -= 100
    assert not sae.encode(x).any()


@pytest.mark.parametrize(("name", "options", "penalty"), [
    ("topk", {}, lambda l0: 0), ("jumprelu", {"l0": 0.05}, lambda l0: 0.05 * l0),
    ("jumprelu", {"l0": 0.05, "target_l0": 3.0}, lambda l0: 0.05 * 3 * (l0 / 3 - 1) ** 2),
])
def test_the_loss_is_the_squared_error_and_the_penalty_on_l0(name, options, penalty):
    rule, x = rule_of(name, Recipe(epochs=1, batch_size=ROWS, **options))
    loss = rule.loss(rule.config, rule.recipe, rule.weights, x, None)
    sae = ARCHITECTURES[name].sae(rule.config, rule.weights)
    features = sae.encode(x)
    mse, l0 = (sae.decode(features) - x).square().mean(), (features > 0).sum(1).double().mean()
    assert float(loss.total) == pytest.approx(float(mse + penalty(l0)))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fired_are_the_features_that_the_sae_itself_gives(name):
    rule, x = rule_of(name, Recipe(epochs=1, batch_size=ROWS))
    for bias in {"b_enc", "b_gate"} & rule.weights.keys():
        rule.weights[bias][:6] = -100
    with torch.no_grad():
        rule.step(x, torch.empty(0, dtype=torch.long))
    sae = ARCHITECTURES[name].sae(rule.config, rule.weights)
    fired = (sae.encode(x) > 0).any(0)
    assert torch.equal(rule.fired, fired)
    assert fired.any()
    assert not fired[:6].any()


def test_only_jumprelus_thresholds_feel_a_feature_near_its_threshold():
    recipe = Recipe(epochs=1, batch_size=ROWS, l0=1.0, bandwidth=0.1)
    rule, x = rule_of("jumprelu", recipe)
    rule.weights["threshold"].fill_(100.0)  # far from every pre-activation
    with torch.no_grad():
        rule.step(x, torch.empty(0, dtype=torch.long))
    assert rule.gradients["threshold"].abs().max() < 1e-10


def test_projecting_gives_unit_rows_and_no_negative_threshold():
    rule, _ = rule_of("jumprelu", Recipe(epochs=1, batch_size=ROWS))
    rule.weights["threshold"][:3] = -1.0
    rule.project()
    assert (rule.weights["threshold"] >= 0).all()
    torch.testing.assert_close(rule.weights["W_dec"].norm(dim=1),
                               torch.ones(D_SAE, dtype=torch.float64))
