"""The operators of UAN: what PyTorch's compiler and autograd see of a training step.

An operator changes none of its inputs. It normalises by the moments of its own batch, and keeps of the activations x
alone, which the network keeps anyway. Where its gradient is to be differentiated again, that is the gradient of the
plain formulas.
"""

import functools
import math
import warnings
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from uan_da.norms.forward import in_backward, widened, without_autocast
from uan_da.norms.uan.assignment import BATCHES, Affine
from uan_da.norms.uan.clusters import Clusters, Step, advanced
from uan_da.norms.uan.kernels.layout import dense_format
from uan_da.norms.uan.mixture import Mixture, Moments, along, with_fallback
from uan_da.norms.uan.options import Options

_library: Any = torch.library.Library("uan_da", "DEF")  # type: ignore[no-untyped-call]
_library.define("moves(Tensor initialized) -> Tensor")
_library.define(
    "advance(Tensor x, Tensor mean, Tensor log_var, Tensor prior_logits, Tensor step_mean, Tensor step_var, "
    "Tensor step_prior, Tensor initialized, float eps) -> (Tensor, Tensor, Tensor, Tensor)"
)
_CLUSTERS = "Tensor x, Tensor shift, Tensor clusters, Tensor log_prior, Tensor gain, Tensor bias, float eps"
_GRADIENTS = "(Tensor, Tensor, Tensor, Tensor, Tensor)"
_library.define(f"sample({_CLUSTERS}, float sharpness) -> (Tensor, Tensor, Tensor, Tensor, Tensor)")
_library.define(f"element({_CLUSTERS}) -> (Tensor, Tensor, Tensor)")
_library.define(f"sample_gradient(Tensor g, Tensor x, Tensor[] kept, float eps, float sharpness) -> {_GRADIENTS}")
_library.define(f"element_gradient(Tensor g, Tensor x, Tensor[] kept, float eps) -> {_GRADIENTS}")


def moves(initialized: Tensor) -> Tensor:
    """Whether state may move, as a tensor on the device of ``initialized``: not in a recomputation. A compiled forward
    asks when it runs."""
    result: Tensor = torch.ops.uan_da.moves(initialized)
    return result


def advance(x: Tensor, clusters: Clusters, step: Step, initialized: Tensor, eps: float) -> tuple[Clusters, Tensor]:
    """:func:`uan_da.norms.uan.clusters.advanced`; a compiled backward keeps its results and does not work them out
    anew, from parameters that have moved since."""
    *after, started = torch.ops.uan_da.advance(x, *clusters, *step, initialized, eps)
    return Clusters(*after), started


def serves(x: Tensor) -> bool:
    """Whether there are kernels for ``x`` ``(N, C, …)``, and whoever looks on need not see plain operations."""
    if x.dim() < 3 or x.numel() == 0 or x.device.type != "cpu" or not x.is_floating_point():
        return False
    if torch.compiler.is_compiling():
        return True
    plain = (
        x.layout != torch.strided
        or torch._C._get_tracing_state() is not None
        or torch.onnx.is_in_onnx_export()
        or torch._C._are_functorch_transforms_active()
    )
    return not plain and cpu_kernels() is not None


@functools.cache
def cpu_kernels() -> ModuleType | None:
    """Numba's kernels, None where they cannot be had, which one warning says."""
    try:
        from uan_da.norms.uan.kernels import cpu

        cpu.try_out()
    except Exception as error:  # whatever a compiler, or a folder that cannot be written, may raise
        reason = str(error).partition("\n")[0]
        warnings.warn(f"UAN runs without its kernels, which is slower ({reason})", RuntimeWarning, stacklevel=2)
        return None
    return cpu


def normalize(
    x: Tensor, shift_c: Tensor, mixture: Mixture, affine: Affine, eps: float, options: Options
) -> tuple[Tensor, Moments]:
    """``x`` ``(N, C, …)`` normalised, in its type, and the moments (less the shift, as the mixture's) that it was
    normalised by, without gradient."""
    clusters = torch.stack((mixture.mean, mixture.var))
    gain = torch.ones_like(mixture.mean) if affine.gain is None else affine.gain.expand_as(mixture.mean).contiguous()
    bias_c = torch.zeros_like(shift_c) if affine.bias is None else affine.bias
    inputs = x, shift_c, clusters, mixture.log_prior, gain, bias_c, eps
    if options.assignment == "sample":
        y, _, _, (mean_kc, var_kc), mass_k = torch.ops.uan_da.sample(*inputs, options.sharpness)
        sum_k1 = mass_k[:, None]
        return y, Moments(mean_kc, var_kc, sum_k1 / len(x), sum_k1 * math.prod(x.shape[2:]))
    y, sums, (mean_kc, var_kc) = torch.ops.uan_da.element(*inputs)
    sum_kc = sums[0].to(mean_kc.dtype)
    return y, Moments(mean_kc, var_kc, sum_kc / (x.numel() // x.shape[1]), sum_kc)


def _moves(initialized: Tensor) -> Tensor:
    return torch.full_like(initialized, not in_backward(), dtype=torch.bool)


def _advance(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    clusters, step, initialized, eps = Clusters(*rest[:3]), Step(*rest[3:6]), rest[6], rest[7]
    if in_backward():
        return tuple(tensor.clone() for tensor in (*clusters, initialized))
    after, started = advanced(x, clusters, step, initialized, eps)
    return *after, started


def _dense(x: Tensor, like: Tensor) -> Tensor:
    return widened(x).contiguous(memory_format=dense_format(like))


def _sample(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    from uan_da.norms.uan.kernels import cpu

    y, *kept = cpu.sample(_dense(x, x), rest[:5], *rest[5:])
    return y.to(x.dtype), *kept


def _element(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    from uan_da.norms.uan.kernels import cpu

    y, *kept = cpu.element(_dense(x, x), rest[:5], *rest[5:])
    return y.to(x.dtype), *kept


def _sample_gradient(g: Tensor, x: Tensor, kept: list[Tensor], *options: float) -> tuple[Tensor, ...]:
    from uan_da.norms.uan.kernels import cpu

    d_x, *gradients = cpu.sample_gradient(_dense(g, x), _dense(x, x), tuple(kept), *options)
    return d_x.to(x.dtype), *gradients


def _element_gradient(g: Tensor, x: Tensor, kept: list[Tensor], *options: float) -> tuple[Tensor, ...]:
    from uan_da.norms.uan.kernels import cpu

    d_x, *gradients = cpu.element_gradient(_dense(g, x), _dense(x, x), tuple(kept), *options)
    return d_x.to(x.dtype), *gradients


def _fake_sample(x: Tensor, shift: Tensor, clusters: Tensor, log_prior: Tensor, *_: Any) -> tuple[Tensor, ...]:
    stats, tau = clusters.new_empty(2, *x.shape[:2]), clusters.new_empty(x.shape[0], log_prior.shape[0])
    return _fake(x), stats, tau, torch.empty_like(clusters), torch.empty_like(log_prior)


def _fake_element(x: Tensor, shift: Tensor, clusters: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return _fake(x), clusters.new_empty(3, *clusters.shape[1:], dtype=torch.float64), torch.empty_like(clusters)


def _fake_sample_gradient(g: Tensor, x: Tensor, kept: list[Tensor], *_: Any) -> tuple[Tensor, ...]:
    shift, _stats, _tau, clusters, _moments, mass, gain = kept
    return _fake(x), *(torch.empty_like(like) for like in (clusters, mass, gain, shift))


def _fake_element_gradient(g: Tensor, x: Tensor, kept: list[Tensor], *_: Any) -> tuple[Tensor, ...]:
    return _fake(x), *(torch.empty_like(like) for like in kept[2:])


def _fake(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=dense_format(x))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.eps, *rest = inputs[6:]
    ctx.options = Options(assignment="sample", sharpness=rest[0]) if rest else Options(assignment="element")
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:5], *output[1:])  # no gradient needs β's value


def _sample_backward(ctx: Any, g: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if g is None:
        return (None,) * 8
    x, shift, clusters, log_prior, gain, stats, tau, moments, mass = ctx.saved_tensors
    with without_autocast(x):
        if torch.is_grad_enabled():
            return *_recorded(ctx, g, (x, shift, clusters, log_prior, gain)), None, None
        kept = [shift, stats, tau, clusters, moments, mass, gain]
        d_x, *rest = torch.ops.uan_da.sample_gradient(g, x, kept, ctx.eps, ctx.options.sharpness)
    return d_x, None, *rest, None, None


def _element_backward(ctx: Any, g: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if g is None:
        return (None,) * 7
    x, shift, clusters, log_prior, gain, sums, _moments = ctx.saved_tensors
    with without_autocast(x):
        if torch.is_grad_enabled():
            return *_recorded(ctx, g, (x, shift, clusters, log_prior, gain)), None
        kept = [shift, sums, clusters, log_prior, gain, torch.zeros_like(shift)]
        d_x, *rest = torch.ops.uan_da.element_gradient(g, x, kept, ctx.eps)
    return d_x, None, *rest, None


def _recorded(ctx: Any, g: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """The gradients by the plain formulas, of inputs that count as independent; autograd records how they came
    about."""
    bias = torch.zeros_like(inputs[1], requires_grad=ctx.needs_input_grad[5])
    x, shift, clusters, log_prior, gain, bias = inputs = (*(tensor.view_as(tensor) for tensor in inputs), bias)
    wide, mixture = widened(x), Mixture(clusters[0], clusters[1], log_prior)
    batch = BATCHES[ctx.options.assignment](wide - along(wide, shift), shift, ctx.eps, ctx.options)
    tau = batch.assign(mixture)
    moments = with_fallback(batch.moments(tau, lambda part: part), mixture)
    y = batch.normalize(tau, (moments.mean, moments.var), Affine(gain, bias, None)).to(x.dtype)
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    found = iter(torch.autograd.grad(y, wanted, g, create_graph=True, allow_unused=True))
    return tuple(next(found) if tensor.requires_grad else None for tensor in inputs)


def _fake_moves(initialized: Tensor) -> Tensor:
    return torch.empty_like(initialized, dtype=torch.bool)


def _fake_advance(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor) for tensor in (*rest[:3], rest[6]))


_library.impl("moves", _moves, "CompositeExplicitAutograd")
_library.impl("advance", _advance, "CompositeExplicitAutograd")
_library.impl("sample", _sample, "CPU")
_library.impl("element", _element, "CPU")
_library.impl("sample_gradient", _sample_gradient, "CPU")
_library.impl("element_gradient", _element_gradient, "CPU")
for _name, _shapes in (
    ("moves", _fake_moves),
    ("advance", _fake_advance),
    ("sample", _fake_sample),
    ("element", _fake_element),
    ("sample_gradient", _fake_sample_gradient),
    ("element_gradient", _fake_element_gradient),
):
    torch.library.register_fake(f"uan_da::{_name}", _shapes, lib=_library)
torch.library.register_autograd("uan_da::sample", _sample_backward, setup_context=_keep, lib=_library)
torch.library.register_autograd("uan_da::element", _element_backward, setup_context=_keep, lib=_library)
