"""Plasma: a random height map by the diamond-square algorithm (Fournier, Fussell & Carpenter, CACM 1982)."""

import numpy as np

from uan_da.data.corruptions.corruption import Floats
from uan_da.data.corruptions.draws import Draws

WIBBLE = 100.0
"""The authors' initial height of the random displacement; it is squared in use, and only its decay shows."""


def plasma(draws: Draws, size: int, decay: float) -> Floats:
    """A height map from 0 to 1 a generator, ``(N, size, size)``, which tiles.

    The random displacement shrinks by ``decay`` each time the grid is halved: 1 is noise, 3 is smooth.

    Args:
        draws: an image's generator each.
        size: a power of two.
        decay: above 1.
    """
    assert size & (size - 1) == 0
    heights = np.zeros((len(draws.generators), size, size))
    step, wibble = size, WIBBLE
    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        accumulated = corners + np.roll(corners, -1, axis=1)
        accumulated = accumulated + np.roll(accumulated, -1, axis=2)
        heights[:, half::step, half::step] = _displaced(accumulated, draws, wibble)
        centres = heights[:, half::step, half::step]
        rows = centres + np.roll(centres, 1, axis=1) + corners + np.roll(corners, -1, axis=2)
        heights[:, ::step, half::step] = _displaced(rows, draws, wibble)
        columns = centres + np.roll(centres, 1, axis=2) + corners + np.roll(corners, -1, axis=1)
        heights[:, half::step, ::step] = _displaced(columns, draws, wibble)
        step, wibble = half, wibble / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    normalised: Floats = heights / heights.max(axis=(1, 2), keepdims=True)
    return normalised


def _displaced(sums: Floats, draws: Draws, wibble: float) -> Floats:
    """The mean of four neighbours plus a random displacement."""
    return sums / 4 + wibble * draws.uniform(-wibble, wibble, *sums.shape[1:])


def power_of_two(side: int) -> int:
    """The least power of two that is not below ``side``."""
    return 1 << max(side - 1, 1).bit_length()
