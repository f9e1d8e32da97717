"""The base class for a norm of your own."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from uan_da.norms.batch_norm import BatchNorm, copy_affine, reset_affine
from uan_da.norms.forward import fx_leaf, widened
from uan_da.norms.uan.mixture import affine


class Norm(nn.Module, ABC):
    """A layer that replaces a BatchNorm: it normalises, then multiplies each channel by its γ and adds its β.

    A subclass defines :meth:`normalise`. The keyword-only parameters of its constructor are the options of a recipe.

    Args:
        bn: the BatchNorm; the layer copies its γ and β, or has none if ``bn`` has none.
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
        """``x`` ``(N, C, …)``, normalised, in the same shape. Half-precision input arrives as float32."""

    def reset_parameters(self) -> None:
        """γ = 1 and β = 0."""
        reset_affine(self)

    @fx_leaf
    def forward(self, x: Tensor) -> Tensor:
        """γ · normalised ``x`` + β, in the type of ``x``."""
        return affine(self.normalise(widened(x)), self.weight, self.bias).to(x.dtype)
