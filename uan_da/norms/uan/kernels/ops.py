"""The operators of UAN: what PyTorch's compiler and autograd see of a training step.

An operator changes none of its inputs. ``train`` normalises by the moments of its own batch, works out the state after
it, and keeps of the activations x alone, which the network keeps anyway. Where its gradient is to be differentiated
again, that is the gradient of the plain formulas.
"""

import functools
import sys
import warnings
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uan_da.norms.forward import in_backward, widened, without_autocast
from uan_da.norms.running import Running
from uan_da.norms.uan.assignment import BATCHES, Affine
from uan_da.norms.uan.clusters import Clusters, Step, mixture_of, moved, started
from uan_da.norms.uan.kernels.layout import dense_format
from uan_da.norms.uan.mixture import Mixture, Moments, along, gain_of, with_fallback
from uan_da.norms.uan.options import Options

_library: Any = torch.library.Library("uan_da", "DEF")  # type: ignore[no-untyped-call]
_CLUSTERS = "Tensor mean, Tensor log_var, Tensor prior_logits"
_MATHS = "float eps, float balance, float? sharpness"
_library.define("moves(Tensor initialized) -> Tensor")
_library.define(f"start(Tensor x, {_CLUSTERS}, Tensor initialized, float eps) -> (Tensor, Tensor, Tensor, Tensor)")
_library.define(f"move({_CLUSTERS}, Tensor[] step) -> (Tensor, Tensor, Tensor)")
_library.define(
    f"train(Tensor x, {_CLUSTERS}, Tensor? weight, Tensor? bias, Tensor[] step, Tensor[] running, bool takes_step, "
    f"{_MATHS}, float? momentum, float em_rate) -> (Tensor, Tensor, Tensor, Tensor[])"
)
_library.define(
    f"train_gradient(Tensor g, Tensor x, Tensor state, Tensor priors, Tensor? weight, Tensor[] kept, {_MATHS}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)


class After(NamedTuple):
    """The state after a training step: ``running`` is :class:`Running` without its count."""

    clusters: Clusters
    step: Step
    running: tuple[Tensor, ...]


def moves(initialized: Tensor) -> Tensor:
    """Whether state may move, as a tensor on the device of ``initialized``: not in a recomputation. A compiled forward
    asks when it runs."""
    result: Tensor = torch.ops.uan_da.moves(initialized)
    return result


def start(x: Tensor, clusters: Clusters, initialized: Tensor, eps: float) -> tuple[Clusters, Tensor]:
    """:func:`uan_da.norms.uan.clusters.started`; a compiled backward keeps its results and does not work them out
    anew, from parameters that have moved since."""
    *after, good = torch.ops.uan_da.start(x, *clusters, initialized, eps)
    return Clusters(*after), good


def move(clusters: Clusters, step: Step) -> Clusters:
    """:func:`uan_da.norms.uan.clusters.moved`, likewise."""
    return Clusters(*torch.ops.uan_da.move(*clusters, list(step)))


def serves(x: Tensor, dtype: torch.dtype, assignment: str | None = None, clusters: int = 1) -> bool:
    """Whether there are kernels for ``x`` ``(N, C, …)`` and parameters of this type, and whoever looks on need not see
    plain operations. Without an assignment, those for the moments of samples."""
    if x.dim() < 3 or x.numel() == 0 or x.device.type != "cpu" or not x.is_floating_point():
        return False
    if torch.promote_types(x.dtype, torch.float32) != dtype:
        return False
    if torch.compiler.is_compiling():
        return True
    plain = (
        x.layout != torch.strided
        or torch._C._get_tracing_state() is not None
        or _is_in_onnx_export()
        or torch._C._are_functorch_transforms_active()
    )
    return not plain and _compiled(dtype, _is_last(x), assignment, clusters)


def _is_in_onnx_export() -> bool:
    exporter = sys.modules.get("torch.onnx")  # PyTorch imports it where it is first named
    return exporter is not None and bool(exporter.is_in_onnx_export())


def _is_last(x: Tensor) -> bool:
    return dense_format(x) != torch.contiguous_format or x.shape[0] * x.shape[1] == x.numel()


@functools.cache
def _compiled(dtype: torch.dtype, last: bool, assignment: str | None, clusters: int) -> bool:
    """Whether Numba can compile these kernels, before anything depends on them."""
    kernels = cpu_kernels()
    if kernels is None:
        return False
    try:
        kernels.try_out(dtype, last, assignment, clusters)
    except Exception as error:  # whatever a compiler, or a cache that cannot be written, may raise
        _warn(str(error).partition("\n")[0])
        return False
    return True


@functools.cache
def cpu_kernels() -> ModuleType | None:
    """Numba's kernels, None where they cannot be had."""
    try:
        from uan_da.norms.uan.kernels import cpu
    except Exception as error:  # no Numba for this machine, or no folder that can be written
        _warn(str(error).partition("\n")[0])
        return None
    return cpu


@functools.cache
def _warn(reason: str) -> None:
    """Once for each reason."""
    warnings.warn(f"UAN runs without its kernels, which is slower ({reason})", RuntimeWarning, stacklevel=2)


def train(
    x: Tensor,
    clusters: Clusters,
    affine: tuple[Tensor | None, Tensor | None],
    step: Step,
    running: Running | None,
    takes_step: bool,
    eps: float,
    momentum: float | None,
    options: Options,
) -> tuple[Tensor, After]:
    """``x`` ``(N, C, …)`` normalised, in its type, and the state after it.

    ``affine`` is γ and β; the clusters take ``step`` first where ``takes_step``."""
    before = [] if running is None else list(running[:3])
    sharpness = options.sharpness if options.assignment == "sample" else None
    maths = eps, options.balance, sharpness, momentum, options.em_rate
    run = torch.ops.uan_da.train.default if _is_watched(x) else _Train.apply
    y, state, priors, *_ = run(x, *clusters, *affine, list(step), before, takes_step, *maths)
    mean, log_var, step_mean, step_var, *after = state.detach().unbind()
    logits, step_prior = priors.detach().unbind()
    if running is not None and running.mass.shape[1] == 1:
        after[2] = after[2][:, :1]
    return y, After(Clusters(mean, log_var, logits), Step(step_mean, step_var, step_prior), tuple(after))


def _is_watched(x: Tensor) -> bool:
    """Whether somebody has to see an operator: a compiler, a mode, or a tensor of another kind. Else the dispatcher is
    left out, for its way to Python takes longer than the kernels of a small layer."""
    return torch.compiler.is_compiling() or type(x) is not Tensor or torch._C._len_torch_dispatch_stack() > 0


def _moves(initialized: Tensor) -> Tensor:
    return torch.full_like(initialized, not in_backward(), dtype=torch.bool)


def _start(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    clusters, initialized, eps = Clusters(*rest[:3]), *rest[3:]
    if in_backward() or initialized:
        return tuple(tensor.clone() for tensor in (*clusters, initialized))
    after, good = started(widened(x), clusters, initialized, eps)
    return *after, good


def _move(mean: Tensor, log_var: Tensor, prior_logits: Tensor, step: list[Tensor]) -> tuple[Tensor, ...]:
    clusters = Clusters(mean, log_var, prior_logits)
    return tuple(tensor.clone() for tensor in clusters) if in_backward() else moved(clusters, Step(*step))


def _train(
    x: Tensor, mean: Tensor, log_var: Tensor, logits: Tensor, weight: Tensor | None, bias: Tensor | None,
    step: list[Tensor], running: list[Tensor], takes_step: bool,
    eps: float, balance: float, sharpness: float | None, momentum: float | None, em_rate: float,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:  # fmt: skip
    kernels = cpu_kernels()
    assert kernels is not None
    wide = _dense(x, x)
    running_mean, running_var, mass = running or (mean, mean, mean)
    state = torch.stack((mean, log_var, step[0], step[1], running_mean, running_var, mass.expand_as(mean)))
    priors = torch.stack((logits, step[2]))
    affine = _or(weight, mean, 1.0), _or(bias, mean, 0.0)
    rates = eps, balance, -1.0 if momentum is None else momentum, em_rate
    y, new, new_priors, *kept = kernels.train(
        wide, (state, priors, *affine), takes_step and not in_backward(), sharpness, rates
    )
    return y.to(x.dtype), new, new_priors, kept


def _train_gradient(
    g: Tensor, x: Tensor, state: Tensor, priors: Tensor, weight: Tensor | None, kept: list[Tensor],
    eps: float, balance: float, sharpness: float | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    kernels = cpu_kernels()
    assert kernels is not None
    parameters = state, priors, _or(weight, state[0], 1.0)
    d_x, *rest = kernels.train_gradient(_dense(g, x), _dense(x, x), parameters, kept, sharpness, eps, balance)
    return d_x.to(x.dtype), *rest


def _dense(x: Tensor, like: Tensor) -> Tensor:
    return widened(x).contiguous(memory_format=dense_format(like))


def _or(parameter: Tensor | None, like: Tensor, value: float) -> Tensor:
    return like.new_full(like.shape[1:], value) if parameter is None else parameter.to(like.dtype)


def _fake_train(x: Tensor, mean: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    (n, c), k, sharpness = x.shape[:2], len(mean), rest[9]
    if sharpness is None:
        kept = [mean.new_empty(3, k, c, dtype=torch.float64)]
    else:
        kept = [mean.new_empty(shape) for shape in ((2, n, c), (n, k), (2, k, c), (k,))]
    return _fake(x), mean.new_empty(7, k, c), mean.new_empty(2, k), kept


def _fake_train_gradient(g: Tensor, x: Tensor, state: Tensor, priors: Tensor, *_: Any) -> tuple[Tensor, ...]:
    per_channel = state.new_empty(state.shape[2])
    return _fake(x), torch.empty_like(state[:2]), torch.empty_like(priors[0]), per_channel, per_channel.clone()


def _fake(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=dense_format(x))


class _Train(torch.autograd.Function):
    """The operator ``train`` with its gradient.

    The clusters after the step are outputs to which those before it pass their gradient: a second gradient goes
    through them, for the parameters have moved on since."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        x, weight, ctx.maths = inputs[0], inputs[4], inputs[9:12]
        with torch._C._AutoDispatchBelowAutograd():
            run = torch.ops.uan_da.train.default if _is_watched(x) else _train
            y, state, priors, kept = run(*inputs)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*kept)
        ctx.save_for_backward(x, state, priors, weight, *kept)
        return y, state, priors, *kept

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *through: Tensor | None) -> tuple[Tensor | None, ...]:
        x, state, priors, weight, *kept = ctx.saved_tensors
        with without_autocast(x):
            if g is None:
                gradients: tuple[Tensor | None, ...] = (None,) * 6
            elif torch.is_grad_enabled():
                gradients = _recorded(ctx, g, x, state, priors, weight)
            else:
                run = torch.ops.uan_da.train_gradient.default if _is_watched(x) else _train_gradient
                d_x, d_clusters, *rest = run(g, x, state, priors, weight, kept, *ctx.maths)
                gradients = d_x, *d_clusters.unbind(), *rest
        if through[0] is not None or through[1] is not None:
            gradients = _with(gradients, *through[:2])
        given = (
            gradient if needed else None for gradient, needed in zip(gradients, ctx.needs_input_grad, strict=False)
        )
        return *given, *(None,) * 8


def _with(gradients: tuple[Tensor | None, ...], of_state: Tensor | None, of_priors: Tensor | None) -> Any:
    """``gradients``, and those of the clusters after the step."""
    own = *(2 * [None] if of_state is None else of_state[:2]), None if of_priors is None else of_priors[0]
    d_x, *of_clusters, d_weight, d_bias = gradients
    sums = (a if b is None else b if a is None else a + b for a, b in zip(of_clusters, own, strict=True))
    return d_x, *sums, d_weight, d_bias


def _recorded(
    ctx: Any, g: Tensor, x: Tensor, state: Tensor, priors: Tensor, weight: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The gradients by the plain formulas, of inputs that count as independent; autograd records how they came
    about."""
    mean, log_var, logits = (tensor.view_as(tensor) for tensor in (state[0], state[1], priors[0]))
    x = x.view_as(x)
    weight = None if weight is None else weight.view_as(weight)
    bias = torch.zeros_like(mean[0], requires_grad=ctx.needs_input_grad[5])
    y, _, _ = formulas(x, Clusters(mean, log_var, logits), weight, bias, *ctx.maths)
    inputs = x, mean, log_var, logits, weight, bias
    wanted = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
    found = iter(torch.autograd.grad(y, wanted, g, create_graph=True, allow_unused=True))
    return tuple(next(found) if tensor is not None and tensor.requires_grad else None for tensor in inputs)


def formulas(
    x: Tensor,
    clusters: Clusters,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    balance: float,
    sharpness: float | None,
) -> tuple[Tensor, Moments, Mixture]:
    """y, by plain operations; the moments that it was normalised by, and the mixture, both less the shift."""
    shift, wide = clusters.mean.detach().mean(0), widened(x)
    options = Options(assignment="element") if sharpness is None else Options(sharpness=sharpness)
    batch = BATCHES[options.assignment](wide - along(wide, shift), shift, eps, options)
    mixture = mixture_of(clusters, shift)
    tau = batch.assign(mixture)
    moments = with_fallback(batch.moments(tau, lambda part: part), mixture)
    affine = Affine(gain_of(mixture.log_prior, weight, balance), bias, None)
    return batch.normalize(tau, (moments.mean, moments.var), affine).to(x.dtype), moments, mixture


def _recording_train(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    y, state, priors, *kept = _Train.apply(*inputs)
    return y, state, priors, kept


def _fake_like(*like: Any) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor) for tensor in like)


_library.impl("moves", _moves, "CompositeExplicitAutograd")
_library.impl("start", _start, "CompositeExplicitAutograd")
_library.impl("move", _move, "CompositeExplicitAutograd")
_library.impl("train", _train, "CPU")
_library.impl("train", _recording_train, "Autograd")
_library.impl("train_gradient", _train_gradient, "CPU")
for _name, _shapes in (
    ("moves", lambda initialized: torch.empty_like(initialized, dtype=torch.bool)),
    ("start", lambda x, *rest: _fake_like(*rest[:4])),
    ("move", lambda *rest: _fake_like(*rest[:3])),
    ("train", _fake_train),
    ("train_gradient", _fake_train_gradient),
):
    torch.library.register_fake(f"uan_da::{_name}", _shapes, lib=_library)
