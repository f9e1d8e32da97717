"""What a UAN layer holds: γ and β, the clusters, the step of EM that they take next, and running moments."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from uan_da.norms.running import MixtureLayer
from uan_da.norms.uan.clusters import INITIAL_SPREAD, Clusters, State, Step, around, is_frozen
from uan_da.norms.uan.depth import Place
from uan_da.norms.uan.kernels import ops
from uan_da.norms.uan.options import Assignment, Options, takes_options


class UANState(MixtureLayer):
    """The parameters and buffers of a :class:`~uan_da.norms.uan.layer.UAN`, which says what its arguments are."""

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

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape, device=device, dtype=dtype))

        k, c = self.num_clusters, num_features
        self.weight = parameter(c) if affine else None
        self.bias = parameter(c) if affine and bias else None
        self.mean = parameter(k, c)
        self.log_var = parameter(k, c)
        self.prior_logits = parameter(k)
        shrinks = self.options.shrink is not None and self.options.learn_shrink
        self.shrink_logit = parameter(c) if shrinks else None
        mass_shape = (k, 1 if self.assignment == "sample" else c)
        self._register_running(self.mean.detach(), mass_shape if track_running_stats else None)
        self.register_buffer("initialized", torch.tensor(0, device=device))
        for name, like in zip(
            ("step_mean", "step_var", "step_prior"), (self.mean, self.log_var, self.prior_logits), strict=True
        ):
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

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start anew: parameters, clusters and running statistics, of which the first batch will start the clusters."""
        shrink = self.options.shrink or 0.5
        starts = {self.weight: 1.0, self.shrink_logit: math.log(shrink / (1 - shrink))}
        for parameter in self.parameters(recurse=False):
            parameter.fill_(starts.get(parameter, 0.0))
        for state in (self.step_mean, self.step_var, self.step_prior, self.initialized):
            state.zero_()
        self.reset_running_stats()

    @torch.no_grad()
    def start_mixture(self, mean_c: Tensor, var_c: Tensor, spread: float = INITIAL_SPREAD) -> None:
        """Spread the clusters around the moments ``(C,)`` of some data, ``spread`` standard deviations apart; the
        first batch will leave them there."""
        start = around(mean_c, var_c, self.num_clusters, self.eps, spread)
        for parameter, value in zip(self._state().clusters, start, strict=True):
            parameter.copy_(value)
        self.initialized.fill_(1)

    def _state(self) -> State:
        own: Any = self._parameters  # a module's attributes take longer
        buffers: Any = self._buffers
        names = "mean", "log_var", "prior_logits", "weight", "bias"
        try:
            mean, log_var, logits, weight, bias = map(own.__getitem__, names)
        except KeyError:  # of a replica, or parametrized
            mean, log_var, logits, weight, bias = (getattr(self, name) for name in names)
        step = Step(buffers["step_mean"], buffers["step_var"], buffers["step_prior"])
        return State(Clusters(mean, log_var, logits), buffers["initialized"], (weight, bias), step, self.running)

    def _set_clusters(self, to: Clusters) -> None:
        """Move what is not frozen."""
        pairs = zip(self._state().clusters, to, strict=True)
        ops.write([pair for pair in pairs if not is_frozen(pair[0])], self.initialized)

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

    def extra_repr(self) -> str:
        """The options that shape the maths, as ``repr`` prints them."""
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self.options).items())
        return (
            f"{self.num_features}, {options}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )
