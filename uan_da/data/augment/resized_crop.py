"""Random resized crop."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uan_da.data.augment.geometry import resized_crop
from uan_da.data.augment.inputs import as_floats, check_integer, check_range, uniform

_ATTEMPTS = 10


@dataclass(frozen=True, kw_only=True)
class ResizedCrop:
    """Crops a box of random area and aspect ratio out of each image and resizes it to ``size`` × ``size``.

    The box is drawn as in GoogLeNet (Szegedy et al., 2015, arXiv:1409.4842): a share of the image's area
    uniform in ``scale`` and an aspect ratio (width / height) log-uniform in ``ratio``. The first of ten draws
    that fits into the image is taken; if none does, the largest centred box that ``ratio`` allows is.
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        check_integer("size", self.size, 1)
        check_range("scale", self.scale, 1)
        check_range("ratio", self.ratio)

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """(N, C, H, W) to (N, C, size, size)."""
        images = as_floats(images)
        height, width = images.shape[2:]
        return resized_crop(images, self.boxes(len(images), height, width, generator).to(images.device), self.size)

    def boxes(self, num_images: int, height: int, width: int, generator: torch.Generator | None) -> Tensor:
        """Draws a box for each of ``num_images`` images of ``height`` × ``width`` pixels.

        Returns:
            (N, 4), integers: top, left, height and width, on the generator's device.
        """
        area, aspect, y, x = uniform(4, num_images, _ATTEMPTS, generator=generator)
        area = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        root = (0.5 * (low + aspect * (high - low))).exp()
        sides = torch.stack((area.sqrt() / root, area.sqrt() * root), dim=-1).round()
        limits = sides.new_tensor([height, width])
        fits = ((sides >= 1) & (sides <= limits)).all(dim=-1)
        corners = (torch.stack((y, x), dim=-1) * (limits - sides + 1)).floor()
        first = fits.int().argmax(dim=1)
        drawn = torch.cat((corners, sides), dim=-1)[torch.arange(num_images, device=first.device), first]
        return torch.where(fits.any(dim=1, keepdim=True), drawn, drawn.new_tensor(self._centred(height, width))).long()

    def _centred(self, height: int, width: int) -> tuple[int, int, int, int]:
        box_height = max(1, min(height, round(width / self.ratio[0])))
        box_width = max(1, min(width, round(height * self.ratio[1])))
        return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width
