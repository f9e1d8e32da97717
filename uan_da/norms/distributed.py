"""Sums over the processes of ``torch.distributed``; with one process, nothing."""

from typing import Any

import torch
from torch import Tensor, distributed

from uan_da.norms.uan.mixture import Moments


def is_distributed() -> bool:
    """Whether there is more than one process."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of ``x`` over all processes, also for the gradient: that of the sum of the processes' losses."""
    return _Sum.apply(x) if is_distributed() else x


@torch.no_grad()
def pool(moments: Moments) -> Moments:
    """The moments of all processes' batches together; without gradient."""
    if not is_distributed():
        return moments
    tiny = torch.finfo(moments.values.dtype).tiny
    batch = (moments.values / moments.mass.clamp_min(tiny)).amax()
    values = sum_over_processes(moments.values)
    share = moments.values / values.clamp_min(tiny)
    mean = sum_over_processes(share * moments.mean)
    var = sum_over_processes(share * (moments.var + (moments.mean - mean).square()))
    return Moments(mean, var, values / sum_over_processes(batch).clamp_min(1.0), values)


class _Sum(torch.autograd.Function):
    """All-reduce whose backward is an all-reduce."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return sum_over_processes(gradient)
