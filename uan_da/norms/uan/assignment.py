"""A batch as each assignment sees it: what belongs to a cluster is a sample, or an element."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from uan_da.norms.uan import mixture as maths
from uan_da.norms.uan.mixture import Mixture, Moments, Reduce, along


class Affine(NamedTuple):
    """f γ, which broadcasts over ``(K, C)``, β and the shrinkage's ρ; None is 1, 0 and 0."""

    gain: Tensor | None
    bias: Tensor | None
    rho: Tensor | None


class Batch(ABC):
    """Activations ``(N, C, …)``, the mixture of their clusters, and what a layer does with them.

    ``x``, ``mixture`` and all moments are less ``shift_c``, a value per channel near the data, because float32 has no
    digits to spare at a large offset. Which value it is changes nothing else, so no gradient goes through it.
    """

    def __init__(self, x: Tensor, mixture: Mixture, eps: float, shrink_groups: int = 1) -> None:
        self.shift_c = mixture.mean.detach().mean(0)
        self.x, self.mixture = x - along(x, self.shift_c), mixture.less(self.shift_c)
        self.eps, self.shrink_groups = eps, shrink_groups

    @abstractmethod
    def assign(self, given: Tensor | None, sharpness: float) -> tuple[Tensor, Tensor | None]:
        """τ, and the evidence for the layers that follow: that ``given`` by those before, and T times the batch's own;
        0 leaves it out."""

    @abstractmethod
    def moments(self, tau: Tensor, reduce: Reduce = lambda part: part) -> Moments:
        """Moments of each cluster; of one with hardly any data, its learned ones."""

    @abstractmethod
    def normalize(self, tau: Tensor, moments: tuple[Tensor, Tensor], affine: Affine) -> Tensor:
        """y, by the mean and variance ``(K, C)`` of each cluster."""


class Elements(Batch):
    """Every activation by its own mixture, as in the paper; τ is ``(K, N, C, …)``."""

    def assign(self, given: Tensor | None = None, sharpness: float = 0.0) -> tuple[Tensor, None]:
        """τ_k(n, c, s), of each layer by itself."""
        return maths.element_responsibilities(self.x, self.mixture, self.eps), None

    def moments(self, tau: Tensor, reduce: Reduce = lambda part: part) -> Moments:
        """Of the elements of all samples."""
        return maths.with_fallback(maths.element_moments(tau, self.x, reduce), self.mixture)

    def normalize(self, tau: Tensor, moments: tuple[Tensor, Tensor], affine: Affine) -> Tensor:
        """Every element by itself."""
        return maths.element_output(tau, self.x, *moments, affine.gain, affine.bias, self.eps)


class Samples(Batch):
    """One affine map per sample and channel, from their moments; τ is ``(N, K)``."""

    _statistics: tuple[Tensor, Tensor] | None = None

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance ``(N, C)`` of each sample; a layer that assigns by others' evidence may need none."""
        if self._statistics is None:
            self._statistics = maths.sample_statistics(self.x)
        return self._statistics

    def assign(self, given: Tensor | None, sharpness: float) -> tuple[Tensor, Tensor]:
        """τ_k(n), and the evidence, both ``(N, K)``."""
        evidence = given
        if evidence is None or sharpness > 0.0:
            own = maths.sample_evidence(*self.statistics(), self.mixture, self.eps, sharpness)
            evidence = own if evidence is None else evidence + own
        return maths.sample_responsibilities(evidence, self.mixture), evidence

    def moments(self, tau: Tensor, reduce: Reduce = lambda part: part) -> Moments:
        """From those of the samples."""
        own = maths.sample_moments(tau, *self.statistics(), math.prod(self.x.shape[2:]), reduce)
        return maths.with_fallback(own, self.mixture)

    def normalize(self, tau: Tensor, moments: tuple[Tensor, Tensor], affine: Affine) -> Tensor:
        """By moments that ρ shrinks toward the sample's own."""
        if affine.rho is None:
            slope_nc, offset_nc = maths.sample_map(tau, *moments, affine.gain, affine.bias, self.eps)
        else:
            groups = math.gcd(self.x.shape[1], self.shrink_groups)
            mode = maths.product(tau, moments[0]), maths.product(tau, moments[1])
            own = maths.shrunk(mode, *self.statistics(), self.shift_c, affine.rho, groups)
            slope_nc, offset_nc = maths.own_map(tau, *own, affine.gain, affine.bias, self.eps)
        return self.x * along(self.x, slope_nc) + along(self.x, offset_nc)


BATCHES: dict[str, type[Batch]] = {"sample": Samples, "element": Elements}
