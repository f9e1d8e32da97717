"""Spatter: drops of water or mud on the lens."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uan_da.data.corruptions.corruption import Corruption, Floats
from uan_da.data.corruptions.draws import Draws

WATER: Floats = np.array([175, 238, 238]) / 255
MUD: Floats = np.array([63, 42, 20]) / 255
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
FAR = 20.0
"""Distances from a drop's edge are cut off here."""


def spatter(
    x: Floats,
    draws: Draws,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    strength: float,
    muddy: bool,
) -> Floats:
    """Drops where smoothed noise is above ``threshold``: pale turquoise of ``strength``, brighter at their edges, or
    opaque brown with edges smoothed by ``strength``."""
    noise = draws.normal(mean, deviation, *x.shape[1:3])
    layer = ndimage.gaussian_filter(noise, (0, sigma, sigma), mode="nearest")
    layer[layer < threshold] = 0
    if muddy:
        cover = ndimage.gaussian_filter((layer > threshold) * 1.0, (0, strength, strength), mode="nearest")
        cover = np.where(cover < 0.8, 0.0, cover)[..., None]
        muddied: Floats = x * (1 - cover) + MUD * cover
        return muddied
    drops = [_water(drop) for drop in (layer * 255).astype(np.uint8)]
    return x + strength * np.stack(drops)[..., None] * WATER


def _water(layer: NDArray[np.uint8]) -> Floats:
    """How strongly water shines through, ``(H, W)`` from 0 to 1, from the drops' thickness."""
    edges = canny(layer, 50, 150)
    distance = ndimage.distance_transform_edt(~edges) if edges.any() else np.full(layer.shape, FAR)
    smooth = ndimage.uniform_filter(np.minimum(distance, FAR), 3, mode="mirror")
    flat = equalized(smooth.astype(np.uint8)).astype(np.float64)
    embossed = ndimage.correlate(flat, EMBOSS, mode="mirror").clip(0, 255)
    shine = layer * np.rint(ndimage.uniform_filter(embossed, 3, mode="mirror"))
    normalised: Floats = shine / max(shine.max(), 1.0)
    return normalised


def canny(image: NDArray[np.uint8], low: float, high: float) -> NDArray[np.bool_]:
    """Edges of ``image`` ``(H, W)``: maxima along the gradient whose |∂x| + |∂y| (Sobel) is above ``low`` and connected
    to one above ``high`` (Canny, TPAMI 1986)."""
    wide = image.astype(np.float64)
    right, down = ndimage.sobel(wide, 1, mode="nearest"), ndimage.sobel(wide, 0, mode="nearest")
    size = np.abs(right) + np.abs(down)
    around = np.pad(size, 1)

    def neighbour(dy: int, dx: int) -> Floats:
        return around[1 + dy : 1 + dy + size.shape[0], 1 + dx : 1 + dx + size.shape[1]]

    flat, steep = np.tan(np.pi / 8) * np.abs(right), np.tan(3 * np.pi / 8) * np.abs(right)
    horizontal = (size > neighbour(0, -1)) & (size >= neighbour(0, 1))
    vertical = (size > neighbour(-1, 0)) & (size >= neighbour(1, 0))
    falling = (size > neighbour(-1, -1)) & (size > neighbour(1, 1))
    rising = (size > neighbour(-1, 1)) & (size > neighbour(1, -1))
    diagonal = np.where((right < 0) == (down < 0), falling, rising)
    peak = np.where(np.abs(down) < flat, horizontal, np.where(np.abs(down) > steep, vertical, diagonal))
    parts, _ = ndimage.label(peak & (size > low), np.ones((3, 3)))
    strong = np.unique(parts[peak & (size > high)])
    return np.isin(parts, strong[strong > 0])


def equalized(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``image`` with a flat histogram: its least value becomes 0 and its greatest 255."""
    counts = np.bincount(image.ravel(), minlength=256)
    least = int(image.min())
    rest = image.size - counts[least]
    if not rest:
        return image
    above = np.cumsum(counts) - counts[least]
    spread: NDArray[np.uint8] = np.rint(above.clip(0) * (255 / rest)).astype(np.uint8)[image]
    return spread


SPATTER = Corruption(
    spatter,
    small=[
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ],
    large=[
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    ],
)
