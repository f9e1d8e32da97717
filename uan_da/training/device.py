"""The device that a training runs on."""

import ctypes
import os
import sys

import torch

from uan_da.errors import Failure, UserError


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA, else Apple's MPS, else the CPU; any other name is PyTorch's own.

    On a CPU, the process keeps the memory that it frees, see :func:`keep_freed_memory`.

    Raises:
        UserError: PyTorch does not know the device, or does not find it here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise UserError("device 'meta' cannot be used: it computes nothing")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device {name!r} cannot be used; --device auto takes one that can: {reason}") from error
    if device.type == "cpu":
        keep_freed_memory()
    return device


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def keep_freed_memory() -> None:
    """Tell glibc's ``malloc`` to keep what is freed, up to 2 GiB in blocks of up to 256 MiB, for what asks next.

    A training step frees its activations at its end. By default ``malloc`` gives them back to the system, and the next
    step gets them anew, page by page: up to a third of the step's time. With another allocator, nothing changes.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
        mallopt(MMAP_THRESHOLD, 2**28)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether ``error``, or what it was made from, tells of too little memory, of the device or of the host."""
    if isinstance(error, Failure) and error.__cause__ is not None:
        return ran_out_of_memory(error.__cause__)
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)  # it has no class of its own
