"""Memories of a stream's images that are balanced over the classes that a method predicts."""

import math
import random
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(eq=False)
class Kept:
    """An image in a memory: its pixels, its predicted class, the entropy of the answer, and how long it has been in."""

    pixels: Tensor
    label: int
    entropy: float = 0.0
    age: int = 0


class ReservoirMemory:
    """Prediction-balanced reservoir sampling, the memory of NOTE (arXiv:2208.05117).

    While there is room all images enter. Then an image of a class that is not the largest replaces a random one of a
    largest; one of a largest class replaces a random one of its own with the chance that reservoir sampling gives it.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self.capacity, self.random = capacity, random.Random(seed)
        self.kept: list[Kept] = []
        self.seen: Counter[int] = Counter()

    def add(self, new: Kept) -> None:
        """Offer an image."""
        self.seen[new.label] += 1
        if len(self.kept) < self.capacity:
            self.kept.append(new)
            return
        sizes = Counter(kept.label for kept in self.kept)
        largest = [label for label, size in sorted(sizes.items()) if size == max(sizes.values())]
        if new.label not in largest:
            self._replace(self.random.choice(largest), new)
        elif self.random.random() <= sizes[new.label] / self.seen[new.label]:
            self._replace(new.label, new)

    def _replace(self, label: int, new: Kept) -> None:
        indices = [place for place, kept in enumerate(self.kept) if kept.label == label]
        del self.kept[self.random.choice(indices)]
        self.kept.append(new)


class TimelyMemory:
    """Category-balanced sampling with timeliness and uncertainty, the memory of RoTTA (arXiv:2303.13899).

    An image's score is 1/(1 + exp(−age/N)) + entropy/ln C, N the capacity; the higher, the sooner it goes. Each of C
    classes has room for N/C images: one more of a full class replaces the worst of its own, one more of another class,
    where all room is taken, the worst of the largest classes, and in either case only if that one is worse.
    """

    def __init__(self, capacity: int, num_classes: int) -> None:
        self.capacity, self.num_classes = capacity, num_classes
        self.kept: list[Kept] = []

    def add(self, new: Kept) -> None:
        """Offer an image; all others grow older."""
        sizes = Counter(kept.label for kept in self.kept)
        if sizes[new.label] >= self.capacity / self.num_classes:
            self._replace({new.label}, new)
        elif len(self.kept) < self.capacity:
            self.kept.append(new)
        else:
            self._replace({label for label, size in sizes.items() if size == max(sizes.values())}, new)
        for kept in self.kept:
            kept.age += 1

    def score(self, kept: Kept) -> float:
        """How dispensable an image is."""
        timeliness = 1 / (1 + math.exp(-kept.age / self.capacity))
        return timeliness + kept.entropy / math.log(self.num_classes)

    def _replace(self, labels: set[int], new: Kept) -> None:
        worst = max((kept for kept in reversed(self.kept) if kept.label in labels), key=self.score)
        if self.score(worst) > self.score(new):
            self.kept.remove(worst)
            self.kept.append(new)


def pixels_of(kept: list[Kept]) -> Tensor:
    """The images in a memory, ``(N, C, H, W)``."""
    return torch.stack([each.pixels for each in kept])
