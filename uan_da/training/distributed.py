"""Several processes that share each batch: how they start, and what they tell each other, gradients apart.

Every process draws the whole batch, as one process would, and takes its share of it; gradients and losses are averaged
over the processes, and so the weights are equal on all. They share the images of an evaluation too, batch by batch. The
first one scores the predictions, and is the only one that writes.
"""

import copy
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from uan_da.errors import UserError
from uan_da.models.classifier import Classifier
from uan_da.norms.distributed import is_distributed, process_number
from uan_da.training.training import Training

LAUNCHER = "UAN_DA_LAUNCHER"
"""The environment variable with the process id of what started these processes, where that is ``--devices``."""

JOINED = "UAN_DA_JOINED"
"""The environment variable with the file that the first process makes for ``--devices`` once all have found each
other."""


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
    if JOINED in os.environ:
        Path(os.environ[JOINED]).touch()
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
    state = _of_the_first(training.state_dict, training.device)
    if state is not None:
        training.load_state_dict(state)


def share_evaluated(training: Training) -> Classifier:
    """The network that the first process evaluates, on all: where norms are not synchronised (``norm.sync``), each
    process has statistics of its own, which are left as they are."""
    state = _of_the_first(training.evaluated.state_dict, training.device)
    if state is None:
        return training.evaluated
    model = copy.deepcopy(training.evaluated)
    model.load_state_dict(state)
    return model


def _of_the_first(state_dict: Callable[[], dict[str, Any]], device: torch.device) -> dict[str, Any] | None:
    """What ``state_dict`` gives in the first process; None in that process itself."""
    if not is_distributed():
        return None
    content: list[bytes | None] = [None]
    if process_number() == 0:
        buffer = io.BytesIO()
        torch.save(state_dict(), buffer)
        content = [buffer.getvalue()]
    distributed.broadcast_object_list(content)
    if process_number() == 0 or content[0] is None:
        return None
    found: dict[str, Any] = torch.load(io.BytesIO(content[0]), map_location=device, weights_only=True)
    return found


def agreed(signal_number: int | None) -> int | None:
    """The signal that any process was sent, so that all stop after the same step; SIGHUP where the process that
    started them is gone, for nothing else would end them."""
    if signal_number is None and os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):
        signal_number = signal.SIGHUP
    if not is_distributed():
        return signal_number
    number = torch.tensor(signal_number or 0)
    distributed.all_reduce(number, distributed.ReduceOp.MAX)
    return int(number) or None
