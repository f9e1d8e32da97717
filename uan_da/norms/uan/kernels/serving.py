"""Whether there are kernels for a tensor, and whether this machine can compile them."""

import functools
import warnings
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from uan_da.norms.uan.kernels.layout import channels_last

_WIDENED = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
_WIDENED |= {dtype: dtype for dtype in (torch.float32, torch.float64)}
"""The type in which a kernel computes."""


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
    ):
        return False
    return _work(x.device, dtype, channels_last(x), assignment, clusters)


def reads(tensors: Iterable[Tensor | None], dtype: torch.dtype, on_cpu: bool) -> bool:
    """Whether the kernels can read and write ``tensors``, numbers of ``dtype``, where they are."""
    for tensor in tensors:
        if tensor is not None and not (tensor.dtype is dtype and tensor.is_cpu is on_cpu and tensor.is_contiguous()):
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
    kernels = cpu_kernels() if device.type == "cpu" else cuda_kernels()
    if kernels is None:
        return False
    try:
        if device.type == "cpu":
            kernels.compile_kernels(dtype, last, assignment, clusters)
        else:
            kernels.try_out(device)
    except Exception as error:  # whatever a compiler, or a cache that cannot be written, may raise
        _warn(str(error).partition("\n")[0])
        return False
    return True


@functools.cache
def cpu_kernels() -> ModuleType | None:
    """Numba's kernels, None where they cannot be had."""
    try:
        from uan_da.norms.uan.kernels import cpu
    except Exception as error:  # no Numba for this machine, or no folder that can be written
        _warn(str(error).partition("\n")[0])
        return None
    return cpu


@functools.cache
def cuda_kernels() -> ModuleType | None:
    """Triton's kernels, None where they cannot be had."""
    try:
        from uan_da.norms.uan.kernels import cuda
    except Exception as error:  # no Triton for this machine
        _warn(str(error).partition("\n")[0])
        return None
    return cuda


def kernels_of(x: Tensor) -> ModuleType:
    """Those that serve ``x``."""
    kernels = cpu_kernels() if x.is_cpu else cuda_kernels()
    assert kernels is not None
    return kernels


@functools.cache
def _warn(reason: str) -> None:
    """Once for each reason."""
    warnings.warn(f"UAN runs without its kernels, which is slower ({reason})", RuntimeWarning, stacklevel=2)
