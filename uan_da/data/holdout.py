"""Parts of a domain's training images: for validation, and with labels that are given."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from uan_da.data.images import Images, ImageSet
from uan_da.errors import UserError
from uan_da.seeding import generator


@dataclass(frozen=True)
class Part:
    """Some images of a set, by their indices in it, int64 ``(N,)``."""

    whole: ImageSet
    indices: Tensor

    @property
    def labels(self) -> Tensor:
        """int64 ``(N,)``, −1 where unknown."""
        return self.whole.labels[self.indices.to(self.whole.labels.device)]

    def __len__(self) -> int:
        return len(self.indices)

    def unlabelled(self) -> "Part":
        """The same without labels."""
        return Part(self.whole.unlabelled(), self.indices)

    def stream(self, indices: Iterable[Tensor]) -> Iterator[Images]:
        """The images of each of ``indices``, in this order."""
        return self.whole.stream(self.indices[chosen.to(self.indices.device)] for chosen in indices)

    def batches(self, size: int) -> Iterator[Images]:
        """All images in their order, ``size`` at a time."""
        return self.whole.stream(torch.split(self.indices, size))


def hold_out(images: ImageSet, part: float, name: str) -> tuple[Part, Part]:
    """Split ``images`` into the rest and ``part`` of each class, rounded; both keep their order.

    The choice is a function of the domain's ``name``, so that runs of any seed share one validation part.

    Raises:
        UserError: one of the two would be empty.
    """
    labels = images.labels.cpu()
    order = torch.randperm(len(images), generator=generator(0, "holdout", name))
    held = torch.zeros_like(labels, dtype=torch.bool)
    for label in torch.unique(labels):
        of_class = order[labels[order] == label]
        held[of_class[: round(part * len(of_class))]] = True
    if not held.any() or held.all():
        raise UserError(f"domain {name!r}: selection.holdout {part} of {len(images)} images leaves one part empty")
    return Part(images, (~held).nonzero().flatten()), Part(images, held.nonzero().flatten())


def draw_labelled(images: ImageSet, count: int, seed: int, name: str) -> tuple[Part, Part]:
    """Split ``images`` of the domain ``name`` into the rest and ``count`` of each class, drawn by ``seed``; both keep
    their order.

    Raises:
        UserError: a class has fewer, or no image would be left.
    """
    labels = images.labels.cpu()
    order = torch.randperm(len(images), generator=generator(seed, "labelled", name))
    drawn = torch.zeros_like(labels, dtype=torch.bool)
    for label in torch.unique(labels[labels >= 0]):
        of_class = order[labels[order] == label]
        if len(of_class) < count:
            raise UserError(f"target.labelled={count}: domain {name!r} has {len(of_class)} images of a class")
        drawn[of_class[:count]] = True
    if not drawn.any() or drawn.all():
        raise UserError(f"target.labelled={count} of {len(images)} images of domain {name!r} leaves one part empty")
    return Part(images, (~drawn).nonzero().flatten()), Part(images, drawn.nonzero().flatten())
