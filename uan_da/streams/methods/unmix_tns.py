"""UnMix-TNS: K sets of statistics, and each image unmixes its own."""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.models.classifier import Classifier
from uan_da.norms.batch_norm import BatchNorm
from uan_da.seeding import generator
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.norm import StreamNorm, image_moments, put_norm

TEMPERATURE = 0.07
SOURCE_SHARE = 0.5
"""α: the part of the source's variance that is spread over the means of the components."""
FULL_BATCH = 64
"""Images for which the momentum is BatchNorm's; of fewer, it is less."""


class UnMixTNS(StreamMethod):
    r"""Un-mixing test-time normalisation statistics (Tomar et al., ICLR 2024, arXiv:2401.08328).

    Every BatchNorm keeps K components (μ_k, σ²_k), which start around the source's with noise. An image n with moments
    (x̄, s²) belongs to component k by p_k = softmax_k(cos(x̄, μ_k) / 0.07) and is normalised by

    .. math:: m_k = (1 - p_k) μ_k + p_k \bar x, \quad v_k = (1 - p_k) σ_k^2 + p_k s^2, \quad
       m = \mathrm{mean}_k m_k, \quad v = \mathrm{mean}_k v_k + \mathrm{mean}_k m_k^2 - m^2

    then μ_k ← μ_k + η mean_n p_k(x̄ − μ_k), and σ²_k alike; η = 1 − (1 − momentum)^{n/64}. BatchNorm of vectors keeps
    the source's statistics, as in the authors' code. Their noise comes from the global generator, here from the seed.
    """

    updates: ClassVar[str] = "K sets of statistics a norm"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        components: Annotated[int, Field(ge=1)] = 16,
        momentum: Annotated[float, Field(gt=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        random = generator(surroundings.seed, "unmix_tns")
        rate = 1 - (1 - momentum) ** (surroundings.batch / FULL_BATCH)
        put_norm(model, "unmix_tns", lambda bn: UnMixNorm(bn, components, rate, random))


class UnMixNorm(StreamNorm):
    """K components of statistics ``means`` and ``vars`` ``(K, C)``."""

    means: Tensor
    vars: Tensor

    def __init__(self, bn: BatchNorm, components: int, rate: float, random: torch.Generator) -> None:
        super().__init__(bn)
        self.rate = rate
        share = SOURCE_SHARE if components > 1 else 0.0
        spread = math.sqrt(share * components / max(components - 1, 1))
        noise = torch.randn(components, bn.num_features, generator=random).to(self.mean)
        self.register_buffer("means", self.source_mean + spread * self.source_var.sqrt() * noise)
        self.register_buffer("vars", (1 - share) * self.source_var.repeat(components, 1))

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The moments of each image, ``(N, C)``; updates the components by the batch."""
        if x.dim() == 2:
            return self.source_mean, self.source_var
        mean_nc, var_nc = image_moments(x)
        cosine_nk = F.normalize(mean_nc, dim=1) @ F.normalize(self.means, dim=1).T
        p_nk1 = (cosine_nk / TEMPERATURE).softmax(1)[:, :, None].detach()
        mean_nkc = torch.lerp(self.means.expand(len(x), -1, -1), mean_nc[:, None], p_nk1)
        var_nkc = torch.lerp(self.vars.expand(len(x), -1, -1), var_nc[:, None], p_nk1)
        with torch.no_grad():
            mean_step = (p_nk1 * (mean_nc[:, None] - self.means)).mean(0)
            var_step = (p_nk1 * (var_nc[:, None] - self.vars)).mean(0)
            self.means = self.means + self.rate * mean_step
            self.vars = self.vars + self.rate * var_step
        return mean_nkc.mean(1), var_nkc.mean(1) + mean_nkc.var(1, correction=0)
