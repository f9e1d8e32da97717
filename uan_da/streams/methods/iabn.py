"""IABN: an image's own statistics where they leave the source's by more than chance."""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uan_da.models.classifier import Classifier
from uan_da.norms.batch_norm import BatchNorm
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.norm import StreamNorm, image_moments, put_norm


class IABN(StreamMethod):
    r"""Instance-aware batch normalisation, the layer of NOTE (Gong et al., NeurIPS 2022, arXiv:2208.05117).

    .. math:: m = μ + ψ(\bar x - μ;\, k\sqrt{σ^2/L}), \quad v = \max(0, σ^2 + ψ(s^2 - σ^2;\, k σ^2 \sqrt{2/(L-1)}))

    with ψ(a; λ) = sign(a)·max(|a| − λ, 0), (x̄, s²) the moments of an image's L positions and k = 4. The authors train
    the source network with the layer; here it replaces BatchNorm in a network that was not.
    """

    updates: ClassVar[str] = "nothing; an image's own statistics enter"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        k: Annotated[float, Field(ge=0)] = 4.0,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        put_norm(model, "iabn", lambda bn: InstanceAwareNorm(bn, k))


class InstanceAwareNorm(StreamNorm):
    """``mean`` and ``var``, corrected by each image's own moments; vectors have none."""

    def __init__(self, bn: BatchNorm, k: float) -> None:
        super().__init__(bn)
        self.k = k

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The moments of each image, ``(N, C)``."""
        return self.corrected(x, self.mean, self.var)

    def corrected(self, x: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """``mean`` and ``var`` ``(C,)``, corrected by each image's own."""
        positions = math.prod(x.shape[2:])
        if positions < 2:
            return mean, var
        mean_nc, var_nc = image_moments(x)
        var_nc, wide = var_nc * (positions / (positions - 1)), var + self.eps
        corrected = mean + _shrunk(mean_nc - mean, self.k * (wide / positions).sqrt())
        own_var = var + _shrunk(var_nc - var, self.k * wide * math.sqrt(2 / (positions - 1)))
        return corrected, own_var.clamp_min(0.0)


def _shrunk(a: Tensor, limit: Tensor) -> Tensor:
    return torch.sign(a) * (a.abs() - limit).clamp_min(0.0)
