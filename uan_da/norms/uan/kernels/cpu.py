"""The operators on a CPU: Numba's kernels on PyTorch's memory.

Numba is imported by the first training step, and compiles a kernel once a machine, into its cache on disk.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uan_da.norms.uan.kernels import training_cpu
from uan_da.norms.uan.kernels.parallel import threads
from uan_da.norms.uan.kernels.serving import channels_last

_NUMBERS: dict[torch.dtype, type] = {torch.float32: np.float32, torch.float64: np.float64}
_NOTHING = torch.empty(0)
"""Has the address 0."""


def moments(x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """m, less the shift, and v of samples, ``(N, C)``; without a gradient."""
    n, c = x.shape[:2]
    stats, shift = x.new_empty(2, n, c), shift.contiguous()
    run = training_cpu.moments(_NUMBERS[x.dtype], channels_last(x))
    run(x.data_ptr(), shift.data_ptr(), stats.data_ptr(), n, c, x.numel() // (n * c), threads())
    return stats[0], stats[1]


def train(
    tensors: Sequence[Tensor | None],
    x: Tensor,
    clusters: int,
    frozen: Sequence[bool],
    sets: bool,
    scalars: Sequence[float | None],
) -> None:
    """Fill the last four of ``tensors``: y, the new state, what is kept for the backward, and the evidence.

    Before them come the ten that a layer holds (:mod:`~uan_da.norms.uan.kernels.mixture_cpu`), which are also left in
    their new state where it ``sets`` them, but for the clusters' that are ``frozen``; γ, β, the evidence given, and
    ``x``. All are dense and of its type. ``scalars`` are eps, balance, sharpness, without which elements are assigned,
    momentum and η."""
    eps, balance, sharpness, momentum, em_rate = scalars
    forward, _ = _kernels(x, sharpness, clusters)
    bits = frozen[0] | frozen[1] << 1 | frozen[2] << 2
    momentum = -1.0 if momentum is None else momentum
    _call(forward, tensors, x, clusters, bits, sets, eps, balance, sharpness or 0.0, momentum, em_rate)


def train_gradient(tensors: Sequence[Tensor | None], x: Tensor, clusters: int, scalars: Sequence[float | None]) -> None:
    """Fill the last seven of ``tensors``, the gradients of x, μ, log σ², λ's logits, γ, β and the evidence given.

    Before them come the gradients of y and of the evidence, ``x``, γ, the new state and what was kept beside it;
    ``scalars`` are eps, balance and sharpness."""
    eps, balance, sharpness = scalars
    _, backward = _kernels(x, sharpness, clusters)
    _call(backward, tensors, x, clusters, eps, balance, sharpness or 0.0)


def _call(kernel: Any, tensors: Sequence[Tensor | None], x: Tensor, clusters: int, *rest: Any) -> None:
    """With the addresses of ``tensors``, 0 where there is none, and the sizes of ``x``."""
    at = (ctypes.c_int64 * len(tensors))(*map(Tensor.data_ptr, [_NOTHING if t is None else t for t in tensors]))
    n, c = x.shape[:2]
    kernel(ctypes.addressof(at), n, c, x.numel() // (n * c), clusters, threads(), *rest)


def prepare(device: torch.device, dtype: torch.dtype, last: bool | None, assignment: str | None, clusters: int) -> None:
    """Compile what :func:`train` and its gradient need, or without an assignment :func:`moments`; raise whatever Numba
    raises."""
    if assignment is None:
        training_cpu.moments(_NUMBERS[dtype], last)
    else:
        _kernels_of(dtype, last, assignment, clusters)


def _kernels(x: Tensor, sharpness: float | None, clusters: int) -> tuple[Any, Any]:
    return _kernels_of(x.dtype, channels_last(x), "element" if sharpness is None else "sample", clusters)


def _kernels_of(dtype: torch.dtype, last: bool | None, assignment: str, clusters: int) -> tuple[Any, Any]:
    clusters = clusters if assignment == "element" else 1
    found: tuple[Any, Any] = training_cpu.kernels(_NUMBERS[dtype], last, assignment, clusters)
    return found
