"""Hand-written gradients against autograd of the loss as it is written in the papers."""

import math

import pytest
import torch

from deception_saes.saes.config import Recipe, SaeConfig
from deception_saes.saes.registry import ARCHITECTURES

ROWS, D_IN, D_SAE, K = 16, 10, 24, 5


def reference(name, weights, x, recipe, dead):
    """The loss whose gradients the rule claims to give, and the mean squared error alone."""
    projected = (x - weights["b_dec"]) @ weights["W_enc"]

    def mse(features, decoder=weights["W_dec"], bias=weights["b_dec"]):
        return (features @ decoder + bias - x).square().mean()

    if name == "topk":
        pre = projected + weights["b_enc"]
        best = pre.topk(K, dim=1)
        features = torch.zeros_like(pre).scatter(1, best.indices, best.values.relu())
        loss = mse(features)
        if len(dead):
            left = (x - (features @ weights["W_dec"] + weights["b_dec"])).detach()
            k = min(len(dead), D_IN // 2)
            few = pre[:, dead].topk(k, dim=1)
            revived = torch.zeros_like(pre[:, dead]).scatter(1, few.indices, few.values.relu())
            aux = (revived @ weights["W_dec"][dead] - left).square().mean()
            return loss + recipe.aux_weight * aux, loss
        return loss, loss
    if name == "gated":
        gate = projected + weights["b_gate"]
        magnitude = projected * weights["r_mag"].exp() + weights["b_mag"]
        features = magnitude.relu() * (gate > 0)
        aux = mse(gate.relu(), weights["W_dec"].detach(), weights["b_dec"].detach())
        l1 = gate.relu().sum(1).mean()
        return mse(features) + aux + recipe.l1 * l1, mse(features)
    pre = projected + weights["b_enc"]
    threshold, width = weights["threshold"], recipe.bandwidth
    open = (pre > threshold).detach()
    # the step smoothed by the kernel's integral, which stands in for it in the gradient alone
    smooth = 0.5 * (1 + torch.erf((pre.detach() - threshold) / (width * math.sqrt(2))))
    stand_in = smooth - smooth.detach()
    features = pre * open + (threshold.detach() * stand_in if recipe.learn_threshold else 0)
    l0 = (open + stand_in).sum(1).mean()
    target = recipe.target_l0
    penalty = l0 if target is None else target * (l0 / target - 1) ** 2
    return mse(features) + recipe.l0 * penalty, mse(features)


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
    loss, mse = reference(name, rule.weights, x, recipe, dead)
    expected = dict(zip(rule.trained, torch.autograd.grad(
        loss, [rule.weights[n] for n in rule.trained], allow_unused=True), strict=True))
    for weight in rule.weights.values():
        weight.requires_grad_(False)
    with torch.no_grad():
        found = rule.step(x, dead)
        again = {n: g.clone() for n, g in rule.gradients.items()}
        rule.step(x, dead)
    torch.testing.assert_close(found, mse.detach())
    for n in rule.trained:
        if n == "threshold" and not recipe.learn_threshold:
            assert not rule.gradients[n].any()
            continue
        torch.testing.assert_close(rule.gradients[n], expected[n], rtol=1e-9, atol=1e-12)
        assert torch.equal(rule.gradients[n], again[n])  # nothing is left over from a step


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
