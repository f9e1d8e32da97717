"""TBR: test-time batch renormalisation."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uan_da.models.classifier import Classifier
from uan_da.norms.batch_norm import BatchNorm
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.norm import StreamNorm, batch_moments, put_norm


class TBR(StreamMethod):
    r"""The norm of DELTA (Zhao et al., ICLR 2023, arXiv:2301.13018), without its training.

    .. math:: \hat x = \frac{x - μ_B}{σ_B} r + d, \quad r = σ_B / σ_{ema}, \; d = (μ_B - μ_{ema}) / σ_{ema}

    so that x is normalised by moving averages of the batches' mean and standard deviation, which start at the first
    batch's; gradients, where a method takes them, go through the batch's moments, and not through r and d.
    """

    updates: ClassVar[str] = "the running statistics"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        decay: Annotated[float, Field(ge=0, le=1)] = 0.95,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        put_norm(model, "tbr", lambda bn: RenormNorm(bn, decay))


class RenormNorm(StreamNorm):
    """``mean`` ``(C,)`` and ``deviation`` ``(C,)`` average over batches."""

    deviation: Tensor

    def __init__(self, bn: BatchNorm, decay: float) -> None:
        super().__init__(bn)
        self.decay, self.started = decay, False
        self.register_buffer("deviation", self.var.sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """``x`` renormalised; the averages move afterwards."""
        mean, var = batch_moments(x)
        seen_mean, seen_deviation = mean.detach(), (var.detach() + self.eps).sqrt()
        if not self.started:
            self.mean, self.deviation, self.started = seen_mean, seen_deviation, True
        shape = (-1, *[1] * (x.dim() - 2))
        ratio, offset = seen_deviation / self.deviation, (seen_mean - self.mean) / self.deviation
        y = (x - mean.view(shape)) / (var + self.eps).sqrt().view(shape) * ratio.view(shape) + offset.view(shape)
        self.mean = torch.lerp(seen_mean, self.mean, self.decay)
        self.deviation = torch.lerp(seen_deviation, self.deviation, self.decay)
        y = y if self.weight is None else y * self.weight.view(shape)
        return y if self.bias is None else y + self.bias.view(shape)
