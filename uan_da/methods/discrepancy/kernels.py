"""Gaussian kernels between samples, and the squared maximum mean discrepancy (MMD) of two domains under a kernel."""

from typing import Literal

import torch
from torch import Tensor

from uan_da.norms.forward import widened, without_autocast

Estimator = Literal["linear", "quadratic"]
"""How :func:`mmd` estimates: from neighbours in the batch, or from all pairs."""

BANDWIDTHS = tuple(2.0**k for k in range(-3, 2))
"""Of the kernels that DAN and JAN sum, as multiples of the mean squared distance."""


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """‖x_i − y_j‖² of ``x`` ``(N, F)`` and ``y`` ``(M, F)``: ``(N, M)``, float32 or wider, never negative."""
    with without_autocast(x):
        x, y = widened(x), widened(y)
        middle = y.detach().mean(0)  # distances do not see a shift, but the rounding of x² − 2xy + y² does
        x, y = x - middle, y - middle
        squares = x.square().sum(1, keepdim=True) + y.square().sum(1)
        return (squares - 2 * (x @ y.T)).clamp_min(0)


def gaussian(distances: Tensor, variance: float | Tensor) -> Tensor:
    """exp(−d / 2σ²) of squared distances."""
    return torch.exp(-distances / (2 * variance))


def multi_gaussian(x: Tensor) -> Tensor:
    r"""The kernel matrix ``(N, N)`` of ``x`` ``(N, F)``, a sum of Gaussian kernels as wide as the data is spread.

    .. math:: k(x_i, x_j) = \sum_α \exp(−‖x_i − x_j‖² / 2ασ²), \qquad σ² = \frac{1}{N²}\sum_{ij} ‖x_i − x_j‖²

    with α in :data:`BANDWIDTHS`, and no gradient through σ². Where all samples are equal, every entry is the number of
    kernels.
    """
    distances = squared_distances(x, x)
    mean_distance = distances.detach().mean().clamp_min(torch.finfo(distances.dtype).eps ** 2)
    kernels = [gaussian(distances, alpha * mean_distance) for alpha in BANDWIDTHS]
    return torch.stack(kernels).sum(0)


def mmd(kernel: Tensor, num_source: int, estimator: Estimator) -> Tensor:
    r"""The squared MMD of two domains from the kernel matrix of all samples, the ``num_source`` of the source first.

    The expectation of both is the squared MMD of the populations, and either may be negative. ``quadratic``, over all
    pairs of two samples:

    .. math:: \frac{1}{n_S (n_S − 1)}\sum_{i≠j} k(s_i, s_j) + \frac{1}{n_T (n_T − 1)}\sum_{i≠j} k(t_i, t_j)
              − \frac{2}{n_S n_T}\sum_{ij} k(s_i, t_j)

    ``linear``, over neighbours:

    .. math:: \frac{1}{n}\sum_{i=1}^{n} k(s_i, s_{i+1}) + k(t_i, t_{i+1}) − k(s_i, t_{i+1}) − k(s_{i+1}, t_i)

    where the last sample's neighbour is the first, n = max(n_S, n_T), and the smaller domain begins again at its end:
    any two batch sizes will do, odd or unequal. A domain of one sample is paired with itself.
    """
    source, target = kernel[:num_source, :num_source], kernel[num_source:, num_source:]
    across = kernel[:num_source, num_source:]
    if estimator == "quadratic":
        return _mean_of_pairs(source) + _mean_of_pairs(target) - 2 * across.mean()
    i = torch.arange(max(across.shape), device=kernel.device)
    s, s_next = i % len(source), (i + 1) % len(source)
    t, t_next = i % len(target), (i + 1) % len(target)
    return (source[s, s_next] + target[t, t_next] - across[s, t_next] - across[s_next, t]).mean()


def _mean_of_pairs(kernel: Tensor) -> Tensor:
    """The mean beside the diagonal of a kernel matrix ``(N, N)``; of one sample the value itself."""
    n = len(kernel)
    return kernel.mean() if n == 1 else (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))
