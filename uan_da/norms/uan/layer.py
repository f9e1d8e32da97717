"""UAN: normalisation by a Gaussian mixture that is learned with the network.

Source: Faye, Azzag, Lebbah, Feng, "Unsupervised Adaptive Normalization", IJCNN 2024, arXiv:2409.04757. The
formulas are in :mod:`uan_da.norms.uan.mixture`, the layer's parameters and buffers in :mod:`uan_da.norms.uan.state`;
this module holds the order of the steps.
"""

from typing import ClassVar

import torch
from torch import Tensor

from uan_da.norms.distributed import is_distributed, pool, sum_over_processes
from uan_da.norms.forward import fx_leaf, in_backward, widened, without_autocast
from uan_da.norms.running import moved_running
from uan_da.norms.uan import mixture as maths
from uan_da.norms.uan.assignment import BATCHES, Affine, Batch
from uan_da.norms.uan.clusters import State, em_step, is_known_to_be, mixture_of
from uan_da.norms.uan.kernels import ops, serving
from uan_da.norms.uan.mixture import Mixture, Moments
from uan_da.norms.uan.state import UANState


class UAN(UANState):
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

    @fx_leaf
    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` ``(N, C, …)``; moments are taken in float32 or wider, the output has the type of ``x``."""
        self._check_input(x)
        updates = self.training and self.updates_statistics and self._sees_new_data(x)
        moves, state = updates and self.updates_mixture, self._state()
        if moves and not is_known_to_be(state.initialized):
            self._start(x, state)
        if self._is_fused(x, state):
            return self._fused(x, state, updates, moves)
        with without_autocast(x):
            if moves:
                self._set_clusters(ops.move(state.clusters, state.step))
            batch = self._batch(x)
            tau = self._assign(batch)
            moments = self._moments(batch, tau) if updates or self._normalizes_by_batch() else None
            y = batch.normalize(tau, self._normalizing(batch, moments), self._gain_and_bias(batch.mixture))
            if updates and moments is not None:
                self._update(batch, moments, state)
            return y.to(x.dtype)

    def _fused(self, x: Tensor, state: State, updates: bool, moves: bool) -> Tensor:
        """One operator does the same: it takes the step, assigns, takes moments, normalises, and updates."""
        given, sharpness = self._given(x)
        sharp = sharpness if self.assignment == "sample" else None
        scalars = ops.Scalars(self.eps, self.options.balance, sharp, self.momentum, self.options.em_rate)
        shares = self.place is not None and self.place.adds(given)
        y, evidence = ops.train(x, state, given, updates, moves, shares, scalars)
        if self.place is not None:
            self.place.pass_on(given, evidence if shares else given)
        return y

    def _is_fused(self, x: Tensor, state: State) -> bool:
        """Whether one operator serves: a forward that normalises by the moments of this process's batch."""
        options = self.options
        backends = ("auto", "fused") if x.is_cpu else ("fused",)  # no GPU has run its kernels yet
        if options.backend not in backends or options.shrink is not None or is_distributed():
            return False
        if not self._normalizes_by_batch() or not serving.reads(state, x, options.assignment, options.num_clusters):
            return False
        return serving.serves(x, state.step.mean.dtype, options.assignment, options.num_clusters)

    def _sees_new_data(self, x: Tensor) -> bool:
        """Whether a training forward may move state: not for an empty batch, unless other processes have data, and not
        for what the backward of an earlier forward runs again (a compiled forward finds that out when it runs)."""
        if x.numel() == 0 and not is_distributed():
            return False
        return torch.compiler.is_compiling() or not in_backward()

    @torch.no_grad()
    def _start(self, x: Tensor, state: State) -> None:
        """The first batch starts the clusters."""
        fused = self._is_fused(x, state)
        with without_autocast(x):
            clusters, initialized = ops.start(x.detach(), state.clusters, state.initialized, self.eps, fused)
        self._set_clusters(clusters)
        state.initialized.copy_(initialized)

    def _batch(self, x: Tensor) -> Batch:
        wide = widened(x)
        mixture = mixture_of(self._state().clusters, wide.dtype)
        return BATCHES[self.assignment](wide, mixture, self.eps, self.options.shrink_groups)

    def _given(self, x: Tensor) -> tuple[Tensor | None, float]:
        """The evidence of the layers before, and T of the layer's own, 0 where it does not count."""
        if self.place is None:
            return None, self.options.sharpness
        given = self.place.given(x)
        return given, self.options.sharpness if self.place.adds(given) else 0.0

    def _assign(self, batch: Batch) -> Tensor:
        """τ, whose evidence passes on to the layers behind."""
        given, sharpness = self._given(batch.x)
        tau, evidence = batch.assign(given, sharpness)
        if self.place is not None:
            self.place.pass_on(given, evidence)
        return tau

    def _moments(self, batch: Batch, tau: Tensor) -> Moments:
        pools = self.options.sync and self.training
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._normalizes_by_batch()):
            return batch.moments(tau, sum_over_processes) if pools else batch.moments(tau)

    def _normalizes_by_batch(self) -> bool:
        return self.options.moments == "batch" and (self.training or self.running_mean is None)

    def _normalizing(self, batch: Batch, moments: Moments | None) -> tuple[Tensor, Tensor]:
        """(a, b) of the formula, ``(K, C)`` each: learned ones, the batch's, or running ones."""
        if self.options.moments == "learned":
            return batch.mixture.mean, batch.mixture.var
        if moments is not None:
            return moments.mean, moments.var
        running = self.running
        assert running is not None
        return running.less(batch.shift_c)

    def _gain_and_bias(self, mixture: Mixture) -> Affine:
        """f γ, β and ρ, in the type of the maths.

        The paper's f = 1/√λ multiplies the output's variance by about K, ``"unit"`` keeps it at 1."""
        dtype = mixture.mean.dtype
        weight_c, bias_c = (None if p is None else p.to(dtype) for p in self._state().affine)
        gain = maths.gain_of(mixture.log_prior, weight_c, self.options.balance)
        if self.options.shrink is None:
            return Affine(gain, bias_c, None)
        learned = self.shrink_logit
        rho = mixture.mean.new_tensor(self.options.shrink) if learned is None else learned.to(dtype).sigmoid()
        return Affine(gain, bias_c, rho)

    @torch.no_grad()
    def _update(self, batch: Batch, moments: Moments, state: State) -> None:
        """The running moments move toward the batch's; EM's step is left for the next training forward."""
        running = state.running
        if running is not None:
            own = moments._replace(mean=moments.mean + batch.shift_c)
            ops.write(zip(running, moved_running(running, own, self.momentum), strict=True), state.initialized)
        if self.updates_mixture:  # without EM, too: no step that was left is taken twice
            if is_distributed() and not self.options.sync:
                moments = maths.with_fallback(pool(moments), batch.mixture)
            step = em_step(moments, batch.mixture, self.options.em_rate)
            ops.write(zip(state.step, step, strict=True), state.initialized)

    @torch.no_grad()
    def responsibilities(self, x: Tensor) -> Tensor:
        """τ of a batch ``(N, C, …)``: ``(N, K)`` under sample assignment, ``(K, N, C, …)`` under element assignment."""
        self._check_input(x)
        with without_autocast(x):
            return self._batch(x).assign(*self._given(x))[0]

    def _check_input(self, x: Tensor) -> None:
        if x.dim() not in self.input_ranks:
            ranks = " or ".join(f"{rank}-D" for rank in self.input_ranks)
            raise ValueError(f"{type(self).__name__} expected a {ranks} input, but got shape {tuple(x.shape)}")
        if x.shape[1] != self.num_features:
            raise ValueError(
                f"{type(self).__name__} expected {self.num_features} channels, but got shape {tuple(x.shape)}"
            )


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
