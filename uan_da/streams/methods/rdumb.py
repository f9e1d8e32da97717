"""RDumb: ETA that forgets everything now and then."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from uan_da.models.classifier import Classifier
from uan_da.streams.method import Surroundings
from uan_da.streams.methods.eta import ETA


class RDumb(ETA):
    """ETA with periodic resets (Press et al., NeurIPS 2023, arXiv:2306.05401).

    γ, β, the optimizer and the average return to the start every ``period`` batches.
    """

    updates: ClassVar[str] = "γ and β of the norms, reset now and then"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        margin: Annotated[float, Field(gt=0)] = 0.4,
        redundancy: Annotated[float, Field(gt=0)] = 0.4,
        period: Annotated[int, Field(ge=1)] = 1000,
    ) -> None:
        super().__init__(model, num_classes, surroundings, lr=lr, margin=margin, redundancy=redundancy)
        self.period, self.batches = period, 0
        self.start = self.affine.snapshot()

    def predict(self, pixels: Tensor) -> Tensor:
        """As ETA, after a reset at the end of each period."""
        if self.batches and self.batches % self.period == 0:
            self.affine.restore(self.start)
            self.average = None
        self.batches += 1
        return super().predict(pixels)

    def kept(self) -> list[Tensor]:
        """The optimizer's tensors, and the source's γ and β."""
        return [*super().kept(), *self.start]
