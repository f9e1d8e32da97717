"""The operators on a CPU: Numba's kernels on PyTorch's memory.

Numba is imported by the first training step, and compiles a kernel once a machine, into its cache on disk.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
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


def train(
    x: Tensor, parameters: tuple[Tensor, ...], takes_step: bool, sharpness: float | None, rates: tuple[float, ...]
) -> tuple[Tensor, ...]:
    """y, the new state and priors, and what the backward needs. ``parameters`` are the state, priors, γ and β, in the
    type of x; without a sharpness, elements are assigned; ``rates`` are eps, balance, momentum and η."""
    (n, c), y = x.shape[:2], torch.empty_like(x)
    state, priors, *_ = arrays = _arrays(parameters)
    k, (eps, balance, *moving) = len(priors[0]), rates
    inputs = _array(flat(x)), channels_last(x), *arrays, takes_step, eps, balance
    new = np.empty_like(state), np.empty_like(priors)
    if sharpness is None:
        kept: tuple[Any, ...] = (np.empty((3, k, c)),)
        _element(*inputs, *moving, _each(state, k), threads(), _array(flat(y)), *new, *kept)
    else:
        kept = tuple(np.empty(shape, state.dtype) for shape in ((2, n, c), (n, k), (2, k, c), (k,)))
        _sample(*inputs, sharpness, *moving, threads(), _array(flat(y)), *new, *kept)
    return y, *map(torch.from_numpy, (*new, *kept))


def train_gradient(
    g: Tensor, x: Tensor, parameters: tuple[Tensor, ...], kept: list[Tensor], sharpness: float | None, *rates: float
) -> tuple[Tensor, ...]:
    """The gradients of x, μ and log σ², λ's logits, γ and β. ``parameters`` are the new state and priors, and γ."""
    d_x = torch.empty_like(x)
    state, priors, weight = arrays = _arrays(parameters)
    inputs = *_arrays((flat(g), flat(x))), channels_last(x), *arrays, *rates
    gradients = [np.empty_like(like) for like in (state[:2], priors[0], weight, weight)]
    outputs = *_arrays((*kept, flat(d_x))), *gradients
    if sharpness is None:
        _element_gradient(*inputs, _each(state, len(priors[0])), threads(), *outputs)
    else:
        _sample_gradient(*inputs, sharpness, threads(), *outputs)
    return d_x, *map(torch.from_numpy, gradients)


def try_out(dtype: torch.dtype, last: bool, assignment: str | None, clusters: int) -> None:
    """Compile :func:`train` and its gradient, or without an assignment :func:`moments`; raise whatever Numba raises."""
    small = torch.zeros((2, 2, 1) if last else (2, 1, 2), dtype=dtype)
    if assignment is None:
        moments(small, small[0, :, 0])
        return
    state, priors = small.new_zeros(7, clusters, small.shape[1]), small.new_zeros(2, clusters)
    one = torch.ones_like(state[0, 0])
    sharpness = 1.0 if assignment == "sample" else None
    y, new, new_priors, *kept = train(small, (state, priors, one, one), False, sharpness, (1.0, 0.0, 0.1, 0.1))
    train_gradient(y, small, (new, new_priors, one), kept, sharpness, 1.0, 0.0)


def _each(like: Any, clusters: int) -> tuple[Any, ...]:
    return (like.dtype.type(0),) * clusters


def _array(x: Tensor) -> Any:
    return x.detach().numpy()


def _arrays(tensors: Iterable[Tensor]) -> list[Any]:
    return [_array(tensor) for tensor in tensors]
