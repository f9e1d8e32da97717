"""Random crop of the zero-padded image."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from uan_da.data.augment.checks import check_images, check_integer
from uan_da.data.augment.draws import integers
from uan_da.data.augment.geometry import crop


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Pads each image with ``padding`` black pixels a side and crops its size at a random place."""

    padding: int = 4

    def __post_init__(self) -> None:
        check_integer("padding", self.padding, 0)

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """(N, C, H, W) to (N, C, H, W), exact pixels."""
        check_images(images)
        num_images, _, height, width = images.shape
        offset = integers(num_images, 2, high=2 * self.padding + 1, generator=generator, device=images.device)
        padded = pad(images, [self.padding] * 4)
        return crop(padded, offset[:, 0], offset[:, 1], height, width)
