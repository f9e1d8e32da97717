r"""The small algebra of element assignment, between the passes over the activations, with its backward derived by hand.

In the clusters' own units, :math:`z = (x - μ)\, r`, :math:`r = (σ^2 + ε)^{-1/2}`, and from the sums
:math:`S_j = \sum τ z^j` of the first pass, with :math:`i = 1/S_0`,

.. math:: z_1 = S_1 i, \quad z_2 = S_2 i, \quad q = z_2 - z_1^2 + ε r^2, \quad α = g / \sqrt{q}, \quad δ = β - α z_1

are the coefficients of the second, :math:`y = \sum_k τ_k (α_k z_k + δ_k)`. A starved cluster has i = 0 and q = 1, which
is (μ, σ²) in place of the moments. Backward, with the gradients of α and δ from the third pass,

.. math:: ∂α' &= ∂α - z_1 ∂δ, \quad ∂q = -\tfrac12 ∂α' α / q, \quad ∂g = ∂α' / \sqrt{q} \\
   ∂S_1 &= -i (α ∂δ + 2 z_1 ∂q), \quad ∂S_2 = i ∂q, \quad ∂S_0 = -(z_1 ∂S_1 + z_2 ∂S_2)

for the fourth; its sums of ∂z, ∂z z and ∂b give those of the clusters, as b = log λ + log r:

.. math:: ∂μ = -r \sum ∂z, \quad ∂\log λ = \sum_c \sum ∂b, \quad
   ∂σ^2 = -\tfrac12 r^2 (\sum ∂z z + \sum ∂b + 2 ε r^2 ∂q)

Shapes: ``(K, C)``; sums ``(3, K, C)``.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from uan_da.norms.fused.element_passes import Coefficients
from uan_da.norms.reference import MIN_MASS, Mixture, Moments, Reduce, with_fallback


class Trace(NamedTuple):
    """What the forward leaves for the backward: z_1, z_2, i, whether starved, 1/√q, r²."""

    first: Tensor
    second: Tensor
    inverse: Tensor
    starved: Tensor
    root: Tensor
    precision: Tensor


def coefficients_of(mixture: Mixture, shift_c: Tensor, eps: float) -> Coefficients:
    """μ, 1/√(σ² + ε) and log λ − ½ log(σ² + ε), for values from which no shift was taken."""
    rstd_kc = (mixture.var + eps).rsqrt()
    return Coefficients(mixture.mean + shift_c, rstd_kc, mixture.log_prior[:, None] + rstd_kc.log())


def moments_of(sums: Tensor, values: int, coefficients: Coefficients, mixture: Mixture, reduce: Reduce) -> Moments:
    """Moments of each cluster (less the shift, as the mixture's) from Στ, Στz, Στz² over ``values`` values of a
    channel; centred at μ, the clusters' moments lose no digits."""
    total = reduce(sums.new_tensor(float(values)))
    sum_kc, first_kc, second_kc = reduce(sums)
    safe_kc = sum_kc.maximum(MIN_MASS * total)
    mean_z, mean_square_z = first_kc / safe_kc, second_kc / safe_kc
    var_kc = (mean_square_z - mean_z.square()) / coefficients.rstd.square()
    return Moments(mixture.mean + mean_z / coefficients.rstd, var_kc, sum_kc / total, sum_kc)


def map_of(
    mean_kc: Tensor,
    var_kc: Tensor,
    coefficients: Coefficients,
    mixture: Mixture,
    gain: Tensor | None,
    bias_c: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    r"""Slope and offset of :math:`g (x - a) / \sqrt{b + ε} + β` in z, where (a, b) are the mean (less the shift) and
    variance that normalise. The gain g broadcasts over ``(K, C)``; None is 1."""
    scale_kc = (var_kc + eps).rsqrt()
    if gain is not None:
        scale_kc = scale_kc * gain
    offset_kc = scale_kc * (mixture.mean - mean_kc)
    return scale_kc / coefficients.rstd, offset_kc if bias_c is None else offset_kc + bias_c


def forward(
    sums: Tensor, values: int, mixture: Mixture, rstd: Tensor, gain: Tensor | None, bias_c: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Moments, Trace]:
    """α and δ, the moments, and what :func:`backward` needs."""
    mass = sums[0]
    inverse = torch.threshold(mass, MIN_MASS * values, math.inf).reciprocal_()  # 1/∞ is 0
    first, second = sums[1:] * inverse
    spread = torch.addcmul(second, first, first, value=-1)
    precision, starved = rstd.square(), inverse == 0
    root = torch.add(spread, precision, alpha=eps).masked_fill_(starved, 1.0).rsqrt_()
    slope = root if gain is None else root * gain
    offset = torch.mul(slope, first).neg_() if bias_c is None else torch.addcmul(bias_c, slope, first, value=-1)
    mean = torch.addcdiv(mixture.mean, first, rstd)
    var = torch.where(starved, mixture.var, spread.div_(precision))
    trace = Trace(first, second, inverse, starved, root, precision)
    return slope, offset, Moments(mean, var, mass / values, mass), trace


def backward(d_slope: Tensor, d_offset: Tensor, slope: Tensor, trace: Trace) -> tuple[Tensor, Tensor, Tensor]:
    """∂S, −2 ∂q and ∂g from the gradients of α and δ."""
    d_gain = torch.addcmul(d_slope, d_offset, trace.first, value=-1).mul_(trace.root)
    minus_2_d_q = torch.mul(d_gain, slope).mul_(trace.root).masked_fill_(trace.starved, 0.0)
    d_sums = slope.new_empty(3, *slope.shape)
    d_mass, d_first, d_second = d_sums
    torch.mul(minus_2_d_q, trace.first, out=d_first).addcmul_(slope, d_offset, value=-1).mul_(trace.inverse)
    torch.mul(minus_2_d_q, trace.inverse, out=d_second).mul_(-0.5)
    torch.mul(trace.first, d_first, out=d_mass).addcmul_(trace.second, d_second).neg_()
    return d_sums, minus_2_d_q, d_gain


def of_clusters(
    sums: Tensor, minus_2_d_q: Tensor, rstd: Tensor, eps: float, trace: Trace
) -> tuple[Tensor, Tensor, Tensor]:
    """∂μ, ∂σ² and ∂log λ from the sums of the last pass, and −2 ∂q."""
    d_z, d_zz, d_bias = sums
    d_var = torch.addcmul(d_zz + d_bias, minus_2_d_q, trace.precision, value=-eps).mul_(trace.precision).mul_(-0.5)
    return torch.mul(d_z, rstd).neg_(), d_var, d_bias.sum(1)


def plain(
    sums: Tensor,
    values: int,
    mixture: Mixture,
    coefficients: Coefficients,
    gain: Tensor | None,
    bias_c: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """α and δ by the moments themselves."""
    moments = with_fallback(moments_of(sums, values, coefficients, mixture, lambda part: part), mixture)
    return map_of(moments.mean, moments.var, coefficients, mixture, gain, bias_c, eps)
