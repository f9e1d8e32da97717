"""In which order a domain's images come: endless streams of indices, any part of which can be asked for.

A stream is a function of (seed, domain): no position needs to be saved for a run to go on where it stopped.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor

from uan_da.seeding import generator

Balance = Literal["none", "class"]


class Order(Protocol):
    """An endless stream of indices 0 … n − 1."""

    def indices(self, start: int, count: int) -> Tensor:
        """The indices ``start`` … ``start + count − 1`` of the stream, int64 ``(count,)``."""


class Shuffled:
    """One random permutation of ``n`` indices after another: each pass sees every index once."""

    def __init__(self, n: int, seed: int, *names: str | int) -> None:
        self.n, self.seed, self.names = n, seed, names
        self._passes: dict[int, Tensor] = {}

    def indices(self, start: int, count: int) -> Tensor:
        """Places of the passes that the stretch touches."""
        first, last = start // self.n, (start + count - 1) // self.n
        self._passes = {number: self._permutation(number) for number in range(first, last + 1)}
        passes = list(self._passes.values())
        stream = passes[0] if len(passes) == 1 else torch.cat(passes)
        return stream[start - first * self.n : start - first * self.n + count]

    def _permutation(self, number: int) -> Tensor:
        if number in self._passes:
            return self._passes[number]
        return torch.randperm(self.n, generator=generator(self.seed, *self.names, number))


class ClassBalanced:
    """Rounds of one image of each class, the classes in random order; each class is a shuffled stream of its own.

    Classes without an image take no part; images without a label neither.
    """

    def __init__(self, labels: Tensor, seed: int, *names: str | int) -> None:
        present = [int(label) for label in torch.unique(labels) if label >= 0]
        self.members = [(labels == label).nonzero().squeeze(1) for label in present]
        by_label = zip(present, self.members, strict=True)
        self.streams = [Shuffled(len(found), seed, *names, "class", label) for label, found in by_label]
        self.rounds = Shuffled(len(present), seed, *names, "round")

    def indices(self, start: int, count: int) -> Tensor:
        """Place t is the image number t // K of the class that stands at t % K in that round, of K classes."""
        number = torch.arange(start, start + count) // self.rounds.n
        chosen = self.rounds.indices(start, count)
        result = torch.empty(count, dtype=torch.int64)
        for index in torch.unique(chosen).tolist():
            here = chosen == index
            low, high = int(number[here].min()), int(number[here].max())
            stretch = self.streams[index].indices(low, high - low + 1)
            result[here] = self.members[index][stretch[number[here] - low]]
        return result
