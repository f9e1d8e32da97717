"""UAN: normalisation by a Gaussian mixture that is learned with the network.

Source: Faye, Azzag, Lebbah, Feng, "Unsupervised Adaptive Normalization", IJCNN 2024, arXiv:2409.04757. The
formulas are in :mod:`uan_da.norms.reference`; this module holds the state and the order of the steps.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from uan_da.norms import reference
from uan_da.norms.distributed import is_distributed, pool, sum_over_processes
from uan_da.norms.em import MIN_VAR, em_step, mixture_of
from uan_da.norms.fused import element_batch, sample_algebra, sample_batch
from uan_da.norms.fused.backend import Backend, element_passes, is_compiled, is_fused, sample_passes
from uan_da.norms.fused.element import ElementMap
from uan_da.norms.fused.element_algebra import coefficients_of, map_of, moments_of
from uan_da.norms.fused.sample import SampleMap
from uan_da.norms.precision import widened, without_autocast
from uan_da.norms.reference import Mixture, Moments, along
from uan_da.norms.running import register_running, running_of, update_running

INITIAL_SPREAD = 0.5
"""How far apart the clusters start, in standard deviations of the first batch."""

Assignment = Literal["sample", "element"]
MomentSource = Literal["batch", "learned"]
Scale = Literal["none", "prior", "unit"]


class UAN(nn.Module):
    r"""Unsupervised Adaptive Normalization of ``(N, C, …)``; use the class of the input's rank.

    .. math:: y = γ_c \sum_k τ_k\, f_k\, (x - a_{kc}) / \sqrt{b_{kc} + ε} + β_c

    with K clusters of mean μ, variance σ² and prior λ, trained by backpropagation and by a step of online EM.

    Args:
        num_features: channels C.
        eps, momentum, affine, track_running_stats: as in ``nn.BatchNorm2d``; ``momentum=None`` is a
            cumulative average.
        num_clusters: K. With 1 the layer is BatchNorm.
        assignment: ``"sample"``: τ_k(n), a whole sample belongs to a mode; ``"element"``: τ_k(n, c, s), the
            paper's.
        moments: ``"batch"``: (a, b) are the batch's responsibility-weighted moments (running ones in
            evaluation); ``"learned"``: (a, b) = (μ, σ²) in training and evaluation alike.
        scale: f_k: ``"none"`` 1, ``"prior"`` 1/√λ_k (the paper's), ``"unit"`` 1/√(K λ_k).
        temperature: T of the sample assignment: 10 leaves τ soft in small layers, 100 is nearly hard.
        em_rate: η of the EM step; 0 leaves μ, σ², λ to backpropagation.
        shrink: sample assignment only: ρ of the shrinkage of the mode's moments toward the sample's own,
            taken over groups of channels; the prior is the mode, the evidence is the sample. None is without.
        learn_shrink: ρ = sigmoid of a learned value per channel that starts at ``shrink``; else ρ is fixed.
        shrink_groups: number of channel groups of the sample's own moments (their greatest divisor in common
            with C).
        sync: the moments are those of all processes' batches, as in ``nn.SyncBatchNorm``. Without it each
            process normalises with its own, but μ, σ² and λ follow all, and are equal on all, either way.
        bias: False leaves β out.
        backend: ``"fused"``: BatchNorm's memory traffic, on a CPU compiled at once; ``"reference"``: the formulas as
            plain operations; ``"auto"``: fused, except where a compiler or a functional transform is at work on the
            layer, and on a CPU compiled only in a training that is long enough to earn it back.

    The clusters start from the moments of the first training batch.

    Raises:
        ValueError: an option out of its range, or an input of another rank or number of channels.
    """

    input_ranks: ClassVar[tuple[int, ...]] = (2, 3, 4, 5)
    _version = 1
    no_weight_decay: ClassVar[tuple[str, ...]] = ("mean", "log_var", "prior_logits", "shrink_logit")
    """Parameters that an optimizer must not decay: they follow the data's own scale."""

    running_mean: Tensor | None
    running_var: Tensor | None
    running_mass: Tensor | None
    num_batches_tracked: Tensor | None
    initialized: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        num_clusters: int = 2,
        assignment: Assignment = "sample",
        moments: MomentSource = "batch",
        scale: Scale = "none",
        temperature: float = 100.0,
        em_rate: float = 0.1,
        shrink: float | None = None,
        learn_shrink: bool = True,
        shrink_groups: int = 8,
        sync: bool = False,
        bias: bool = True,
        backend: Backend = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_features, self.num_clusters = num_features, num_clusters
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.assignment, self.moments, self.scale = assignment, moments, scale
        self.temperature, self.em_rate = temperature, em_rate
        self.shrink, self.learn_shrink, self.shrink_groups = shrink, learn_shrink, shrink_groups
        self.sync, self.backend = sync, backend
        self._check_options()
        self.updates_statistics = True
        self.updates_mixture = True
        self._make_state(bias, device, dtype)

    def _check_options(self) -> None:
        if self.num_clusters < 1:
            raise ValueError(f"Expected `num_clusters` to be an integer of at least 1, but got {self.num_clusters}")
        for option, allowed in (
            ("assignment", ("sample", "element")),
            ("moments", ("batch", "learned")),
            ("scale", ("none", "prior", "unit")),
            ("backend", ("auto", "reference", "fused")),
        ):
            if getattr(self, option) not in allowed:
                raise ValueError(f"Expected `{option}` to be one of {allowed}, but got {getattr(self, option)!r}")
        if self.eps <= 0.0:
            raise ValueError(f"Expected `eps` to be larger than 0, but got {self.eps}")
        if not 0.0 <= self.em_rate <= 1.0:
            raise ValueError(f"Expected `em_rate` to be between 0 and 1, but got {self.em_rate}")
        if self.temperature <= 0.0:
            raise ValueError(f"Expected `temperature` to be larger than 0, but got {self.temperature}")
        if self.shrink is not None and not 0.0 < self.shrink < 1.0:
            raise ValueError(f"Expected `shrink` to be between 0 and 1, both excluded, but got {self.shrink}")
        if self.shrink is not None and self.assignment == "element":
            raise ValueError("Expected `shrink` to be None under element assignment: only a sample has moments to mix")
        if self.shrink_groups < 1:
            raise ValueError(f"Expected `shrink_groups` to be an integer of at least 1, but got {self.shrink_groups}")

    def _make_state(self, bias: bool, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        def tensor(fill: float, *shape: int) -> Tensor:
            return torch.full(shape, fill, device=device, dtype=dtype)

        k, c = self.num_clusters, self.num_features
        self.weight = nn.Parameter(tensor(1.0, c)) if self.affine else None
        self.bias = nn.Parameter(tensor(0.0, c)) if self.affine and bias else None
        self.mean = nn.Parameter(tensor(0.0, k, c))
        self.log_var = nn.Parameter(tensor(0.0, k, c))
        self.prior_logits = nn.Parameter(tensor(0.0, k))
        learned = self.shrink is not None and self.learn_shrink
        start = math.log(self.shrink / (1 - self.shrink)) if self.shrink is not None else 0.0
        self.shrink_logit = nn.Parameter(tensor(start, c)) if learned else None
        mass_shape = (k, 1 if self.assignment == "sample" else c)
        register_running(self, self.mean.detach(), mass_shape if self.track_running_stats else None)
        self.register_buffer("initialized", torch.tensor(False, device=device))
        self._initialized = False  # `initialized` where Python can read it without waiting for the device

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` ``(N, C, …)``; moments are taken in float32 or wider, the output has the type of ``x``."""
        self._check_input(x)
        with without_autocast(x):
            if self._updates_mixture() and not self._initialized:
                self._initialize(widened(x))
            if is_fused(self.backend, x):
                fused = self._fused_samples if self.assignment == "sample" else self._fused_elements
                return fused(x, self._shift(torch.promote_types(x.dtype, torch.float32)))
            wide = widened(x)
            normalize = self._normalize_samples if self.assignment == "sample" else self._normalize_elements
            shift_c = self._shift(wide.dtype)
            return normalize(wide - along(wide, shift_c), shift_c).to(x.dtype)

    @torch.no_grad()
    def responsibilities(self, x: Tensor) -> Tensor:
        """τ of a batch ``(N, C, …)``: ``(N, K)`` under sample assignment, ``(K, N, C, …)`` under element assignment."""
        self._check_input(x)
        with without_autocast(x):
            x = widened(x)
            shift_c = self._shift(x.dtype)
            x, mixture = x - along(x, shift_c), self._mixture(shift_c)
            if self.assignment == "element":
                return reference.element_responsibilities(x, mixture, self.eps)
            return reference.sample_responsibilities(
                *reference.sample_statistics(x), mixture, self.eps, self.temperature
            )

    def reset_running_stats(self) -> None:
        """Forget the running statistics; the clusters stay."""
        running = running_of(self)
        if running is not None:
            running.reset()

    def _updates_mixture(self) -> bool:
        return self.training and self.updates_statistics and self.updates_mixture

    def _shift(self, dtype: torch.dtype) -> Tensor:
        """A value per channel near the data, ``(C,)``. The maths runs on x minus it, because float32 has no
        digits to spare at a large offset; which value it is changes nothing else, so no gradient goes through
        it."""
        return self.mean.detach().to(dtype).mean(0)

    def _mixture(self, shift_c: Tensor) -> Mixture:
        return mixture_of(self.mean, self.log_var, self.prior_logits, shift_c)

    def _normalize_samples(self, x: Tensor, shift_c: Tensor) -> Tensor:
        """One affine map per sample and channel, from per-sample, per-channel moments."""
        slope_nc, offset_nc = self._sample_map(*reference.sample_statistics(x), math.prod(x.shape[2:]), shift_c)
        return x * along(x, slope_nc) + along(x, offset_nc)

    def _fused_samples(self, x: Tensor, shift_c: Tensor) -> Tensor:
        """The same in two passes over ``x``, and two more backward."""
        passes = sample_passes(x, self._is_compiled())
        if self.shrink is None and self._normalizes_by_own_batch():
            mixture = self._mixture(shift_c)
            layer = sample_algebra.Layer(*self._gain_and_bias(mixture), self.eps, self.temperature)
            y, moments = sample_batch.normalize(x, shift_c, mixture, layer, passes)
            self._follow(moments, mixture, shift_c)
            return y
        ends = SampleMap(x, shift_c, passes)
        return ends.apply(*self._sample_map(*ends.moments(), math.prod(x.shape[2:]), shift_c))

    def _sample_map(self, mean_nc: Tensor, var_nc: Tensor, positions: int, shift_c: Tensor) -> tuple[Tensor, Tensor]:
        """Slope and offset ``(N, C)`` of each sample's channels, from their moments (less the shift)."""
        mixture = self._mixture(shift_c)
        tau_nk = reference.sample_responsibilities(mean_nc, var_nc, mixture, self.eps, self.temperature)
        mean_kc, var_kc = self._normalizing_moments(
            lambda: reference.sample_moments(tau_nk, mean_nc, var_nc, positions, self._reduce),
            mixture,
            shift_c,
        )
        gain, bias = self._gain_and_bias(mixture)
        if self.shrink is None:
            return reference.sample_map(tau_nk, mean_kc, var_kc, gain, bias, self.eps)
        rho = self.shrink if self.shrink_logit is None else self.shrink_logit.sigmoid()
        groups = math.gcd(self.num_features, self.shrink_groups)
        mode = tau_nk @ mean_kc, tau_nk @ var_kc
        own = reference.shrunk(mode, mean_nc, var_nc, shift_c, rho, groups)
        return reference.own_map(tau_nk, *own, gain, bias, self.eps)

    def _normalize_elements(self, x: Tensor, shift_c: Tensor) -> Tensor:
        """Every activation by its own mixture of clusters, as in the paper."""
        mixture = self._mixture(shift_c)
        tau = reference.element_responsibilities(x, mixture, self.eps)
        mean_kc, var_kc = self._normalizing_moments(
            lambda: reference.element_moments(tau, x, self._reduce), mixture, shift_c
        )
        return reference.element_output(tau, x, mean_kc, var_kc, *self._gain_and_bias(mixture), self.eps)

    def _fused_elements(self, x: Tensor, shift_c: Tensor) -> Tensor:
        """The same in two passes over ``x``, and two more backward."""
        mixture, passes = self._mixture(shift_c), element_passes(x, self._is_compiled())
        gain, bias = self._gain_and_bias(mixture)
        if self._normalizes_by_own_batch():
            y, moments = element_batch.normalize(x, shift_c, mixture, gain, bias, self.eps, passes)
            self._follow(moments, mixture, shift_c)
            return y
        coefficients = coefficients_of(mixture, shift_c, self.eps)
        ends, values = ElementMap(x, coefficients, passes), x.numel() // x.shape[1]
        mean_kc, var_kc = self._normalizing_moments(
            lambda: moments_of(ends.sums(), values, coefficients, mixture, self._reduce), mixture, shift_c
        )
        return ends.mix(*map_of(mean_kc, var_kc, coefficients, mixture, gain, bias, self.eps))

    def _normalizes_by_own_batch(self) -> bool:
        """Whether (a, b) are the moments of this process's batch, and so what has a backward derived by hand."""
        is_batch = self.moments == "batch" and (self.training or self.running_mean is None)
        return is_batch and not (self.sync and self.training and is_distributed())

    def _is_compiled(self) -> bool:
        return is_compiled(self.backend, self.assignment, self.num_batches_tracked if self.training else None)

    def _gain_and_bias(self, mixture: Mixture) -> tuple[Tensor | None, Tensor | None]:
        """f γ, which broadcasts over ``(K, C)``, and β, in the type of the maths; None is 1, and 0.

        The paper's f = 1/√λ multiplies the output's variance by about K, ``"unit"`` keeps it at 1."""
        dtype = mixture.mean.dtype
        gain, bias_c = (None if p is None else p.to(dtype) for p in (self.weight, self.bias))
        if self.scale != "none":
            extra = math.log(self.num_clusters) if self.scale == "unit" else 0.0
            scale_k1 = (-0.5 * (mixture.log_prior + extra)).exp()[:, None]
            gain = scale_k1 if gain is None else scale_k1 * gain
        return gain, bias_c

    def _normalizing_moments(
        self, batch_moments: Callable[[], Moments], mixture: Mixture, shift_c: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(a, b) of the formula, ``(K, C)`` each, less the shift; a training forward updates the state on its way."""
        updates = self.training and self.updates_statistics
        if self.moments == "learned" and not updates:
            return mixture.mean, mixture.var
        running = running_of(self)
        if not self.training and running is not None:
            return running.mean.to(shift_c.dtype) - shift_c, running.var.to(shift_c.dtype)
        moments = reference.with_fallback(batch_moments(), mixture)
        self._follow(moments, mixture, shift_c)
        return (mixture.mean, mixture.var) if self.moments == "learned" else (moments.mean, moments.var)

    @torch.no_grad()
    def _follow(self, moments: Moments, mixture: Mixture, shift_c: Tensor) -> None:
        """The state moves toward the moments of a batch, in a training forward that updates statistics."""
        if not (self.training and self.updates_statistics):
            return
        own = moments._replace(mean=moments.mean + shift_c)
        running = running_of(self)
        if running is not None:
            update_running(running, own, self.momentum)
        if self._updates_mixture() and self.em_rate > 0.0:
            if is_distributed() and not self.sync:
                moments = reference.with_fallback(pool(moments), mixture)
                own = moments._replace(mean=moments.mean + shift_c)
            em_step(self.mean, self.log_var, self.prior_logits, mixture, own, self.em_rate)

    @torch.no_grad()
    def _initialize(self, x: Tensor) -> None:
        """Start the clusters around the moments of all processes' first batches; the running statistics are
        left alone."""
        whole = x.new_ones(()).expand(1, *x.shape)
        moments = reference.element_moments(whole, x, sum_over_processes)
        self.start_mixture(moments.mean[0], moments.var[0])

    @torch.no_grad()
    def start_mixture(self, mean_c: Tensor, var_c: Tensor, spread: float = INITIAL_SPREAD) -> None:
        """Spread the clusters around the moments ``(C,)`` of some data, ``spread`` standard deviations apart; the
        first batch will leave them there.

        The spread is a fixed draw, so that all processes start equal and the run's random numbers are not
        touched; it sums to zero over the clusters, so that a single cluster starts at the mean.
        """
        draw_kc = torch.randn(self.mean.shape, generator=torch.Generator().manual_seed(0)).to(mean_c)
        spread_kc = spread * (draw_kc - draw_kc.mean(0)) * (var_c + self.eps).sqrt()
        self.mean.copy_(mean_c + spread_kc)
        self.log_var.copy_(var_c.clamp_min(MIN_VAR).log().expand_as(self.log_var))
        self.prior_logits.zero_()
        self.initialized.fill_(True)
        self._initialized = True

    def _reduce(self, x: Tensor) -> Tensor:
        return sum_over_processes(x) if self.sync and self.training else x

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if not self.initialized.is_meta:
            self._initialized = bool(self.initialized)

    def _check_input(self, x: Tensor) -> None:
        if x.dim() not in self.input_ranks:
            ranks = " or ".join(f"{rank}-D" for rank in self.input_ranks)
            raise ValueError(f"{type(self).__name__} expected a {ranks} input, but got shape {tuple(x.shape)}")
        if x.shape[1] != self.num_features:
            raise ValueError(
                f"{type(self).__name__} expected {self.num_features} channels, but got shape {tuple(x.shape)}"
            )

    def extra_repr(self) -> str:
        """The options that shape the maths, as ``repr`` prints them."""
        return (
            f"{self.num_features}, num_clusters={self.num_clusters}, assignment={self.assignment!r}, "
            f"moments={self.moments!r}, scale={self.scale!r}, temperature={self.temperature}, "
            f"em_rate={self.em_rate}, shrink={self.shrink}, sync={self.sync}, eps={self.eps}, "
            f"momentum={self.momentum}, affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class UAN1d(UAN):
    """UAN of ``(N, C)`` or ``(N, C, L)``."""

    input_ranks = (2, 3)


class UAN2d(UAN):
    """UAN of images ``(N, C, H, W)``."""

    input_ranks = (4,)


class UAN3d(UAN):
    """UAN of volumes ``(N, C, D, H, W)``."""

    input_ranks = (5,)
