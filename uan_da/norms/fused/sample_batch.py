"""Sample assignment by the moments of the batch, as training does it: all of it is one function of autograd.

Four passes over the activations, two forward, two backward, with the small algebra of
:mod:`uan_da.norms.fused.sample_algebra` between them. x, which the network keeps anyway, is the only large tensor that
is saved.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from uan_da.norms.fused import sample_algebra
from uan_da.norms.fused.output import reshaped
from uan_da.norms.fused.recompute import recorded_gradients
from uan_da.norms.fused.sample_algebra import Layer, Trace
from uan_da.norms.fused.sample_passes import PLAIN, SamplePasses
from uan_da.norms.precision import without_autocast
from uan_da.norms.reference import Mixture, Moments


def normalize(
    x: Tensor, shift_c: Tensor, mixture: Mixture, layer: Layer, passes: SamplePasses
) -> tuple[Tensor, Moments]:
    """``x`` ``(N, C, …)`` normalised, in its type, and without gradient the moments (less the shift, as the mixture's)
    that it was normalised by. The shift ``(C,)``, in the type of the maths (float32 or wider), has no gradient."""
    options = layer.eps, layer.temperature, passes
    y, mean_kc, var_kc, sum_k1 = _Normalize.apply(x, *mixture, layer.gain, layer.bias, shift_c, *options)
    return y, Moments(mean_kc, var_kc, sum_k1 / len(x), sum_k1 * math.prod(x.shape[2:]))


class _Normalize(Function):
    """(x, μ, σ², log λ, g, β) → y and, without gradient, a, b, Στ."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean_kc: Tensor,
        var_kc: Tensor,
        log_prior_k: Tensor,
        gain: Tensor | None,
        bias_c: Tensor | None,
        shift_c: Tensor,
        eps: float,
        temperature: float,
        passes: SamplePasses,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mixture, layer = Mixture(mean_kc, var_kc, log_prior_k), Layer(gain, bias_c, eps, temperature)
        x_ncs = x.flatten(2)
        mean_nc, var_nc = passes.moments(x_ncs, shift_c)
        slope_nc, offset_nc, sum_k1, trace = sample_algebra.forward(mean_nc, var_nc, mixture, layer)
        y = reshaped(passes.affine(x_ncs, shift_c, slope_nc, offset_nc), x.shape)
        ctx.eps, ctx.temperature, ctx.passes = eps, temperature, passes
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *mixture, gain, shift_c, slope_nc, *trace)
        ctx.mark_non_differentiable(trace.mean_kc, trace.var_kc, sum_k1)
        return y, trace.mean_kc, trace.var_kc, sum_k1

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        x, mean_kc, _, _, gain, shift_c, slope_nc, *trace = saved
        g, layer, passes = gradients[0], Layer(gain, None, ctx.eps, ctx.temperature), ctx.passes
        if g is None:
            return (None,) * 10
        has_x, *_, has_bias = ctx.needs_input_grad[:6]
        with without_autocast(x):
            x_ncs, g_ncs = x.flatten(2), g.flatten(2)
            if torch.is_grad_enabled():
                recorded = recorded_gradients(_plain(shift_c, layer), saved[:5], (g,))
                return *recorded, g_ncs.sum((0, 2), dtype=shift_c.dtype) if has_bias else None, *(None,) * 4
            d_slope, d_offset = passes.gradient_sums(g_ncs, x_ncs, shift_c)
            spread_nc, offset_nc, *found = sample_algebra.backward(
                d_slope, d_offset, mean_kc, layer, Trace(*trace), x_ncs.shape[2]
            )
            d_x = None
            if has_x:
                d_x = passes.gradient(g_ncs, x_ncs, shift_c, slope_nc, spread_nc, offset_nc).view(x.shape)
        return d_x, *found, d_offset.sum(0) if has_bias else None, *(None,) * 4


def _plain(shift_c: Tensor, layer: Layer) -> Callable[..., tuple[Tensor]]:
    """y, less β, by plain operations, for the backward of a backward."""

    def plain(x: Tensor, mean_kc: Tensor, var_kc: Tensor, log_prior_k: Tensor, gain: Tensor | None) -> tuple[Tensor]:
        x_ncs, mixture = x.flatten(2), Mixture(mean_kc, var_kc, log_prior_k)
        maps = sample_algebra.plain(*PLAIN.moments(x_ncs, shift_c), mixture, layer._replace(gain=gain))
        return (PLAIN.affine(x_ncs, shift_c, *maps).view(x.shape),)

    return plain
