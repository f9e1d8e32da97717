"""The maths of UAN, written plainly: the definition that every faster path is held to.

Source: Faye, Azzag, Lebbah, Feng, "Unsupervised Adaptive Normalization", IJCNN 2024, arXiv:2409.04757.

Shape suffixes: ``n`` sample, ``c`` channel, ``s`` position within a sample (none, or one to three axes),
``k`` cluster. Activations are ``x_ncs``; a cluster has a mean and a variance per channel, ``(K, C)``, and one
prior, ``(K,)``.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

MIN_MASS = 1e-3
"""Mean responsibility below which a cluster has too little data for moments of its own."""

Reduce = Callable[[Tensor], Tensor]
"""Sums a tensor over all processes; the identity where there is one."""


class Mixture(NamedTuple):
    """The Gaussian mixture of a layer: ``mean`` and ``var`` ``(K, C)``, ``log_prior`` ``(K,)``."""

    mean: Tensor
    var: Tensor
    log_prior: Tensor

    def less(self, shift_c: Tensor) -> "Mixture":
        """The mixture of x less the shift."""
        return self._replace(mean=self.mean - shift_c)


class Moments(NamedTuple):
    """Responsibility-weighted moments of a batch.

    ``mean`` and ``var`` (biased) ``(K, C)``; ``mass``, the mean responsibility, and ``values``, its sum over
    the values of a channel: ``(K, 1)`` under sample assignment, ``(K, C)`` under element assignment.
    """

    mean: Tensor
    var: Tensor
    mass: Tensor
    values: Tensor


def along(x_ncs: Tensor, p_c: Tensor) -> Tensor:
    """``p``, whose last axis is the channel and whose first may be the sample or the cluster, shaped to
    broadcast: ``(C,)`` and ``(N, C)`` over ``(N, C, …)``, and ``(K, 1, C)`` over ``(K, N, C, …)``."""
    return p_c.reshape(*p_c.shape, *([1] * (x_ncs.dim() - 2)))


def affine(x_ncs: Tensor, weight_c: Tensor | None, bias_c: Tensor | None) -> Tensor:
    """γ x + β; γ is 1 and β is 0 where it is None."""
    if weight_c is not None:
        x_ncs = x_ncs * along(x_ncs, weight_c)
    return x_ncs if bias_c is None else x_ncs + along(x_ncs, bias_c)


def product(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product, on a GPU in double precision: in a training, one of float32 would be TensorFloat-32 there,
    and moments would have three digits."""
    return (a.double() @ b.double()).to(a.dtype) if a.is_cuda else a @ b


def sample_statistics(x_ncs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each sample's channels, both ``(N, C)``."""
    if x_ncs.dim() == 2:
        return x_ncs, torch.zeros_like(x_ncs)
    positions = tuple(range(2, x_ncs.dim()))
    var_nc, mean_nc = torch.var_mean(x_ncs, positions, correction=0)
    return mean_nc, var_nc


def sample_evidence(mean_nc: Tensor, var_nc: Tensor, mixture: Mixture, eps: float, sharpness: float) -> Tensor:
    r"""T times the mean log-likelihood of whole samples under each cluster, ``(N, K)``.

    .. math:: T · \mathrm{mean}_{c,s}\, ℓ_k(x_{ncs}), \quad
       ℓ_k(x) = -½[(x - μ_{kc})² / (σ²_{kc} + ε) + \log(σ²_{kc} + ε)]

    The mean of (x − μ)² over positions is (x̄ − μ)² + s², so that the sample's moments are all that is
    needed.
    """
    var_kc = mixture.var + eps
    squares_nkc = (mean_nc[:, None] - mixture.mean).square() + var_nc[:, None]
    return sharpness * (-0.5 * (squares_nkc / var_kc + var_kc.log()).mean(-1))


def sample_responsibilities(evidence_nk: Tensor, mixture: Mixture) -> Tensor:
    r"""Responsibilities of whole samples, ``(N, K)``: τ_k(n) = softmax_k(log λ_k + evidence)."""
    return F.softmax(mixture.log_prior + evidence_nk, dim=1)


def sample_moments(tau_nk: Tensor, mean_nc: Tensor, var_nc: Tensor, positions: int, reduce: Reduce) -> Moments:
    """Moments of each cluster from those of its samples, centred: E[x²] − m² would lose float32's digits."""
    total = reduce(tau_nk.new_full((), float(tau_nk.shape[0])))
    sum_k1 = reduce(tau_nk.sum(0))[:, None]
    safe_k1 = sum_k1.maximum(MIN_MASS * total.clamp_min(1.0))
    mean_kc = reduce(product(tau_nk.T, mean_nc)) / safe_k1
    squares_nkc = var_nc[:, None] + (mean_nc[:, None] - mean_kc).square()
    var_kc = reduce((tau_nk[:, :, None] * squares_nkc).sum(0)) / safe_k1
    return Moments(mean_kc, var_kc, sum_k1 / total.clamp_min(1.0), sum_k1 * positions)


def sample_map(
    tau_nk: Tensor, mean_kc: Tensor, var_kc: Tensor, gain: Tensor | None, bias_c: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    r"""Slope and offset ``(N, C)`` of one affine map per sample and channel.

    .. math:: \sum_k τ_k g_{kc} (x - a_{kc}) / \sqrt{b_{kc} + ε} + β_c

    The gain g is f γ and broadcasts over ``(K, C)``; None is 1.
    """
    scale_kc = (var_kc + eps).rsqrt()
    if gain is not None:
        scale_kc = scale_kc * gain
    offset_nc = -product(tau_nk, mean_kc * scale_kc)
    return product(tau_nk, scale_kc), offset_nc if bias_c is None else offset_nc + bias_c


def own_map(
    tau_nk: Tensor, mean_nc: Tensor, var_nc: Tensor, gain: Tensor | None, bias_c: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """The same where every sample has its own mean and variance ``(N, C)``."""
    slope_nc = (var_nc + eps).rsqrt()
    if gain is not None:
        slope_nc = slope_nc * product(tau_nk, gain.expand(tau_nk.shape[1], mean_nc.shape[1]))
    offset_nc = -mean_nc * slope_nc
    return slope_nc, offset_nc if bias_c is None else offset_nc + bias_c


def shrunk(
    mode: tuple[Tensor, Tensor], mean_nc: Tensor, var_nc: Tensor, shift_c: Tensor, rho: Tensor | float, groups: int
) -> tuple[Tensor, Tensor]:
    """Mean and variance ``(N, C)`` of each sample's ``mode``, shrunk toward those of its own channel groups:
    (1 − ρ)·mode + ρ·sample. Means are less the shift, which differs within a group."""
    n, c = mean_nc.shape
    mean_ngc, var_ngc = (mean_nc + shift_c).view(n, groups, c // groups), var_nc.view(n, groups, c // groups)
    group_mean_ng = mean_ngc.mean(-1, keepdim=True)
    group_var_ng = (var_ngc + (mean_ngc - group_mean_ng).square()).mean(-1, keepdim=True)
    own_mean_nc, own_var_nc = (own.expand_as(mean_ngc).reshape(n, c) for own in (group_mean_ng, group_var_ng))
    return (1 - rho) * mode[0] + rho * (own_mean_nc - shift_c), (1 - rho) * mode[1] + rho * own_var_nc


def gain_of(log_prior: Tensor, weight_c: Tensor | None, balance: float) -> Tensor | None:
    """f γ, which broadcasts over ``(K, C)``: f = (balance · λ)^(−½), 1 where ``balance`` is 0; None is 1."""
    if balance == 0.0:
        return weight_c
    factor_k1 = (-0.5 * (log_prior + math.log(balance))).exp()[:, None]
    return factor_k1 if weight_c is None else factor_k1 * weight_c


def element_responsibilities(x_ncs: Tensor, mixture: Mixture, eps: float) -> Tensor:
    r"""Responsibilities of single activations, as in the paper: ``(K, N, C, …)``.

    .. math:: τ_k(n,c,s) = \mathrm{softmax}_k(\log λ_k + ℓ_k(x_{ncs}))
    """
    prior = along(x_ncs, mixture.log_prior[:, None, None])
    return F.softmax(prior + _log_likelihood(x_ncs, mixture, eps), dim=0)


def position_responsibilities(x_ncs: Tensor, mixture: Mixture, eps: float) -> Tensor:
    r"""Responsibilities of positions, each a vector of channels, as in Mixture Normalization: ``(K, N, 1,
    …)``.

    .. math:: τ_k(n,s) = \mathrm{softmax}_k(\log λ_k + \sum_c ℓ_k(x_{ncs}))
    """
    prior = along(x_ncs, mixture.log_prior[:, None, None])
    return F.softmax(prior + _log_likelihood(x_ncs, mixture, eps).sum(2, keepdim=True), dim=0)


def _log_likelihood(x_ncs: Tensor, mixture: Mixture, eps: float) -> Tensor:
    """ℓ_k of every activation, ``(K, N, C, …)``."""
    mean, var = along(x_ncs, mixture.mean[:, None]), along(x_ncs, mixture.var[:, None] + eps)
    return -0.5 * ((x_ncs - mean).square() / var + var.log())


def element_moments(tau: Tensor, x_ncs: Tensor, reduce: Reduce) -> Moments:
    """Moments of each cluster and channel under ``tau`` ``(K, N, C, …)``, centred."""
    rest = (1, *range(3, tau.dim()))
    total = reduce(tau.new_full((), float(x_ncs.numel() // x_ncs.shape[1])))
    sum_kc = reduce(tau.sum(rest))
    safe_kc = sum_kc.maximum(MIN_MASS * total.clamp_min(1.0))
    mean_kc = reduce((tau * x_ncs).sum(rest)) / safe_kc
    squares = (x_ncs - along(x_ncs, mean_kc[:, None])).square()
    var_kc = reduce((tau * squares).sum(rest)) / safe_kc
    return Moments(mean_kc, var_kc, sum_kc / total.clamp_min(1.0), sum_kc)


def element_output(
    tau: Tensor,
    x_ncs: Tensor,
    mean_kc: Tensor,
    var_kc: Tensor,
    gain: Tensor | None,
    bias_c: Tensor | None,
    eps: float,
) -> Tensor:
    r"""Every activation normalised by its own mixture.

    .. math:: \sum_k τ_k g_{kc} (x - a_{kc}) / \sqrt{b_{kc} + ε} + β_c

    Gain and bias are those of :func:`sample_map`.
    """
    scale_kc = (var_kc + eps).rsqrt()
    if gain is not None:
        scale_kc = scale_kc * gain
    centred = x_ncs - along(x_ncs, mean_kc[:, None])
    parts = centred * along(x_ncs, scale_kc[:, None]) * tau  # x first, and no sum(0): both keep x's memory format
    return affine(functools.reduce(torch.add, parts.unbind()), None, bias_c)


def with_fallback(moments: Moments, mixture: Mixture) -> Moments:
    """``moments``, where a cluster that hardly any data chose is replaced by its learned mean and variance."""
    starved = moments.mass < MIN_MASS
    return moments._replace(
        mean=torch.where(starved, mixture.mean, moments.mean),
        var=torch.where(starved, mixture.var, moments.var),
    )
