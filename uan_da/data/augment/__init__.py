"""Augmentation of whole batches with one draw per image.

An augmentation takes images (N, C, H, W), C = 1 or 3, on the CPU or a GPU, float32 in [0, 1] or bytes that
stand for v / 255, and returns float32 without a gradient; `Crop` and `Flip`, which only move pixels, return the
type that they are given. Random numbers come from the generator that the call is given (the global CPU one if
``None``): they are drawn on the generator's device and moved to the images', so a CPU generator gives images on a
GPU the draws that it gives on the CPU. The input is never written to; what has nothing to do may return it as it
is.

The operations without their draws, one parameter per image, are in `color`, `filters` and `geometry`.
"""

from uan_da.data.augment.affine import Affine
from uan_da.data.augment.blur import Blur
from uan_da.data.augment.color_jitter import ColorJitter
from uan_da.data.augment.compose import Augmentation, Compose
from uan_da.data.augment.crop import Crop
from uan_da.data.augment.cutout import Cutout
from uan_da.data.augment.flip import Flip
from uan_da.data.augment.rand_augment import RandAugment
from uan_da.data.augment.recolor import Grayscale, Invert
from uan_da.data.augment.resized_crop import ResizedCrop

__all__ = [
    "Affine",
    "Augmentation",
    "Blur",
    "ColorJitter",
    "Compose",
    "Crop",
    "Cutout",
    "Flip",
    "Grayscale",
    "Invert",
    "RandAugment",
    "ResizedCrop",
]
