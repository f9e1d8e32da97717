"""Which images of a domain a step sees."""

from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor

from uan_da.data.images import Images, ImageSet
from uan_da.data.order import Balance, ClassBalanced, Order, Shuffled


class DomainLoader:
    """An endless, reshuffled stream of one domain's images, cut into batches.

    Step t has the indices t·B … (t+1)·B of the domain's order, so that a domain smaller than its batch wraps around.
    The order is a function of (seed, domain): any step can be asked for, and no position needs to be saved. Steps that
    are asked for one after the other are prepared ahead where images are decoded on the way.
    """

    def __init__(
        self,
        domain: str,
        index: int,
        images: ImageSet,
        batch_size: int,
        seed: int,
        balance: Balance = "none",
        device: torch.device | None = None,
    ) -> None:
        """``index`` is the domain's number in the task, as norms know it."""
        self.domain, self.index, self.images, self.batch_size = domain, index, images, batch_size
        self.device = None if device is None or device.type == "cpu" else device  # to move nothing takes time, too
        self.order: Order = (
            ClassBalanced(images.labels, seed, "order", domain)
            if balance == "class"
            else Shuffled(len(images), seed, "order", domain)
        )
        self.domains = torch.full((batch_size,), index, device=device)
        """``domain`` of each image of a batch, int64 ``(B,)``."""
        self._next = -1
        self._stream: Iterator[Images] = iter(())

    @property
    def steps_per_pass(self) -> int:
        """Whole batches in one pass over the domain, at least one."""
        return max(1, len(self.images) // self.batch_size)

    def batch(self, step: int) -> Images:
        """The images of ``step``, counted from 0."""
        if step != self._next:
            self._stream = self.images.stream(_batches(self.order, self.batch_size, step))
        self._next = -1  # where an image cannot be read, the stream ends
        images = next(self._stream)
        self._next = step + 1
        return images if self.device is None else images.to(self.device)

    def indices(self, step: int) -> Tensor:
        """The index of each image of ``step`` in the domain, int64 ``(B,)``."""
        indices = self.order.indices(step * self.batch_size, self.batch_size)
        return indices if self.device is None else indices.to(self.device)


def _batches(order: Order, size: int, step: int) -> Iterator[Tensor]:
    """The indices of ``step`` and all later ones; it knows nothing of the loader, so that both go when one does."""
    return (order.indices(t * size, size) for t in count(step))
