"""The operators on a GPU: Triton's passes over the activations, and plain PyTorch between them.

No GPU has run them yet: they are tested in Triton's interpreter, and compiled without a device. The algebra between the
passes is the reference's own, which autograd differentiates, in double precision. Nothing here waits for the device.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from uan_da.norms.forward import without_autocast
from uan_da.norms.running import Running, moved_running
from uan_da.norms.uan import mixture as maths
from uan_da.norms.uan.clusters import Clusters, Step, em_step, mixture_of, moved
from uan_da.norms.uan.kernels import passes_cuda
from uan_da.norms.uan.kernels.serving import channels_last
from uan_da.norms.uan.mixture import MIN_MASS, Mixture, Moments

VALUES, WIDTH = 2048, 32
"""Of a tile, each counted once a cluster: what four warps hold in registers; and its channels, where they come last."""
PROGRAMS, FEWEST_TILES = 1024, 8
"""Of a pass that adds up, about the most programs, and tiles of one: the sums of many would be no small part of x."""

Pair = tuple[Tensor, Tensor]


def train(
    tensors: Sequence[Any], x: Tensor, clusters: int, frozen: Sequence[bool], sets: bool, scalars: Sequence[Any]
) -> None:
    """As :func:`uan_da.norms.uan.kernels.cpu.train`; ``x`` may have half precision."""
    held, (weight, bias, given, _, y, state, kept, evidence) = tensors[:10], tensors[10:]
    *numbers, momentum, em_rate = scalars
    with torch.cuda.device(x.get_device()), without_autocast(x):
        likes = *held[:3], *held[:3], *[state.new_empty(clusters, 1)] * 3, state.new_empty(())
        old = [torch.zeros_like(like) if t is None else t for like, t in zip(likes, held, strict=True)]
        taken = [torch.zeros_like(t) if still else t for t, still in zip(old[3:6], frozen, strict=True)]
        new = moved(Clusters(*old[:3]), Step(*taken))
        shift = new.mean.mean(0)
        mixture, affine = mixture_of(new, torch.float64).less(shift), _affine(x, weight, bias)
        if scalars[2] is None:
            moments = _elements(x, mixture, affine, shift, numbers, y, kept)
        else:
            moments = _samples(x, mixture, affine, shift, given, numbers, y, kept, evidence)
        step = em_step(moments, mixture, em_rate)
        running = moved_running(Running(*old[6:]), moments._replace(mean=moments.mean + shift), momentum)
        rows = (*new, *step, *running[:3])
        state.copy_(torch.stack([row.view(clusters, -1).expand_as(new.mean) for row in rows]))
        stays = [*frozen, *[False] * 7] if sets else [True] * 10
        for tensor, value, still in zip(held, (*new, *step, *running), stays, strict=True):
            if tensor is not None and not still:
                tensor.copy_(value)


def train_gradient(tensors: Sequence[Any], x: Tensor, clusters: int, scalars: Sequence[Any]) -> None:
    """As :func:`uan_da.norms.uan.kernels.cpu.train_gradient`; ``x`` may have half precision."""
    g, of_evidence, _, weight, state, kept, d_x, *gradients = tensors
    with torch.cuda.device(x.get_device()), without_autocast(x), torch.enable_grad():
        parameters, shift = _leaves(*state[:2], state[2, :, 0], *_affine(x, weight, None)), state[0].mean(0)
        if scalars[2] is None:
            found = _element_gradients(g, x, parameters, shift, scalars, kept, d_x)
        else:
            found = _sample_gradients(g, of_evidence, x, parameters, shift, scalars, kept, d_x)
        for gradient, value in zip(gradients, found, strict=False):
            gradient.copy_(value)


def first_moments(x: Tensor, dtype: torch.dtype, initialized: Tensor) -> Moments:
    """Of a batch, as of one cluster; where ``initialized`` is set, x is not read, and they are any numbers."""
    with torch.cuda.device(x.get_device()):
        passes, (n, c) = Passes(x, dtype), x.shape[:2]
        shift = torch.zeros(c, dtype=dtype, device=x.device)
        own, var = _merged(passes, passes.add(passes_cuda.first_moments, 2, (x, initialized), shift)).to(dtype)
        mean, ones = own.mean(0, keepdim=True), torch.ones(1, c, dtype=dtype, device=x.device)
        return Moments(mean, (var + (own - mean).square()).mean(0, keepdim=True), ones, ones * (n * passes.length))


def prepare(device: torch.device, *_: Any) -> None:
    """Run a kernel on one value; raise whatever Triton raises, such as for want of a C compiler. Triton compiles the
    others when they are called."""
    x = torch.zeros(1, 1, 1, device=device)
    with torch.cuda.device(x.get_device()):
        Passes(x, x.dtype).map(passes_cuda.sample_map, (x, x), x, x, x)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Pair:
    """γ and β."""
    none = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    return none + 1 if weight is None else weight.double(), none if bias is None else bias.double()


def _leaves(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


class Passes:
    """Over ``x`` ``(N, C, …)`` and other activations like it: of each sample, or of elements with K clusters.

    Programs share the positions of a sample, or of all, which are one row; a kernel's other operands are taken in
    ``dtype``."""

    def __init__(self, x: Tensor, dtype: torch.dtype, clusters: int | None = None) -> None:
        (n, c), last = x.shape[:2], bool(channels_last(x))
        s = x.numel() // (n * c)
        if clusters is not None and last:  # as of one sample
            n, s = 1, n * s
        assert n * s < 1 << 31, "kernels count positions in 32 bits"
        self.x, self.dtype, self.clusters = x, dtype, clusters
        self.rows, self.length = (n, s) if clusters is None else (1, n * s)
        self.sizes = c, s, *((1, c) if last else (s, 1))
        self.padded = triton.next_power_of_2(clusters or 1)
        values, channels, longest = max(1, VALUES // self.padded), *map(triton.next_power_of_2, (c, self.length))
        width = min(channels, values, WIDTH if last else max(1, values // longest))
        self.tile = width, min(longest, values // width)
        self.blocks, self.tiles = triton.cdiv(c, width), triton.cdiv(self.length, self.tile[1])
        most = max(1, PROGRAMS // (self.rows * self.blocks))
        self.parts = max(1, min(self.tiles // FEWEST_TILES, most))
        self.steps = triton.cdiv(self.tiles, self.parts)

    def map(self, kernel: Any, activations: Sequence[Tensor], *operands: Tensor) -> None:
        """Run a kernel that adds nothing up, a tile a program."""
        self._run(kernel, self.tiles, 1, [*activations, *self._taken(operands)])

    def add(self, kernel: Any, quantities: int, activations: Sequence[Tensor], *operands: Tensor) -> Tensor:
        """Run one that does; returns its sums, ``(N, P, Q, C)`` or ``(1, P, Q, K, C)``."""
        each = self.sizes[:1] if self.clusters is None else (self.clusters, self.sizes[0])
        sums = self.x.new_empty(self.rows, self.parts, quantities, *each, dtype=self.dtype)
        self._run(kernel, self.parts, self.steps, [*activations, *self._taken(operands), sums])
        return sums

    def _taken(self, operands: Sequence[Tensor]) -> list[Tensor]:
        return [operand.to(self.dtype).contiguous() for operand in operands]

    def _run(self, kernel: Any, parts: int, steps: int, tensors: list[Tensor]) -> None:
        grid = self.rows * parts, self.blocks
        if self.clusters is None:
            kernel[grid](*tensors, (*self.sizes, parts, steps), *self.tile)
        else:
            kernel[grid](*tensors, (*self.sizes, self.length, steps, self.clusters), *self.tile, self.padded)


def _samples(
    x: Tensor, mixture: Mixture, affine: Pair, shift: Tensor, given: Tensor | None, scalars: Sequence[Any],
    y: Tensor, kept: Tensor, evidence: Tensor,
) -> Moments:  # fmt: skip
    """Fill y, what is kept, and the evidence; returns the clusters' moments."""
    passes, (stats, others) = Passes(x, shift.dtype), _kept_of(kept.zero_(), x, evidence.shape[1])
    stats.copy_(_merged(passes, passes.add(passes_cuda.sample_moments, 2, (x,), shift)))
    if given is not None:
        others.copy_(given)
    mean, var, others = *stats.double().unbind(), others.double()
    slope, offset, found, moments = _sample_maps(x, mean, var, others, mixture, affine, scalars)
    passes.map(passes_cuda.sample_map, (x, y), shift, slope, offset)
    evidence.copy_(found)
    return moments


def _sample_gradients(
    g: Tensor, of_evidence: Tensor | None, x: Tensor, parameters: list[Tensor], shift: Tensor, scalars: Sequence[Any],
    kept: Tensor, d_x: Tensor,
) -> Sequence[Tensor]:  # fmt: skip
    """Fill ∂x; returns the gradients of the parameters, and of the evidence given."""
    passes, (stats, others) = Passes(x, shift.dtype), _kept_of(kept, x, len(parameters[0]))
    mean, var, given = _leaves(*stats, others)
    mixture, affine = mixture_of(Clusters(*parameters[:3]), torch.float64).less(shift), (parameters[3], parameters[4])
    slope, offset, evidence, _ = _sample_maps(x, mean, var, given, mixture, affine, scalars)
    of_maps = passes.add(passes_cuda.sample_products, 2, (x, g), shift).sum(1, dtype=torch.float64).unbind(1)
    of_evidence = torch.zeros_like(evidence) if of_evidence is None else of_evidence.double()
    inputs = mean, var, *parameters, given
    of_mean, of_var, *found = torch.autograd.grad((slope, offset, evidence), inputs, (*of_maps, of_evidence))
    s = passes.length
    passes.map(passes_cuda.sample_gradient, (x, g, d_x), shift, slope, mean, of_var * (2 / s), of_mean / s)
    return found


def _merged(passes: Passes, parts: Tensor) -> Tensor:
    """m, less the shift, and v, ``(2, N, C)``, from the programs' own, which are merged as their tiles are."""
    own, squares = parts.double().unbind(2)
    s, span = passes.length, passes.steps * passes.tile[1]
    share = ((s - span * torch.arange(passes.parts, device=parts.device)).clamp(0, span) / s)[:, None]
    mean = (share * own).sum(1)
    return torch.stack([mean, (squares / s + share * (own - mean[:, None]).square()).sum(1)])


def _sample_maps(
    x: Tensor, mean: Tensor, var: Tensor, given: Tensor, mixture: Mixture, affine: Pair, scalars: Sequence[Any]
) -> tuple[Tensor, Tensor, Tensor, Moments]:
    """A, B, the evidence, and the clusters' moments, from those of the samples."""
    eps, balance, sharpness = scalars
    evidence = given + maths.sample_evidence(mean, var, mixture, eps, sharpness) if sharpness > 0 else given
    tau = maths.sample_responsibilities(evidence, mixture)
    own = maths.sample_moments(tau, mean, var, x.numel() // mean.numel(), lambda part: part)
    moments, gain = maths.with_fallback(own, mixture), maths.gain_of(mixture.log_prior, affine[0], balance)
    slope, offset = maths.sample_map(tau, moments.mean, moments.var, gain, affine[1], eps)
    return slope, offset, evidence, moments


def _kept_of(kept: Tensor, x: Tensor, clusters: int) -> Pair:
    """m and v ``(2, N, C)``, and the evidence given ``(N, K)``; the rest is what a CPU's kernels keep beside."""
    (n, c), end = x.shape[:2], 2 * x.shape[0] * x.shape[1]
    return kept[:end].view(2, n, c), kept[end : end + n * clusters].view(n, clusters)


def _elements(
    x: Tensor, mixture: Mixture, affine: Pair, shift: Tensor, scalars: Sequence[Any], y: Tensor, kept: Tensor
) -> Moments:
    """Fill y and what is kept; returns the clusters' moments."""
    passes, rows = Passes(x, shift.dtype, len(mixture.mean)), _weights(mixture, shift, scalars[0])
    sums = kept.view(3, *mixture.mean.shape)
    sums.copy_(passes.add(passes_cuda.element_sums, 3, (x,), torch.stack(rows)).sum((0, 1), dtype=torch.float64))
    slope, offset, moments = _element_maps(x, sums, mixture, affine, scalars)
    passes.map(passes_cuda.element_map, (x, y), torch.stack([*rows, slope, offset]))
    return moments


def _element_gradients(
    g: Tensor, x: Tensor, parameters: list[Tensor], shift: Tensor, scalars: Sequence[Any], kept: Tensor, d_x: Tensor
) -> Sequence[Tensor]:
    """Fill ∂x; returns the gradients of the parameters."""
    passes, (sums,) = Passes(x, shift.dtype, len(parameters[0])), _leaves(kept.view(3, *parameters[0].shape))
    mixture = mixture_of(Clusters(*parameters[:3]), torch.float64).less(shift)
    *maps, _ = _element_maps(x, sums, mixture, (parameters[3], parameters[4]), scalars)
    rows = [*_weights(mixture, shift, scalars[0]), *maps]
    of_maps = passes.add(passes_cuda.element_products, 2, (x, g), torch.stack(rows)).sum((0, 1), dtype=torch.float64)
    (of_sums,) = torch.autograd.grad(maps, sums, of_maps.unbind(), retain_graph=True)
    last = passes.add(passes_cuda.element_gradient, 3, (x, g, d_x), torch.stack([*rows, *of_sums]))
    of_logits, first, second = last.sum((0, 1), dtype=torch.float64)
    rstd = rows[1].detach()
    through = *of_maps, rstd * first, 0.5 * rstd.square() * (second - of_logits), of_logits.sum(1)
    return torch.autograd.grad((*maps, *mixture), parameters, through)


def _weights(mixture: Mixture, shift: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """μ, r and log(λ r)."""
    rstd = (mixture.var + eps).rsqrt()
    return mixture.mean + shift, rstd, mixture.log_prior[:, None] + rstd.log()


def _element_maps(
    x: Tensor, sums: Tensor, mixture: Mixture, affine: Pair, scalars: Sequence[Any]
) -> tuple[Tensor, Tensor, Moments]:
    """α, δ, and the clusters' moments, from Στ, Στz and Στz²; what z is relative to are constants, for moments do not
    depend on it."""
    eps, balance, _ = scalars
    origin, unit = mixture.mean.detach(), (mixture.var.detach() + eps).sqrt()
    values = x.numel() // x.shape[1]
    safe = sums[0].clamp_min(MIN_MASS * values)
    first, second = sums[1] / safe, sums[2] / safe
    own = Moments(
        origin + unit * first, unit.square() * (second - first.square()).clamp_min(0), sums[0] / values, sums[0]
    )
    moments = maths.with_fallback(own, mixture)
    scale = maths.gain_of(mixture.log_prior, affine[0], balance) * (moments.var + eps).rsqrt()
    return scale * unit, affine[1] + scale * (origin - moments.mean), moments
