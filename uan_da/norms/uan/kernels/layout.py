"""How activations lie in memory, as the kernels read them."""

import torch
from torch import Tensor

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
