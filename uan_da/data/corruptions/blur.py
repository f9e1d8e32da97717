"""Blur: defocus, glass, motion, zoom, Gaussian."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uan_da.data.corruptions.corruption import Corruption, Floats
from uan_da.data.corruptions.draws import Draws
from uan_da.data.corruptions.zoom import clipped_zoom


def gaussian_blur(x: Floats, draws: Draws, sigma: float) -> Floats:
    """Convolution with a Gaussian; the border is repeated."""
    return ndimage.gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest")


def defocus_blur(x: Floats, draws: Draws, radius: float, alias: float) -> Floats:
    """Convolution with a disk, itself smoothed by a Gaussian of ``alias``; the border is mirrored."""
    kernel = _disk(radius, alias)
    return ndimage.correlate(x, kernel[None, :, :, None], mode="mirror")


def glass_blur(x: Floats, draws: Draws, sigma: float, reach: int, iterations: int) -> Floats:
    """Gaussian blur, pixels taken from up to ``reach`` away, Gaussian blur.

    The authors' script means to swap two pixels; on NumPy's views that line copies the second over the first, and the
    published images are made so. So are these.
    """
    whole = np.floor(gaussian_blur(x, draws, sigma) * 255) / 255
    n, height, width = x.shape[:3]
    rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
    moves = draws.integers(-reach, reach, iterations, len(rows), len(columns), 2)
    source = np.tile(np.arange(height * width).reshape(height, width), (n, 1, 1))
    image = np.arange(n)
    for iteration in range(iterations):
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                right, down = moves[:, iteration, i, j].T
                source[:, row, column] = source[image, row + down, column + right]
    shuffled = np.take_along_axis(whole.reshape(n, height * width, -1), source.reshape(n, -1, 1), axis=1)
    return gaussian_blur(shuffled.reshape(x.shape), draws, sigma)


def motion_blur(x: Floats, draws: Draws, radius: int, sigma: float) -> Floats:
    """Blur along a line between −45° and 45°."""
    return motion_blurred(x, radius, sigma, draws.uniform(-45, 45))


def zoom_blur(x: Floats, draws: Draws, stop: float, step: float) -> Floats:
    """The mean of the image and its enlargements by 1, 1 + ``step``, … below ``stop``."""
    factors = np.arange(1, stop, step)
    enlarged: Floats = sum((clipped_zoom(x, factor) for factor in factors), start=x)
    return enlarged / (len(factors) + 1)


def _disk(radius: float, alias: float) -> NDArray[np.float64]:
    """The kernel of a lens out of focus, without its zero margin."""
    half, taps = (8, 1) if radius <= 8 else (int(radius), 2)
    line = np.arange(-half, half + 1)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float64)
    disk /= disk.sum()
    smooth = np.exp(-(np.arange(-taps, taps + 1) ** 2) / (2 * alias**2))
    smooth /= smooth.sum()
    for axis in (0, 1):
        disk = ndimage.correlate1d(disk, smooth, axis, mode="mirror")
    margin = max(0, half - int(radius) - taps)
    inner: NDArray[np.float64] = disk[margin : len(line) - margin, margin : len(line) - margin]
    return inner


GAUSSIAN_BLUR = Corruption(
    gaussian_blur,
    small=[(0.4,), (0.6,), (0.7,), (0.8,), (1,)],
    large=[(1,), (2,), (3,), (4,), (6,)],
)
DEFOCUS_BLUR = Corruption(
    defocus_blur,
    small=[(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
    large=[(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
)
GLASS_BLUR = Corruption(
    glass_blur,
    small=[(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
    large=[(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
)
MOTION_BLUR = Corruption(
    motion_blur,
    small=[(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
    large=[(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
)
ZOOM_BLUR = Corruption(
    zoom_blur,
    small=[(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
    large=[(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
)


def motion_blurred(x: Floats, radius: int, sigma: float, angles: NDArray[np.float64]) -> Floats:
    """``x`` ``(N, H, W, C)``, blurred along a line of its own ``angles`` ``(N,)``, in degrees.

    The kernel is the right half of a Gaussian of ``sigma``, 2·``radius`` + 1 taps long; tap i reads the pixel nearest
    to i·(cos, sin) away, and the border's beyond the border.
    """
    n, height, width = x.shape[:3]
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    weights /= weights.sum()
    image, row, column = np.arange(n)[:, None, None], np.arange(height)[:, None], np.arange(width)
    blurred = np.zeros_like(x)
    for tap, weight in zip(taps, weights, strict=True):
        down = np.ceil(tap * np.sin(angles * math.pi / 180) - 0.5).astype(int)[:, None, None]
        right = np.ceil(tap * np.cos(angles * math.pi / 180) - 0.5).astype(int)[:, None, None]
        rows, columns = (row + down).clip(0, height - 1), (column + right).clip(0, width - 1)
        blurred += weight * x[image, rows, columns]
    return blurred
