"""UAN online and ETA: clusters follow the stream, and γ and β learn from what is sure and new."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from uan_da.models.classifier import Classifier
from uan_da.streams.clusters import Assignment
from uan_da.streams.label_shift import LabelShift
from uan_da.streams.method import Surroundings
from uan_da.streams.methods.eta import ETA
from uan_da.streams.methods.uan import put_clusters


class UANETA(ETA):
    """ETA on a network with the norms of the stream method ``uan``, at its defaults."""

    updates: ClassVar[str] = "clusters and their statistics, the proportions of the classes, γ and β of the norms"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        margin: Annotated[float, Field(gt=0)] = 0.4,
        redundancy: Annotated[float, Field(gt=0)] = 0.4,
        num_clusters: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        source_bytes = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        assignment = Assignment(num_clusters)
        put_clusters(model, assignment)
        super().__init__(model, num_classes, surroundings, lr=lr, margin=margin, redundancy=redundancy)
        self.assignment, self.label_shift, self._source_bytes = assignment, LabelShift(num_classes), source_bytes

    def predict(self, pixels: Tensor) -> Tensor:
        """Update the clusters by the batch, predict it, and learn from it."""
        self.assignment.begin()
        logits = super().predict(pixels)
        self.assignment.end()
        return self.label_shift.corrected(logits)
