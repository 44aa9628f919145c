"""Products over the entries that are not zero against the dense ones."""

import math

import pytest
import torch

from deception_saes.saes import products
from deception_saes.saes.products import Products

ROWS, FEATURES, WIDTH = 7, 12, 5


def features(active):
    random = torch.Generator().manual_seed(0)
    on = torch.rand(ROWS, FEATURES, generator=random) < active
    on[3], on[:, 5] = False, False  # a row without features, a feature without rows
    return torch.randn(ROWS, FEATURES, generator=random) * on, on


@pytest.mark.parametrize("active", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("densest", [0, 2])
@pytest.mark.parametrize("part", [1, 3 * 4 * WIDTH, None])  # bytes: a bag, three bags; all
def test_they_are_the_dense_products(active, densest, part, monkeypatch):
    monkeypatch.setattr(products, "DENSEST", densest)
    if part:
        monkeypatch.setattr(products, "CACHE", 0)
        monkeypatch.setattr(products, "PART", part)
    f, on = features(active)
    w, x = torch.randn(FEATURES, WIDTH), torch.randn(ROWS, WIDTH)
    found = Products(on)
    by_row, by_feature = torch.full((ROWS, WIDTH), 7.0), torch.full((FEATURES, WIDTH), 7.0)
    half = f * 0.5 * (f > 0)  # zero in more places than `on`
    for some in (f, half):
        torch.testing.assert_close(found.by_row(some, w, by_row), some @ w)
        torch.testing.assert_close(found.by_feature(some, x, by_feature), some.T @ x)
    back = found.back(x, w, torch.full((ROWS, FEATURES), math.nan))
    torch.testing.assert_close(back * on, (x @ w.T) * on)
    assert torch.isfinite(back).all()


@pytest.mark.parametrize(("active", "sparse"), [(0.1, True), (0.9, False)])
def test_few_features_are_added_up_and_many_are_not(active, sparse, monkeypatch):
    added = []
    monkeypatch.setattr(products, "embedding_bag", lambda *_, **__: added.append(1))
    f, on = features(active)
    Products(on).by_feature(f, torch.randn(ROWS, WIDTH), torch.empty(FEATURES, WIDTH))
    assert bool(added) == sparse


def test_other_devices_multiply_densely():
    assert Products(torch.zeros(ROWS, FEATURES, device="meta", dtype=torch.bool)).active == 1
