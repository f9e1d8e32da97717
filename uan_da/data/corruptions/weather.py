"""Weather: snow, frost, fog."""

import functools

import numpy as np

from uan_da.data.corruptions.blur import motion_blurred
from uan_da.data.corruptions.corruption import SMALL, Corruption, Floats
from uan_da.data.corruptions.draws import Draws
from uan_da.data.corruptions.plasma import plasma, power_of_two
from uan_da.data.corruptions.zoom import clipped_zoom

LUMA: Floats = np.array([0.299, 0.587, 0.114])


def snow(
    x: Floats,
    draws: Draws,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    clear: float,
) -> Floats:
    """Flakes, Gaussian noise enlarged by ``zoom`` and cut off below ``threshold``, fall at −135° to −45°, on an image
    of which a share 1 − ``clear`` is whitened."""
    flakes = clipped_zoom(draws.normal(mean, deviation, *x.shape[1:3], 1), zoom)
    flakes = np.floor(np.where(flakes < threshold, 0.0, flakes).clip(0, 1) * 255) / 255
    flakes = np.floor(motion_blurred(flakes, radius, sigma, draws.uniform(-135, -45)) * 255) / 255
    white = np.maximum(x, (x @ LUMA)[..., None] * 1.5 + 0.5)
    return clear * x + (1 - clear) * white + flakes + flakes[:, ::-1, ::-1]


def frost(x: Floats, draws: Draws, image: float, ice: float) -> Floats:
    """``image``·x + ``ice``·(a crop of a picture of ice).

    The authors have six photographs; here the picture is :func:`ice_picture`, so published errors on frost are not
    comparable with errors on this one.
    """
    height, width = x.shape[1:3]
    picture = ice_picture(256 if max(height, width) <= SMALL else max(1024, 2 * power_of_two(max(height, width))))
    tops = draws.integers(0, picture.shape[0] - height)
    lefts = draws.integers(0, picture.shape[1] - width)
    crops = [picture[top : top + height, left : left + width] for top, left in zip(tops, lefts, strict=True)]
    return image * x + ice * np.stack(crops)


def fog(x: Floats, draws: Draws, density: float, decay: float) -> Floats:
    """(x + ``density``·plasma) · max x / (max x + ``density``), the maximum over the image."""
    height, width = x.shape[1:3]
    brightest: Floats = x.max(axis=(1, 2, 3), keepdims=True)
    mist = plasma(draws, power_of_two(max(height, width)), decay)[:, :height, :width, None]
    return (x + density * mist) * brightest / (brightest + density)


@functools.lru_cache(maxsize=2)
def ice_picture(size: int) -> Floats:
    """A fixed picture of ice, ``(size, size, 3)`` from 0 to 1: bright needles, the ridges of three height maps, on a
    bluish grey."""
    draws = Draws(np.random.default_rng([17, number]) for number in range(3))
    ridges = 1 - np.abs(2 * plasma(draws, size, 1.8) - 1)
    needles = (ridges**6).max(axis=0)
    veil = plasma(Draws([np.random.default_rng(18)]), size, 2.2)[0]
    light = (0.25 + 0.35 * veil + 0.55 * needles).clip(0, 1)
    tinted: Floats = light[..., None] * np.array([0.86, 0.94, 1.0])
    return tinted


SNOW = Corruption(
    snow,
    small=[
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ],
    large=[
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ],
)
FROST = Corruption(
    frost,
    small=[(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
    large=[(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
)
FOG = Corruption(
    fog,
    small=[(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
    large=[(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
)
