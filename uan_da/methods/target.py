"""The unlabelled target images that a source-free method adapts a trained model to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from uan_da.data.augment import Augmentation
from uan_da.data.images import Images, ImageSet
from uan_da.data.views import augmented
from uan_da.errors import UserError
from uan_da.models.classifier import Classifier, Output
from uan_da.norms import domain_context
from uan_da.recipe.network import Input
from uan_da.seeding import generator

BATCH = 256
"""Images of a forward without gradient."""


@dataclass(frozen=True)
class Target:
    """The images that a model is adapted to; they have no labels.

    ``domain`` is the index by which norms that keep domains apart know them.
    """

    images: ImageSet
    input: Input
    domain: int
    augmentations: Sequence[Augmentation]
    """The recipe's weak view."""
    seed: int
    device: torch.device
    strong: Sequence[Augmentation] = ()
    """The recipe's strong view; empty where it has none."""

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int, epoch: int, *, augmented: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in a random order that is a function of the seed and ``epoch``: for the order of files often tells
        their classes, which no method may know.

        A last batch of one image is left out, for it has no batch statistics.

        Yields:
            The images' indices ``(B,)``, and the images ``(B, C, H, W)`` as the network sees them.

        Raises:
            UserError: there is but one image.
        """
        random = generator(self.seed, "adapt", "augment", epoch)
        for part, images in self._drawn(size, epoch):
            yield part, self._seen(images, self.augmentations if augmented else (), random)

    def views(self, size: int, epoch: int) -> Iterator[tuple[Tensor, Tensor, tuple[Tensor, Tensor]]]:
        """As :meth:`batches`, with each image in its weak view, and twice in the strong one; where there is no strong
        one, in the weak one."""
        random = generator(self.seed, "adapt", "augment", epoch)
        for part, images in self._drawn(size, epoch):
            weak, one, other = (
                self._seen(images, view, random)
                for view in (self.augmentations, *2 * [self.strong or self.augmentations])
            )
            yield part, weak, (one, other)

    def _drawn(self, size: int, epoch: int) -> Iterator[tuple[Tensor, Images]]:
        if len(self) < 2:
            raise UserError("one image is too few to adapt to: batch statistics need two or more")
        indices = [part for part in torch.split(self.order(epoch), size) if len(part) > 1]
        yield from zip(indices, self.images.stream(indices), strict=True)

    def number_of_batches(self, size: int) -> int:
        """How many :meth:`batches` yields."""
        return len(self) // size + (len(self) % size > 1)

    def order(self, epoch: int) -> Tensor:
        """The random order of an epoch: all indices ``(N,)``."""
        return torch.randperm(len(self), generator=generator(self.seed, "adapt", "order", epoch))

    def in_order(self) -> Iterator[Tensor]:
        """All images in their order, as the network sees them: for what does not depend on the order."""
        for images in self.images.batches(BATCH):
            yield self._seen(images)

    def drawn(self, count: int | None = None) -> Iterator[Tensor]:
        """The first ``count`` images of the random :meth:`order` of epoch 0, or all, as the network sees them."""
        for images in self.images.stream(torch.split(self.order(0)[:count], BATCH)):
            yield self._seen(images)

    @torch.no_grad()
    def predict(self, model: Classifier) -> Output:
        """Features and logits of all images in their order, on the CPU, from ``model`` in evaluation mode; its mode is
        restored."""
        training = model.training
        model.eval()
        with domain_context(model, self.domain):
            outputs: list[Output] = [model(images) for images in self.in_order()]
        model.train(training)
        return Output(*(torch.cat(column).float().cpu() for column in zip(*outputs, strict=True)))

    def _seen(
        self, images: Images, augmentations: Sequence[Augmentation] = (), random: torch.Generator | None = None
    ) -> Tensor:
        return augmented(images.pixels.to(self.device), augmentations, self.input, random)
