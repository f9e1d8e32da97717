"""BN-EMA: BatchNorm's own running statistics go on."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from uan_da.models.classifier import Classifier
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.norm import batch_norms


class BNEMA(StreamMethod):
    """Running statistics follow the stream by BatchNorm's rule, as in mariodoebler/test-time-adaptation.

    A forward in training mode updates them and its output is discarded; the prediction is made in evaluation mode.
    """

    name: ClassVar[str] = "bn_ema"
    """In messages."""
    updates: ClassVar[str] = "the running statistics"
    forwards: ClassVar[float] = 2.0

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        self.norms = batch_norms(model, self.name)
        for norm in self.norms:
            norm.momentum = momentum

    def predict(self, pixels: Tensor) -> Tensor:
        """Update the statistics by the batch, then predict it."""
        images = self.surroundings.seen(pixels)
        if images.numel() > images.shape[1]:
            self._follow(images)
        return self.forward_model(images).logits

    def _follow(self, images: Tensor) -> None:
        for norm in self.norms:
            norm.train()
        self.forward_model(images)
        for norm in self.norms:
            norm.eval()
