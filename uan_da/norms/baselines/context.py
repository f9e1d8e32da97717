"""Context normalisation, UAN's supervised sisters, with the domain as the context (Faye et al.)."""

import copy
import math

import torch
from torch import Tensor, nn

from uan_da.norms.baselines.dsbn import DomainSpecificNorm
from uan_da.norms.batch_norm import BatchNorm, learned_moments, type_of
from uan_da.norms.uan.mixture import along


def cn(bn: BatchNorm, *, num_domains: int = 2) -> DomainSpecificNorm:
    r"""Context normalisation: a BatchNorm per domain, scaled by 1/√p of the domain (arXiv:2403.16798v3).

    .. math:: y = \frac{1}{\sqrt{p_r}}\, \mathrm{BN}_r(x), \quad p_r = 1 / \text{num\_domains}

    Where ``bn`` has seen data, γ and β absorb the factor, so that the function stays.
    """
    gain = math.sqrt(num_domains)
    branches: list[nn.Module] = []
    for _ in range(num_domains):
        branch = copy.deepcopy(bn)
        if learned_moments(bn):
            for parameter in branch.parameters():
                parameter.data.div_(gain)
        branches.append(branch)
    return DomainSpecificNorm(branches, gain=gain)


class LearnedNorm(nn.Module):
    r"""Normalisation by learned moments: :math:`y = (x - μ_c) / (e^{ρ_c} + ε)`, equal in training and evaluation."""

    no_weight_decay = ("mean", "log_std")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.mean = nn.Parameter(torch.empty(num_features, device=device, dtype=dtype))
        self.log_std = nn.Parameter(torch.empty(num_features, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A mean of 0 and a deviation of 1."""
        nn.init.zeros_(self.mean)
        nn.init.zeros_(self.log_std)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``(N, C, …)``, normalised."""
        return (x - along(x, self.mean)) / (along(x, self.log_std).exp() + self.eps)


def acn(bn: BatchNorm, *, num_domains: int = 2) -> DomainSpecificNorm:
    r"""Adaptive context normalisation: a learned mean and deviation per domain (arXiv:2409.04759).

    .. math:: y = γ \frac{x - μ_r}{e^{ρ_r} + ε} + β

    without batch or running statistics. The paper has no γ and β; they are here where ``bn`` has them, shared
    by the domains, so that a pretrained model keeps its function.
    """
    moments = learned_moments(bn)
    branches: list[nn.Module] = []
    for _ in range(num_domains):
        branch = LearnedNorm(bn.num_features, bn.eps, **type_of(bn))
        if moments:
            mean, var = moments
            with torch.no_grad():
                branch.mean.copy_(mean)
                branch.log_std.copy_(((var + bn.eps).sqrt() - bn.eps).log())
        branches.append(branch)
    return DomainSpecificNorm(branches, shared=bn)
