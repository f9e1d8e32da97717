"""Images that are decoded batch by batch, on threads.

Decoding and resizing leave Python's lock, so that threads do what worker processes would: without shared memory, which
containers have little of, without a copy from one process to another, and with nothing that outlives the training.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from uan_da.data.adapter import UNKNOWN, Examples
from uan_da.data.images import Images, example_pixels
from uan_da.errors import UserError
from uan_da.recipe.network import Input

AHEAD = 4
"""Batches that are under way beside the one that is used."""


@dataclass(frozen=True)
class Streamed:
    """Images that stay encoded: threads decode and resize what is asked for, a few batches ahead."""

    examples: Examples
    input: Input
    labels: Tensor
    threads: int = min(16, os.cpu_count() or 1)

    def __len__(self) -> int:
        return len(self.labels)

    def unlabelled(self) -> "Streamed":
        """The same without labels."""
        return replace(self, labels=torch.full_like(self.labels, UNKNOWN))

    def stream(self, indices: Iterable[Tensor]) -> Iterator[Images]:
        """The images of each of ``indices``, in this order; ``indices`` may be endless."""
        pool, under_way = ThreadPoolExecutor(self.threads), deque[_Batch]()
        try:
            for chosen in indices:
                under_way.append(self._start(pool, chosen))
                if len(under_way) > AHEAD:
                    yield self._finish(under_way.popleft())
            while under_way:
                yield self._finish(under_way.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def batches(self, size: int) -> Iterator[Images]:
        """All images in their order, ``size`` at a time."""
        return self.stream(torch.split(torch.arange(len(self)), size))

    def _start(self, pool: ThreadPoolExecutor, chosen: Tensor) -> "_Batch":
        shape = (len(chosen), self.input.channels, self.input.size, self.input.size)
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        return _Batch(
            chosen, pixels, [pool.submit(self._fill, pixels[row], index) for row, index in enumerate(chosen.tolist())]
        )

    def _fill(self, pixels: Tensor, index: int) -> None:
        pixels.copy_(example_pixels(self.examples, index, self.input)[0])

    def _finish(self, batch: "_Batch") -> Images:
        try:
            for filled in batch.filled:
                filled.result()
        except UserError as error:
            raise UserError(f"{error}\nall that is wrong with the data: uan-da datasets check DATASET") from None
        return Images(batch.pixels, self.labels[batch.chosen])


@dataclass(frozen=True)
class _Batch:
    """Pixels ``(B, C, H, W)`` of the ``chosen`` indices, and what is still to be filled in."""

    chosen: Tensor
    pixels: Tensor
    filled: list[Future[None]]
