"""α-BN: evaluation with a mixture of the running and the batch's statistics (You, Li, Zhao,
arXiv:2110.04065)."""

import copy

import torch
from torch import Tensor, nn

from uan_da.norms.batch_norm import BatchNorm
from uan_da.norms.forward import fx_leaf, widened
from uan_da.norms.uan.mixture import affine, along


class AlphaBatchNorm(nn.Module):
    r"""BatchNorm in training; in evaluation

    .. math:: y = γ (x - \tilde μ) / \sqrt{\tilde σ^2 + ε} + β, \quad
       \tilde μ = w μ_{run} + (1 - w) μ_{batch}, \quad \tilde σ^2 = w σ^2_{run} + (1 - w) σ^2_{batch}

    with the biased variance of the batch. The variances are mixed as they are, without a term for the
    distance of the means. The output depends on the batch: w = 1 is BatchNorm, w = 0 is normalisation by the
    test batch alone (Nado et al., arXiv:2006.10963).

    Args:
        norm: the BatchNorm, which the layer has as a part: whatever finds a BatchNorm in a model finds it.
        source_weight: w.
    """

    def __init__(self, norm: BatchNorm, source_weight: float = 0.9) -> None:
        super().__init__()
        if not 0.0 <= source_weight <= 1.0:
            raise ValueError(f"Expected `source_weight` to be between 0 and 1, but got {source_weight}")
        self.norm = norm
        self.source_weight = source_weight

    @fx_leaf
    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``(N, C, …)``, normalised."""
        norm = self.norm
        if norm.training or norm.running_mean is None or norm.running_var is None or x.numel() == 0:
            y: Tensor = norm(x)
            return y
        wide = widened(x)
        var, mean = torch.var_mean(wide, (0, *range(2, x.dim())), correction=0)
        mean = torch.lerp(mean, norm.running_mean.to(mean.dtype), self.source_weight)
        var = torch.lerp(var, norm.running_var.to(var.dtype), self.source_weight)
        z = (wide - along(x, mean)) * along(x, (var + norm.eps).rsqrt())
        return affine(z, norm.weight, norm.bias).to(x.dtype)

    def extra_repr(self) -> str:
        """The option, as ``repr`` prints it."""
        return f"source_weight={self.source_weight}"


def alpha_bn(bn: BatchNorm, *, source_weight: float = 0.9) -> AlphaBatchNorm:
    """α-BN: BatchNorm that mixes the test batch's statistics into evaluation (arXiv:2110.04065).

    ``source_weight`` is the running statistics' share, the same in every layer.
    """
    return AlphaBatchNorm(copy.deepcopy(bn), source_weight)
