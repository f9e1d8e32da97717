"""Group normalisation (Wu & He, arXiv:1803.08494)."""

import math

from torch import nn

from uan_da.norms.batch_norm import BatchNorm, copy_affine


def group_norm(bn: BatchNorm, *, num_groups: int = 8) -> nn.GroupNorm:
    """Group normalisation: each image by the moments of groups of its channels (arXiv:1803.08494).

    The layer has the greatest common divisor of ``num_groups`` and the number of channels as its groups.

    Raises:
        ValueError: ``num_groups`` is below 1.
    """
    if num_groups < 1:
        raise ValueError(f"Expected `num_groups` to be an integer of at least 1, but got {num_groups}")
    layer = nn.GroupNorm(math.gcd(num_groups, bn.num_features), bn.num_features, bn.eps, bn.affine)
    copy_affine(bn, layer)
    return layer
