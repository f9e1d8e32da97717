"""Mixture Normalization (Kalayeh & Shah, arXiv:1806.02892): clusters come from fits of EM, fixed between them."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from uan_da.norms.batch_norm import BatchNorm, copy_affine, learned_moments, options_of
from uan_da.norms.forward import fx_leaf, in_backward, widened, without_autocast
from uan_da.norms.running import MixtureLayer, update_running
from uan_da.norms.uan.assignment import Affine, Elements
from uan_da.norms.uan.mixture import MIN_MASS, Mixture, gain_of, position_responsibilities

EM_STEPS = 20
"""Most steps of EM in a fit."""


class Positions(Elements):
    """Every position, the vector of its channels, by one mixture; τ is ``(K, N, C, …)``, the same for all channels."""

    def assign(self, given: Tensor | None = None, sharpness: float = 0.0) -> tuple[Tensor, None]:
        """τ_k(n, s)."""
        return position_responsibilities(self.x, self.mixture, self.eps).expand(-1, *self.x.shape), None


class MixtureNorm(MixtureLayer):
    r"""Mixture Normalization of ``(N, C, …)``.

    .. math:: y = γ_c \sum_k \frac{τ_k}{\sqrt{λ_k}}\, \frac{x - m_{kc}}{\sqrt{v_{kc} + ε}} + β_c, \quad
       τ_k(n, s) = \mathrm{softmax}_k\Big(\log λ_k + \sum_c ℓ_k(x_{ncs})\Big)

    with the moments m, v of the batch under τ (in evaluation running ones, as in UAN), and a mixture of K
    Gaussians with diagonal covariance over the channel vectors of the positions. The mixture has no gradient:
    scikit-learn's ``GaussianMixture`` fits it, from k-means++ at first and from its last state later. How
    often it is fitted, on how many positions, and the running average are choices of this implementation.

    Args:
        num_features, eps, momentum, affine, track_running_stats: as in ``nn.BatchNorm2d``.
        num_clusters: K.
        fit_every: training forwards between two fits; the first forward fits.
        fit_positions: positions drawn from the batch for a fit.
        bias: False leaves β out.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    mean: Tensor
    var: Tensor
    log_prior: Tensor
    forwards_to_fit: Tensor
    """Training forwards before the next fit; −1 before the first."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        num_clusters: int = 3,
        fit_every: int = 100,
        fit_positions: int = 2048,
        bias: bool = True,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("num_clusters", num_clusters), ("fit_every", fit_every)):
            if value < 1:
                raise ValueError(f"Expected `{name}` to be an integer of at least 1, but got {value}")
        if fit_positions < num_clusters:
            raise ValueError(f"Expected `fit_positions` to be at least num_clusters, but got {fit_positions}")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.num_clusters, self.fit_every, self.fit_positions = num_clusters, fit_every, fit_positions
        values = torch.empty(num_clusters, num_features, device=device, dtype=dtype)
        self.weight = nn.Parameter(torch.empty_like(values[0])) if affine else None
        self.bias = nn.Parameter(torch.empty_like(values[0])) if affine and bias else None
        self.register_buffer("mean", values)
        self.register_buffer("var", torch.empty_like(values))
        self.register_buffer("log_prior", torch.empty_like(values[:, 0]))
        self.register_buffer("forwards_to_fit", torch.tensor(0, device=device))
        self._register_running(values, (num_clusters, num_features) if track_running_stats else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As made: γ = 1, β = 0, no running statistics, and a mixture that the next training forward fits."""
        super().reset_parameters()
        self.reset_running_stats()
        self.mean.zero_()
        self.var.fill_(1.0)
        self.log_prior.fill_(-math.log(self.num_clusters))
        self.forwards_to_fit.fill_(-1)

    @fx_leaf
    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` ``(N, C, …)``; moments are taken in float32 or wider, the output has the type of ``x``."""
        with without_autocast(x):
            updates = self.training and self.updates_statistics and not in_backward()
            if updates and self.updates_mixture and not x.is_meta:
                self._fit_on_schedule(widened(x))
            batch, running = self._batch(x), self.running
            tau, _ = batch.assign()
            if self.training or running is None:
                moments = batch.moments(tau)
                by = moments.mean, moments.var
                if updates and running is not None:
                    update_running(running, moments._replace(mean=moments.mean + batch.shift_c), self.momentum)
            else:
                by = running.less(batch.shift_c)
            affine = Affine(gain_of(batch.mixture.log_prior, self.weight, 1.0), self.bias, None)
            return batch.normalize(tau, by, affine).to(x.dtype)

    @torch.no_grad()
    def responsibilities(self, x: Tensor) -> Tensor:
        """τ of a batch ``(N, C, …)``: ``(K, N, 1, …)``, one for each position."""
        with without_autocast(x):
            return self._batch(x).assign()[0][:, :, :1]

    def _batch(self, x: Tensor) -> Positions:
        """The mixture is copied: a fit must not change what a pending backward has saved."""
        wide = widened(x)
        mixture = Mixture(*(state.to(wide.dtype, copy=True) for state in (self.mean, self.var, self.log_prior)))
        return Positions(wide, mixture, self.eps)

    @torch.compiler.disable  # type: ignore[untyped-decorator, unused-ignore]  # scikit-learn is not for a compiler
    def _fit_on_schedule(self, x: Tensor) -> None:
        if self.forwards_to_fit > 0 or self._fit(x):
            self.forwards_to_fit.sub_(1)

    @torch.no_grad()
    def _fit(self, x: Tensor) -> bool:
        """Fit the mixture to positions of ``x``; False where there are fewer than clusters."""
        rows = x.detach().movedim(1, -1).reshape(-1, self.num_features)
        if len(rows) > self.fit_positions:
            draw = torch.randint(len(rows), (self.fit_positions,), generator=torch.Generator().manual_seed(0))
            rows = rows[draw.to(rows.device)]
        rows = rows[rows.isfinite().all(1)].double()
        if len(rows) < self.num_clusters:
            return False
        mean, scale = rows.mean(0), (rows.var(0, correction=0) + self.eps).sqrt()
        state = Mixture((self.mean - mean) / scale, self.var / scale.square(), self.log_prior.double())
        start = None if self.forwards_to_fit < 0 else state
        fitted = _expectation_maximization((rows - mean) / scale, start, self.num_clusters)
        self.mean.copy_(fitted.mean.to(mean) * scale + mean)
        self.var.copy_(fitted.var.to(mean) * scale.square())
        self.log_prior.copy_(fitted.log_prior.clamp_min(math.log(MIN_MASS)))
        self.forwards_to_fit.fill_(self.fit_every)
        return True

    def extra_repr(self) -> str:
        """The options, as ``repr`` prints them."""
        return (
            f"{self.num_features}, num_clusters={self.num_clusters}, fit_every={self.fit_every}, "
            f"fit_positions={self.fit_positions}, eps={self.eps}, momentum={self.momentum}"
        )


def _expectation_maximization(rows: Tensor, start: Mixture | None, num_clusters: int) -> Mixture:
    """scikit-learn's fit of a mixture with diagonal covariance to ``rows`` ``(N, C)``."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    begin: dict[str, Any] = {"init_params": "k-means++"}
    if start is not None:
        begin = {
            "means_init": start.mean.cpu().numpy(),
            "precisions_init": (1 / start.var).cpu().numpy(),
            "weights_init": start.log_prior.softmax(0).cpu().numpy(),
        }
    model = GaussianMixture(num_clusters, covariance_type="diag", max_iter=EM_STEPS, random_state=0, **begin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of steps is bounded on purpose
        model.fit(rows.cpu().numpy())
    return Mixture(
        torch.from_numpy(model.means_),
        torch.from_numpy(model.covariances_),
        torch.from_numpy(model.weights_).log(),
    )


def mixture_norm(
    bn: BatchNorm, *, num_clusters: int = 3, fit_every: int = 100, fit_positions: int = 2048
) -> MixtureNorm:
    """Mixture normalisation: clusters of positions, fitted by EM on a schedule (arXiv:1806.02892).

    From a BatchNorm that has seen data: γ absorbs the factor 1/√λ, so that the function stays until the first fit.
    """
    layer = MixtureNorm(
        bn.num_features,
        **options_of(bn),
        num_clusters=num_clusters,
        fit_every=fit_every,
        fit_positions=fit_positions,
    )
    if bn.affine:
        copy_affine(bn, layer)
    moments, running = learned_moments(bn), layer.running
    if moments and running is not None:
        with torch.no_grad():
            running.fill(*moments, bn.num_batches_tracked)
            layer.mean.copy_(moments[0].expand_as(layer.mean))
            layer.var.copy_(moments[1].expand_as(layer.var))
            if layer.weight is not None:
                layer.weight.div_(math.sqrt(num_clusters))
    return layer
