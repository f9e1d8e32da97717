"""Half precision in a training: which type the network's forward takes, and the scale that float16 needs."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from uan_da.recipe.schema import Precision

HALF: dict[Precision, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Under autocast the network runs in this type. Norm statistics, losses, gradients, weights and all evaluation are
float32."""


def tensor_float32(device: torch.device) -> AbstractContextManager[None]:
    """Inside the block float32 matrix products on a GPU may use TensorFloat-32, as PyTorch recommends for training
    (``torch.set_float32_matmul_precision("high")``) and as its convolutions do anyway; elsewhere nothing changes."""
    return _tensor_float32() if device.type == "cuda" else nullcontext()


@contextmanager
def _tensor_float32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


START, GROWTH, BACKOFF, GROWTH_INTERVAL = 2.0**16, 2.0, 0.5, 2000


class LossScaler:
    """Dynamic loss scaling (Micikevicius et al., ICLR 2018, arXiv:1710.03740).

    The loss is multiplied by a scale, so that small gradients do not vanish in float16, and the gradients are divided
    by it. Where one overflows, the optimizer step is left out and the scale halves; after 2000 batches without, it
    doubles. It is ``torch.amp.GradScaler``'s rule, but that allows one optimizer step an update: here a batch may make
    several, and the scale moves once a batch. Nothing waits for the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.tensor(START, device=device)
        self.good = torch.tensor(0.0, device=device)
        """Batches in a row without an overflow."""
        self.overflowed = torch.tensor(0.0, device=device)
        """1 where an optimizer step of the batch under way was left out."""

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to call ``backward`` on."""
        return loss * self.scale

    def unscale(self, gradients: Sequence[Tensor]) -> Tensor:
        """Divide ``gradients`` by the scale, in place.

        Returns:
            1.0 where one of them is not finite, else 0.0.
        """
        torch._foreach_mul_(list(gradients), self.scale.reciprocal())
        found = (~torch.nn.utils.get_total_norm(gradients, math.inf).isfinite()).float()
        self.overflowed = torch.maximum(self.overflowed, found)
        return found

    def update(self) -> None:
        """After each batch: move the scale."""
        overflowed, good = self.overflowed > 0, self.good + 1
        grows = good >= GROWTH_INTERVAL
        factor = torch.where(overflowed, BACKOFF, torch.where(grows, GROWTH, 1.0))
        self.scale = self.scale * factor
        self.good = torch.where(overflowed | grows, 0.0, good)
        self.overflowed = torch.zeros_like(self.overflowed)

    def state_dict(self) -> dict[str, Any]:
        """Between two batches."""
        return {"scale": self.scale, "good": self.good}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.scale, self.good = state["scale"], state["good"]
