"""The operators of UAN: what PyTorch's compiler and autograd see of a training step.

An operator changes none of its inputs. ``train`` normalises by the moments of its own batch, works out the state after
it, and keeps of the activations x alone, which the network keeps anyway. Where its gradient is to be differentiated
again, that is the gradient of the plain formulas.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from uan_da.norms.forward import in_backward, widened
from uan_da.norms.running import Running
from uan_da.norms.uan.clusters import Clusters, Step, is_frozen, moved, started
from uan_da.norms.uan.kernels.layout import dense_format
from uan_da.norms.uan.kernels.second_order import recorded
from uan_da.norms.uan.kernels.serving import cpu_kernels

_library: Any = torch.library.Library("uan_da", "DEF")  # type: ignore[no-untyped-call]
_CLUSTERS = "Tensor mean, Tensor log_var, Tensor prior_logits"
_MATHS = "float eps, float balance, float? sharpness"
_library.define("moves(Tensor initialized) -> Tensor")
_library.define(f"start(Tensor x, {_CLUSTERS}, Tensor initialized, float eps) -> (Tensor, Tensor, Tensor, Tensor)")
_library.define(f"move({_CLUSTERS}, Tensor[] step) -> (Tensor, Tensor, Tensor)")
_library.define(
    f"train(Tensor x, {_CLUSTERS}, Tensor? weight, Tensor? bias, Tensor? given, Tensor[] step, Tensor[] running, "
    f"bool takes_step, {_MATHS}, float? momentum, float em_rate) -> (Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    f"train_gradient(Tensor g, Tensor? of_evidence, Tensor x, Tensor? weight, Tensor state, Tensor kept, {_MATHS}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)


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


Changes = list[tuple[Tensor, Tensor]]
"""Tensors, and what they are to be set to."""


class Scalars(NamedTuple):
    """Numbers of a layer: ε; ``balance`` of f; T of its own evidence, 0 where it does not count, None where elements
    are assigned; the momentum; and η."""

    eps: float
    balance: float
    sharpness: float | None
    momentum: float | None
    em_rate: float


def train(
    x: Tensor,
    clusters: Clusters,
    affine: tuple[Tensor | None, Tensor | None],
    given: Tensor | None,
    step: Step,
    running: Running | None,
    moves: bool,
    scalars: Scalars,
) -> tuple[Tensor, Tensor, Changes]:
    """``x`` ``(N, C, …)`` normalised, in its type; the evidence ``(N, K)``, that ``given`` by other layers included;
    and what is left to be done to the state after it.

    ``affine`` is γ and β. The clusters take ``step``, and are left the next one, where ``moves``; ``running`` are what
    is to follow the batch. The kernel writes all this itself; where somebody looks on, nothing may be changed here.
    """
    frozen = [not parameter.requires_grad and is_frozen(parameter) for parameter in clusters]
    taken = [torch.zeros_like(part) if still else part for part, still in zip(step, frozen, strict=True)]
    given = None if given is None else given.to(clusters.mean.dtype)
    inputs = x, *clusters, *affine, given, taken, list(running or ())[:3], moves, *scalars
    mean, log_var, logits = (None if still or not moves else p for p, still in zip(clusters, frozen, strict=True))
    steps, followers = step if moves else (None,) * 3, running or (None,) * 4
    state = mean, log_var, *steps[:2], *followers[:3], logits, steps[2]
    if not _is_watched(x):
        into = *state, followers[3]
        y, _, _, evidence = _Train.apply(*inputs, into)
        increment_version([tensor for tensor in into if tensor is not None])
        return y, evidence, []
    y, packed, _, evidence = torch.ops.uan_da.train.default(*inputs)
    rows, priors = _unpacked(packed.detach(), clusters.mean)
    new = [*rows.unbind(), *priors.unbind()]
    if running is not None:
        new[6] = new[6][:, : running.mass.shape[1]]
        state, new = (*state, running.batches), [*new, running.batches + 1]
    return y, evidence, [(tensor, value) for tensor, value in zip(state, new, strict=True) if tensor is not None]


def _unpacked(state: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """State ``(7, K, C)`` and priors ``(2, K)``."""
    rows = 7 * mean.numel()
    return state[:rows].view(7, *mean.shape), state[rows:].view(2, len(mean))


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
    given: Tensor | None, step: list[Tensor], running: list[Tensor], takes_step: bool,
    eps: float, balance: float, sharpness: float | None, momentum: float | None, em_rate: float,
    into: Sequence[Tensor | None] = (None,) * 10,
) -> tuple[Tensor, ...]:  # fmt: skip
    kernels = cpu_kernels()
    assert kernels is not None
    wide = _dense(x, x)
    y, *rest = outputs = _outputs(torch.empty_like(wide), mean, sharpness)
    state = mean, log_var, step[0], step[1], *(running or (mean, mean, mean)), logits, step[2]
    maths = eps, balance, sharpness, momentum, em_rate
    takes_step = takes_step and not in_backward()
    kernels.train(wide, state, (weight, bias, given), takes_step, maths, outputs, into)
    return y if wide is x else y.to(x.dtype), *rest


def _train_dense(*inputs: Any) -> tuple[Tensor, ...]:
    """``train`` of a compiler, which may lay out tensors as it likes."""
    run: Any = _train
    dense = (x.contiguous() if isinstance(x, Tensor) else x for x in inputs[1:7])
    lists = ([x.contiguous() for x in tensors] for tensors in inputs[7:9])
    outputs: tuple[Tensor, ...] = run(inputs[0], *dense, *lists, *inputs[9:])
    return outputs


def _train_gradient(
    g: Tensor, of_evidence: Tensor | None, x: Tensor, weight: Tensor | None, state: Tensor, kept: Tensor,
    eps: float, balance: float, sharpness: float | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    kernels = cpu_kernels()
    assert kernels is not None
    wide = _dense(x, x)
    d_x, *rest = gradients = _gradients(torch.empty_like(wide), state, sharpness)
    weight, of_evidence = (None if tensor is None else tensor.contiguous() for tensor in (weight, of_evidence))
    maths = eps, balance, sharpness
    kernels.train_gradient((_dense(g, x), of_evidence), wide, weight, (state, kept), maths, gradients)
    return d_x if wide is x else d_x.to(x.dtype), *rest


def _dense(x: Tensor, like: Tensor) -> Tensor:
    return widened(x).contiguous(memory_format=dense_format(like))


def _outputs(y: Tensor, mean: Tensor, sharpness: float | None) -> tuple[Tensor, ...]:
    """y, and memory for the new state, for what the backward needs beside it, and for the evidence."""
    (n, c), k = y.shape[:2], mean.shape[0]
    if sharpness is None:
        kept = mean.new_empty(3 * k * c, dtype=torch.float64)
    else:
        kept = mean.new_empty(2 * n * c + n * k + 2 * k * c + k)
    return y, mean.new_empty(7 * k * c + 2 * k), kept, mean.new_empty(0 if sharpness is None else n, k)


def _gradients(d_x: Tensor, state: Tensor, sharpness: float | None) -> tuple[Tensor, ...]:
    """That of x, and memory for those of μ, log σ², λ's logits, γ, β and the evidence."""
    (n, c), new = d_x.shape[:2], state.new_empty
    k = state.shape[0] // (7 * c + 2)
    return d_x, new(k, c), new(k, c), new(k), new(c), new(c), new(0 if sharpness is None else n, k)


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=dense_format(x))


class _Train(torch.autograd.Function):
    """The operator ``train`` with its gradient.

    The clusters after the step are outputs to which those before it pass their gradient: a second gradient goes
    through them, for the parameters have moved on since."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        x, weight, ctx.maths = inputs[0], inputs[4], inputs[10:13]
        if _is_watched(x):
            with torch._C._AutoDispatchBelowAutograd():
                y, state, kept, evidence = torch.ops.uan_da.train.default(*inputs)
        else:
            y, state, kept, evidence = _train(*inputs)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(kept)
        ctx.save_for_backward(x, weight, state, kept, inputs[6])
        return y, state, kept, evidence

    @staticmethod
    def backward(
        ctx: Any, g: Tensor | None, of_state: Tensor | None, _: None, of_evidence: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, weight, state, kept, given = ctx.saved_tensors
        if g is None and of_evidence is not None:
            g = torch.zeros_like(x)
        if g is None:
            gradients: tuple[Tensor | None, ...] = (None,) * 7
        elif torch.is_grad_enabled():
            clusters = Clusters(*_clusters(state, x.shape[1]))
            bias = torch.zeros_like(clusters.mean[0], requires_grad=ctx.needs_input_grad[5])
            gradients = recorded((g, of_evidence), x, clusters, (weight, bias), given, ctx.maths)
        else:
            run = torch.ops.uan_da.train_gradient.default if _is_watched(x) else _train_gradient
            gradients = run(g, of_evidence, x, weight, state, kept, *ctx.maths)
        if of_state is not None:
            gradients = _with(gradients, *_clusters(of_state, x.shape[1]))
        needed = ctx.needs_input_grad
        wanted = [gradient if need else None for gradient, need in zip(gradients, needed, strict=False)]
        return *wanted, *(None,) * (len(needed) - 7)


def _clusters(state: Tensor, channels: int) -> tuple[Tensor, ...]:
    """μ, log σ² and λ's logits."""
    k = len(state) // (7 * channels + 2)
    (mean, log_var, *_), priors = _unpacked(state, state[: k * channels].view(k, channels))
    return mean, log_var, priors[0]


def _with(gradients: tuple[Tensor | None, ...], *own: Tensor) -> tuple[Tensor | None, ...]:
    """``gradients``, and those of the clusters after the step."""
    d_x, *of_clusters = gradients[:4]
    sums = (b if a is None else a + b for a, b in zip(of_clusters, own, strict=True))
    return d_x, *sums, *gradients[4:]


def _fake_like(*like: Any) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor) for tensor in like)


_library.impl("moves", _moves, "CompositeExplicitAutograd")
_library.impl("start", _start, "CompositeExplicitAutograd")
_library.impl("move", _move, "CompositeExplicitAutograd")
_library.impl("train", _train_dense, "CPU")
_library.impl("train", _Train.apply, "Autograd")
_library.impl("train_gradient", _train_gradient, "CPU")
for _name, _shapes in (
    ("moves", lambda initialized: torch.empty_like(initialized, dtype=torch.bool)),
    ("start", lambda x, *rest: _fake_like(*rest[:4])),
    ("move", lambda *rest: _fake_like(*rest[:3])),
    ("train", lambda x, mean, *rest: _outputs(_like(x), mean, rest[10])),
    ("train_gradient", lambda g, _, x, weight, state, *rest: _gradients(_like(x), state, rest[3])),
):
    torch.library.register_fake(f"uan_da::{_name}", _shapes, lib=_library)
