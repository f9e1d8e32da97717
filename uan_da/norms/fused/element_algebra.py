"""The small algebra of element assignment, between the passes over the activations.

Shapes: ``(K, C)``; sums ``(3, K, C)``.
"""

from torch import Tensor

from uan_da.norms.fused.element_passes import Coefficients
from uan_da.norms.reference import MIN_MASS, Mixture, Moments, Reduce


def coefficients_of(mixture: Mixture, shift_c: Tensor, eps: float) -> Coefficients:
    """μ, 1/√(σ² + ε) and log λ − ½ log(σ² + ε), for values from which no shift was taken."""
    var_kc = mixture.var + eps
    return Coefficients(mixture.mean + shift_c, var_kc.rsqrt(), mixture.log_prior[:, None] - 0.5 * var_kc.log())


def moments_of(sums: Tensor, values: int, coefficients: Coefficients, mixture: Mixture, reduce: Reduce) -> Moments:
    """Moments of each cluster (less the shift, as the mixture's) from Στ, Στz, Στz² over ``values`` values of a
    channel; centred at μ, the clusters' moments lose no digits."""
    total = reduce(sums.new_tensor(float(values)))
    sum_kc, first_kc, second_kc = reduce(sums)
    safe_kc = sum_kc.maximum(MIN_MASS * total)
    mean_z, mean_square_z = first_kc / safe_kc, second_kc / safe_kc
    var_kc = (mean_square_z - mean_z.square()) / coefficients.rstd.square()
    return Moments(mixture.mean + mean_z / coefficients.rstd, var_kc, sum_kc / total, sum_kc)


def map_of(
    mean_kc: Tensor,
    var_kc: Tensor,
    coefficients: Coefficients,
    mixture: Mixture,
    gain: Tensor | None,
    bias_c: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    r"""Slope and offset of :math:`g (x - a) / \sqrt{b + ε} + β` in z, where (a, b) are the mean (less the shift) and
    variance that normalise. The gain g broadcasts over ``(K, C)``; None is 1."""
    scale_kc = (var_kc + eps).rsqrt()
    if gain is not None:
        scale_kc = scale_kc * gain
    offset_kc = scale_kc * (mixture.mean - mean_kc)
    return scale_kc / coefficients.rstd, offset_kc if bias_c is None else offset_kc + bias_c
