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
from uan_da.norms.uan.kernels.layout import channels_last
from uan_da.norms.uan.kernels.parallel import threads

_NUMBERS: dict[torch.dtype, type] = {torch.float32: np.float32, torch.float64: np.float64}
_Addresses = ctypes.c_int64 * 10


def moments(x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """m, less the shift, and v of samples, ``(N, C)``; without a gradient."""
    n, c = x.shape[:2]
    stats, shift = x.new_empty(2, n, c), shift.contiguous()
    run = training_cpu.moments(_NUMBERS[x.dtype], channels_last(x))
    run(x.data_ptr(), shift.data_ptr(), stats.data_ptr(), n, c, x.numel() // (n * c), threads())
    return stats[0], stats[1]


def train(
    x: Tensor,
    state: Sequence[Tensor],
    given: tuple[Tensor | None, Tensor | None, Tensor | None],
    takes_step: bool,
    maths: tuple[float | None, ...],
    outputs: tuple[Tensor, ...],
    into: Sequence[Tensor | None],
) -> None:
    """Fill ``outputs``: y, the new state, what is kept for the backward, and the evidence.

    ``state`` are nine tensors of a layer in the order of :mod:`~uan_da.norms.uan.kernels.mixture_cpu`; they, and γ, β
    and the evidence ``given``, are of the type of x and dense. ``maths`` are eps, balance, sharpness, without which
    elements are assigned, momentum and η. ``into`` are tensors that get the new state, in the same order, and the count
    of batches.
    """
    (n, c), k = x.shape[:2], state[0].shape[0]
    eps, balance, sharpness, momentum, em_rate = maths
    before, after = _Addresses(*_at(*state)), _Addresses(*_at(*into))
    forward, _ = _kernels(x, sharpness, k)
    forward(
        *_at(x, *given), ctypes.addressof(before), ctypes.addressof(after), *_at(*outputs),
        n, c, x.numel() // (n * c), k, state[6].shape[1], takes_step, threads(),
        eps, balance, sharpness or 0.0, -1.0 if momentum is None else momentum, em_rate,
    )  # fmt: skip


def train_gradient(
    g: tuple[Tensor, Tensor | None], x: Tensor, weight: Tensor | None, kept: tuple[Tensor, Tensor],
    maths: tuple[float | None, ...], gradients: tuple[Tensor, ...],
) -> None:  # fmt: skip
    """Fill the gradients of x, μ, log σ², λ's logits, γ, β and the evidence given. ``g`` are those of y and of the
    evidence, ``kept`` the new state and what was kept beside it, ``maths`` eps, balance and sharpness."""
    (n, c), k = x.shape[:2], gradients[1].shape[0]
    eps, balance, sharpness = maths
    _, backward = _kernels(x, sharpness, k)
    backward(
        *_at(*g, x, weight, *kept, *gradients), n, c, x.numel() // (n * c), k, threads(), eps, balance, sharpness or 0.0
    )


def _at(*tensors: Tensor | None) -> list[int]:
    """Addresses, 0 where there is no tensor."""
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]


def compile_kernels(dtype: torch.dtype, last: bool, assignment: str | None, clusters: int) -> None:
    """Compile what :func:`train` and its gradient need, or without an assignment :func:`moments`; raise whatever Numba
    raises."""
    if assignment is None:
        training_cpu.moments(_NUMBERS[dtype], last or None)
    else:
        _kernels_of(dtype, last or None, assignment, clusters)


def _kernels(x: Tensor, sharpness: float | None, clusters: int) -> tuple[Any, Any]:
    return _kernels_of(x.dtype, channels_last(x), "element" if sharpness is None else "sample", clusters)


def _kernels_of(dtype: torch.dtype, last: bool | None, assignment: str, clusters: int) -> tuple[Any, Any]:
    clusters = clusters if assignment == "element" else 1
    found: tuple[Any, Any] = training_cpu.kernels(_NUMBERS[dtype], last, assignment, clusters)
    return found
