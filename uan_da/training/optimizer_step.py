"""From the gradient of a loss to weights that have moved."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from uan_da.norms.distributed import average_over_processes_, is_distributed
from uan_da.recipe.schema import Train
from uan_da.training.precision import LossScaler


class OptimizerStep:
    """Backward and optimizer step, by what a recipe says of precision and clipping."""

    def __init__(self, optimizer: torch.optim.Optimizer, train: Train, device: torch.device) -> None:
        self.optimizer, self.clip = optimizer, train.clip
        self.scaler = LossScaler(device) if train.precision == "fp16" else None

    def backward(self, loss: Tensor, moved: Sequence[nn.Parameter]) -> None:
        """Add the gradient of ``loss`` to those of ``moved``; none named: of all."""
        loss = loss if self.scaler is None else self.scaler.scaled(loss)
        loss.backward(inputs=list(moved) or None)  # type: ignore[no-untyped-call]  # other modules have no gradient

    def step(self, stop: Tensor | None) -> None:
        """Move the parameters that have a gradient: its mean over all processes, at most ``train.clip`` long.

        Nothing moves where ``stop`` is 1, or where a float16 gradient overflows. A fused optimizer reads that on its
        device; for another one the host waits.
        """
        if self.clip is not None or self.scaler is not None or is_distributed():
            parameters, _, overflow = self._gathered()
            if self.clip is not None:
                nn.utils.clip_grad_norm_(parameters, self.clip)
            stop = overflow if stop is None else stop if overflow is None else torch.maximum(stop, overflow)
        guarded_step(self.optimizer, stop)

    @contextmanager
    def ascended(self, radius: float) -> Iterator[None]:
        """Inside the block the parameters that have a gradient stand ``radius`` up it, and have none; after it they are
        back, to the bit, with the gradient of the block. A gradient that is not finite leaves them where they are."""
        parameters, gradients, _ = self._gathered()
        length = nn.utils.get_total_norm(gradients)
        scale = torch.where(length.isfinite(), radius / (length + 1e-12), 0.0)
        before = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.add_(gradient.nan_to_num(0.0, 0.0, 0.0) * scale)
        self.optimizer.zero_grad(set_to_none=True)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)

    def _gathered(self) -> tuple[list[nn.Parameter], list[Tensor], Tensor | None]:
        """The parameters that have a gradient; their gradients, averaged over all processes and without float16's
        scale; 1 where one overflowed, None without float16."""
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        parameters: list[nn.Parameter] = [p for group in groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        average_over_processes_(gradients)
        return parameters, gradients, None if self.scaler is None else self.scaler.unscale(gradients)

    def after_batch(self) -> None:
        """After all optimizer steps of a batch."""
        if self.scaler is not None:
            self.scaler.update()


def guarded_step(optimizer: torch.optim.Optimizer, stop: Tensor | None) -> None:
    """One step, or none where ``stop`` is 1, as ``torch.amp.GradScaler`` leaves one out."""
    if stop is None:
        optimizer.step()
    elif getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = stop  # type: ignore[attr-defined]  # PyTorch's name for the flag
        optimizer.step()
        del optimizer.found_inf  # type: ignore[attr-defined]
    elif not bool(stop):
        optimizer.step()
