"""UAN: normalisation by a Gaussian mixture that is learned with the network.

Source: Faye, Azzag, Lebbah, Feng, "Unsupervised Adaptive Normalization", IJCNN 2024, arXiv:2409.04757. The
formulas are in :mod:`uan_da.norms.uan.mixture`; this module holds the state and the order of the steps.
"""

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from uan_da.norms.distributed import is_distributed, pool, sum_over_processes
from uan_da.norms.forward import fx_leaf, in_backward, widened, without_autocast
from uan_da.norms.running import MixtureLayer, moved_running
from uan_da.norms.uan import mixture as maths
from uan_da.norms.uan.assignment import BATCHES, Affine, Batch
from uan_da.norms.uan.clusters import (
    INITIAL_SPREAD,
    Clusters,
    Step,
    around,
    em_step,
    is_frozen,
    is_known_to_be,
    mixture_of,
    moved,
    started,
)
from uan_da.norms.uan.depth import Place
from uan_da.norms.uan.kernels import ops, serving
from uan_da.norms.uan.mixture import Mixture, Moments, along
from uan_da.norms.uan.options import Assignment, Options, takes_options


class UAN(MixtureLayer):
    r"""Unsupervised Adaptive Normalization of ``(N, C, …)``; use the class of the input's rank.

    .. math:: y = γ_c \sum_k τ_k\, f_k\, (x - a_{kc}) / \sqrt{b_{kc} + ε} + β_c

    with K clusters of mean μ, variance σ² and prior λ, trained by backpropagation and by a step of online EM. They
    start from the moments of the first training batch. A cluster whose parameter is frozen (``requires_grad`` False)
    is not moved by EM either.

    Args:
        num_features: channels C.
        eps, momentum, affine, track_running_stats: as in ``nn.BatchNorm2d``; ``momentum=None`` is a
            cumulative average.
        bias: False leaves β out.
        options: those of :class:`~uan_da.norms.uan.options.Options`.

    Raises:
        ValueError: an option out of its range, or an input of another rank or number of channels.
    """

    input_ranks: ClassVar[tuple[int, ...]] = (2, 3, 4, 5)
    _version = 2
    no_weight_decay: ClassVar[tuple[str, ...]] = ("mean", "log_var", "prior_logits", "shrink_logit")
    """Parameters that an optimizer must not decay: they follow the data's own scale."""

    initialized: Tensor
    step_mean: Tensor
    step_var: Tensor
    step_prior: Tensor

    @takes_options
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if eps <= 0.0:
            raise ValueError(f"Expected `eps` to be larger than 0, but got {eps}")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.options = Options(**options)
        self.place: Place | None = None
        self._make_state(bias, device, dtype)

    def _make_state(self, bias: bool, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape, device=device, dtype=dtype))

        k, c, shrink = self.num_clusters, self.num_features, self.options.shrink
        self.weight = parameter(c) if self.affine else None
        self.bias = parameter(c) if self.affine and bias else None
        self.mean = parameter(k, c)
        self.log_var = parameter(k, c)
        self.prior_logits = parameter(k)
        learned = shrink is not None and self.options.learn_shrink
        self.shrink_logit = parameter(c) if learned else None
        mass_shape = (k, 1 if self.assignment == "sample" else c)
        self._register_running(self.mean.detach(), mass_shape if self.track_running_stats else None)
        self.register_buffer("initialized", torch.tensor(0, device=device))
        for name, like in zip(("step_mean", "step_var", "step_prior"), self._clusters(), strict=True):
            self.register_buffer(name, torch.zeros_like(like, requires_grad=False))
        self.reset_parameters()

    @property
    def num_clusters(self) -> int:
        """K."""
        return self.options.num_clusters

    @property
    def assignment(self) -> Assignment:
        """What belongs to a cluster: a sample, or an element."""
        return self.options.assignment

    @fx_leaf
    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` ``(N, C, …)``; moments are taken in float32 or wider, the output has the type of ``x``."""
        self._check_input(x)
        updates = self.training and self.updates_statistics and self._sees_new_data(x)
        if updates and self.updates_mixture and not is_known_to_be(self.initialized):
            self._start(x)
        return self._fused(x, updates) if self._is_fused(x) else self._plain(x, updates)

    def _plain(self, x: Tensor, updates: bool) -> Tensor:
        """The formulas, one after the other."""
        with without_autocast(x):
            if updates and self.updates_mixture:
                self._take_step()
            wide = widened(x)
            shift_c = self._shift(wide.dtype)
            mixture = self._mixture(shift_c)
            batch = self._batch(wide, shift_c)
            given, sharpness = self._given(x)
            tau, evidence = batch.assign(mixture, given, sharpness)
            self._pass_on(given, evidence)
            moments = self._moments(batch, tau, mixture) if updates or self._normalizes_by_batch() else None
            y = batch.normalize(tau, self._normalizing(moments, mixture, shift_c), self._affine(mixture))
            if updates and moments is not None:
                self._update(moments, mixture, shift_c)
            return y.to(x.dtype)

    def _fused(self, x: Tensor, updates: bool) -> Tensor:
        """One operator does the same: it takes the step, assigns, takes moments, normalises, and works out the state
        after it."""
        affine, running = self._affine_parameters(), self.running if updates else None
        moves = updates and self.updates_mixture
        given, sharpness = self._given(x)
        sharp = sharpness if self.assignment == "sample" else None
        scalars = ops.Scalars(self.eps, self.options.balance, sharp, self.momentum, self.options.em_rate)
        y, evidence, changes = ops.train(x, self._clusters(), affine, given, self._step(), running, moves, scalars)
        self._pass_on(given, evidence)
        if changes:
            self._set(changes)
        return y

    def _is_fused(self, x: Tensor) -> bool:
        """Whether one operator serves: a training step by the moments of this process's batch."""
        options = self.options
        backends = ("auto", "fused") if x.is_cpu else ("fused",)  # no GPU has run its kernels yet
        if options.backend not in backends or options.shrink is not None or is_distributed():
            return False
        if not self._normalizes_by_batch():
            return False
        step, (*moments, count) = self._step(), self.running or (None,)
        # a weight that is pruned, parametrized or replaced may have any strides and shape
        numbers, dtype = (*self._clusters(), *self._affine_parameters(), *step, *moments), step.mean.dtype
        k, c = self.num_clusters, self.num_features
        clusters, mass = ((k, c), (k, c), (k,)), (k, 1 if options.assignment == "sample" else c)
        shapes = *clusters, (c,), (c,), *clusters, (k, c), (k, c), mass
        if not serving.reads(zip(numbers, shapes, strict=False), dtype, x.is_cpu):
            return False
        if not serving.reads([(count, ())], torch.int64, x.is_cpu):
            return False
        return serving.serves(x, dtype, options.assignment, options.num_clusters)

    def _batch(self, x: Tensor, shift_c: Tensor) -> Batch:
        return BATCHES[self.assignment](x - along(x, shift_c), shift_c, self.eps, self.options.shrink_groups)

    def _given(self, x: Tensor) -> tuple[Tensor | None, float]:
        """The evidence of the layers before, and T of the layer's own, 0 where it does not count."""
        if self.place is None:
            return None, self.options.sharpness
        given = self.place.given(x)
        return given, self.options.sharpness if self.place.adds(given) else 0.0

    def _pass_on(self, given: Tensor | None, evidence: Tensor | None) -> None:
        if self.place is not None:
            self.place.pass_on(given, evidence)

    def _moments(self, batch: Batch, tau: Tensor, mixture: Mixture) -> Moments:
        """The batch's, less the shift; of a cluster with hardly any data, its learned ones."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._normalizes_by_batch()):
            return maths.with_fallback(batch.moments(tau, self._reduce), mixture)

    def _normalizes_by_batch(self) -> bool:
        return self.options.moments == "batch" and (self.training or self.running_mean is None)

    def _normalizing(self, moments: Moments | None, mixture: Mixture, shift_c: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b) of the formula, ``(K, C)`` each, less the shift."""
        if self.options.moments == "learned":
            return mixture.mean, mixture.var
        if moments is not None:
            return moments.mean, moments.var
        running = self.running
        assert running is not None
        return running.mean.to(shift_c.dtype) - shift_c, running.var.to(shift_c.dtype)

    def _affine(self, mixture: Mixture) -> Affine:
        """In the type of the maths.

        The paper's f = 1/√λ multiplies the output's variance by about K, ``"unit"`` keeps it at 1."""
        dtype = mixture.mean.dtype
        weight_c, bias_c = (None if p is None else p.to(dtype) for p in (self.weight, self.bias))
        gain = maths.gain_of(mixture.log_prior, weight_c, self.options.balance)
        rho = None
        if self.options.shrink is not None:
            learned = self.shrink_logit
            rho = mixture.mean.new_tensor(self.options.shrink) if learned is None else learned.to(dtype).sigmoid()
        return Affine(gain, bias_c, rho)

    def _sees_new_data(self, x: Tensor) -> bool:
        """Whether a training forward may move state: not for an empty batch, unless other processes have data, and not
        for what the backward of an earlier forward runs again (a compiled forward finds that out when it runs)."""
        if x.numel() == 0 and not is_distributed():
            return False
        return torch.compiler.is_compiling() or not in_backward()

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        """The first batch starts the clusters."""
        with without_autocast(x):
            inputs = x.detach(), self._clusters(), self.initialized, self.eps
            compiles = torch.compiler.is_compiling()
            clusters, initialized = ops.start(*inputs, self._is_fused(x)) if compiles else started(*inputs)
        self._set(_not_frozen(self._clusters(), clusters))
        self.initialized.copy_(initialized)

    @torch.no_grad()
    def _take_step(self) -> None:
        """The clusters take the EM step that the last batch left."""
        move = ops.move if torch.compiler.is_compiling() else moved
        self._set(_not_frozen(self._clusters(), move(self._clusters(), self._step())))

    @torch.no_grad()
    def _update(self, moments: Moments, mixture: Mixture, shift_c: Tensor) -> None:
        """The running moments move toward the batch's; EM's step is left for the next training forward."""
        moments = Moments(*(tensor.detach() for tensor in moments))
        running = self.running
        if running is not None:
            own = moments._replace(mean=moments.mean + shift_c)
            self._set(zip(running, moved_running(running, own, self.momentum), strict=True))
        if self.updates_mixture:  # without EM, too: no step that was left is taken twice
            if is_distributed() and not self.options.sync:
                moments = maths.with_fallback(pool(moments), mixture)
            step = em_step(moments, mixture, self.options.em_rate)
            self._set(zip(self._step(), step, strict=True))

    @torch.no_grad()
    def _set(self, changes: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Pairs of a tensor and its new value; a compiled forward finds out when it runs whether state may move."""
        moves = ops.moves(self.initialized) if torch.compiler.is_compiling() else None
        for state, value in changes:
            state.copy_(value if moves is None else torch.where(moves, value, state))

    @torch.no_grad()
    def responsibilities(self, x: Tensor) -> Tensor:
        """τ of a batch ``(N, C, …)``: ``(N, K)`` under sample assignment, ``(K, N, C, …)`` under element assignment."""
        self._check_input(x)
        with without_autocast(x):
            x = widened(x)
            shift_c = self._shift(x.dtype)
            batch, mixture = self._batch(x, shift_c), self._mixture(shift_c)
            return batch.assign(mixture, *self._given(x))[0]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start anew: parameters, clusters and running statistics, of which the first batch will start the clusters."""
        shrink = self.options.shrink or 0.5
        starts = {self.weight: 1.0, self.shrink_logit: math.log(shrink / (1 - shrink))}
        for parameter in self.parameters(recurse=False):
            parameter.fill_(starts.get(parameter, 0.0))
        for step in (self.step_mean, self.step_var, self.step_prior, self.initialized):
            step.zero_()
        self.reset_running_stats()

    @torch.no_grad()
    def start_mixture(self, mean_c: Tensor, var_c: Tensor, spread: float = INITIAL_SPREAD) -> None:
        """Spread the clusters around the moments ``(C,)`` of some data, ``spread`` standard deviations apart; the
        first batch will leave them there."""
        start = around(mean_c, var_c, self.num_clusters, self.eps, spread)
        for parameter, value in zip(self._clusters(), start, strict=True):
            parameter.copy_(value)
        self.initialized.fill_(1)

    def _step(self) -> Step:
        buffers: Any = self._buffers  # a module's attributes take longer
        return Step(buffers["step_mean"], buffers["step_var"], buffers["step_prior"])

    def _clusters(self) -> Clusters:
        own: Any = self._parameters
        if "mean" in own and "log_var" in own and "prior_logits" in own:
            return Clusters(own["mean"], own["log_var"], own["prior_logits"])
        return Clusters(self.mean, self.log_var, self.prior_logits)  # of a replica, or parametrized

    def _affine_parameters(self) -> tuple[Tensor | None, Tensor | None]:
        """γ and β."""
        own = self._parameters
        return (own["weight"], own["bias"]) if "weight" in own and "bias" in own else (self.weight, self.bias)

    def _shift(self, dtype: torch.dtype) -> Tensor:
        """A value per channel near the data, ``(C,)``. The maths runs on x minus it, because float32 has no
        digits to spare at a large offset; which value it is changes nothing else, so no gradient goes through
        it."""
        return self.mean.detach().to(dtype).mean(0)

    def _mixture(self, shift_c: Tensor) -> Mixture:
        return mixture_of(self._clusters(), shift_c)

    def _reduce(self, x: Tensor) -> Tensor:
        return sum_over_processes(x) if self.options.sync and self.training else x

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, metadata: Any, *rest: Any) -> None:
        saved = state_dict.get(f"{prefix}prior_logits")
        if saved is not None and len(saved) != self.num_clusters:
            errors: list[str] = rest[-1]
            has = f"the layer has num_clusters={self.num_clusters}"
            errors.append(f"{prefix.removesuffix('.')}: the weights are of num_clusters={len(saved)}, {has}")
            return
        if metadata.get("version", 1) < 2:  # whose steps of EM were taken at once
            for name in ("step_mean", "step_var", "step_prior"):
                state_dict.setdefault(prefix + name, torch.zeros_like(getattr(self, name)))
        super()._load_from_state_dict(state_dict, prefix, metadata, *rest)

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
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self.options).items())
        return (
            f"{self.num_features}, {options}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


def _not_frozen(clusters: Clusters, to: Clusters) -> list[tuple[Tensor, Tensor]]:
    pairs = zip(clusters, to, strict=True)
    return [(parameter, value) for parameter, value in pairs if not is_frozen(parameter)]


class UAN1d(UAN):
    """UAN of ``(N, C)`` or ``(N, C, L)``.

    Example:
        >>> UAN1d(8, num_clusters=2)(torch.randn(16, 8)).shape
        torch.Size([16, 8])
    """

    input_ranks = (2, 3)


class UAN2d(UAN):
    """UAN of images ``(N, C, H, W)``.

    Example:
        >>> UAN2d(8, num_clusters=2)(torch.randn(16, 8, 4, 4)).shape
        torch.Size([16, 8, 4, 4])
    """

    input_ranks = (4,)


class UAN3d(UAN):
    """UAN of volumes ``(N, C, D, H, W)``.

    Example:
        >>> UAN3d(8, num_clusters=2)(torch.randn(16, 8, 2, 4, 4)).shape
        torch.Size([16, 8, 2, 4, 4])
    """

    input_ranks = (5,)
