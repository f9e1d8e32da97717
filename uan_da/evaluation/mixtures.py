"""What a model predicts on images that are mixed of two."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from uan_da.data.augment.inputs import as_floats
from uan_da.data.images import Images, ImageSet
from uan_da.evaluation.predict import Predictions, predict
from uan_da.models.classifier import Classifier
from uan_da.recipe.network import Input
from uan_da.seeding import generator

SHARE = 0.55
"""The part of a mixture that is its first image: MixVal's λ."""


@dataclass(frozen=True)
class Mixtures:
    """Predictions on mixtures of two target images: ``within`` a predicted class, and ``between`` two.

    Their labels are the classes that the model gives to the greater part.
    """

    within: Predictions
    between: Predictions


@dataclass(frozen=True)
class MixedImages:
    """Mixtures of images of a set, by the indices of their parts, int64 ``(N,)``; labels int64 ``(N,)``."""

    whole: ImageSet
    first: Tensor
    second: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def unlabelled(self) -> "MixedImages":
        """The same without labels."""
        return MixedImages(self.whole, self.first, self.second, torch.full_like(self.labels, -1))

    def stream(self, indices: Iterable[Tensor]) -> Iterator[Images]:
        """The mixtures of each of ``indices``, in this order: pixels float in [0, 1]."""
        chosen = list(indices)
        sides = [self.whole.stream([side[batch] for batch in chosen]) for side in (self.first, self.second)]
        for batch, first, second in zip(chosen, *sides, strict=True):
            mixed = torch.lerp(as_floats(second.pixels), as_floats(first.pixels), SHARE)
            yield Images(mixed, self.labels[batch])

    def batches(self, size: int) -> Iterator[Images]:
        """All mixtures in their order, ``size`` at a time."""
        return self.stream(torch.split(torch.arange(len(self)), size))


def predict_mixtures(
    model: Classifier, images: ImageSet, input: Input, domain: int, predictions: Predictions
) -> Mixtures:
    """``model`` on mixtures of ``images``; the pairs are those of :func:`pairs` by its ``predictions`` on them."""
    found = []
    for first, second in pairs(predictions.classes):
        mixed = MixedImages(images, first, second, predictions.classes[first])
        found.append(predict(model, mixed, input, domain) if len(first) else predictions.of(first))
    return Mixtures(*found)


def pairs(given: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Indices of the first and the second image of pairs within a class of ``given`` ``(N,)``, and between two.

    Within: each image and another of its class, in a ring of random order; none of a class with one image. Between:
    each image and a random one, where their classes differ. The order is a function of N alone.
    """
    order = torch.randperm(len(given), generator=generator(0, "mixtures"))
    ring = order[given[order].argsort(stable=True)]
    follower = torch.empty_like(ring)
    for members in torch.split(ring, given.bincount().tolist()):
        follower[members] = members.roll(-1)
    partner = torch.empty_like(order)
    partner[order] = order.roll(-1)
    everyone = torch.arange(len(given))
    within, between = follower != everyone, given != given[partner]
    return [(everyone[kept], other[kept]) for kept, other in ((within, follower), (between, partner))]
