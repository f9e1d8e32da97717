"""The base class for a norm of your own."""

from abc import ABC, abstractmethod

from torch import Tensor

from uan_da.norms.batch_norm import AffineNorm, BatchNorm
from uan_da.norms.forward import fx_leaf, widened
from uan_da.norms.uan.mixture import affine


class Norm(AffineNorm, ABC):
    """A layer that replaces a BatchNorm: it normalises, then multiplies each channel by its γ and adds its β.

    A subclass defines :meth:`normalise`. The keyword-only parameters of its constructor are the options of a recipe.

    Args:
        bn: the BatchNorm; the layer copies its γ and β, or has none if ``bn`` has none.
    """

    def __init__(self, bn: BatchNorm) -> None:
        super().__init__(bn)
        self.num_features = bn.num_features

    @abstractmethod
    def normalise(self, x: Tensor) -> Tensor:
        """``x`` ``(N, C, …)``, normalised, in the same shape. Half-precision input arrives as float32."""

    @fx_leaf
    def forward(self, x: Tensor) -> Tensor:
        """γ · normalised ``x`` + β, in the type of ``x``."""
        return affine(self.normalise(widened(x)), self.weight, self.bias).to(x.dtype)
