"""The batch of the next step, made by a thread while a step runs."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import torch

from uan_da.data.domain_batch import DomainBatch


class Prefetch:
    """Batches by their step. When one is taken, a thread makes the one after it.

    A batch is a function of its step, so it does not matter when it is made. PyTorch computes without Python's lock,
    so the thread runs beside the step, on a free core if there is one. It computes alone: OpenMP would start a second
    team of threads for it, and with more threads than cores both teams sleep and wake at each operation.
    """

    def __init__(self) -> None:
        self._thread, threads = ThreadPoolExecutor(1), torch.get_num_threads()
        self._thread.submit(_compute_alone).result()
        torch.set_num_threads(threads)  # also what any thread set last, which a new thread begins with
        self._step = -1
        self._batch = Future[DomainBatch]()

    def take(self, step: int, make: Callable[[int], DomainBatch]) -> DomainBatch:
        """``make(step)``; what it raises is raised here."""
        if step != self._step:
            self._start(step, make)
        batch = self._batch.result()
        self._start(step + 1, make)
        return batch

    def wait(self) -> None:
        """Return when the next batch is there."""
        wait([self._batch])

    def _start(self, step: int, make: Callable[[int], DomainBatch]) -> None:
        self._step, self._batch = step, self._thread.submit(make, step)


def _compute_alone() -> None:
    """One thread for the operations of the calling thread."""
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread takes the number that was set last when it first needs it, and keeps it
