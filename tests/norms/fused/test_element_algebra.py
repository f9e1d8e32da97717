"""The algebra of element assignment and its hand-derived backward against autograd on the plain formulas."""

from typing import Any

import pytest
import torch
from torch import Tensor

from uan_da.norms.fused import element_algebra
from uan_da.norms.fused.element_algebra import coefficients_of
from uan_da.norms.fused.element_passes import PLAIN
from uan_da.norms.reference import Mixture

EPS = 1e-2


def draw(n: int, c: int, k: int, seed: int = 0) -> list[Any]:
    """x, μ, σ², log λ, g, β."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    clusters = [randn(k, c), randn(k, c).exp(), randn(k).log_softmax(0)]
    return [randn(n, c, 4), *clusters, randn(c), randn(c)]


def by_hand(inputs: list[Any], d_slope: Tensor, d_offset: Tensor) -> list[Any]:
    """α, δ, the moments, ∂S, and the gradients of σ², g, β that do not come through the passes."""
    x, *clusters, gain, bias = inputs
    mixture, values = Mixture(*clusters), x.numel() // x.shape[1]
    coefficients = coefficients_of(mixture, torch.zeros_like(x[0, :, 0]), EPS)
    sums = PLAIN.sums(x, coefficients)
    rstd = coefficients.rstd
    slope, offset, moments, trace = element_algebra.forward(sums, values, mixture, rstd, gain, bias, EPS)
    d_sums, d_square, d_gain = element_algebra.backward(d_slope, d_offset, slope, trace)
    _, d_var, _ = element_algebra.of_clusters(torch.zeros_like(d_sums), d_square, rstd, EPS, trace)
    return [slope, offset, *moments, d_sums, d_var, d_gain.sum(0), d_offset.sum(0)]


def by_autograd(inputs: list[Any], d_slope: Tensor, d_offset: Tensor) -> list[Any]:
    """The same, without moments."""
    x, mean, var, log_prior, gain, bias = inputs
    var, gain, bias = (p.clone().requires_grad_() for p in (var, gain, bias))
    mixture, values = Mixture(mean, var, log_prior), x.numel() // x.shape[1]
    coefficients = coefficients_of(mixture, torch.zeros_like(x[0, :, 0]), EPS)
    sums = PLAIN.sums(x, coefficients).detach().requires_grad_()
    maps = element_algebra.plain(sums, values, mixture, coefficients, gain, bias, EPS)
    return [*maps, *[None] * 4, *torch.autograd.grad(maps, (sums, var, gain, bias), (d_slope, d_offset))]


def check(inputs: list[Any]) -> list[Any]:
    torch.manual_seed(1)
    d_slope, d_offset = torch.randn(2, *inputs[1].shape, dtype=torch.float64)
    hand = by_hand(inputs, d_slope, d_offset)
    for i, expected in enumerate(by_autograd(inputs, d_slope, d_offset)):
        if expected is not None:
            torch.testing.assert_close(hand[i], expected, atol=1e-11, rtol=1e-9, msg=lambda text, i=i: f"{i}: {text}")
    return hand


@pytest.mark.parametrize("k", range(1, 9))
@pytest.mark.parametrize(("n", "c"), [(7, 5), (1, 3), (6, 1), (1, 1)])
def test_it_is_the_plain_algebra(n: int, c: int, k: int) -> None:
    check(draw(n, c, k, seed=k))


def test_the_moments_are_those_of_the_values() -> None:
    inputs = draw(6, 4, 3)
    x, *clusters = inputs[:4]
    tau = torch.stack(
        [
            clusters[2][k] + torch.distributions.Normal(clusters[0][k], (clusters[1][k] + EPS).sqrt()).log_prob(x.mT)
            for k in range(3)
        ]
    ).softmax(0)
    mass = tau.sum((1, 2))
    mean = (tau * x.mT).sum((1, 2)) / mass
    var = (tau * (x.mT - mean[:, None, None]).square()).sum((1, 2)) / mass
    for found, expected in zip(check(inputs)[2:6], (mean, var, mass / 24, mass), strict=True):
        torch.testing.assert_close(found, expected)


def test_starved_clusters_are_their_learned_moments() -> None:
    """Some channels of some clusters have hardly a value; the gradient of σ² that is left to the passes is theirs."""
    inputs = draw(8, 4, 3)
    inputs[1][0, :2] += 12.0
    inputs[1][1, 3] -= 15.0
    _, _, mean, var, mass, _ = check(inputs)[:6]
    starved = mass < 1e-3
    assert starved.sum() == 3
    assert mass[starved].min() > 0
    torch.testing.assert_close(mean[starved], inputs[1][starved], rtol=0, atol=0)
    torch.testing.assert_close(var[starved], inputs[2][starved], rtol=0, atol=0)
