"""A model's predictions on a set of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from uan_da.data.images import Images, ImageSet
from uan_da.data.views import augmented
from uan_da.errors import Failure
from uan_da.models.classifier import Classifier
from uan_da.norms import domain_context
from uan_da.norms.distributed import gathered, process_count, process_number
from uan_da.recipe.network import Input

BATCH = 256


class NonFinitePredictions(Failure):
    """A network outputs NaN or infinity; ``first`` is the index of the first such image."""

    def __init__(self, message: str, first: int) -> None:
        super().__init__(message)
        self.first = first

    def about(self, what: str) -> "NonFinitePredictions":
        """The same, which names the images or the run."""
        return NonFinitePredictions(f"{what}: {self}", self.first)


@dataclass(frozen=True)
class Predictions:
    """``features`` ``(N, F)``, ``logits`` ``(N, classes)`` and ``labels`` ``(N,)``, on the CPU.

    Raises:
        NonFinitePredictions: the logits of an image have no softmax: NaN, +inf, or −inf for every class. So whatever
            counts predictions may take them for classes.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        bad = (~self.logits.amax(1).isfinite()).nonzero().flatten()
        if len(bad):
            raise NonFinitePredictions(
                f"the network's predictions on {len(bad)} of {len(self.logits)} images are not finite",
                int(bad[0]),
            )

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Several sets as one, in their order."""
        columns = [torch.cat([getattr(part, name) for part in parts]) for name in ("features", "logits", "labels")]
        return cls(*columns)

    def of(self, rows: Tensor) -> "Predictions":
        """The predictions on the images of these indices, ``(M,)``."""
        return Predictions(self.features[rows], self.logits[rows], self.labels[rows])

    @cached_property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, ``(N, classes)``."""
        return self.logits.softmax(1)

    @cached_property
    def classes(self) -> Tensor:
        """The predicted classes ``(N,)``."""
        return self.logits.argmax(1)


@torch.no_grad()
def predict(model: Classifier, images: ImageSet, input: Input, domain: int) -> Predictions:
    """Run ``model`` in evaluation mode over ``images`` of the domain with that index; its mode is restored.

    Several processes, all of which call this, take turns at the batches, and each has all predictions: to the bit those
    of one process.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()
    features, logits = list[Tensor](), list[Tensor]()
    with domain_context(model, domain):
        for batch, lengths in _own_batches(images):
            output = model(augmented(batch.pixels.to(device), (), input, None))
            features += gathered(output.features.float(), lengths)
            logits += gathered(output.logits.float(), lengths)
    model.train(training)
    return Predictions(torch.cat(features), torch.cat(logits), images.labels.cpu())


def _own_batches(images: ImageSet) -> Iterator[tuple[Images, list[int]]]:
    """This process's batches, one a round, each with the lengths of all batches of its round. Whoever has none left in
    the last round repeats the round's last one, which is not gathered again."""
    batches, count = torch.split(torch.arange(len(images)), BATCH), process_count()
    rounds = [batches[start : start + count] for start in range(0, len(batches), count)]
    own = [each[min(process_number(), len(each) - 1)] for each in rounds]
    return zip(images.stream(own), [[len(batch) for batch in each] for each in rounds], strict=True)
