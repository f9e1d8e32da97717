"""Batch normalisation, of one process's batch or of all processes' batches together."""

from typing import Self

import torch
from torch import Tensor, nn

from uan_da.norms.batch_norm import BatchNorm
from uan_da.norms.distributed import is_distributed, sum_over_processes
from uan_da.norms.forward import widened, without_autocast
from uan_da.norms.uan.mixture import affine, along


class SynchronizedBatchNorm(BatchNorm):
    """Batch normalisation whose moments are those of all processes' batches together (Ioffe & Szegedy,
    arXiv:1502.03167); with one process it is PyTorch's, to the bit.

    It runs on every device, where ``nn.SyncBatchNorm`` needs GPUs. Input and output are ``(N, C, …)``; moments are
    taken in float32 or wider.
    """

    @classmethod
    def of(cls, bn: BatchNorm) -> Self:
        """A layer with the parameters, buffers and options of ``bn``, which it shares."""
        layer = cls(bn.num_features, bn.eps, bn.momentum, bn.affine, bn.track_running_stats, device="meta")
        layer._parameters, layer._buffers = bn._parameters, bn._buffers
        return layer.train(bn.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any rank."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(N, C, …)``."""
        if not is_distributed() or not (self.training or self.running_mean is None):
            return super().forward(input)
        with without_autocast(input):
            x = widened(input)
            axes = [0, *range(2, x.dim())]
            count = sum_over_processes(x.new_tensor(float(x.numel() // x.shape[1])))
            mean_c = sum_over_processes(x.sum(axes)) / count
            centred = x - along(x, mean_c)
            var_c = sum_over_processes(centred.square().sum(axes)) / count
            self._follow(mean_c, var_c * count / (count - 1))
            return affine(centred * along(x, (var_c + self.eps).rsqrt()), self.weight, self.bias).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean_c: Tensor, unbiased_c: Tensor) -> None:
        """Move the running statistics by PyTorch's rule."""
        if not (self.training and self.track_running_stats) or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_c.to(self.running_mean), rate)
        self.running_var.lerp_(unbiased_c.to(self.running_var), rate)


def batch_norm(bn: BatchNorm, *, sync: bool = False) -> BatchNorm:
    """Batch normalisation as it is (Ioffe & Szegedy, arXiv:1502.03167): the layer itself.

    ``sync``: the moments are those of the batches of all processes that train together.
    """
    return SynchronizedBatchNorm.of(bn) if sync else bn


def synchronize(model: nn.Module) -> None:
    """Put a synchronised layer in the place of every plain BatchNorm inside ``model``; the parameters stay."""
    for name, child in model.named_children():
        if isinstance(child, BatchNorm) and type(child).__module__ == BatchNorm.__module__:
            setattr(model, name, SynchronizedBatchNorm.of(child))
        else:
            synchronize(child)
