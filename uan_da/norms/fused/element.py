r"""Element assignment in four passes over the activations: two forward, two backward.

Forward, the first pass takes the sums of τ, τz and τz² from which the moments follow (see
:mod:`uan_da.norms.fused.element_passes`), the second the output :math:`y = \sum_k τ_k (α_k z_k + δ_k)`. Backward, the
first takes the gradients of α and δ; the small algebra between the passes, which ordinary autograd
differentiates, turns them into the gradients of the three sums; the second takes those of x and of the clusters'
coefficients. τ is computed anew in each, so that x is the only large tensor that is saved.
A training step by the moments of its own batch is shorter: :mod:`uan_da.norms.fused.element_batch`.

Shapes: activations ``(N, C, …)``, inside ``x_ncs`` ``(N, C, S)``; of each cluster and channel ``(K, C)``.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from uan_da.norms.fused.element_passes import PLAIN, Coefficients, ElementPasses
from uan_da.norms.fused.output import reshaped


class ElementMap:
    """The two ends of one forward: :meth:`sums`, then :meth:`mix` with what became of them.

    As in :class:`uan_da.norms.fused.sample.SampleMap`, the backward of ``mix`` leaves its inputs here and passes g
    on as it is, through a token; the backward of ``sums`` makes the one pass that writes.
    """

    def __init__(self, x_ncs: Tensor, coefficients: Coefficients, passes: ElementPasses) -> None:
        self.passes = passes
        self.left: tuple[Tensor, Tensor, Tensor] | None = None
        self.recorded: Tensor | None = None  # x, for the backward of a backward
        self._shape, self._x_ncs, self._coefficients = x_ncs.shape, x_ncs.flatten(2), coefficients
        self._token: Tensor | None = None

    def sums(self, wanted: bool = True) -> Tensor:
        """Στ, Στz, Στz² ``(3, K, C)``; zeros, without a pass, where they are not ``wanted``."""
        self._token, sums = _Sums.apply(self._x_ncs, *self._coefficients, self, wanted)
        assert isinstance(sums, Tensor)
        return sums

    def mix(self, slope_kc: Tensor, offset_kc: Tensor) -> Tensor:
        """Σ_k τ_k (α_k z_k + δ_k), in the type of x; :meth:`sums` need not have been called."""
        if self._token is None:
            self.sums(wanted=False)
        clusters = *self._coefficients, slope_kc, offset_kc
        y: Tensor = _Mix.apply(self._x_ncs, self._token, *clusters, self, self._shape)
        del self._x_ncs, self._token, self._coefficients  # the graph holds this object: it must not hold the graph
        return y


class _Sums(Function):
    """(x, μ, r, b) → (token, sums)."""

    @staticmethod
    def forward(
        ctx: Any, x_ncs: Tensor, mean: Tensor, rstd: Tensor, bias: Tensor, ends: ElementMap, wanted: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.ends = ends
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(mean, rstd, bias)
        sums = mean.new_zeros(3, *mean.shape)
        if wanted:
            sums = ends.passes.sums(x_ncs, Coefficients(mean, rstd, bias))
        return x_ncs.new_empty(()).expand(x_ncs.shape), sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        g_ncs, d_sums = gradients
        ends: ElementMap = ctx.ends
        mean, rstd, bias = ctx.saved_tensors
        if g_ncs is None:  # the backward of a backward, which need not come through y
            assert ends.recorded is not None
            x_ncs, slope_kc, offset_kc = ends.recorded, torch.zeros_like(mean), torch.zeros_like(mean)
            g_ncs = x_ncs.new_zeros(()).expand(x_ncs.shape)
        else:
            assert ends.left is not None
            (x_ncs, slope_kc, offset_kc), ends.left = ends.left, None
        if d_sums is None:
            d_sums = mean.new_zeros(3, *mean.shape)
        gradient = (PLAIN if torch.is_grad_enabled() else ends.passes).gradient
        coefficients = Coefficients(mean, rstd, bias)
        d_x, sums = gradient(g_ncs, x_ncs, coefficients, slope_kc, offset_kc, d_sums)
        d_z, d_zz, d_bias = sums  # z = (x − μ) r
        return d_x, -rstd * d_z, d_zz / rstd, d_bias, None, None


class _Mix(Function):
    """(x, token, μ, r, b, α, δ) → y."""

    @staticmethod
    def forward(
        ctx: Any,
        x_ncs: Tensor,
        _: Tensor,
        mean: Tensor,
        rstd: Tensor,
        bias: Tensor,
        slope_kc: Tensor,
        offset_kc: Tensor,
        ends: ElementMap,
        shape: torch.Size,
    ) -> Tensor:
        ctx.ends = ends
        ctx.save_for_backward(x_ncs, mean, rstd, bias, slope_kc, offset_kc)
        coefficients = Coefficients(mean, rstd, bias)
        return reshaped(ends.passes.mix(x_ncs, coefficients, slope_kc, offset_kc), shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        g_ncs = gradients[0].flatten(2)
        ends: ElementMap = ctx.ends
        x_ncs, mean, rstd, bias, slope_kc, offset_kc = ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            ends.left = x_ncs, slope_kc, offset_kc
            if torch.is_grad_enabled():
                ends.recorded = x_ncs
            else:  # should the backward end before it gets to sums, no cycle is left
                ends.left = x_ncs.detach(), slope_kc.detach(), offset_kc.detach()
        sums = (PLAIN if torch.is_grad_enabled() else ends.passes).gradient_sums
        d_slope, d_offset = sums(g_ncs, x_ncs, Coefficients(mean, rstd, bias))
        return None, g_ncs, None, None, None, d_slope, d_offset, None, None
