"""Several processes that share each batch: how they start, and what they tell each other, gradients apart.

Every process draws the whole batch, as one process would, and takes its share of it; gradients and losses are averaged
over the processes, and so the weights are equal on all. The first one evaluates, and is the only one that writes.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from uan_da.errors import UserError
from uan_da.norms.distributed import is_distributed
from uan_da.training.training import Training


def process() -> int:
    """The number of this process among those that torchrun or ``--devices`` started; 0 is the one that writes."""
    return int(os.environ.get("RANK", "0"))


def is_launched() -> bool:
    """Whether this process is one of several that torchrun or ``--devices`` started."""
    needed = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    return all(name in os.environ for name in needed) and int(os.environ["WORLD_SIZE"]) > 1


@contextmanager
def joined() -> Iterator[None]:
    """Joins the processes that were started together (gloo on CPUs, NCCL on GPUs); alone, nothing."""
    if not is_launched() or distributed.is_initialized():
        yield
        return
    distributed.init_process_group(timeout=timedelta(hours=12))  # as long as an evaluation may last
    try:
        yield
    finally:
        distributed.destroy_process_group()


def own_device(name: str) -> str:
    """Each process its own GPU, where ``name`` leaves that open.

    Raises:
        UserError: there are more processes than GPUs.
    """
    if not is_launched() or name not in ("auto", "cuda") or not torch.cuda.is_available():
        return name
    local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= gpus:
        raise UserError(f"--devices: there are {gpus} GPUs here, and process {local} finds none: start fewer")
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def share_state(training: Training) -> None:
    """The state of the first process's training to all."""
    if not is_distributed():
        return
    content: list[bytes | None] = [None]
    if process() == 0:
        buffer = io.BytesIO()
        torch.save(training.state_dict(), buffer)
        content = [buffer.getvalue()]
    distributed.broadcast_object_list(content)
    if process() > 0 and content[0] is not None:
        training.load_state_dict(torch.load(io.BytesIO(content[0]), map_location=training.device, weights_only=True))


def agreed(signal_number: int | None) -> int | None:
    """The signal that any process was sent, so that all stop after the same step."""
    if not is_distributed():
        return signal_number
    number = torch.tensor(signal_number or 0)
    distributed.all_reduce(number, distributed.ReduceOp.MAX)
    return int(number) or None
