"""Random horizontal flip."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from uan_da.data.augment.geometry import flip
from uan_da.data.augment.inputs import check_images, check_number, uniform


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Mirrors each image left to right with probability ``p``."""

    keeps_bytes: ClassVar[bool] = True
    p: float = 0.5

    def __post_init__(self) -> None:
        check_number("p", self.p, 0, 1)

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        check_images(images)
        return flip(images, uniform(len(images), generator=generator, device=images.device) < self.p)
