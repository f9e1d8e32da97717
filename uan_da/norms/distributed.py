"""Sums and means over the processes of ``torch.distributed``; with one process, nothing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed

from uan_da.norms.uan.mixture import Moments

_AVAILABLE = distributed.is_available()
_alone = False


def is_distributed() -> bool:
    """Whether there is more than one process."""
    if _alone or not (_AVAILABLE and distributed.is_initialized()):
        return False
    return distributed.get_world_size() > 1


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of ``x`` over all processes, also for the gradient: that of the sum of the processes' losses."""
    return _Sum.apply(x) if is_distributed() else x


def process_count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if is_distributed() else 1


def process_number() -> int:
    """The number of this one, from 0."""
    return distributed.get_rank() if is_distributed() else 0


@contextmanager
def alone() -> Iterator[None]:
    """Inside the block this process works by itself, as if there were no other."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean of ``x`` over all processes: of means of equal parts of a batch that of the batch. Its gradient is that
    of the sum of the processes' losses, as :func:`sum_over_processes` has it."""
    return sum_over_processes(x) / process_count() if is_distributed() else x


def log_mean_over_processes(x: Tensor) -> Tensor:
    """log of the mean of exp x over all processes, with its gradient, as :func:`mean_over_processes`."""
    if not is_distributed():
        return x
    high = x.detach().clone()
    distributed.all_reduce(high, distributed.ReduceOp.MAX)
    return high + mean_over_processes((x - high).exp()).log()


def shared_rand_like(x: Tensor) -> Tensor:
    """Uniform random numbers for the share ``x`` ``(N, …)`` that this process has of a batch: those that one process
    would draw for the same images of the whole batch."""
    if not is_distributed():
        return torch.rand_like(x)
    whole = torch.rand(len(x) * process_count(), *x.shape[1:], dtype=x.dtype, device=x.device)
    return whole[process_number() :: process_count()]


@torch.no_grad()
def average_over_processes_(tensors: Sequence[Tensor]) -> None:
    """The mean of each tensor over all processes, in its place: one sum for all of a type."""
    if not is_distributed():
        return
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        same = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in same])
        distributed.all_reduce(flat)
        means = torch.split(flat / process_count(), [tensor.numel() for tensor in same])
        for tensor, mean in zip(same, means, strict=True):
            tensor.copy_(mean.view(tensor.shape))


@torch.no_grad()
def gathered(x: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """What each process has, ``(N, …)``, cut to its length, and on the CPU: the first process's first."""
    if not is_distributed():
        return [x.cpu()]
    padded = x.new_zeros(max(lengths), *x.shape[1:])
    padded[: len(x)] = x
    found = [torch.empty_like(padded) for _ in range(process_count())]
    distributed.all_gather(found, padded)
    return [own[:length].cpu() for own, length in zip(found, lengths, strict=False)]


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
