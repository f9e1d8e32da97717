"""What a method sees of one step."""

from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from torch import Tensor

from uan_da.data.adapter import UNKNOWN

View = Literal["weak", "strong"]


@dataclass(frozen=True)
class DomainImages:
    """The images of one side of a batch.

    ``views``: the weakly and, if the method asked for it, the strongly augmented images, float ``(N, C, H, W)``;
    ``labels`` int64 ``(N,)``, −1 where masked or unknown; ``domain`` int64 ``(N,)``, the index of each image's domain;
    ``index`` int64 ``(N,)``, the image's own among its domain's training images, for memories of them.
    """

    views: dict[View, Tensor]
    labels: Tensor
    domain: Tensor
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    @property
    def weak(self) -> Tensor:
        """The weakly augmented view ``(N, C, H, W)``."""
        return self.views["weak"]

    @property
    def strong(self) -> Tensor:
        """The strongly augmented view ``(N, C, H, W)``, of methods that list ``strong`` in their ``views``."""
        return self.views["strong"]

    def masked(self) -> Self:
        """The same without labels."""
        return replace(self, labels=torch.full_like(self.labels, UNKNOWN))

    def __getitem__(self, indices: slice | Tensor) -> Self:
        """Some of the images; those of a slice are in the same memory."""
        views = {view: images[indices] for view, images in self.views.items()}
        return type(self)(views, self.labels[indices], self.domain[indices], self.index[indices])


@dataclass(frozen=True)
class DomainBatch:
    """Labelled source and unlabelled target: all of the target's labels are −1. ``labelled`` are the images of the
    target whose labels are given, in semi-supervised adaptation."""

    source: DomainImages
    target: DomainImages
    labelled: DomainImages | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all views."""
        sides = [side for side in (self.source, self.target, self.labelled) if side is not None]
        return sum(images.nbytes for side in sides for images in side.views.values())

    def parts(self, count: int) -> "list[DomainBatch]":
        """The batch in ``count`` equal parts; each has its share of every domain, whose images divide by ``count``."""
        return [self.part(number, count) for number in range(count)]

    def part(self, number: int, count: int) -> "DomainBatch":
        """Every ``count``-th image, from ``number`` on, of each side."""
        if count == 1:
            return self
        indices = slice(number, None, count)
        labelled = None if self.labelled is None else self.labelled[indices]
        return DomainBatch(self.source[indices], self.target[indices], labelled)
