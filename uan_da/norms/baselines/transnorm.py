"""Transferable normalisation (Wang, Jin, Long, Wang, Jordan, NeurIPS 2019)."""

from typing import ClassVar

import torch
from torch import Tensor

from uan_da.norms.baselines.dsbn import without_affine
from uan_da.norms.batch_norm import BatchNorm
from uan_da.norms.domain import DomainNorm
from uan_da.norms.forward import fx_leaf, widened
from uan_da.norms.uan.mixture import affine, along

SOURCE, TARGET = 0, 1


class TransNorm(DomainNorm):
    r"""TransNorm: statistics per domain, channels weighted by how alike the domains are (Wang et al., NeurIPS 2019).

    .. math:: y = (1 + α_c)\,(γ_c z + β_c), \quad z = (x - μ_d) / \sqrt{σ^2_d + ε}, \quad
       α_c = \frac{C\,(1 + d_c)^{-1}}{\sum_j (1 + d_j)^{-1}}, \quad
       d_c = \left| \frac{μ_s}{\sqrt{σ^2_s + ε}} - \frac{μ_t}{\sqrt{σ^2_t + ε}} \right|

    α has no gradient and uses unbiased variances. In training it is that of the batch; a domain that the
    batch has no sample of gives its running statistics. In evaluation all images are normalised with the
    target's running statistics, as in the authors' code, and no context is needed. Where the domains agree, α
    is 1 and the output twice BatchNorm's.

    Args:
        bn: each domain's statistics, and γ and β, start as copies of its own.
        num_domains: sources and target; all sources are one domain here.
    """

    evaluates_by_target: ClassVar[bool] = True

    def __init__(self, bn: BatchNorm, *, num_domains: int = 2) -> None:
        if bn.running_mean is None:
            raise ValueError("TransNorm needs running statistics, but the BatchNorm was made without them")
        super().__init__([without_affine(bn) for _ in (SOURCE, TARGET)], num_domains, shared=bn)
        self.num_features, self.eps = bn.num_features, bn.eps

    @fx_leaf
    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``(N, C, …)``, normalised."""
        moments = [self._running_moments(branch) for branch in (SOURCE, TARGET)]
        if self.training:
            route = self.routed()
            parts = route.split(x)
            for branch, part in parts:
                moments[branch] = _moments(widened(part))
            z = route.join([self.branches[branch](part) for branch, part in parts])
        else:
            z = self.branches[TARGET](x)
        return affine(z, self.weight, self.bias) * along(z, 1 + self._alpha(moments)).to(x.dtype)

    def _running_moments(self, branch: int) -> tuple[Tensor, Tensor]:
        norm = self.branches[branch]
        assert isinstance(norm, BatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return norm.running_mean, norm.running_var

    @torch.no_grad()
    def _alpha(self, moments: list[tuple[Tensor, Tensor]]) -> Tensor:
        source, target = (mean / (var + self.eps).sqrt() for mean, var in moments)
        distance = (source - target).abs()
        likeness = 1 / (1 + distance.where(distance.isfinite(), 0.0))  # running statistics may hold an old NaN
        return self.num_features * likeness / likeness.sum()


@torch.no_grad()
def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    var, mean = torch.var_mean(x, (0, *range(2, x.dim())))
    return mean, var
