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

from uan_da.norms.forward import in_backward, widened, without_autocast
from uan_da.norms.uan.assignment import BATCHES, Affine
from uan_da.norms.uan.clusters import Clusters, State, Step, is_frozen, mixture_of, moved, started, started_around
from uan_da.norms.uan.kernels.serving import dense_format, kernels_on
from uan_da.norms.uan.mixture import gain_of

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


@torch.no_grad()
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
    y, new, _, evidence = torch.ops.uan_da.train.default(*inputs, zeroed, list(running or ())[:3], moves, *scalars)
    rows = [(old, row) for old, row in zip(after, new.detach(), strict=False) if old is not None]
    changes = [(old, row[:, 0] if old.dim() == 1 else row[:, : old.shape[1]]) for old, row in rows]
    write(changes + ([] if running is None else [(running.batches, running.batches + 1)]), initialized)
    return y, evidence if shares else None


def _is_watched(x: Tensor) -> bool:
    """Whether somebody has to see an operator: a compiler, a mode, or a tensor of another kind. Else the dispatcher is
    left out, for its way to Python takes longer than the kernels of a small layer."""
    return torch.compiler.is_compiling() or type(x) is not Tensor or torch._C._len_torch_dispatch_stack() > 0


def _moves(initialized: Tensor) -> Tensor:
    return torch.full_like(initialized, not in_backward(), dtype=torch.bool)


def _start(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    clusters, initialized, eps, fused = Clusters(*rest[:3]), *rest[3:]
    kernels = kernels_on("cuda") if fused and x.is_cuda else None
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
    kernels_on(x.device.type).train((*held, *inputs[4:], wide, *outputs), wide, mean.shape[0], frozen, sets, scalars)
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
    kernels_on(x.device.type).train_gradient(tensors, wide, gradients[1].shape[0], (eps, balance, sharpness))
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
    return y, mean.new_empty(9, k, c), kept, mean.new_empty(0 if sharpness is None else n, k)


def _gradients(d_x: Tensor, state: Tensor, sharpness: float | None) -> tuple[Tensor, ...]:
    """That of x, and memory for those of μ, log σ², λ's logits, γ, β and the evidence."""
    (n, c), k, new = d_x.shape[:2], state.shape[1], state.new_empty
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
            clusters = _clusters(state)
            bias = torch.zeros_like(clusters.mean[0], requires_grad=ctx.needs_input_grad[8])
            gradients = _recorded((g, of_evidence), (x, *clusters, weight, bias, given), *ctx.maths)
        else:
            run = torch.ops.uan_da.train_gradient.default if _is_watched(x) else _train_gradient
            gradients = list(run(g, of_evidence, x, weight, state, kept, *ctx.maths))
        for i, own in enumerate(() if of_state is None else _clusters(of_state), 1):
            before = gradients[i]
            gradients[i] = own if before is None else before + own
        needed = ctx.needs_input_grad[3:]
        return None, None, None, *[gradient if need else None for gradient, need in zip(gradients, needed, strict=True)]


_apply: Any = super(torch.autograd.Function, _Train).apply
"""Without a look for functional transforms, which the layer has taken already."""


def _clusters(state: Tensor) -> Clusters:
    return Clusters(state[0], state[1], state[2, :, 0])


def _recorded(
    of_outputs: tuple[Tensor, Maybe], inputs: Sequence[Maybe], eps: float, balance: float, sharpness: float | None
) -> list[Maybe]:
    """From the gradients of y and of the evidence, those of ``inputs``, x, μ, log σ², λ's logits, γ, β and the evidence
    given, by the plain formulas. They count as independent, and autograd records how they came about."""
    inputs = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    x, *clusters, weight, bias, given = inputs
    assert x is not None
    with without_autocast(x):
        mixture = mixture_of(Clusters(*clusters), widened(x).dtype)  # type: ignore[arg-type]
        batch = BATCHES["element" if sharpness is None else "sample"](widened(x), mixture, eps)
        tau, evidence = batch.assign(given, sharpness or 0.0)
        affine = Affine(gain_of(batch.mixture.log_prior, weight, balance), bias, None)
        y = batch.normalize(tau, batch.moments(tau)[:2], affine).to(x.dtype)
    pairs = zip((y, evidence), of_outputs, strict=True)
    reached = [(out, g) for out, g in pairs if out is not None and out.requires_grad and g is not None]
    wanted = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
    ends, gradients = zip(*reached, strict=True)
    found = iter(torch.autograd.grad(ends, wanted, gradients, create_graph=True, allow_unused=True))
    return [next(found) if tensor is not None and tensor.requires_grad else None for tensor in inputs]


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


_library.impl("moves", _moves, "CompositeExplicitAutograd")
_library.impl("start", _start, "CompositeExplicitAutograd")
_library.impl("move", _move, "CompositeExplicitAutograd")
for _device in ("CPU", "CUDA"):
    _library.impl("train", _train, _device)
    _library.impl("train_gradient", _train_gradient, _device)
_library.impl("train", _differentiable, "Autograd")
for _name, _shapes in (
    ("moves", lambda initialized: torch.empty_like(initialized, dtype=torch.bool)),
    ("start", lambda x, *rest: tuple(map(torch.empty_like, rest[:4]))),
    ("move", lambda *rest: tuple(map(torch.empty_like, rest[:3]))),
    ("train", lambda x, mean, *rest: _outputs(_like(x), mean, rest[10])),
    ("train_gradient", lambda g, _, x, weight, state, *rest: _gradients(_like(x), state, rest[3])),
):
    torch.library.register_fake(f"uan_da::{_name}", _shapes, lib=_library)
