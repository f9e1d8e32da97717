"""Instance normalisation (Ulyanov, Vedaldi, Lempitsky, arXiv:1607.08022)."""

import torch
from torch import Tensor
from torch.nn.modules.instancenorm import _InstanceNorm

from uan_da.norms.batch_norm import BatchNorm, copy_affine, learned_moments, type_of
from uan_da.norms.forward import fx_leaf
from uan_da.norms.uan.mixture import affine


class InstanceNorm(_InstanceNorm):
    """Instance normalisation of ``(N, C, L)``, ``(N, C, H, W)`` or ``(N, C, D, H, W)``.

    PyTorch's classes take an input that lacks an axis for a single image without a batch, so that ``(N, C)``
    would be normalised over C.
    """

    @fx_leaf
    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``(N, C, …)``, normalised."""
        if x.dim() < 3:
            raise ValueError(
                f"instance normalisation needs positions, (N, C, …), but got shape {tuple(x.shape)}: keep "
                "another norm after linear layers (where='re:…')"
            )
        if x.shape[1] != self.num_features:
            raise ValueError(f"expected {self.num_features} channels, but got shape {tuple(x.shape)}")
        if x.numel() == 0:
            return affine(x, self.weight, self.bias)
        return self._apply_instance_norm(x)  # type: ignore[no-any-return, no-untyped-call, unused-ignore]


def instance_norm(bn: BatchNorm, *, track_running_stats: bool = False) -> InstanceNorm:
    """Instance normalisation: each channel of each image by its own moments (arXiv:1607.08022).

    With running statistics, evaluation uses the average of the training images' moments instead.
    """
    momentum = 0.1 if bn.momentum is None else bn.momentum
    layer = InstanceNorm(bn.num_features, bn.eps, momentum, bn.affine, track_running_stats, **type_of(bn))
    copy_affine(bn, layer)
    if track_running_stats and learned_moments(bn):
        with torch.no_grad():
            for buffer, seen in zip(layer.buffers(), bn.buffers(), strict=True):
                buffer.copy_(seen)
    return layer
