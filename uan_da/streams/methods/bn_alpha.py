"""BN-α: the source's statistics as a prior on the batch's."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uan_da.models.classifier import Classifier
from uan_da.norms.batch_norm import BatchNorm
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.norm import StreamNorm, batch_moments, put_norm


class BNAlpha(StreamMethod):
    r"""Adaptation of covariate shift by statistics (Schneider et al., NeurIPS 2020, arXiv:2006.16971).

    .. math:: \bar μ = \frac{N}{N+n} μ_S + \frac{n}{N+n} μ_B, \quad \bar σ^2 = \frac{N}{N+n} σ_S^2 + \frac{n}{N+n} σ_B^2

    for a batch of n images, whose variance is unbiased, as in the authors' code; N says how many images the source's
    statistics are worth. The paper finds 8 to 128 good for small batches.
    """

    updates: ClassVar[str] = "the statistics, anew for each batch"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        prior: Annotated[float, Field(ge=0)] = 16.0,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        put_norm(model, "bn_alpha", lambda bn: PriorMoments(bn, prior))


class PriorMoments(StreamNorm):
    """Normalises by the batch's moments, shrunk toward the source's."""

    def __init__(self, bn: BatchNorm, prior: float) -> None:
        super().__init__(bn)
        self.prior = prior

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The moments of ``x`` and the source together."""
        mean, var = batch_moments(x)
        values = x.numel() // x.shape[1]
        weight = len(x) / (self.prior + len(x))
        unbiased = var * (values / max(values - 1, 1))
        return torch.lerp(self.source_mean, mean, weight), torch.lerp(self.source_var, unbiased, weight)
