"""The batch of the next step, made by a thread while a step runs."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from uan_da.data.domain_batch import DomainBatch


class Prefetch:
    """Batches by their step. When one is taken, a thread makes the one after it.

    A batch is a function of its step, so it does not matter when it is made. PyTorch computes without Python's lock,
    so the thread runs beside the step, on a free core if there is one.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
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
