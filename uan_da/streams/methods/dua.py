"""DUA: running statistics whose momentum decays."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from uan_da.models.classifier import Classifier
from uan_da.streams.method import Surroundings
from uan_da.streams.methods.bn_ema import BNEMA


class DUA(BNEMA):
    r"""Dynamic unsupervised adaptation (Mirza et al., CVPR 2022, arXiv:2112.00463).

    .. math:: ρ_t = ω ρ_{t-1}, \quad μ ← μ + (ρ_t + ζ)(μ_B - μ), \quad \text{and} \; σ^2 \; \text{alike}

    with ρ₀ = 0.1, ω = 0.94, ζ = 0.005, the authors'. They adapt on one image at a time, in a batch of its
    augmentations, and measure on all images afterwards; here a stream's batch is what moves the statistics.
    """

    name: ClassVar[str] = "dua"
    updates: ClassVar[str] = "the running statistics, ever more slowly"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
        decay: Annotated[float, Field(gt=0, le=1)] = 0.94,
        least: Annotated[float, Field(ge=0, le=1)] = 0.005,
    ) -> None:
        super().__init__(model, num_classes, surroundings, momentum=momentum)
        self.momentum, self.decay, self.least = momentum, decay, least

    def predict(self, pixels: Tensor) -> Tensor:
        """Update the statistics with the current momentum, then predict the batch."""
        self.momentum *= self.decay
        for norm in self.norms:
            norm.momentum = min(self.momentum + self.least, 1.0)
        return super().predict(pixels)
