"""LAME: predictions smoothed over neighbours within the batch."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from uan_da.methods.source_free.lame import Affinity, affinities, laplacian_adjusted
from uan_da.models.classifier import Classifier
from uan_da.streams.method import StreamMethod, Surroundings


class LAME(StreamMethod):
    """Laplacian-adjusted maximum-likelihood estimation (Boudiaf et al., CVPR 2022, arXiv:2201.05718), of each batch.

    :class:`uan_da.methods.source_free.lame.LAME` has the formula. ``rbf`` and 5 neighbours are the authors' for
    streams.
    """

    updates: ClassVar[str] = "the predictions alone"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        affinity: Affinity = "rbf",
        neighbors: Annotated[int, Field(ge=1)] = 5,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        self.affinity: Affinity = affinity
        self.neighbors = neighbors

    def predict(self, pixels: Tensor) -> Tensor:
        """Logarithms of the adjusted probabilities."""
        features, logits = self.forward_model(self.surroundings.seen(pixels))
        weights = affinities(features.double(), self.affinity, self.neighbors)
        return laplacian_adjusted(logits.double().log_softmax(1), weights).clamp_min(1e-30).log()
