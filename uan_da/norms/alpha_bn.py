"""α-BN: evaluation with a mixture of the running and the batch's statistics (You, Li, Zhao,
arXiv:2110.04065)."""

from typing import Any

import torch
from torch import Tensor

from uan_da.norms.batch import BatchNorm, copy_affine, options_of
from uan_da.norms.precision import widened
from uan_da.norms.reference import affine, along


class AlphaBatchNorm(BatchNorm):
    r"""BatchNorm in training; in evaluation

    .. math:: y = γ (x - \tilde μ) / \sqrt{\tilde σ^2 + ε} + β, \quad
       \tilde μ = w μ_{run} + (1 - w) μ_{batch}, \quad \tilde σ^2 = w σ^2_{run} + (1 - w) σ^2_{batch}

    with the biased variance of the batch. The variances are mixed as they are, without a term for the
    distance of the means. The output depends on the batch: w = 1 is BatchNorm, w = 0 is normalisation by the
    test batch alone (Nado et al., arXiv:2006.10963).
    """

    def __init__(self, num_features: int, source_weight: float = 0.9, **options: Any) -> None:
        super().__init__(num_features, **options)
        if not 0.0 <= source_weight <= 1.0:
            raise ValueError(f"Expected `source_weight` to be between 0 and 1, but got {source_weight}")
        self.source_weight = source_weight

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``(N, C, …)``, normalised."""
        if self.training or self.running_mean is None or self.running_var is None:
            return super().forward(x)
        self._check_input_dim(x)
        wide = widened(x)
        var, mean = torch.var_mean(wide, (0, *range(2, x.dim())), correction=0)
        mean = torch.lerp(mean, self.running_mean.to(mean.dtype), self.source_weight)
        var = torch.lerp(var, self.running_var.to(var.dtype), self.source_weight)
        z = (wide - along(x, mean)) * along(x, (var + self.eps).rsqrt())
        return affine(z, self.weight, self.bias).to(x.dtype)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected an input (N, C, …), but got shape {tuple(x.shape)}")


def alpha_bn(bn: BatchNorm, *, source_weight: float = 0.9) -> AlphaBatchNorm:
    """α-BN: BatchNorm that mixes the test batch's statistics into evaluation (arXiv:2110.04065).

    ``source_weight`` is the running statistics' share, the same in every layer.
    """
    options = {name: value for name, value in options_of(bn).items() if name != "bias"}
    layer = AlphaBatchNorm(bn.num_features, source_weight, **options)
    copy_affine(bn, layer)
    layer.load_state_dict(bn.state_dict())
    return layer
