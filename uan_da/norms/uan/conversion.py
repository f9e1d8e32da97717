"""UAN in the place of a BatchNorm, with the function that it had learned; and back."""

import math
from typing import Any

import torch
from torch import nn

from uan_da.norms.batch_norm import BatchNorm, copy_affine, learned_moments, options_of
from uan_da.norms.uan.clusters import INITIAL_SPREAD
from uan_da.norms.uan.layer import UAN, UAN1d, UAN2d, UAN3d
from uan_da.norms.uan.options import Backend, Options, takes_options

LEARNED_SPREAD = 0.02
"""The spread where the clusters themselves normalise: what they part by changes the function."""

_BY_RANK: tuple[tuple[type[BatchNorm], type[UAN]], ...] = (
    (nn.BatchNorm1d, UAN1d),
    (nn.BatchNorm2d, UAN2d),
    (nn.BatchNorm3d, UAN3d),
)


@takes_options
def uan(bn: BatchNorm, **options: Any) -> UAN:
    """Unsupervised adaptive normalisation: clusters of samples, learned with the network (arXiv:2409.04757).

    From a BatchNorm that has seen data: the evaluation output stays what it was (with batch moments and
    without shrinkage), the clusters start spread around the running statistics, and the first batch does not
    move them. ``num_clusters`` is by default 8 and ``depth`` 2; under element assignment 2 and 0. Options as in
    :class:`~uan_da.norms.uan.options.Options`.
    """
    kind = next((uan for batch, uan in _BY_RANK if isinstance(bn, batch)), UAN)
    own, chosen, moments = options_of(bn), Options(**options), learned_moments(bn)
    gain = math.sqrt(chosen.num_clusters) if moments and chosen.scale == "prior" else 1.0
    lacks_gamma = bn.weight is None and gain != 1.0
    if lacks_gamma:
        own["affine"], own["bias"] = True, False
    options["sync"] = chosen.sync or isinstance(bn, nn.SyncBatchNorm)
    layer = kind(bn.num_features, **own, **options)
    if bn.affine:
        copy_affine(bn, layer)
    if layer.weight is not None:
        layer.weight.data.div_(gain)
        layer.weight.requires_grad_(layer.weight.requires_grad and not lacks_gamma)
    if moments:
        # equal running moments in every cluster keep the function, whatever τ is; distinct μ let the clusters separate
        layer.start_mixture(*moments, INITIAL_SPREAD if chosen.moments == "batch" else LEARNED_SPREAD)
        running = layer.running
        assert running is not None
        running.fill(*moments, bn.num_batches_tracked)
    return layer


def uan_paper(
    bn: BatchNorm, *, num_clusters: int = 3, em_rate: float = 0.1, sync: bool = False, backend: Backend = "auto"
) -> UAN:
    """UAN in the form of its paper: clusters of single activations, output scaled by 1/√λ (arXiv:2409.04757)."""
    return uan(
        bn,
        num_clusters=num_clusters,
        assignment="element",
        scale="prior",
        em_rate=em_rate,
        sync=sync,
        backend=backend,
    )


@torch.no_grad()
def to_batch_norm(layer: UAN) -> BatchNorm:
    """The BatchNorm that computes what a UAN of one cluster computes in evaluation.

    Raises:
        ValueError: more than one cluster, or shrinkage: no BatchNorm computes that.

    Example:
        >>> layer = UAN2d(8, num_clusters=1, shrink=None)
        >>> _ = layer(torch.randn(4, 8, 5, 5))
        >>> to_batch_norm(layer).running_mean.shape
        torch.Size([8])
    """
    if layer.num_clusters != 1 or layer.options.shrink is not None:
        raise ValueError(
            "only a UAN of one cluster without shrinkage is a BatchNorm, but got "
            f"num_clusters={layer.num_clusters}, shrink={layer.options.shrink}"
        )
    ranks = {uan: batch for batch, uan in _BY_RANK}
    make, running = ranks.get(type(layer), nn.SyncBatchNorm), layer.running
    moments = None if running is None else (running.mean, running.var)
    if layer.options.moments == "learned":
        moments = layer.mean, layer.log_var.exp()
    bn = make(layer.num_features, layer.eps, layer.momentum, layer.affine, moments is not None).to(layer.mean)
    if layer.affine:
        copy_affine(layer, bn)
    buffers: dict[str, Any] = dict(bn.named_buffers())
    if moments is not None:
        buffers["running_mean"].copy_(moments[0][0])
        buffers["running_var"].copy_(moments[1][0])
    if running is not None:
        buffers["num_batches_tracked"].copy_(running.batches)
    return bn.train(layer.training)
