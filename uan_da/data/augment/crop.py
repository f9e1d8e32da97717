"""Random crop of the zero-padded image."""

from collections.abc import Sequence
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
        num_images, _, *size = images.shape
        top, left = self.draw(num_images, size, generator, images.device)
        return crop(pad(images, [self.padding] * 4), top, left, *self.sides(size))

    def sides(self, size: Sequence[int]) -> tuple[int, int]:
        """Height and width of the crops of images of this height and width."""
        return (size[0], size[1]) if self.size is None else (self.size, self.size)

    def draw(
        self, count: int, size: Sequence[int], generator: torch.Generator | None, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor]:
        """Top and left (count,) of random crops of padded images of this height and width."""
        sides = self.sides(size)
        high = [have + 2 * self.padding - side + 1 for have, side in zip(size, sides, strict=True)]
        if min(high) < 1:
            where = f"{size[0]}×{size[1]} pixels padded by {self.padding}"
            raise ValueError(f"Expected `size` to fit into {where}, but got {self.size}")
        if high[0] == high[1]:
            top, left = integers(count, 2, high=high[0], generator=generator, device=device).unbind(1)
        else:
            top, left = (integers(count, high=limit, generator=generator, device=device) for limit in high)
        return top, left
