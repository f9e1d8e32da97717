"""Random rotation, translation, scaling and shear."""

from dataclasses import dataclass

import torch
from torch import Tensor

from uan_da.data.augment.geometry import affine, affine_matrix
from uan_da.data.augment.inputs import as_floats, check_number, check_range, uniform


@dataclass(frozen=True, kw_only=True)
class Affine:
    """Rotates, translates, scales and shears each image about its centre; outside it is black.

    Args:
        degrees: the rotation is uniform in ±``degrees``.
        translate: the shift along each axis is uniform in ±``translate`` times the image's side along it.
        scale: the scale is uniform between these two.
        shear: the shear along x is uniform in ±``shear`` degrees.
    """

    degrees: float = 0.0
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0

    def __post_init__(self) -> None:
        check_number("degrees", self.degrees, 0, 180)
        check_number("translate", self.translate, 0, 1)
        check_range("scale", self.scale)
        check_number("shear", self.shear, 0, 89)

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """(N, C, H, W) to (N, C, H, W), bilinear."""
        images = as_floats(images)
        num_images, _, height, width = images.shape
        angle, x, y, shear = uniform(4, num_images, generator=generator, device=images.device, low=-1, high=1)
        low, high = self.scale
        matrix = affine_matrix(
            angle=angle * self.degrees,
            translate_x=x * self.translate * width,
            translate_y=y * self.translate * height,
            scale=uniform(num_images, generator=generator, device=images.device, low=low, high=high),
            shear_x=shear * self.shear,
            shear_y=torch.zeros_like(shear),
        )
        return affine(images, matrix)
