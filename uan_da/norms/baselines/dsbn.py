"""Domain-specific batch normalisation (Chang et al., CVPR 2019)."""

import copy
from typing import Literal

from torch import Tensor, nn

from uan_da.norms.batch_norm import BatchNorm
from uan_da.norms.domain import DomainNorm
from uan_da.norms.forward import fx_leaf
from uan_da.norms.synchronized import batch_norm
from uan_da.norms.uan.mixture import affine


class DomainSpecificNorm(DomainNorm):
    """A norm of its own for each domain, then a gain and an affine map that the domains share.

    Args:
        branches: one norm per domain, the target's last.
        gain: multiplies what comes out of the norms.
        shared: γ and β are copied from this norm; None means no γ and β.
    """

    def __init__(self, branches: list[nn.Module], *, gain: float = 1.0, shared: nn.Module | None = None) -> None:
        super().__init__(branches, len(branches), shared)
        self.gain = gain

    @fx_leaf
    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``(N, C, …)``, each sample by the norm of its domain."""
        route = self.routed()
        y = route.join([self.branches[branch](part) for branch, part in route.split(x)])
        if self.gain != 1.0:
            y = y * self.gain
        return affine(y, self.weight, self.bias)


def dsbn(
    bn: BatchNorm,
    *,
    num_domains: int = 2,
    affine: Literal["separate", "shared"] = "separate",
    sync: bool = False,
) -> DomainSpecificNorm:
    """Domain-specific batch normalisation: a BatchNorm per domain (Chang et al., arXiv:1906.03950).

    Every branch starts as a copy of ``bn``. ``affine="shared"``: γ and β are one pair for all domains.
    ``num_domains`` counts sources and target. ``sync``: the moments of a domain are those of the batches of all
    processes that train together.
    """
    bn = batch_norm(bn, sync=sync)
    if affine == "separate":
        return DomainSpecificNorm([copy.deepcopy(bn) for _ in range(num_domains)])
    return DomainSpecificNorm([without_affine(bn) for _ in range(num_domains)], shared=bn)


def without_affine(bn: BatchNorm) -> BatchNorm:
    """A copy of ``bn`` that has no γ and β."""
    plain = copy.deepcopy(bn)
    plain.affine = False
    plain.register_parameter("weight", None)
    plain.register_parameter("bias", None)
    return plain
