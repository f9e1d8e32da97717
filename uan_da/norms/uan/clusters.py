"""The clusters of a layer: where they start, how they describe a mixture, and the step of online EM that moves them.

A step is worked out in one training forward and taken at the start of the next: what a backward, or the forward that
activation checkpointing runs again, reads is what the first pass saw.
"""

import ctypes
import functools
from collections.abc import MutableMapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.weak import WeakTensorKeyDictionary

from uan_da.norms.distributed import sum_over_processes
from uan_da.norms.forward import widened
from uan_da.norms.running import Running
from uan_da.norms.uan.mixture import Mixture, Moments, element_moments

PRIOR_FLOOR = 1e-3
"""λ_k never falls below this over K, so that a cluster that lost its data can be found again."""
MIN_VAR = 1e-12
"""Floor of σ² in the EM step: a constant channel must not send log σ² to −∞."""
INITIAL_SPREAD = 0.5
"""How far apart the clusters start, in standard deviations of the first batch."""


class Clusters(NamedTuple):
    """The parameters: μ and log σ² ``(K, C)``, and the logits of λ ``(K,)``."""

    mean: Tensor
    log_var: Tensor
    prior_logits: Tensor


class Step(NamedTuple):
    """What EM adds to μ and σ² ``(K, C)`` and to λ ``(K,)``; zeros are no step."""

    mean: Tensor
    var: Tensor
    prior: Tensor


class State(NamedTuple):
    """The tensors of a layer that a training step reads and moves: the clusters, whether they have started, γ and β,
    EM's step, and the running moments, None where nothing is tracked."""

    clusters: Clusters
    initialized: Tensor
    affine: tuple[Tensor | None, Tensor | None]
    step: Step
    running: Running | None


def mixture_of(clusters: Clusters, dtype: torch.dtype) -> Mixture:
    """μ, σ² and log λ in the type of the maths."""
    mean_kc, log_var_kc, logits_k = (parameter.to(dtype) for parameter in clusters)
    share_k = F.softmax(logits_k, dim=0)
    prior_k = torch.rsub(share_k, PRIOR_FLOOR / len(share_k), alpha=PRIOR_FLOOR - 1)  # floor + (1 − PRIOR_FLOOR) share
    return Mixture(mean_kc, log_var_kc.exp(), prior_k.log())


def em_step(moments: Moments, mixture: Mixture, rate: float) -> Step:
    """η(m − μ), η(v − σ²), η(mean τ − λ); nothing where the moments are not finite, or there was no data."""
    mass_k = moments.mass.mean(1)
    prior_k = torch.where(mass_k.sum() > 0, mass_k - mixture.log_prior.exp(), 0.0)
    differences = moments.mean - mixture.mean, moments.var - mixture.var, prior_k
    finite_kc = differences[0].isfinite() & differences[1].isfinite()
    finite = finite_kc, finite_kc, prior_k.isfinite().all()
    return Step(*(torch.where(good, rate * d, 0.0) for good, d in zip(finite, differences, strict=True)))


def moved(clusters: Clusters, step: Step) -> Clusters:
    """The clusters after a step; what it leaves alone keeps every bit."""
    mean_kc, log_var_kc, logits_k = clusters
    floor = PRIOR_FLOOR / len(logits_k)
    prior_k = floor + (1 - PRIOR_FLOOR) * logits_k.softmax(0) + step.prior
    logits = (prior_k - floor).clamp_min(floor * PRIOR_FLOOR).log()
    log_var = (log_var_kc.exp() + step.var).clamp_min(MIN_VAR).log()
    return Clusters(
        mean_kc + step.mean,
        torch.where(step.var != 0, log_var, log_var_kc),
        torch.where(step.prior.any(), logits, logits_k),
    )


def around(mean_c: Tensor, var_c: Tensor, clusters: int, eps: float, spread: float = INITIAL_SPREAD) -> Clusters:
    """Clusters spread around the moments ``(C,)`` of some data, ``spread`` standard deviations apart.

    The spread is a fixed draw, so that all processes start equal and the run's random numbers are not touched; it sums
    to zero over the clusters, so that a single cluster starts at the mean."""
    spread_kc = spread * _draw(clusters, len(mean_c), mean_c.device).to(mean_c.dtype) * (var_c + eps).sqrt()
    log_var_kc = var_c.clamp_min(MIN_VAR).log().expand_as(spread_kc)
    return Clusters(mean_c + spread_kc, log_var_kc, mean_c.new_zeros(clusters))


def _draw(clusters: int, channels: int, device: torch.device) -> Tensor:
    """The same of every layer, so it is kept; but not what stands for it where tensors have no values."""
    draw = _drawn if torch._C._len_torch_dispatch_stack() == 0 else _drawn.__wrapped__
    return draw(clusters, channels, device)


@functools.lru_cache(maxsize=256)
def _drawn(clusters: int, channels: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    draw_kc = torch.randn(clusters, channels, generator=generator, dtype=torch.float32, device="cpu")
    return (draw_kc - draw_kc.mean(0)).to(device)


def started(x_ncs: Tensor, clusters: Clusters, initialized: Tensor, eps: float) -> tuple[Clusters, Tensor]:
    """The clusters, which the first batch starts around the moments of all processes' batches, and ``initialized``
    after it; a batch whose moments are not finite starts nothing."""
    x_ncs = widened(x_ncs)
    whole = x_ncs.new_ones(()).expand(1, *x_ncs.shape)
    return started_around(element_moments(whole, x_ncs, sum_over_processes), clusters, initialized, eps)


def started_around(moments: Moments, clusters: Clusters, initialized: Tensor, eps: float) -> tuple[Clusters, Tensor]:
    """The same, from the moments of the first batch, which is one cluster."""
    good = moments.mean.isfinite().all() & moments.var.isfinite().all() & (moments.values.sum() > 0)
    start = around(moments.mean[0], moments.var[0], len(clusters.mean), eps)
    starts = good & (initialized == 0)
    chosen = (torch.where(starts, new.to(old.dtype), old) for new, old in zip(start, clusters, strict=True))
    return Clusters(*chosen), initialized.maximum(good.to(initialized.dtype))


def is_known_to_be(initialized: Tensor) -> bool:
    """Whether Python can read ``initialized``, and it is set. Another device than a CPU, for which it has to wait, it
    asks until it is, and not again before the tensor changes."""
    if torch.compiler.is_compiling():
        return False
    if type(initialized) is not Tensor or torch._C._functorch.is_functorch_wrapped_tensor(initialized):
        return False
    if not initialized.is_cpu:
        return not initialized.is_meta and _was_set(initialized)
    if initialized.dtype is not torch.int64:
        return bool(initialized)
    return ctypes.c_int64.from_address(initialized.data_ptr()).value != 0  # in half of the time that bool() takes


_SET: MutableMapping[Tensor, int] = WeakTensorKeyDictionary()
"""The version of a tensor in which it was found to be set."""


def _was_set(initialized: Tensor) -> bool:
    if _SET.get(initialized) != initialized._version and bool(initialized):
        _SET[initialized] = initialized._version
    return _SET.get(initialized) == initialized._version


def is_frozen(parameter: Tensor) -> bool:
    """Whether nothing may move ``parameter``; what stands for it inside a functional transform does not tell."""
    if parameter.requires_grad:
        return False
    return torch.compiler.is_compiling() or not torch._C._functorch.is_functorch_wrapped_tensor(parameter)
