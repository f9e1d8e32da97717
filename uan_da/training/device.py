"""The device that a training runs on."""

import torch

from uan_da.errors import Failure, UserError


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA, else Apple's MPS, else the CPU; any other name is PyTorch's own.

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
    return device


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether ``error``, or what it was made from, tells of too little memory, of the device or of the host."""
    if isinstance(error, Failure) and error.__cause__ is not None:
        return ran_out_of_memory(error.__cause__)
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)  # it has no class of its own
