"""RandAugment, as FixMatch uses it."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from uan_da.data.augment.color import (
    autocontrast,
    brightness,
    contrast,
    equalize,
    posterize,
    saturation,
    solarize,
)
from uan_da.data.augment.cutout import Cutout
from uan_da.data.augment.filters import sharpness
from uan_da.data.augment.geometry import affine
from uan_da.data.augment.inputs import check_integer, check_number, integers, own_floats, uniform
from uan_da.data.augment.per_group import apply_per_group_

GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
OPERATIONS = (
    "AutoContrast",
    "Brightness",
    "Color",
    "Contrast",
    "Equalize",
    "Identity",
    "Posterize",
    "Sharpness",
    "Solarize",
    *GEOMETRIC,
)


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """Applies ``num_ops`` random operations to each image (FixMatch's list), then cuts out a grey square.

    RandAugment (Cubuk et al., arXiv:1909.13719) has one strength for all; FixMatch (Sohn et al.,
    arXiv:2001.07685) draws it anew for each operation on each image. So does this class: an operation is
    uniform among the 14, with replacement, and always applied (FixMatch's code skips each with probability
    0.5, its paper does not); its level is uniform in [0, ``magnitude``]. Level 0 is the weak end of
    FixMatch's range and level 1 the strong end, so ``magnitude=1`` draws from the whole range of the paper:

    ============================  ==================================================================
    AutoContrast, Equalize        no level
    Brightness, Color, Contrast,  blended with black, grey, mean grey, smoothed: factor 0.95 … 0.05
    Sharpness
    Posterize                     8 … 4 bits
    Solarize                      threshold 1 … 0
    Rotate                        0 … 30 degrees, either way
    ShearX, ShearY                slope 0 … 0.3, either way
    TranslateX, TranslateY        0 … 0.3 of the side, either way
    ============================  ==================================================================

    Geometric operations are about the centre, take the nearest pixel, as in FixMatch's code, and bring in
    black. The authors of AdaMatch (Berthelot et al., arXiv:2106.04732) used CTAugment, which learns the levels;
    the Keras example of AdaMatch has RandAugment with 2 operations at half magnitude, the defaults here.

    Args:
        num_ops: operations per image.
        magnitude: the highest level, in [0, 1].
        cutout: side of the square that `Cutout` sets to grey at the end, as a share of the image's shorter
            side; 0 for none. FixMatch has 0.5.
    """

    num_ops: int = 2
    magnitude: float = 0.5
    cutout: float = 0.0

    def __post_init__(self) -> None:
        check_integer("num_ops", self.num_ops, 0)
        check_number("magnitude", self.magnitude, 0, 1)
        check_number("cutout", self.cutout, 0, 1)

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        images = own_floats(images)
        shape = self.num_ops, len(images)
        operation = integers(*shape, high=len(OPERATIONS), generator=generator)
        level = uniform(*shape, generator=generator, device=images.device, high=self.magnitude)
        sign = integers(*shape, high=2, generator=generator, device=images.device) * 2 - 1
        for chosen in zip(operation, level, sign, strict=True):
            apply_operations_(images, *chosen)
        return Cutout(size=self.cutout)(images, generator) if self.cutout else images


def apply_operations_(images: Tensor, operation: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    """Applies one operation to each image, in place; see `RandAugment` for what a level means.

    Args:
        images: (N, C, H, W), float32 in [0, 1].
        operation: (N,), index into ``OPERATIONS``; on any device, best on the CPU.
        level: (N,), in [0, 1].
        sign: (N,), −1 or 1, the direction of the geometric operations.

    Returns:
        ``images``.
    """
    num_pointwise = len(OPERATIONS) - len(GEOMETRIC)
    pointwise = [partial(_pointwise, name, level) for name in OPERATIONS[:num_pointwise]]
    moved = partial(_geometric, operation.to(level.device) - num_pointwise, level * sign)
    return apply_per_group_(images, operation.clamp(max=num_pointwise), [*pointwise, moved])


def _pointwise(name: str, level: Tensor, images: Tensor, place: Tensor) -> Tensor:
    level = level.index_select(0, place)
    match name:
        case "AutoContrast":
            return autocontrast(images)
        case "Brightness":
            return brightness(images, 0.95 - 0.9 * level)
        case "Color":
            return saturation(images, 0.95 - 0.9 * level)
        case "Contrast":
            return contrast(images, 0.95 - 0.9 * level)
        case "Equalize":
            return equalize(images)
        case "Identity":
            return images
        case "Posterize":
            return posterize(images, 8 - (5 * level).floor().clamp(max=4))
        case "Sharpness":
            return sharpness(images, 0.95 - 0.9 * level)
        case "Solarize":
            # 256 / 255, so that level 0 leaves white as it is.
            return solarize(images, 256 / 255 * (1 - level))
    raise AssertionError(f"{name} is no pointwise operation")


def _geometric(operation: Tensor, signed_level: Tensor, images: Tensor, place: Tensor) -> Tensor:
    """All geometric operations in one resampling: each image's matrix has its own operation alone."""
    height, width = images.shape[2:]
    operation, signed_level = operation.index_select(0, place), signed_level.index_select(0, place)
    chosen = operation[:, None] == torch.arange(len(GEOMETRIC), device=images.device)
    rotate, shear_x, shear_y, translate_x, translate_y = (chosen * signed_level[:, None]).unbind(1)
    cos, sin = (math.pi / 6 * rotate).cos(), (math.pi / 6 * rotate).sin()
    # The way back from the result to the image, as `affine` takes it: of one operation, for the others are nought.
    to_x = cos, sin + 0.3 * shear_x, -0.3 * width * translate_x
    to_y = 0.3 * shear_y - sin, cos, -0.3 * height * translate_y
    return affine(images, torch.stack((*to_x, *to_y), dim=1).view(-1, 2, 3), "nearest")
