"""Norms that replace BatchNorm and whose moments follow a stream."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from uan_da.errors import UserError
from uan_da.models.classifier import Classifier
from uan_da.norms import convert_norm
from uan_da.norms.batch_norm import BatchNorm
from uan_da.norms.uan.kernels.serving import dense_format, kernels_on, serves

WITHOUT = "Train with norm=bn, or use a method for any norm: lame, t3a, tent, eta, cotta"
"""What a user does whose network has other norms. Clusters of UAN could not be gone on with: each layer's are its own,
and a stream's are those of the images."""
KERNEL_TYPES = (torch.float32, torch.float64)
"""What kernels take as an image's values."""


class StreamNorm(nn.Module):
    r"""Normalises by the moments that :meth:`moments` returns, with a BatchNorm's γ, β and ε.

    .. math:: y = γ (x - m) / \sqrt{v + ε} + β

    ``mean`` and ``var`` ``(C,)`` start as the source's; ``source_mean`` and ``source_var`` do not change.
    """

    learns = False
    """Whether a forward may update the norm's state, for norms that learn only in some forwards."""
    source_mean: Tensor
    source_var: Tensor
    mean: Tensor
    var: Tensor

    def __init__(self, bn: BatchNorm) -> None:
        super().__init__()
        if bn.running_mean is None or bn.running_var is None:
            raise ValueError("a BatchNorm that keeps no running statistics has none of the source")
        self.eps, self.num_features = bn.eps, bn.num_features
        self.weight, self.bias = bn.weight, bn.bias
        for name, value in (("mean", bn.running_mean), ("var", bn.running_var)):
            self.register_buffer(f"source_{name}", value.detach().clone())
            self.register_buffer(name, value.detach().clone())

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance for ``x`` ``(N, C, …)``: ``(C,)``, or ``(N, C)``."""
        return self.mean, self.var

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``(N, C, …)``, normalised."""
        mean, var = self.moments(x)
        return self.normalised(x, mean, var)

    def normalised(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """``x``, normalised by the given moments, ``(C,)`` or ``(N, C)``."""
        scale = (var + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale if self.bias is None else torch.addcmul(self.bias, mean, scale, value=-1)
        shape = (-1, self.num_features, *[1] * (x.dim() - 2))
        return torch.addcmul(shift.view(shape), x, scale.view(shape))


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance ``(C,)`` of a batch ``(N, C, …)``."""
    var, mean = torch.var_mean(x, (0, *range(2, x.dim())), correction=0)
    return mean, var


def image_moments(x: Tensor, origin_c: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean minus ``origin_c``, and biased variance, ``(N, C)``, of each image's channels. For vectors ``(N, C)`` these
    are the vectors minus ``origin_c``, and 0."""
    origin_c = x.new_zeros(x.shape[1]) if origin_c is None else origin_c.to(x)
    if x.dim() == 2:
        return x - origin_c, torch.zeros_like(x)
    dense = x.is_contiguous(memory_format=dense_format(x))
    wanted = x.requires_grad and torch.is_grad_enabled()
    kernels = kernels_on("cpu") if dense and not wanted and x.dtype in KERNEL_TYPES and serves(x, x.dtype) else None
    if kernels is not None:
        found: tuple[Tensor, Tensor] = kernels.moments(x, origin_c)
        return found
    var, mean = torch.var_mean(x, tuple(range(2, x.dim())), correction=0)
    return mean - origin_c, var


def mixed(
    mean: Tensor, var: Tensor, other_mean: Tensor, other_var: Tensor, share: Tensor | float
) -> tuple[Tensor, Tensor]:
    """The moments of the union of two sets of values, of which the other set is the fraction ``share``."""
    between = share * (1 - share) * (mean - other_mean).square()
    return mean + share * (other_mean - mean), var + share * (other_var - var) + between


def put_norm(model: Classifier, method: str, make: Callable[[BatchNorm], nn.Module]) -> None:
    """Replace every BatchNorm of ``model`` by the layer that ``make`` builds from it.

    Raises:
        UserError: the network has none, or one without running statistics.
    """
    try:
        convert_norm(model, make)
    except ValueError as error:
        raise UserError(f"{method} replaces what BatchNorm normalises by: {error}. {WITHOUT}") from None
    model.eval()


def batch_norms(model: Classifier, method: str) -> list[BatchNorm]:
    """The BatchNorms of ``model`` that keep running statistics.

    Raises:
        UserError: it has none.
    """
    found = [layer for layer in model.modules() if isinstance(layer, BatchNorm) and layer.running_mean is not None]
    if not found:
        raise UserError(f"{method} moves the running statistics of BatchNorm, and this network has none. {WITHOUT}")
    return found


@contextmanager
def learning(*models: nn.Module) -> Iterator[None]:
    """Inside the ``with`` block, each :class:`StreamNorm` of ``models`` may update its state."""
    norms = [layer for model in models for layer in model.modules() if isinstance(layer, StreamNorm)]
    for norm in norms:
        norm.learns = True
    try:
        yield
    finally:
        for norm in norms:
            norm.learns = False
