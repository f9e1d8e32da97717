"""The state of a training, on disk."""

import os
from pathlib import Path
from typing import Any

import torch

from uan_da.errors import UserError
from uan_da.training.device import ran_out_of_memory


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to a temporary name, flush and rename it: a reader finds the old file or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """The state in ``path``; only tensors and plain values are read, no code is run.

    Raises:
        UserError: there is no such file, or it is no checkpoint.
        OSError: it could not be read; it may be whole, and so it may where memory ran out.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such checkpoint")
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        if is_of_the_machine(error):
            raise
        raise UserError(f"{path}: is damaged or not a checkpoint: {str(error).splitlines()[0]}") from error
    return state


def is_of_the_machine(error: BaseException) -> bool:
    """Whether a disk or memory failed: nothing is said about what was read, and another try may succeed."""
    return isinstance(error, OSError) or ran_out_of_memory(error)
