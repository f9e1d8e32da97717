"""The operators on a CPU: Numba's kernels on PyTorch's memory.

Numba is imported by the first training step, and compiles a kernel once a machine, into its cache on disk.
"""

from typing import Any

import torch
from torch import Tensor

from uan_da.norms.uan.kernels import element_cpu, sample_cpu
from uan_da.norms.uan.kernels.layout import channels_last, flat
from uan_da.norms.uan.kernels.parallel import threads

_moments: Any = sample_cpu.moments  # Numba's functions have no types
_sample: Any = sample_cpu.forward
_sample_gradient: Any = sample_cpu.backward
_element: Any = element_cpu.forward
_element_gradient: Any = element_cpu.backward


def moments(x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """m, less the shift, and v of samples, ``(N, C)``; without a gradient."""
    stats = x.new_empty(2, *x.shape[:2])
    _moments(_array(flat(x)), channels_last(x), _array(shift), threads(), _array(stats))
    return stats[0], stats[1]


def sample(x: Tensor, clusters: tuple[Tensor, ...], eps: float, sharpness: float) -> tuple[Tensor, ...]:
    """y; m and v of samples; τ; a and b; Στ. ``clusters`` are the shift, μ and σ², log λ, f γ, β."""
    _, parameters, log_prior, *_ = clusters
    (n, c), k = x.shape[:2], len(log_prior)
    y, stats, tau = torch.empty_like(x), parameters.new_empty(2, n, c), parameters.new_empty(n, k)
    kept = stats, tau, torch.empty_like(parameters), torch.empty_like(log_prior)
    _sample(
        _array(flat(x)), channels_last(x), *_arrays(clusters), eps, sharpness, threads(), *_arrays((flat(y), *kept))
    )
    return y, *kept


def sample_gradient(g: Tensor, x: Tensor, kept: tuple[Tensor, ...], eps: float, sharpness: float) -> tuple[Tensor, ...]:
    """The gradients of x, μ and σ², log λ, f γ and β.

    ``kept`` are the shift, m and v, τ, μ and σ², a and b, Στ, f γ."""
    shift, _, _, clusters, _, mass, gain = kept
    gradients = torch.empty_like(x), *(torch.empty_like(like) for like in (clusters, mass, gain, shift))
    outputs = _arrays((flat(gradients[0]), *gradients[1:]))
    inputs = _arrays((flat(g), flat(x)))
    _sample_gradient(*inputs, channels_last(x), *_arrays(kept), eps, sharpness, threads(), *outputs)
    return gradients


def element(x: Tensor, clusters: tuple[Tensor, ...], eps: float) -> tuple[Tensor, ...]:
    """y; Στ, Στz and Στz², in double precision; the moments. ``clusters`` as for :func:`sample`."""
    parameters = clusters[1]
    y, sums = torch.empty_like(x), parameters.new_empty(3, *parameters.shape[1:], dtype=torch.float64)
    moments = torch.empty_like(parameters)
    outputs = _arrays((flat(y), sums, moments))
    each = _each(parameters)
    _element(_array(flat(x)), channels_last(x), *_arrays(clusters), eps, each, threads(), *outputs)
    return y, sums, moments


def element_gradient(g: Tensor, x: Tensor, kept: tuple[Tensor, ...], eps: float) -> tuple[Tensor, ...]:
    """The gradients of x, μ and σ², log λ, f γ and β. ``kept`` are the shift, the sums, μ and σ², log λ, f γ, β."""
    _, _, clusters, log_prior, gain, bias = kept
    gradients = torch.empty_like(x), *(torch.empty_like(like) for like in (clusters, log_prior, gain, bias))
    outputs = _arrays((flat(gradients[0]), *gradients[1:]))
    inputs, each = _arrays((flat(g), flat(x))), _each(clusters)
    _element_gradient(*inputs, channels_last(x), *_arrays(kept), eps, each, threads(), *outputs)
    return gradients


def try_out() -> None:
    """Raise whatever Numba raises where it cannot serve."""
    sample_cpu.first_sum(_array(torch.ones(1)))


def _each(clusters: Tensor) -> tuple[Any, ...]:
    return (_array(clusters.new_zeros(1))[0],) * clusters.shape[1]


def _array(x: Tensor) -> Any:
    return x.detach().numpy()


def _arrays(tensors: tuple[Tensor, ...]) -> list[Any]:
    return [_array(tensor) for tensor in tensors]
