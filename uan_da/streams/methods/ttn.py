"""TTN's mixing: the source's statistics and the batch's, as two parts of one set of data."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from uan_da.models.classifier import Classifier
from uan_da.norms.batch_norm import BatchNorm
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.norm import StreamNorm, batch_moments, mixed, put_norm


class TTN(StreamMethod):
    r"""The mixing of TTN (Lim et al., ICLR 2023, arXiv:2302.05155).

    .. math:: m = α μ_B + (1 - α) μ_S, \quad v = α σ_B^2 + (1 - α) σ_S^2 + α (1 - α)(μ_B - μ_S)^2

    The authors learn an α for each channel on labelled, augmented source images before the stream; here it is one
    number.
    """

    updates: ClassVar[str] = "the statistics, anew for each batch"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        put_norm(model, "ttn", lambda bn: MixedMoments(bn, alpha))


class MixedMoments(StreamNorm):
    """The moments of a set of which a part α is the batch."""

    def __init__(self, bn: BatchNorm, alpha: float) -> None:
        super().__init__(bn)
        self.alpha = alpha

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The moments of the source and ``x`` together."""
        return mixed(self.source_mean, self.source_var, *batch_moments(x), self.alpha)
