"""BN-1: the statistics of the batch at hand."""

from typing import ClassVar

from torch import Tensor

from uan_da.models.classifier import Classifier
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.norm import StreamNorm, batch_moments, put_norm


class BN1(StreamMethod):
    """Prediction-time batch normalisation (Nado et al., arXiv:2006.10963).

    Every BatchNorm normalises by the moments of its batch, and keeps nothing.
    """

    updates: ClassVar[str] = "the statistics, anew for each batch"

    def __init__(self, model: Classifier, num_classes: int, surroundings: Surroundings) -> None:
        super().__init__(model, num_classes, surroundings)
        put_norm(model, "bn_1", BatchMoments)


class BatchMoments(StreamNorm):
    """Normalises by the batch."""

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The moments of ``x``."""
        return batch_moments(x)
