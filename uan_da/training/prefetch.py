"""The batches of the next steps, a few at a time."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

import torch

from uan_da.data.domain_batch import DomainBatch
from uan_da.norms.distributed import process_count
from uan_da.training.device import cores

FEW = 16
"""Batches that are made one after the other. Between two steps, each would find the caches full of the network's."""
MEMORY = 32 * 1024**2
"""Bytes that a few small batches may take; large ones are made one at a time."""

Make = Callable[[int], DomainBatch]


class Prefetch:
    """Batches by their step. A batch is a function of its step, so it does not matter when it is made.

    Where a core is free, a thread makes the next few while steps run: PyTorch computes without Python's lock. It
    computes alone: OpenMP would start a second team of threads for it, and with more threads than cores both teams
    sleep and wake at each operation. Where the network's threads take all cores, another one only disturbs them.
    """

    def __init__(self, few: int = FEW) -> None:
        """``few``: how many are made at once, where they are small."""
        self._few, self._step = few, 0
        self._made = deque[DomainBatch]()
        self._coming: Future[list[DomainBatch]] | None = None
        self._thread = _lone_thread() if torch.get_num_threads() * process_count() < cores() else None

    def take(self, step: int, end: int, make: Make) -> DomainBatch:
        """``make(step)``, and with it those of a few later steps before ``end``; what it raises is raised here."""
        if step != self._step:
            self._step, self._made, self._coming = step, deque(), None
        if not self._made:
            self._made.extend(self._next_few(end, make))
        self._step += 1
        return self._made.popleft()

    def wait(self) -> None:
        """Return when what is under way is there."""
        if self._coming is not None:
            wait([self._coming])

    def _next_few(self, end: int, make: Make) -> list[DomainBatch]:
        if self._thread is None:
            return self._make(self._step, end, make)
        coming, self._coming = self._coming or self._thread.submit(self._make, self._step, end, make), None
        batches = coming.result()
        after = self._step + len(batches)
        if after < end:
            self._coming = self._thread.submit(self._make, after, end, make)
        return batches

    def _make(self, step: int, end: int, make: Make) -> list[DomainBatch]:
        """The batch of ``step``, and later ones up to the first that fails: it will fail again at its own step."""
        batches = [make(step)]
        count = min(self._few, MEMORY // max(1, batches[0].nbytes))
        with suppress(Exception):
            for later in range(step + 1, min(step + count, end)):
                batches.append(make(later))
        return batches


def _lone_thread() -> ThreadPoolExecutor:
    """A thread whose operations take one thread; those of the calling thread take as many as before."""
    thread, threads = ThreadPoolExecutor(1), torch.get_num_threads()
    thread.submit(_compute_alone).result()
    torch.set_num_threads(threads)  # also what any thread set last, which a new thread begins with
    return thread


def _compute_alone() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread takes the number that was set last when it first needs it, and keeps it
