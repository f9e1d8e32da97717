"""Which images of a domain a step sees."""

from dataclasses import dataclass

import torch
from torch import Tensor

from uan_da.data.images import Images
from uan_da.seeding import generator


@dataclass(frozen=True)
class DomainLoader:
    """An endless, reshuffled stream of one domain's images, cut into batches.

    The stream is one random permutation of the domain after another; step t has its places t·B … (t+1)·B, so that a
    domain smaller than its batch wraps around. The permutation is a function of (seed, domain, pass): any step can be
    asked for, and no position needs to be saved.
    """

    domain: str
    index: int
    """The domain's place in the task: sources from 0 on, then the target."""
    images: Images
    batch_size: int
    seed: int

    @property
    def steps_per_pass(self) -> int:
        """Whole batches in one pass over the domain, at least one."""
        return max(1, len(self.images) // self.batch_size)

    def batch(self, step: int) -> Images:
        """The images of ``step``, counted from 0."""
        chosen = self._places(step * self.batch_size, self.batch_size).to(self.images.labels.device)
        return Images(self.images.pixels[chosen], self.images.labels[chosen])

    def _places(self, start: int, count: int) -> Tensor:
        n = len(self.images)
        first, last = start // n, (start + count - 1) // n
        stream = torch.cat([self._permutation(number) for number in range(first, last + 1)])
        return stream[start - first * n : start - first * n + count]

    def _permutation(self, number: int) -> Tensor:
        return torch.randperm(len(self.images), generator=generator(self.seed, "order", self.domain, number))
