"""Digital: brightness, contrast, saturation, elastic transform, pixelation, JPEG compression."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from uan_da.data.corruptions.corruption import Corruption, Floats
from uan_da.data.corruptions.draws import Draws


def brightness(x: Floats, draws: Draws, amount: float) -> Floats:
    """HSV's value plus ``amount``."""
    hsv = rgb_to_hsv(x)
    hsv[..., 2] = (hsv[..., 2] + amount).clip(0, 1)
    bright: Floats = hsv_to_rgb(hsv)
    return bright


def contrast(x: Floats, draws: Draws, factor: float) -> Floats:
    """(x − mean)·``factor`` + mean, the mean of each channel of the image."""
    mean: Floats = x.mean(axis=(1, 2), keepdims=True)
    return (x - mean) * factor + mean


def saturate(x: Floats, draws: Draws, factor: float, offset: float) -> Floats:
    """HSV's saturation times ``factor`` plus ``offset``. Grey images get the hue that HSV gives to grey, red."""
    hsv = rgb_to_hsv(x)
    hsv[..., 1] = (hsv[..., 1] * factor + offset).clip(0, 1)
    saturated: Floats = hsv_to_rgb(hsv)
    return saturated


def elastic_transform(x: Floats, draws: Draws, strength: float, smoothness: float, shear: float) -> Floats:
    """An affine map that moves three points by up to ``shear``, then displacements of up to ``strength``, smoothed by a
    Gaussian of ``smoothness``; all in parts of the shorter side."""
    height, width = x.shape[1:3]
    side = min(height, width)
    moves = draws.uniform(-shear * side, shear * side, 3, 2)
    shifts = draws.uniform(-1, 1, 2, height, width)
    sigma = smoothness * side
    shifts = strength * side * ndimage.gaussian_filter(shifts, (0, 0, sigma, sigma), mode="reflect", truncate=3)
    warped = [_elastic(*each) for each in zip(x, moves, shifts, strict=True)]
    return np.stack(warped)


def _elastic(image: Floats, move: Floats, shift: Floats) -> Floats:
    """One image ``(H, W, 3)``: mapped, with a mirrored border, then displaced, with one mirrored at pixel edges."""
    height, width = image.shape[:2]
    centre, reach = np.array([width // 2, height // 2]), min(height, width) // 3
    points = centre + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    back = np.linalg.solve(np.column_stack([points + move, np.ones(3)]), points)
    grid = np.mgrid[:height, :width].astype(np.float64)
    xs, ys = np.tensordot(back.T, np.stack([grid[1], grid[0], np.ones((height, width))]), 1)
    channels = [ndimage.map_coordinates(image[..., c], [ys, xs], order=1, mode="mirror") for c in range(3)]
    moved = [grid[0] + shift[1], grid[1] + shift[0]]
    return np.stack([ndimage.map_coordinates(c, moved, order=1, mode="reflect") for c in channels], axis=-1)


def pixelate(x: Floats, draws: Draws, factor: float) -> Floats:
    """Shrunk by ``factor`` and enlarged again, each pixel the mean of a box."""
    height, width = x.shape[1:3]
    small = max(int(width * factor), 1), max(int(height * factor), 1)

    def coarse(image: Image.Image) -> Image.Image:
        return image.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BOX)

    return _through_pillow(x, coarse)


def jpeg_compression(x: Floats, draws: Draws, quality: int) -> Floats:
    """Written as JPEG of ``quality``, 1 to 100, and read again."""

    def compressed(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _through_pillow(x, compressed)


def _through_pillow(x: Floats, change: Callable[[Image.Image], Image.Image]) -> Floats:
    whole: NDArray[np.uint8] = np.rint(x * 255).astype(np.uint8)
    changed = np.stack([np.asarray(change(Image.fromarray(image))) for image in whole])
    return changed / 255.0


BRIGHTNESS = Corruption(
    brightness,
    small=[(0.05,), (0.1,), (0.15,), (0.2,), (0.3,)],
    large=[(0.1,), (0.2,), (0.3,), (0.4,), (0.5,)],
)
CONTRAST = Corruption(
    contrast,
    small=[(0.75,), (0.5,), (0.4,), (0.3,), (0.15,)],
    large=[(0.4,), (0.3,), (0.2,), (0.1,), (0.05,)],
)
SATURATE = Corruption(
    saturate,
    small=[(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
    large=[(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
)
AS_PUBLISHED = 244 / 224
"""The authors' script for ImageNet-C has 244 in place of the side of 224, and the published images with it."""
ELASTIC_TRANSFORM = Corruption(
    elastic_transform,
    small=[(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
    large=[
        tuple(AS_PUBLISHED * part for part in row)
        for row in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    ],
)
PIXELATE = Corruption(
    pixelate,
    small=[(0.95,), (0.9,), (0.85,), (0.75,), (0.65,)],
    large=[(0.6,), (0.5,), (0.4,), (0.3,), (0.25,)],
)
JPEG_COMPRESSION = Corruption(
    jpeg_compression,
    small=[(80,), (65,), (58,), (50,), (40,)],
    large=[(25,), (18,), (15,), (10,), (7,)],
)
