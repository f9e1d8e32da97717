"""Sums over the processes of ``torch.distributed``; with one process, nothing."""

from collections.abc import Sequence
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
def average_over_processes_(tensors: Sequence[Tensor]) -> None:
    """The mean of each tensor over all processes, in its place: one sum for all of a type."""
    if not is_distributed():
        return
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        same = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in same])
        distributed.all_reduce(flat)
        means = torch.split(flat / distributed.get_world_size(), [tensor.numel() for tensor in same])
        for tensor, mean in zip(same, means, strict=True):
            tensor.copy_(mean.view(tensor.shape))


def averaged_over_processes(*named: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Numbers by name, each the mean over all processes, without gradient."""
    if not is_distributed():
        return list(named)
    numbers = [number for values in named for number in values.values()]
    device = numbers[0].device
    means = torch.stack([number.detach().to(device, torch.float32) for number in numbers])
    average_over_processes_([means])
    each = iter(means.unbind())
    return [{name: next(each) for name in values} for values in named]


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
