"""A batch, less the shift, as each assignment sees it: what belongs to a cluster is a sample, or an element."""

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
    """Activations ``x`` ``(N, C, …)`` less the shift ``(C,)``, and what a layer does with them."""

    def __init__(self, x: Tensor, shift_c: Tensor, eps: float, shrink_groups: int) -> None:
        self.x, self.shift_c, self.eps, self.shrink_groups = x, shift_c, eps, shrink_groups

    @abstractmethod
    def assign(self, mixture: Mixture, given: Tensor | None, sharpness: float) -> tuple[Tensor, Tensor | None]:
        """τ, and the evidence for the layers that follow: that ``given`` by those before, and T times the batch's own;
        0 leaves it out."""

    @abstractmethod
    def moments(self, tau: Tensor, reduce: Reduce) -> Moments:
        """Moments of each cluster, less the shift."""

    @abstractmethod
    def normalize(self, tau: Tensor, moments: tuple[Tensor, Tensor], affine: Affine) -> Tensor:
        """y, by moments less the shift."""


class Elements(Batch):
    """Every activation by its own mixture, as in the paper; τ is ``(K, N, C, …)``."""

    def assign(self, mixture: Mixture, given: Tensor | None, sharpness: float) -> tuple[Tensor, None]:
        """τ_k(n, c, s), of each layer by itself."""
        return maths.element_responsibilities(self.x, mixture, self.eps), None

    def moments(self, tau: Tensor, reduce: Reduce) -> Moments:
        """Moments of each cluster, less the shift."""
        return maths.element_moments(tau, self.x, reduce)

    def normalize(self, tau: Tensor, moments: tuple[Tensor, Tensor], affine: Affine) -> Tensor:
        """y, by moments less the shift."""
        return maths.element_output(tau, self.x, *moments, affine.gain, affine.bias, self.eps)


class Samples(Batch):
    """One affine map per sample and channel, from their moments; τ is ``(N, K)``."""

    def __init__(self, x: Tensor, shift_c: Tensor, eps: float, shrink_groups: int) -> None:
        super().__init__(x, shift_c, eps, shrink_groups)
        self._statistics: tuple[Tensor, Tensor] | None = None

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance ``(N, C)`` of each sample; a layer that assigns by others' evidence may need none."""
        if self._statistics is None:
            self._statistics = maths.sample_statistics(self.x)
        return self._statistics

    def assign(self, mixture: Mixture, given: Tensor | None, sharpness: float) -> tuple[Tensor, Tensor]:
        """τ_k(n), and the evidence, both ``(N, K)``."""
        evidence = given
        if evidence is None or sharpness > 0.0:
            own = maths.sample_evidence(*self.statistics(), mixture, self.eps, sharpness)
            evidence = own if evidence is None else evidence + own
        return maths.sample_responsibilities(evidence, mixture), evidence

    def moments(self, tau: Tensor, reduce: Reduce) -> Moments:
        """Moments of each cluster, less the shift."""
        return maths.sample_moments(tau, *self.statistics(), math.prod(self.x.shape[2:]), reduce)

    def normalize(self, tau: Tensor, moments: tuple[Tensor, Tensor], affine: Affine) -> Tensor:
        """y, by moments less the shift, which ρ shrinks toward the sample's own."""
        if affine.rho is None:
            slope_nc, offset_nc = maths.sample_map(tau, *moments, affine.gain, affine.bias, self.eps)
        else:
            groups = math.gcd(self.x.shape[1], self.shrink_groups)
            mode = maths.product(tau, moments[0]), maths.product(tau, moments[1])
            own = maths.shrunk(mode, *self.statistics(), self.shift_c, affine.rho, groups)
            slope_nc, offset_nc = maths.own_map(tau, *own, affine.gain, affine.bias, self.eps)
        return self.x * along(self.x, slope_nc) + along(self.x, offset_nc)


BATCHES: dict[str, type[Batch]] = {"sample": Samples, "element": Elements}
