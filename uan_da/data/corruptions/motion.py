"""Motion blur as ImageMagick computes it, which the authors' scripts call."""

import math

import numpy as np
from numpy.typing import NDArray

from uan_da.data.corruptions.corruption import Floats


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
