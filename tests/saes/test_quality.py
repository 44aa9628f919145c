"""Quality of an SAE on rows, against the same by hand and in one piece."""

import numpy as np
import pytest
import torch

from deception_saes.saes.config import SaeConfig, SaeError
from deception_saes.saes.quality import divergence, quality
from deception_saes.saes.registry import ARCHITECTURES, architecture, build

D_IN = 6


def identity(d_in=D_IN, b_dec=0.0):
    """A JumpReLU SAE that gives back what it is given: one feature a sign of each coordinate."""
    eye = torch.eye(d_in)
    decoder = torch.cat([eye, -eye])
    zeros = torch.zeros(2 * d_in)
    return build(SaeConfig("jumprelu", d_in, 2 * d_in), {
        "W_enc": decoder.T.contiguous(), "W_dec": decoder, "b_enc": zeros, "threshold": zeros,
        "b_dec": torch.zeros(d_in) + b_dec})


def constant(value_D):
    """An SAE none of whose features is ever active."""
    sae = identity(len(value_D), value_D)
    return build(sae.config, {**sae.weights, "threshold": torch.full((2 * len(value_D),), 1e30)})


def random_sae(name, d_sae=20, b_dec=0.0):
    config = SaeConfig(name, D_IN, d_sae, 3 if name == "topk" else None)
    random = torch.Generator().manual_seed(1)
    weights = {n: 0.4 * torch.randn(*shape, generator=random)
               for n, shape in architecture(name).sae.shapes(config).items()}
    weights["b_dec"] += b_dec
    return build(config, weights)


@pytest.fixture(scope="module")
def x():
    """Whole numbers, of which the mean is exact, and more than go through at once."""
    random = torch.Generator().manual_seed(0)
    half = torch.randint(-8, 9, (1280, D_IN), generator=random).float()
    return torch.cat([half, 4.0 - half])[torch.randperm(2560, generator=random)]


def test_predicting_the_mean_explains_exactly_nothing(x):
    found = quality(constant(x.double().mean(0).float()), x)
    assert found.explained_variance == 0.0
    assert (found.l0, found.dead_share) == (0.0, 1.0)
    assert found.mse == pytest.approx(x.double().numpy().var(axis=0).mean())


def test_a_perfect_reconstruction_explains_all(x):
    found = quality(identity(), x)
    assert (found.explained_variance, found.mse, found.dead_share) == (1.0, 0.0, 0.0)
    assert found.l0 == pytest.approx((x != 0).sum(1).double().mean())


def test_worse_than_the_mean_is_below_zero(x):
    assert quality(constant(x.mean(0) + 100), x).explained_variance < -1


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("rows", [2, 1023, 1024, 1025, 2560])
def test_rows_in_parts_give_what_they_give_in_one_piece(x, name, rows):
    sae, x = random_sae(name), x[:rows]
    found = quality(sae, x)
    features = sae.encode(x)
    error = (x.double() - sae.decode(features).double()).square().sum(1).numpy()
    spread = ((x.double() - x.double().mean(0)) ** 2).sum(1).numpy()
    active = (features > 0).double().numpy()
    assert found.error_N == pytest.approx(error, rel=1e-4)
    assert found.spread_N == pytest.approx(spread, rel=1e-12)
    assert found.active_N.tolist() == active.sum(1).tolist()
    assert found.density_S == pytest.approx(active.mean(0), rel=1e-12)
    assert found.explained_variance == pytest.approx(1 - error.sum() / spread.sum(), rel=1e-6)
    assert found.mse == pytest.approx(error.mean() / D_IN, rel=1e-6)
    assert found.l0 == pytest.approx(active.sum(1).mean())
    assert found.dead_share == pytest.approx((active.sum(0) == 0).mean())


def test_a_large_offset_costs_no_digits():
    random = torch.Generator().manual_seed(2)
    noise = torch.randint(-64, 65, (3000, D_IN), generator=random) / 64
    found = quality(constant(torch.full((D_IN,), 1e4)), noise + 1e4)  # float32 holds both exactly
    exact = noise.double().numpy()
    spread = ((exact - exact.mean(0)) ** 2).sum()
    assert found.spread_N.sum() == pytest.approx(spread, rel=1e-9)
    assert found.error_N.sum() == pytest.approx((exact**2).sum(), rel=1e-9)
    assert found.explained_variance == pytest.approx(1 - (exact**2).sum() / spread, rel=1e-6)


def test_l0_density_and_dead_share_by_hand():
    # features: +a, +b, -a, -b
    rows = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0], [2.0, 0.0]])
    found = quality(identity(2), rows)
    assert found.active_N.tolist() == [2, 2, 1, 1]
    assert found.density_S.tolist() == [0.75, 0.5, 0.0, 0.25]
    assert (found.l0, found.dead_share) == (1.5, 0.25)


@pytest.mark.parametrize("shape", [(1, D_IN), (0, D_IN), (D_IN,), (2, 2, D_IN)])
def test_fewer_than_two_rows_are_an_error(shape):
    with pytest.raises(SaeError, match="at least two rows"):
        quality(identity(), torch.ones(shape))


@pytest.mark.parametrize("rows", [2, 3, 1500])
@pytest.mark.parametrize("value", [0.0, 0.1, -1234.567])
def test_rows_that_are_all_the_same_are_an_error(rows, value):
    with pytest.raises(SaeError, match=f"all {rows} rows"):
        quality(identity(), torch.full((rows, D_IN), value))


def log_p(seed):
    logits = torch.randn(5, 30, generator=torch.Generator().manual_seed(seed)).double()
    return torch.log_softmax(3 * logits, dim=-1)


def test_equal_distributions_do_not_diverge():
    assert divergence(log_p(0), log_p(0)).tolist() == [0.0] * 5


def test_divergence_is_kullback_and_leiblers_of_each_prompt():
    clean, other = log_p(0), log_p(1)
    expected = torch.nn.functional.kl_div(other, clean, reduction="none", log_target=True).sum(1)
    found = divergence(clean, other)
    assert isinstance(found, np.ndarray)
    assert found == pytest.approx(expected.numpy())
    assert (found > 0).all()
    assert found != pytest.approx(divergence(other, clean))  # the clean one comes first
