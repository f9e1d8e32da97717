"""The base class of a norm that is written in a few lines."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from uan_da.norms.batch_norm import BatchNorm, copy_affine, reset_affine
from uan_da.norms.forward import fx_leaf, widened
from uan_da.norms.uan.mixture import affine


class Norm(nn.Module, ABC):
    """A layer that replaces a BatchNorm: it normalises, then multiplies by γ and adds β, a number each per channel.

    A subclass defines :meth:`normalise`. The keyword-only parameters of its constructor are the options of a recipe.

    Args:
        bn: the layer gets copies of its γ and β, or has none where ``bn`` has none.
    """

    weight: nn.Parameter | None
    """γ ``(C,)``."""
    bias: nn.Parameter | None
    """β ``(C,)``."""

    def __init__(self, bn: BatchNorm) -> None:
        super().__init__()
        self.num_features = bn.num_features
        copy_affine(bn, self)

    @abstractmethod
    def normalise(self, x: Tensor) -> Tensor:
        """``x`` ``(N, C, …)``, normalised, in the same shape. Values of half precision come as float32."""

    def reset_parameters(self) -> None:
        """γ = 1 and β = 0."""
        reset_affine(self)

    @fx_leaf
    def forward(self, x: Tensor) -> Tensor:
        """γ · normalised ``x`` + β, in the type of ``x``."""
        return affine(self.normalise(widened(x)), self.weight, self.bias).to(x.dtype)
