"""Memories of a stream's images that are balanced over the classes that a method predicts."""

import math
import random
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(eq=False)
class Kept:
    """An image in a memory: its pixels, its predicted class, the entropy of the prediction, and its age."""

    pixels: Tensor
    label: int
    entropy: float = 0.0
    age: int = 0


class ReservoirMemory:
    """Prediction-balanced reservoir sampling, the memory of NOTE (arXiv:2208.05117).

    All images enter until the memory is full. Then an image of a class that is not among the largest in the memory
    replaces a random image of a largest class. An image of a largest class replaces a random image of its own class,
    with the probability of reservoir sampling.
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

    An image's score is 1/(1 + exp(−age/N)) + entropy/ln C, N the capacity; high scores are replaced first.
    Each of the C classes has room for N/C images. A new image of a full class competes with the highest score of its
    own class. If the memory is full, a new image of another class competes with the highest score of the largest
    classes. It enters only if its own score is lower.
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
        """The score of an image; high scores are replaced first."""
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
