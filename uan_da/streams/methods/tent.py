"""Tent: sure predictions, by γ and β of the norms."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from uan_da.methods.entropy import entropy
from uan_da.models.classifier import Classifier
from uan_da.streams.affine import AffineSteps
from uan_da.streams.method import StreamMethod, Surroundings


class Tent(StreamMethod):
    r"""Test-time entropy minimisation (Wang et al., ICLR 2021, arXiv:2006.10726).

    .. math:: \min_{γ, β} \frac{1}{B} \sum_i H(softmax f(x_i))

    by one step of Adam a batch, while norms normalise by the batch. The predictions are those from before the step.
    """

    updates: ClassVar[str] = "γ and β of the norms"
    gradients: ClassVar[bool] = True
    backwards: ClassVar[float] = 1.0

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        self.affine = AffineSteps(model, surroundings.domain, "tent", lr=lr)

    def predict(self, pixels: Tensor) -> Tensor:
        """Predict the batch, then minimise its entropy."""
        with self.affine.gradients(self.surroundings.seen(pixels)) as images:
            logits = self.forward_model(images).logits
            self.affine.step(entropy(logits).mean())
        return logits.detach()

    def kept(self) -> Iterable[Tensor]:
        """The optimizer's tensors."""
        return self.affine.kept()
