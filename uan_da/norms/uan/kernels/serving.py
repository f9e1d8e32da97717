"""Whether there are kernels for a tensor, how it lies in memory, and whether this machine can compile them."""

import functools
import warnings
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from uan_da.norms.uan.clusters import State

_WIDENED = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
_WIDENED |= {dtype: dtype for dtype in (torch.float32, torch.float64)}
"""The type in which a kernel computes."""
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def dense_format(x: Tensor) -> torch.memory_format:
    """The layout of ``x`` ``(N, C, …)`` among the two that kernels read; other strides are copied into the first."""
    last = None if x.is_contiguous() else _CHANNELS_LAST.get(x.dim())
    return last if last is not None and x.is_contiguous(memory_format=last) else torch.contiguous_format


def channels_last(x: Tensor) -> bool | None:
    """Whether channels come last in the memory of ``x``, as the kernels read it, else None; a single position is read
    as such."""
    # sizes one by one: a compiler that traces dynamic sizes gets a constant, too
    return dense_format(x) != torch.contiguous_format or all(size == 1 for size in x.shape[2:]) or None


def serves(x: Tensor, dtype: torch.dtype, assignment: str | None = None, clusters: int = 1) -> bool:
    """Whether there are kernels for ``x`` ``(N, C, …)`` and parameters of this type, and whoever looks on need not see
    plain operations. Without an assignment, those for the moments of samples, on a CPU alone."""
    here = x.is_cpu or (x.is_cuda and assignment is not None)
    if not here or x.dim() < 3 or _WIDENED.get(x.dtype) is not dtype or x.numel() == 0:
        return False
    if not torch.compiler.is_compiling() and (
        x.layout is not torch.strided
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    ):
        return False
    return _work(x.device, dtype, channels_last(x), assignment, clusters)


def reads(state: State, x: Tensor, assignment: str, clusters: int) -> bool:
    """Whether the kernels can read and write a layer's tensors where they are; a weight that is pruned, parametrized or
    replaced may have any type, strides and shape."""
    k, c, dtype, on_cpu = clusters, x.shape[1], state.step.mean.dtype, x.is_cpu
    of_clusters = (k, c), (k, c), (k,)
    tensors: tuple[Tensor | None, ...] = (*state.clusters, *state.affine, *state.step)
    shapes: tuple[tuple[int, ...], ...] = (*of_clusters, (c,), (c,), *of_clusters)
    if state.running is not None:
        *moments, count = state.running
        if count.dtype is not torch.int64 or count.is_cpu is not on_cpu or count.numel() != 1:
            return False
        tensors, shapes = (*tensors, *moments), (*shapes, (k, c), (k, c), (k, 1 if assignment == "sample" else c))
    for tensor, shape in zip(tensors, shapes, strict=True):
        if tensor is None:
            continue
        if not (tensor.dtype is dtype and tensor.is_cpu is on_cpu and tensor.is_contiguous() and tensor.shape == shape):
            return False
    return True


def _work(*kernels: Any) -> bool:
    """Whether Numba or Triton can compile them, before anything depends on them."""
    return _compiled(*kernels)


_work._dynamo_marked_constant = True  # type: ignore[attr-defined]  # torch.compiler.assume_constant_result, not imported


@functools.cache
def _compiled(
    device: torch.device, dtype: torch.dtype, last: bool | None, assignment: str | None, clusters: int
) -> bool:
    kernels = kernels_on(device.type)
    if kernels is None:
        return False
    try:
        kernels.prepare(device, dtype, last, assignment, clusters)
    except Exception as error:  # whatever a compiler, or a cache that cannot be written, may raise
        _warn(str(error).partition("\n")[0])
        return False
    return True


@functools.cache
def kernels_on(device: str) -> Any:
    """Numba's kernels of a ``cpu`` or Triton's of ``cuda``, None where they cannot be had."""
    try:
        return import_module(f"uan_da.norms.uan.kernels.{device}")
    except Exception as error:  # no Numba or Triton for this machine, or no folder that can be written
        _warn(str(error).partition("\n")[0])
        return None


@functools.cache
def _warn(reason: str) -> None:
    """Once for each reason."""
    warnings.warn(f"UAN runs without its kernels, which is slower ({reason})", RuntimeWarning, stacklevel=2)
