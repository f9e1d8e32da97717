"""How activations lie in memory, as the kernels read them."""

import torch
from torch import Tensor


def dense_format(x: Tensor) -> torch.memory_format:
    """The layout of ``x`` ``(N, C, …)`` among the two that kernels read; other strides are copied into the first."""
    channels_last_format = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    if x.is_contiguous() or channels_last_format is None or not x.is_contiguous(memory_format=channels_last_format):
        return torch.contiguous_format
    return channels_last_format


def channels_last(x: Tensor) -> bool | None:
    """Whether channels come last in the memory of a dense ``x``, else None; a single position is read as such."""
    return not x.is_contiguous() or x.shape[0] * x.shape[1] == x.numel() or None
