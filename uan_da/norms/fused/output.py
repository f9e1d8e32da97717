"""The output of a pass, in the shape of the layer's input."""

import torch
from torch import Tensor


def reshaped(y_ncs: Tensor, shape: torch.Size) -> Tensor:
    """A fresh ``y`` ``(N, C, S)`` as ``(N, C, …)``, and for autograd no view.

    The in-place ReLU that follows most norms costs several times as much on a view, whose gradient is copied into one
    of the base; on a view made inside a ``Function`` it is not even allowed."""
    y: Tensor = torch.ops.aten._unsafe_view(y_ncs, shape)
    return y
