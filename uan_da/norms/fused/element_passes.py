r"""The four passes over activations under element assignment.

With :math:`z_k = (x - μ_{kc})\, r_{kc}`, r = 1/√(σ² + ε), a responsibility is
:math:`τ_k = \mathrm{softmax}_k(b_{kc} - z_k^2/2)`, b = log λ − ½ log(σ² + ε). It is a cheap function of x, and so
it is computed in every pass and stored in none. Centred at μ_k, nothing is lost at a large offset of x.

``PLAIN`` has the passes as formulas, which autograd can differentiate and a compiler can fuse; without a compiler
they are those of :mod:`uan_da.norms.fused.element_blocks`.

Shapes: activations ``(N, C, S)``; of each channel and cluster ``(K, C)``; sums ``(3, K, C)`` or ``(2, K, C)``.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

LOG2_E = 1.4426950408889634


class Coefficients(NamedTuple):
    """μ, r and b of the clusters, ``(K, C)`` each."""

    mean: Tensor
    rstd: Tensor
    bias: Tensor


class ElementPasses(NamedTuple):
    """One way to compute them.

    ``sums(x, coefficients)``: Σ τ_k, Σ τ_k z_k, Σ τ_k z_k², over the values of a channel.
    ``mix(x, coefficients, slope, offset)``: y = Σ_k τ_k (slope_k z_k + offset_k), in the type of x.
    ``gradient_sums(g, x, coefficients)``: Σ g τ_k z_k and Σ g τ_k.
    ``gradient(g, x, coefficients, slope, offset, d_sums)``: the gradient of x, in its type, and Σ ∂z_k,
    Σ ∂z_k z_k, Σ ∂b_k, where ``d_sums`` is the gradient of ``sums``.
    """

    sums: Callable[[Tensor, Coefficients], Tensor]
    mix: Callable[[Tensor, Coefficients, Tensor, Tensor], Tensor]
    gradient_sums: Callable[[Tensor, Tensor, Coefficients], Tensor]
    gradient: Callable[[Tensor, Tensor, Coefficients, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def responsibilities(logits: list[Tensor]) -> list[Tensor]:
    """Softmax over a list; compiled, with one exponential less than it has entries, as the largest one's is 1.

    Uncompiled, to select that one costs 20 times what its exponential does."""
    return selecting_softmax(logits) if torch.compiler.is_compiling() else _softmax(logits)


def _softmax(logits: list[Tensor]) -> list[Tensor]:
    best = reduce(torch.maximum, logits)
    powers = [(logit - best).exp() for logit in logits]
    scale = 1 / _add(powers)
    return [power * scale for power in powers]


def selecting_softmax(logits: list[Tensor]) -> list[Tensor]:
    """Softmax without an exponential of the largest: each of the others lost to the largest before or after it."""
    best, beats, losers = logits[0], [], []
    for logit in logits[1:]:
        beat = logit > best
        beats.append(beat)
        losers.append(torch.where(beat, best, logit))  # a select costs less than a minimum, which looks for NaN
        best = torch.where(beat, logit, best)
    powers = [((loser - best) * LOG2_E).exp2() for loser in losers]
    winner = 1 / (1 + _add(powers)) if powers else torch.ones_like(best)
    powers = [power * winner for power in powers]
    tau = []
    for beat, power in zip(reversed(beats), reversed(powers), strict=True):
        tau.append(torch.where(beat, winner, power))
        winner = torch.where(beat, power, winner)
    return [winner, *reversed(tau)]


def _clusters(x: Tensor, coefficients: Coefficients) -> tuple[list[Tensor], list[Tensor]]:
    """τ_k and z_k of every value of ``x`` ``(N, C, S)``."""
    mean, rstd, bias = (value[:, :, None] for value in coefficients)
    z = [(x - mean[k]) * rstd[k] for k in range(len(mean))]
    return responsibilities([bias[k] - 0.5 * z_k.square() for k, z_k in enumerate(z)]), z


def _add(terms: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, terms)


def _total(rows: list[list[Tensor]]) -> Tensor:
    """Sums over batch and positions, by rows first, which is more exact."""
    return torch.stack([torch.stack([value.sum(2).sum(0) for value in row]) for row in rows])


def _sums(x_ncs: Tensor, coefficients: Coefficients) -> Tensor:
    tau, z = _clusters(x_ncs, coefficients)
    first = [t * z_k for t, z_k in zip(tau, z, strict=True)]
    return _total([tau, first, [f * z_k for f, z_k in zip(first, z, strict=True)]])


def _mix(x_ncs: Tensor, coefficients: Coefficients, slope_kc: Tensor, offset_kc: Tensor) -> Tensor:
    slope, offset = slope_kc[:, :, None], offset_kc[:, :, None]
    tau, z = _clusters(x_ncs, coefficients)
    y = _add(t * (slope[k] * z[k] + offset[k]) for k, t in enumerate(tau))
    return y.to(x_ncs.dtype)


def _gradient_sums(g_ncs: Tensor, x_ncs: Tensor, coefficients: Coefficients) -> Tensor:
    tau, z = _clusters(x_ncs, coefficients)
    weights = [g_ncs * t for t in tau]
    return _total([[w * z_k for w, z_k in zip(weights, z, strict=True)], weights])


def _gradient(
    g_ncs: Tensor,
    x_ncs: Tensor,
    coefficients: Coefficients,
    slope_kc: Tensor,
    offset_kc: Tensor,
    d_sums: Tensor,
) -> tuple[Tensor, Tensor]:
    r"""With the gradients A, B, C of the three sums: :math:`u_k = g (α_k z_k + δ_k) + A_k + B_k z_k + C_k z_k^2`,
    :math:`∂b_k = τ_k (u_k - \sum_j τ_j u_j)`, :math:`∂z_k = τ_k (g α_k + B_k + 2 C_k z_k) - z_k ∂b_k`,
    :math:`∂x = \sum_k r_k ∂z_k`."""
    g, (tau, z) = g_ncs, _clusters(x_ncs, coefficients)
    slope, offset = slope_kc[:, :, None], offset_kc[:, :, None]
    a, b, c = d_sums[:, :, :, None]
    d_tau = [g * (slope[k] * z_k + offset[k]) + a[k] + z_k * (b[k] + c[k] * z_k) for k, z_k in enumerate(z)]
    mean_d_tau = _add(t * u for t, u in zip(tau, d_tau, strict=True))
    d_bias = [t * (u - mean_d_tau) for t, u in zip(tau, d_tau, strict=True)]
    d_z = [tau[k] * (g * slope[k] + b[k] + 2 * c[k] * z[k]) - z[k] * d_bias[k] for k in range(len(z))]
    d_x = _add(coefficients.rstd[k, :, None] * d_z_k for k, d_z_k in enumerate(d_z))
    sums = _total([d_z, [d * z_k for d, z_k in zip(d_z, z, strict=True)], d_bias])
    return d_x.to(x_ncs.dtype), sums


PLAIN = ElementPasses(_sums, _mix, _gradient_sums, _gradient)
