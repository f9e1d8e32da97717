"""Random erasing of a square."""

from dataclasses import dataclass

import torch
from torch import Tensor

from uan_da.data.augment.geometry import erase
from uan_da.data.augment.inputs import as_floats, check_number, integers


@dataclass(frozen=True, kw_only=True)
class Cutout:
    """Sets a random square of each image to grey (DeVries and Taylor, arXiv:1708.04552).

    Its side is ``size`` times the image's shorter side. Its centre is uniform over the pixels, so that a part
    of it may lie outside. The grey is 0.5, as in FixMatch.
    """

    size: float = 0.5

    def __post_init__(self) -> None:
        check_number("size", self.size, 0, 1)

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        images = as_floats(images)
        num_images, _, height, width = images.shape
        side = round(self.size * min(height, width))
        y = integers(num_images, high=height, generator=generator, device=images.device)
        x = integers(num_images, high=width, generator=generator, device=images.device)
        return erase(images, y - side // 2, x - side // 2, side, fill=0.5)
