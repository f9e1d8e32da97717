"""The operators of UAN: what PyTorch's compiler and autograd see of a training step.

An operator changes none of its inputs. ``train`` normalises by the moments of its own batch, works out the state after
it, and keeps of the activations x alone, which the network keeps anyway. Where its gradient is to be differentiated
again, that is the gradient of the plain formulas.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from uan_da.norms.forward import in_backward, widened
from uan_da.norms.uan.clusters import Clusters, State, Step, is_frozen, moved, started, started_around
from uan_da.norms.uan.kernels.layout import dense_format
from uan_da.norms.uan.kernels.second_order import recorded
from uan_da.norms.uan.kernels.serving import kernels_of

_library: Any = torch.library.Library("uan_da", "DEF")  # type: ignore[no-untyped-call]
_CLUSTERS = "Tensor mean, Tensor log_var, Tensor prior_logits"
_MATHS = "float eps, float balance, float? sharpness"
_library.define("moves(Tensor initialized) -> Tensor")
_library.define(
    f"start(Tensor x, {_CLUSTERS}, Tensor initialized, float eps, bool fused) -> (Tensor, Tensor, Tensor, Tensor)"
)
_library.define(f"move({_CLUSTERS}, Tensor[] step) -> (Tensor, Tensor, Tensor)")
_library.define(
    f"train(Tensor x, {_CLUSTERS}, Tensor? weight, Tensor? bias, Tensor? given, Tensor[] step, Tensor[] running, "
    f"bool takes_step, {_MATHS}, float? momentum, float em_rate) -> (Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    f"train_gradient(Tensor g, Tensor? of_evidence, Tensor x, Tensor? weight, Tensor state, Tensor kept, {_MATHS}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)


@torch.no_grad()
def write(changes: Iterable[tuple[Tensor, Tensor]], initialized: Tensor) -> None:
    """Set the first tensor of each pair to the second; not in a recomputation, which a compiled forward finds out when
    it runs."""
    moves = torch.ops.uan_da.moves(initialized) if torch.compiler.is_compiling() else None
    for state, value in changes:
        state.copy_(value if moves is None else torch.where(moves, value, state))


def start(x: Tensor, clusters: Clusters, initialized: Tensor, eps: float, fused: bool) -> tuple[Clusters, Tensor]:
    """:func:`uan_da.norms.uan.clusters.started`, for a compiler an operator: a compiled backward keeps its results and
    does not work them out anew, from parameters that have moved since. Where the layer is ``fused``, a compiled step
    does not wait for a GPU."""
    if not torch.compiler.is_compiling():
        return started(x, clusters, initialized, eps)
    *after, good = torch.ops.uan_da.start(x, *clusters, initialized, eps, fused)
    return Clusters(*after), good


def move(clusters: Clusters, step: Step) -> Clusters:
    """:func:`uan_da.norms.uan.clusters.moved`, likewise."""
    if not torch.compiler.is_compiling():
        return moved(clusters, step)
    return Clusters(*torch.ops.uan_da.move(*clusters, list(step)))


Maybe = Tensor | None
_THREE, _FOUR = (None,) * 3, (None,) * 4


class Scalars(NamedTuple):
    """Numbers of a layer: ε; ``balance`` of f; T of its own evidence, 0 where it does not count, None where elements
    are assigned; the momentum; and η."""

    eps: float
    balance: float
    sharpness: float | None
    momentum: float | None
    em_rate: float


def train(
    x: Tensor, state: State, given: Maybe, updates: bool, moves: bool, shares: bool, scalars: Scalars
) -> tuple[Tensor, Maybe]:
    """``x`` ``(N, C, …)`` normalised, in its type; and the evidence ``(N, K)``, that ``given`` by other layers
    included, where it ``shares`` it with others.

    The running moments follow the batch where it ``updates``; the clusters take EM's step, and are left the next one,
    where it ``moves`` them. The kernel writes all this itself, but where somebody looks on it may change nothing.
    """
    clusters, initialized, affine, step, running = state
    running = running if updates else None
    given = None if given is None else given.to(clusters.mean.dtype)
    inputs = x, *clusters, *affine, given
    frozen = [not moves or is_frozen(parameter) for parameter in clusters]
    held = *clusters, *(step if moves else _THREE), *(running or _FOUR)
    after = *[None if still else parameter for parameter, still in zip(clusters, frozen, strict=True)], *held[3:]
    if not _is_watched(x):
        y, _, evidence = _apply(partial(_run, inputs, held, frozen, True, scalars), scalars, shares, *inputs)
        increment_version([tensor for tensor in after if tensor is not None])
        return y, evidence
    zeroed = [torch.zeros_like(part) if still else part for part, still in zip(step, frozen, strict=True)]
    y, packed, _, evidence = torch.ops.uan_da.train.default(*inputs, zeroed, list(running or ())[:3], moves, *scalars)
    rows, (logits, step_prior) = _unpacked(packed.detach(), clusters.mean)
    new = [*rows[:2], logits, *rows[2:4], step_prior]
    if running is not None:
        new += [*rows[4:6], rows[6][:, : running.mass.shape[1]], running.batches + 1]
    changes = ((old, value) for old, value in zip(after, new, strict=False) if old is not None)
    write(changes, initialized)
    return y, evidence if shares else None


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
    clusters, initialized, eps, fused = Clusters(*rest[:3]), *rest[3:]
    kernels = kernels_of(x) if fused and x.is_cuda else None
    if in_backward() or (kernels is None and initialized):
        return tuple(tensor.clone() for tensor in (*clusters, initialized))
    if kernels is None:
        after, good = started(x, clusters, initialized, eps)
    else:
        moments = kernels.first_moments(_dense(x, x), clusters.mean.dtype, initialized)
        after, good = started_around(moments, clusters, initialized, eps)
    return *after, good


def _move(mean: Tensor, log_var: Tensor, prior_logits: Tensor, step: list[Tensor]) -> tuple[Tensor, ...]:
    clusters = Clusters(mean, log_var, prior_logits)
    return tuple(tensor.clone() for tensor in clusters) if in_backward() else moved(clusters, Step(*step))


def _run(
    inputs: Sequence[Maybe], held: Sequence[Maybe], frozen: Sequence[bool], sets: bool, scalars: Scalars
) -> tuple[Tensor, ...]:
    """The kernel, for which ``inputs`` are x, μ, log σ², λ's logits, γ, β and the evidence given; ``held`` are a
    layer's clusters, EM's step and running statistics, which it reads, and which it ``sets`` but for clusters that are
    ``frozen``: None is zeros."""
    x, mean = inputs[0], inputs[1]
    assert x is not None
    assert mean is not None
    wide = _dense(x, x)
    outputs = _outputs(torch.empty_like(wide), mean, scalars.sharpness)
    kernels_of(x).train((*held, *inputs[4:], wide, *outputs), wide, mean.shape[0], frozen, sets, scalars)
    return outputs if wide is x else (outputs[0].to(x.dtype), *outputs[1:])


def _train(*inputs: Any) -> tuple[Tensor, ...]:
    """``train`` of a compiler, which may lay out tensors as it likes."""
    step, running, takes_step, *scalars = inputs[7:]
    dense = [None if x is None else x.contiguous() for x in (*inputs[1:7], *step, *running)]
    clusters, rest, followers = dense[:3], dense[3:6], dense[9:] or _THREE
    steps = dense[6:9] if takes_step and not in_backward() else _THREE
    held = *clusters, *steps, *followers, None
    return _run((inputs[0], *clusters, *rest), held, (False,) * 3, False, Scalars(*scalars))


def _train_gradient(
    g: Tensor, of_evidence: Maybe, x: Tensor, weight: Maybe, state: Tensor, kept: Tensor,
    eps: float, balance: float, sharpness: float | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    wide = _dense(x, x)
    d_x, *rest = gradients = _gradients(torch.empty_like(wide), state, sharpness)
    weight, of_evidence = (None if tensor is None else tensor.contiguous() for tensor in (weight, of_evidence))
    tensors = _dense(g, x), of_evidence, wide, weight, state, kept, *gradients
    kernels_of(x).train_gradient(tensors, wide, gradients[1].shape[0], (eps, balance, sharpness))
    return d_x if wide is x else d_x.to(x.dtype), *rest


def _dense(x: Tensor, like: Tensor) -> Tensor:
    wide = widened(x) if x.is_cpu else x  # a GPU's kernels read half precision
    return wide.contiguous(memory_format=dense_format(like))


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


class _Train(torch.autograd.Function):
    """The operator ``train`` with its gradient.

    The clusters after the step are outputs to which those before it pass their gradient: a second gradient goes
    through them, for the parameters have moved on since."""

    @staticmethod
    def forward(
        ctx: Any, run: Callable[[], Sequence[Tensor]], scalars: Scalars, shares: bool, x: Tensor, mean: Tensor,
        log_var: Tensor, logits: Tensor, weight: Maybe, bias: Maybe, given: Maybe,
    ) -> tuple[Maybe, ...]:  # fmt: skip
        y, state, kept, evidence = run()
        ctx.maths = scalars[:3]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, state, kept, given)
        return y, state, evidence if shares else None  # each output costs time

    @staticmethod
    def backward(ctx: Any, g: Maybe, of_state: Maybe, of_evidence: Maybe) -> tuple[Maybe, ...]:
        x, weight, state, kept, given = ctx.saved_tensors
        g = torch.zeros_like(x) if g is None else g
        if torch.is_grad_enabled():
            clusters = Clusters(*_clusters(state, x.shape[1]))
            bias = torch.zeros_like(clusters.mean[0], requires_grad=ctx.needs_input_grad[8])
            gradients = recorded((g, of_evidence), x, clusters, (weight, bias), given, ctx.maths)
        else:
            run = torch.ops.uan_da.train_gradient.default if _is_watched(x) else _train_gradient
            gradients = run(g, of_evidence, x, weight, state, kept, *ctx.maths)
        if of_state is not None:
            gradients = _with(gradients, *_clusters(of_state, x.shape[1]))
        needed = ctx.needs_input_grad[3:]
        return None, None, None, *[gradient if need else None for gradient, need in zip(gradients, needed, strict=True)]


_apply: Any = super(torch.autograd.Function, _Train).apply
"""Without a look for functional transforms, which the layer has taken already."""


def _clusters(state: Tensor, channels: int) -> tuple[Tensor, ...]:
    """μ, log σ² and λ's logits."""
    k = len(state) // (7 * channels + 2)
    (mean, log_var, *_), priors = _unpacked(state, state[: k * channels].view(k, channels))
    return mean, log_var, priors[0]


def _with(gradients: tuple[Maybe, ...], *own: Tensor) -> tuple[Maybe, ...]:
    """``gradients``, and those of the clusters after the step."""
    d_x, *of_clusters = gradients[:4]
    sums = (b if a is None else a + b for a, b in zip(of_clusters, own, strict=True))
    return d_x, *sums, *gradients[4:]


def _differentiable(*inputs: Any) -> tuple[Tensor, ...]:
    """``train`` of a compiler, with its gradient."""
    outputs: list[Tensor] = []

    def run() -> list[Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            outputs.extend(torch.ops.uan_da.train.default(*inputs))
        return outputs

    y, state, evidence = _Train.apply(run, Scalars(*inputs[10:]), True, *inputs[:7])
    return y, state, outputs[2], evidence


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=dense_format(x))


def _fake_like(*like: Any) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor) for tensor in like)


_library.impl("moves", _moves, "CompositeExplicitAutograd")
_library.impl("start", _start, "CompositeExplicitAutograd")
_library.impl("move", _move, "CompositeExplicitAutograd")
for _device in ("CPU", "CUDA"):
    _library.impl("train", _train, _device)
    _library.impl("train_gradient", _train_gradient, _device)
_library.impl("train", _differentiable, "Autograd")
for _name, _shapes in (
    ("moves", lambda initialized: torch.empty_like(initialized, dtype=torch.bool)),
    ("start", lambda x, *rest: _fake_like(*rest[:4])),
    ("move", lambda *rest: _fake_like(*rest[:3])),
    ("train", lambda x, mean, *rest: _outputs(_like(x), mean, rest[10])),
    ("train_gradient", lambda g, _, x, weight, state, *rest: _gradients(_like(x), state, rest[3])),
):
    torch.library.register_fake(f"uan_da::{_name}", _shapes, lib=_library)
