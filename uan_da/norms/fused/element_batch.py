"""Element assignment by the moments of the batch, as training does it: all of it is one function of autograd.

Four passes over the activations, two forward, two backward, with the small algebra of
:mod:`uan_da.norms.fused.element_algebra` between them. x, which the network keeps anyway, is the only large tensor that
is saved.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from uan_da.norms.fused import element_algebra
from uan_da.norms.fused.element_algebra import Trace, coefficients_of
from uan_da.norms.fused.element_passes import PLAIN, Coefficients, ElementPasses
from uan_da.norms.fused.output import reshaped
from uan_da.norms.fused.recompute import recorded_gradients
from uan_da.norms.precision import without_autocast
from uan_da.norms.reference import Mixture, Moments


def normalize(
    x: Tensor,
    shift_c: Tensor,
    mixture: Mixture,
    gain: Tensor | None,
    bias_c: Tensor | None,
    eps: float,
    passes: ElementPasses,
) -> tuple[Tensor, Moments]:
    """``x`` ``(N, C, …)`` normalised, in its type, and without gradient the moments (less the shift, as the mixture's)
    that it was normalised by. The gain is f γ and broadcasts over ``(K, C)``, None is 1; the shift ``(C,)``, in the
    type of the maths (float32 or wider), has no gradient."""
    y, *moments = _Normalize.apply(x, *mixture, gain, bias_c, shift_c, eps, passes)
    return y, Moments(*moments)


class _Normalize(Function):
    """(x, μ, σ², log λ, g, β) → y and, without gradient, the moments."""

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
        passes: ElementPasses,
    ) -> tuple[Tensor, ...]:
        mixture, x_ncs = Mixture(mean_kc, var_kc, log_prior_k), x.flatten(2)
        coefficients = coefficients_of(mixture, shift_c, eps)
        sums, values = passes.sums(x_ncs, coefficients), x.numel() // x.shape[1]
        slope, offset, moments, trace = element_algebra.forward(
            sums, values, mixture, coefficients.rstd, gain, bias_c, eps
        )
        y = reshaped(passes.mix(x_ncs, coefficients, slope, offset), x.shape)
        ctx.eps, ctx.passes = eps, passes
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*moments)
        ctx.save_for_backward(x, *mixture, gain, shift_c, slope, offset, *coefficients, *trace)
        return y, *moments

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        g = gradients[0]
        if g is None:
            return (None,) * 9
        saved = ctx.saved_tensors
        x, _, _, _, gain, shift_c, slope, offset, *rest = saved
        coefficients, trace, has_bias = Coefficients(*rest[:3]), Trace(*rest[3:]), ctx.needs_input_grad[5]
        with without_autocast(x):
            x_ncs, g_ncs = x.flatten(2), g.flatten(2)
            if torch.is_grad_enabled():
                recorded = recorded_gradients(_plain(shift_c, ctx.eps), saved[:5], (g,))
                return *recorded, g_ncs.sum((0, 2), dtype=shift_c.dtype) if has_bias else None, None, None, None
            d_slope, d_offset = ctx.passes.gradient_sums(g_ncs, x_ncs, coefficients)
            d_sums, minus_2_d_q, d_gain = element_algebra.backward(d_slope, d_offset, slope, trace)
            d_x, sums = ctx.passes.gradient(g_ncs, x_ncs, coefficients, slope, offset, d_sums)
            d_mixture = element_algebra.of_clusters(sums, minus_2_d_q, coefficients.rstd, ctx.eps, trace)
            of_gain = None if gain is None else d_gain.sum_to_size(gain.shape)
        return d_x.view(x.shape), *d_mixture, of_gain, d_offset.sum(0) if has_bias else None, None, None, None


def _plain(shift_c: Tensor, eps: float) -> Callable[..., tuple[Tensor]]:
    """y, less β, by plain operations, for the backward of a backward."""

    def plain(x: Tensor, mean_kc: Tensor, var_kc: Tensor, log_prior_k: Tensor, gain: Tensor | None) -> tuple[Tensor]:
        mixture, x_ncs = Mixture(mean_kc, var_kc, log_prior_k), x.flatten(2)
        coefficients, values = coefficients_of(mixture, shift_c, eps), x.numel() // x.shape[1]
        sums = PLAIN.sums(x_ncs, coefficients)
        maps = element_algebra.plain(sums, values, mixture, coefficients, gain, None, eps)
        return (PLAIN.mix(x_ncs, coefficients, *maps).view(x.shape),)

    return plain
