"""A batch in blocks of samples that fit a core's cache."""

import torch
from torch import Tensor


def block_slices(x_ncs: Tensor, values: int) -> list[slice]:
    """Slices of the batch ``(N, C, S)`` with about ``values`` values for each thread; on other devices than the
    CPU, one slice."""
    if x_ncs.device.type != "cpu":
        return [slice(0, len(x_ncs))]
    size = max(1, values * torch.get_num_threads() // x_ncs[0].numel())
    return [slice(start, min(start + size, len(x_ncs))) for start in range(0, len(x_ncs), size)]
