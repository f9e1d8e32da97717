"""Random crop of the zero-padded image."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from uan_da.data.augment.geometry import crop
from uan_da.data.augment.inputs import check_images, check_integer, integers


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Pads each image with ``padding`` black pixels per side, then crops it at a random position.

    The crop has the image's size, or ``size`` × ``size``.
    """

    keeps_bytes: ClassVar[bool] = True
    padding: int = 4
    size: int | None = None

    def __post_init__(self) -> None:
        check_integer("padding", self.padding, 0)
        if self.size is not None:
            check_integer("size", self.size, 1)

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """(N, C, H, W) to (N, C, H, W) or (N, C, size, size), exact pixels.

        Raises:
            ValueError: ``size`` is larger than the padded image.
        """
        check_images(images)
        num_images, _, height, width = images.shape
        size = (height, width) if self.size is None else (self.size, self.size)
        high = height + 2 * self.padding - size[0] + 1, width + 2 * self.padding - size[1] + 1
        if min(high) < 1:
            where = f"{height}×{width} pixels padded by {self.padding}"
            raise ValueError(f"Expected `size` to fit into {where}, but got {self.size}")
        if high[0] == high[1]:
            top, left = integers(num_images, 2, high=high[0], generator=generator, device=images.device).unbind(1)
        else:
            top, left = (integers(num_images, high=limit, generator=generator, device=images.device) for limit in high)
        return crop(pad(images, [self.padding] * 4), top, left, *size)
