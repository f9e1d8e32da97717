"""Running moments of clusters: BatchNorm's rule, at a pace that follows each cluster's share of the data."""

from typing import NamedTuple

import torch
from torch import Tensor

from uan_da.norms.batch_norm import AffineNorm
from uan_da.norms.uan.mixture import MIN_MASS, Moments


class Running(NamedTuple):
    """The buffers of a layer, changed in place: ``mean``, ``var`` (unbiased) ``(K, C)``; ``mass``, the sum of
    the steps, of a shape that broadcasts to those; ``batches``, a count."""

    mean: Tensor
    var: Tensor
    mass: Tensor
    batches: Tensor

    def less(self, shift_c: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of x less the shift, in its type."""
        return self.mean.to(shift_c.dtype) - shift_c, self.var.to(shift_c.dtype)

    def reset(self) -> None:
        """Forget all data."""
        self.mean.zero_()
        self.var.fill_(1.0)
        self.mass.zero_()
        self.batches.zero_()

    def fill(self, mean_c: Tensor, var_c: Tensor, batches: Tensor | None) -> None:
        """Take over the running statistics ``(C,)`` of a BatchNorm, equal in every cluster."""
        self.mean.copy_(mean_c.expand_as(self.mean))
        self.var.copy_(var_c.expand_as(self.var))
        self.mass.fill_(1.0)  # where the batches were not counted, there was at least one
        if batches is not None:
            self.mass.copy_(batches.clamp_min(1).expand_as(self.mass))
            self.batches.copy_(batches)


class MixtureLayer(AffineNorm):
    """A norm with clusters, and with running moments of each, that follow the data in training.

    ``running_mean``, ``running_var``, ``running_mass`` and ``num_batches_tracked`` are None where nothing is tracked.
    """

    momentum: float | None
    running_mean: Tensor | None
    running_var: Tensor | None
    running_mass: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self) -> None:
        super().__init__(None)
        self.updates_statistics = True
        """False: a training forward changes no state at all."""
        self.updates_mixture = True
        """False: a training forward changes no cluster, whether by a first batch, by EM or by a fit."""

    def responsibilities(self, x: Tensor) -> Tensor:
        """τ of a batch ``(N, C, …)``: ``(N, K)``, or ``(K, N, …)``."""
        raise NotImplementedError

    def reset_running_stats(self) -> None:
        """Forget the running statistics; the clusters stay."""
        if self.running is not None:
            self.running.reset()

    @property
    def running(self) -> Running | None:
        """The running statistics, None where nothing is tracked."""
        buffers = self._buffers  # a module's attributes take longer
        mean, var = buffers["running_mean"], buffers["running_var"]
        mass, batches = buffers["running_mass"], buffers["num_batches_tracked"]
        if mean is None or var is None or mass is None or batches is None:
            return None
        return Running(mean, var, mass, batches)

    def _register_running(self, like_kc: Tensor, mass_shape: tuple[int, int] | None) -> None:
        """Make the buffers; without a shape of the mass nothing is tracked."""
        tracked = mass_shape is not None
        self.register_buffer("running_mean", torch.zeros_like(like_kc) if tracked else None)
        self.register_buffer("running_var", torch.ones_like(like_kc) if tracked else None)
        self.register_buffer("running_mass", None if mass_shape is None else like_kc.new_zeros(mass_shape))
        count = torch.tensor(0, device=like_kc.device) if tracked else None
        self.register_buffer("num_batches_tracked", count)


def moved_running(running: Running, moments: Moments, momentum: float | None) -> Running:
    r"""``running``, moved toward the moments of a batch.

    .. math:: r_k ← r_k + α_k (m_k − r_k), \quad α_k = α · \min(1, K · \mathrm{mean}\, τ_k)

    which at K = 1 is BatchNorm's; without a momentum α is such that r is the average over batches weighted by
    the step. A cluster that no batch has chosen yet has what stands in for its moments; moments that are not finite
    change nothing.
    """
    finite = moments.mean.isfinite() & moments.var.isfinite() & moments.mass.isfinite()
    fed = (moments.mass >= MIN_MASS) & moments.mass.isfinite()
    step = torch.where(fed, (len(moments.mean) * moments.mass).clamp_max(1.0), 0.0)
    mass = running.mass + step
    rate = momentum * step if momentum is not None else step / mass.clamp_min(MIN_MASS)
    rate = torch.where(finite, torch.where(mass > 0, rate, 1.0), 0.0)
    values = moments.values
    var = moments.var * torch.where(fed, values / (values - 1).clamp_min(1.0), 1.0)

    def toward(state: Tensor, to: Tensor) -> Tensor:
        dtype = torch.promote_types(state.dtype, to.dtype)
        return torch.where(finite, torch.lerp(state.to(dtype), to.to(dtype), rate.to(dtype)), state)

    return Running(toward(running.mean, moments.mean), toward(running.var, var), mass, running.batches + 1)


@torch.no_grad()
def update_running(running: Running, moments: Moments, momentum: float | None) -> None:
    """Move ``running`` in place, in the state's own type."""
    for state, new in zip(running, moved_running(running, moments, momentum), strict=True):
        state.copy_(new)
