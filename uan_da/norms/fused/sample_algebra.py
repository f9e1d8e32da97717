r"""The small algebra of sample assignment, between the passes over the activations, with its backward derived by hand.

As ordinary operations this takes longer than the passes do, because every one of its tensors is small: what counts is
the number of operations. From the moments m, v of each sample and channel, with
:math:`r = 1/(σ^2 + ε)`, :math:`D = m - μ`, :math:`P = v + D^2` and :math:`h = -T/2C`,

.. math:: τ &= \mathrm{softmax}_k(\log λ_k + h \sum_c (P r - \log r)), \quad p = τ / \sum_n τ \\
   a &= \sum_n p\, m, \quad E = m - a, \quad b = \sum_n p\, (v + E^2) \\
   s &= g / \sqrt{b + ε}, \quad A = \sum_k τ s, \quad B = β - \sum_k τ a s

All is centred, at μ or at a. A starved cluster has p = 0, and (μ, σ²) in place of (a, b). Backward, with the gradients
of A and B,

.. math:: ∂s &= \sum_n τ\, ∂A - a \sum_n τ\, ∂B, \quad ∂a = -s \sum_n τ\, ∂B, \quad ∂b = -\tfrac12 ∂s\, s / (b + ε) \\
   ∂τ &= \sum_c (s\, ∂A - a s\, ∂B) + (\sum_n τ)^{-1} \sum_c (E\, ∂a + (v + E^2 - b)\, ∂b) \\
   ∂\ell &= τ (∂τ - \sum_j τ_j ∂τ_j), \quad ∂\log λ = \sum_n ∂\ell \\
   ∂v &= \sum_k (p\, ∂b + h\, ∂\ell\, r), \quad ∂m = 2 m\, ∂v + \sum_k (p (∂a - 2 a\, ∂b) - 2 h\, ∂\ell\, r μ) \\
   ∂μ &= -2 h r \sum_n ∂\ell\, D, \quad ∂σ^2 = h r \sum_n ∂\ell\, (1 - P r)

where :math:`\sum_n p\, E = 0` has been used, and ∂a, ∂b of a starved cluster go to ∂μ, ∂σ².

Shapes: ``k`` is the first axis: τ ``(K, N)``, D, P and E ``(K, N, C)``; of a sum over the others ``(K, 1)``.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from uan_da.norms import reference
from uan_da.norms.reference import MIN_MASS, Mixture


class Layer(NamedTuple):
    """What a layer has beside its clusters: the gain g = f γ, which broadcasts over ``(K, C)``, None is 1; β ``(C,)``,
    None is 0; ε; T."""

    gain: Tensor | None
    bias: Tensor | None
    eps: float
    temperature: float

    def h(self, channels: int) -> float:
        """−T/2C."""
        return -0.5 * self.temperature / channels


class Trace(NamedTuple):
    """What the forward leaves for the backward, in this order: r, D, P, τ; (Στ)⁻¹, or 0 where it is starved; whether it
    is; p, a, b, E, v + E²; 1/√(b + ε), s, a s."""

    precision_kc: Tensor
    centred_knc: Tensor
    squares_knc: Tensor
    tau_kn: Tensor
    inverse_k1: Tensor
    starved_k1: Tensor
    share_kn: Tensor
    mean_kc: Tensor
    var_kc: Tensor
    mode_centred_knc: Tensor
    mode_squares_knc: Tensor
    rstd_kc: Tensor
    scale_kc: Tensor
    shift_kc: Tensor


class Gradients(NamedTuple):
    """2 ∂v / S and (∂m − 2 m ∂v) / S ``(N, C)``, what the last pass over the activations wants; ∂μ, ∂σ² ``(K, C)``,
    ∂log λ ``(K,)``; ∂g. ∂β is the sum of B's, whatever else there is."""

    spread_nc: Tensor
    offset_nc: Tensor
    mean_kc: Tensor
    var_kc: Tensor
    log_prior_k: Tensor
    gain: Tensor | None


def plain(mean_nc: Tensor, var_nc: Tensor, mixture: Mixture, layer: Layer) -> tuple[Tensor, Tensor]:
    """A and B by the formulas of :mod:`uan_da.norms.reference`."""
    tau_nk = reference.sample_responsibilities(mean_nc, var_nc, mixture, layer.eps, layer.temperature)
    moments = reference.sample_moments(tau_nk, mean_nc, var_nc, 1, lambda part: part)
    moments = reference.with_fallback(moments, mixture)
    return reference.sample_map(tau_nk, moments.mean, moments.var, layer.gain, layer.bias, layer.eps)


def forward(mean_nc: Tensor, var_nc: Tensor, mixture: Mixture, layer: Layer) -> tuple[Tensor, Tensor, Tensor, Trace]:
    """A, B, Στ ``(K, 1)``, and the trace, which has (a, b)."""
    precision_kc, about_mu, tau_kn = _responsibilities(mean_nc, var_nc, mixture, layer)
    sum_k1, masses, (mean_kc, var_kc), about_a = _moments(mean_nc, var_nc, mixture, tau_kn)
    rstd_kc = (var_kc + layer.eps).rsqrt_()
    scale_kc = rstd_kc if layer.gain is None else rstd_kc * layer.gain
    shift_kc = mean_kc * scale_kc
    tau_nk = tau_kn.t()
    slope_nc, offset_nc = torch.mm(tau_nk, scale_kc), torch.mm(tau_nk, shift_kc)
    if layer.bias is None:
        offset_nc.neg_()
    else:
        torch.sub(layer.bias, offset_nc, out=offset_nc)
    trace = Trace(precision_kc, *about_mu, tau_kn, *masses, mean_kc, var_kc, *about_a, rstd_kc, scale_kc, shift_kc)
    return slope_nc, offset_nc, sum_k1, trace


def _responsibilities(
    mean_nc: Tensor, var_nc: Tensor, mixture: Mixture, layer: Layer
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """r; D, P; τ."""
    var_kc = mixture.var + layer.eps
    precision_kc = var_kc.reciprocal()
    centred_knc = mean_nc - mixture.mean.unsqueeze(1)
    squares_knc = torch.addcmul(var_nc, centred_knc, centred_knc)
    h = layer.h(mean_nc.shape[1])
    bias_k = torch.add(mixture.log_prior, var_kc.log_().sum(1), alpha=h)
    # No matrix product: in reduced precision (TF32), times T, it would move τ.
    distance_kn = (squares_knc * precision_kc.unsqueeze(1)).sum(2)
    tau_kn = torch.add(bias_k.unsqueeze(1), distance_kn, alpha=h).softmax(0)
    return precision_kc, (centred_knc, squares_knc), tau_kn


def _moments(
    mean_nc: Tensor, var_nc: Tensor, mixture: Mixture, tau_kn: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Στ; then, as in the trace, its inverse, whether it is starved, p; a, b; E, v + E²."""
    sum_k1 = tau_kn.sum(1, keepdim=True)
    inverse_k1 = torch.threshold(sum_k1, MIN_MASS * len(mean_nc), math.inf).reciprocal_()  # 1/∞ is 0
    starved_k1 = inverse_k1 == 0
    share_kn = tau_kn * inverse_k1
    mean_kc = torch.mm(share_kn, mean_nc)
    centred_knc = mean_nc - mean_kc.unsqueeze(1)
    squares_knc = torch.addcmul(var_nc, centred_knc, centred_knc)
    var_kc = torch.bmm(share_kn.unsqueeze(1), squares_knc).squeeze(1)
    mean_kc, var_kc = torch.where(starved_k1, mixture.mean, mean_kc), torch.where(starved_k1, mixture.var, var_kc)
    return sum_k1, (inverse_k1, starved_k1, share_kn), (mean_kc, var_kc), (centred_knc, squares_knc)


def backward(
    d_slope: Tensor, d_offset: Tensor, mean_kc: Tensor, layer: Layer, trace: Trace, positions: int
) -> Gradients:
    """Gradients of everything from those of A and B; ``mean_kc`` is μ, S the number of ``positions``."""
    h = layer.h(trace.mean_kc.shape[1])
    over_offset = torch.mm(trace.tau_kn, d_offset)
    d_scale = torch.addcmul(torch.mm(trace.tau_kn, d_slope), trace.mean_kc, over_offset, value=-1).mul_(trace.rstd_kc)
    minus_d_mean = over_offset.mul_(trace.scale_kc)
    minus_2_d_var = torch.mul(d_scale, trace.scale_kc).mul_(trace.rstd_kc)
    d_logits = _through_softmax(d_slope, d_offset, minus_d_mean, minus_2_d_var, trace)
    d_prior_k = d_logits.sum(1)
    return Gradients(
        *_of_samples(d_logits, minus_d_mean, minus_2_d_var, mean_kc, h, trace, 1 / positions),
        *_of_clusters(d_logits, d_prior_k, minus_d_mean, minus_2_d_var, h, trace),
        d_prior_k,
        None if layer.gain is None else d_scale.sum_to_size(layer.gain.shape),
    )


def _through_softmax(
    d_slope: Tensor, d_offset: Tensor, minus_d_mean: Tensor, minus_2_d_var: Tensor, trace: Trace
) -> Tensor:
    """∂ℓ."""
    minus_2_d_var_k1c = minus_2_d_var.unsqueeze(1)
    constant_k11 = torch.bmm(minus_2_d_var_k1c, trace.var_kc.unsqueeze(2))
    d_tau = torch.baddbmm(constant_k11, minus_2_d_var_k1c, trace.mode_squares_knc.mT, beta=0.5, alpha=-0.5)
    d_tau = (
        d_tau.baddbmm_(minus_d_mean.unsqueeze(1), trace.mode_centred_knc.mT, alpha=-1).squeeze(1).mul_(trace.inverse_k1)
    )
    d_tau.addmm_(trace.scale_kc, d_slope.t()).addmm_(trace.shift_kc, d_offset.t(), alpha=-1)
    return torch._softmax_backward_data(d_tau, trace.tau_kn, 0, d_tau.dtype)


def _of_samples(
    d_logits: Tensor, minus_d_mean: Tensor, minus_2_d_var: Tensor, mean_kc: Tensor, h: float, trace: Trace, share: float
) -> tuple[Tensor, Tensor]:
    """2 ∂v, and ∂m − 2 m ∂v, times ``share``."""
    p_nk, d_logits_nk = trace.share_kn.t(), d_logits.t()
    spread_nc = torch.mm(p_nk, minus_2_d_var).addmm_(d_logits_nk, trace.precision_kc, beta=-share, alpha=2 * h * share)
    offset_nc = torch.mm(p_nk, torch.addcmul(minus_d_mean, minus_2_d_var, trace.mean_kc, value=-1))
    offset_nc.addmm_(d_logits_nk, trace.precision_kc * mean_kc, beta=-share, alpha=-2 * h * share)
    return spread_nc, offset_nc


def _of_clusters(
    d_logits: Tensor, d_prior_k: Tensor, minus_d_mean: Tensor, minus_2_d_var: Tensor, h: float, trace: Trace
) -> tuple[Tensor, Tensor]:
    """∂μ and ∂σ²."""
    d_logits_k1n, r = d_logits.unsqueeze(1), trace.precision_kc
    over = torch.bmm(d_logits_k1n, trace.centred_knc).squeeze(1)
    d_mean_kc = torch.addcmul(minus_d_mean * trace.starved_k1, over, r, value=2 * h).neg_()
    over = torch.bmm(d_logits_k1n, trace.squares_knc).squeeze(1)
    over = torch.addcmul(d_prior_k.unsqueeze(1), over, r, value=-1)
    return d_mean_kc, torch.addcmul(minus_2_d_var * trace.starved_k1, over, r, value=-2 * h).mul_(-0.5)
