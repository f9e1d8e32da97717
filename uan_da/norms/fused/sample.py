r"""Sample assignment in four passes over the activations: two forward, two backward.

A layer maps every sample and channel by :math:`y = A_{nc} (x - s_c) + B_{nc}`, where A and B follow from the
moments of that sample and channel by small algebra, which ordinary autograd differentiates. With the gradient
g of y, the first backward pass takes :math:`∂A = \sum_s g (x - s_c)` and :math:`∂B = \sum_s g`; the algebra
turns them into gradients of the mean m (less the shift) and variance v over the S positions; the second is

.. math:: ∂x = A g + \tfrac{2}{S} ∂v\, (x - s_c - m) + \tfrac{1}{S} ∂m

so that x, which the network keeps anyway, is the only large tensor that is saved.
A training step by the moments of its own batch is shorter: :mod:`uan_da.norms.fused.sample_batch`.

Shapes: activations ``(N, C, …)``, inside ``x_ncs`` ``(N, C, S)``; ``shift_c`` ``(C,)``; all else ``(N, C)``.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from uan_da.norms.fused.output import reshaped
from uan_da.norms.fused.sample_passes import PLAIN, SamplePasses


class SampleMap:
    """The two ends of one forward: :meth:`moments`, then :meth:`apply` with what became of them.

    They are one object because the gradient of x is made by both together: the backward of ``apply`` passes g
    on as it is and leaves x and A here; the backward of ``moments``, which autograd runs later, makes the one
    pass that writes. Between the two runs a token, a tensor of the shape of x without memory of its own, whose
    only use is to carry g.

    Args:
        x_ncs: activations in any floating type.
        shift_c: a value near the data, in the type of the maths (float32 or wider); without gradient.
        passes: what does the work where autograd does not record.
    """

    def __init__(self, x_ncs: Tensor, shift_c: Tensor, passes: SamplePasses) -> None:
        self.shift_c, self.passes = shift_c, passes
        self.left: tuple[Tensor, Tensor] | None = None
        self.recorded: Tensor | None = None  # x, for the backward of a backward
        self._shape, self._x_ncs = x_ncs.shape, x_ncs.flatten(2)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean, less the shift, and biased variance of each sample's channels."""
        self._token, mean_nc, var_nc = _Moments.apply(self._x_ncs, self)
        return mean_nc, var_nc

    def apply(self, slope_nc: Tensor, offset_nc: Tensor) -> Tensor:
        """A (x − shift) + B, in the type of x."""
        y: Tensor = _Apply.apply(self._x_ncs, self._token, slope_nc, offset_nc, self, self._shape)
        del self._x_ncs, self._token  # the graph holds this object, which must not hold the graph
        return y


class _Moments(Function):
    """x → (token, m, v)."""

    @staticmethod
    def forward(ctx: Any, x_ncs: Tensor, ends: SampleMap) -> tuple[Tensor, Tensor, Tensor]:
        ctx.ends = ends
        mean_nc, var_nc = ends.passes.moments(x_ncs, ends.shift_c)
        ctx.save_for_backward(mean_nc)
        ctx.set_materialize_grads(False)
        return x_ncs.new_empty(()).expand(x_ncs.shape), mean_nc, var_nc

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None]:
        g_ncs, d_mean_nc, d_var_nc = gradients
        ends: SampleMap = ctx.ends
        (mean_nc,) = ctx.saved_tensors
        if g_ncs is None:  # the backward of a backward, which need not come through y
            assert ends.recorded is not None
            x_ncs, slope_nc = ends.recorded, torch.zeros_like(mean_nc)
            g_ncs = x_ncs.new_zeros(()).expand(x_ncs.shape)
        else:
            assert ends.left is not None
            (x_ncs, slope_nc), ends.left = ends.left, None
        positions = x_ncs[0, 0].numel()
        offset_nc = torch.zeros_like(mean_nc) if d_mean_nc is None else d_mean_nc / positions
        spread_nc = torch.zeros_like(mean_nc) if d_var_nc is None else d_var_nc * (2 / positions)
        offset_nc = offset_nc - spread_nc * mean_nc
        gradient = (PLAIN if torch.is_grad_enabled() else ends.passes).gradient
        rest = ends.shift_c, slope_nc, spread_nc, offset_nc
        return gradient(g_ncs, x_ncs, *rest), None


class _Apply(Function):
    """(x, token, A, B) → A (x − shift) + B."""

    @staticmethod
    def forward(
        ctx: Any,
        x_ncs: Tensor,
        _: Tensor,
        slope_nc: Tensor,
        offset_nc: Tensor,
        ends: SampleMap,
        shape: torch.Size,
    ) -> Tensor:
        ctx.ends = ends
        ctx.save_for_backward(x_ncs, slope_nc)
        return reshaped(ends.passes.affine(x_ncs, ends.shift_c, slope_nc, offset_nc), shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        g_ncs = gradients[0].flatten(2)
        ends: SampleMap = ctx.ends
        x_ncs, slope_nc = ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            ends.left = x_ncs, slope_nc
            if torch.is_grad_enabled():
                ends.recorded = x_ncs
            else:  # should the backward end before it gets to moments, no cycle is left
                ends.left = x_ncs.detach(), slope_nc.detach()
        sums = (PLAIN if torch.is_grad_enabled() else ends.passes).gradient_sums
        return None, g_ncs, *sums(g_ncs, x_ncs, ends.shift_c), None, None
