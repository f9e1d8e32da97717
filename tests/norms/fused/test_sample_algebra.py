"""The algebra of sample assignment and its hand-derived backward against autograd on the plain formulas."""

from typing import Any

import pytest
import torch
from torch import Tensor

from uan_da.norms.fused import sample_algebra
from uan_da.norms.fused.sample_algebra import Layer
from uan_da.norms.reference import MIN_MASS, Mixture


def draw(n: int, c: int, k: int, seed: int = 0) -> list[Any]:
    """m, v, μ, σ², log λ, g, β."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    moments, clusters = [randn(n, c), randn(n, c).exp()], [randn(k, c), randn(k, c).exp(), randn(k).log_softmax(0)]
    return [*moments, *clusters, randn(c), randn(c)]


def gradients_by_hand(inputs: list[Any], d_slope: Tensor, d_offset: Tensor, options: tuple[float, float]) -> list[Any]:
    """A, B, a, b, Στ and the gradients of the inputs, without autograd."""
    mean_nc, var_nc, *clusters, gain, bias = inputs
    layer, mixture = Layer(gain, bias, *options), Mixture(*clusters)
    slope, offset, sum_k1, trace = sample_algebra.forward(mean_nc, var_nc, mixture, layer)
    found = sample_algebra.backward(d_slope, d_offset, mixture.mean, layer, trace, positions=3)
    d_mean_nc, d_var_nc = 3 * (found.offset_nc + mean_nc * found.spread_nc), 1.5 * found.spread_nc
    return [slope, offset, trace.mean_kc, trace.var_kc, sum_k1, d_mean_nc, d_var_nc, *found[2:], d_offset.sum(0)]


def gradients_by_autograd(
    inputs: list[Any], d_slope: Tensor, d_offset: Tensor, options: tuple[float, float]
) -> list[Any]:
    """The same from the formulas of the reference, where it has them, else None."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    mean_nc, var_nc, *clusters, gain, bias = inputs
    maps = sample_algebra.plain(mean_nc, var_nc, Mixture(*clusters), Layer(gain, bias, *options))
    return [*maps, None, None, None, *torch.autograd.grad(maps, inputs, (d_slope, d_offset))]


def check(inputs: list[Any], options: tuple[float, float] = (1e-3, 5.0)) -> list[Any]:
    before = [x.clone() for x in inputs]
    torch.manual_seed(1)
    d_slope, d_offset = torch.randn(2, *inputs[0].shape, dtype=torch.float64)
    hand = gradients_by_hand(inputs, d_slope, d_offset, options)
    for i, expected in enumerate(gradients_by_autograd(inputs, d_slope, d_offset, options)):
        if expected is not None:
            torch.testing.assert_close(hand[i], expected, atol=1e-11, rtol=1e-9, msg=lambda text, i=i: f"{i}: {text}")
    assert all(torch.equal(x, y) for x, y in zip(inputs, before, strict=True))  # nothing done in place
    return hand


@pytest.mark.parametrize("k", range(1, 9))
@pytest.mark.parametrize(("n", "c"), [(7, 5), (1, 3), (6, 1), (1, 1), (40, 9)])
def test_it_is_the_plain_algebra(n: int, c: int, k: int) -> None:
    check(draw(n, c, k, seed=k))


@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("eps", [1e-5, 1.0])
def test_options(temperature: float, eps: float) -> None:
    check(draw(9, 4, 3), (eps, temperature))


@pytest.mark.parametrize("dead", [(0,), (1, 2), (0, 1, 2, 3)])
def test_starved_clusters_are_their_learned_moments(dead: tuple[int, ...]) -> None:
    """Far from the data a cluster has nearly none of it; the last case leaves one that is alive."""
    inputs = draw(8, 4, 5)
    inputs[2][list(dead)] += 12.0
    *_, mean_kc, var_kc, sum_k1 = check(inputs, (1e-3, 5.0))[:5]
    starved = sum_k1[:, 0] / 8 < MIN_MASS
    assert starved[list(dead)].all()
    assert not starved.all()
    assert sum_k1[list(dead)].max() > 0  # so that what it would weigh is not nothing already
    assert torch.equal(mean_kc[starved], inputs[2][starved])
    assert torch.equal(var_kc[starved], inputs[3][starved])


@pytest.mark.parametrize("apart", [1.0, 1e2, 1e3])
def test_float32_where_clusters_are_far_apart(apart: float) -> None:
    """Centred, variances keep their digits; expanded, 1e3 standard deviations would leave none."""
    torch.manual_seed(0)
    side = apart * torch.tensor([-1.0, 1.0]).repeat(8)[:, None]
    mean_nc, var_nc = (torch.randn(16, 6) + side).float(), torch.rand(16, 6)
    mixture = Mixture(torch.randn(2, 6) + side[:2], torch.ones(2, 6), torch.tensor([0.5, 0.5]).log())
    layer = Layer(None, None, 1e-5, 10.0)
    found = sample_algebra.forward(mean_nc, var_nc, mixture, layer)[3]
    wide = Mixture(*(x.double() for x in mixture))
    exact = sample_algebra.forward(mean_nc.double(), var_nc.double(), wide, layer)[3]
    torch.testing.assert_close(found.var_kc.double(), exact.var_kc, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.tau_kn.double(), exact.tau_kn, rtol=1e-4, atol=1e-6)
