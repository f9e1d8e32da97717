"""Eight conditions under which a camera, a scanner and a printer show the same thing; they have no severity."""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_sample_images

from uan_da.data.blend import random_crop
from uan_da.data.corruptions.corruption import Corruption, Floats
from uan_da.data.corruptions.draws import Draws

TINT: Floats = np.array([1.0, 0.3, 0.3])
VEIL: Floats = np.array([0.0, 60.0, 90.0]) / 255


def clean(x: Floats, draws: Draws) -> Floats:
    """x."""
    return x


def negative(x: Floats, draws: Draws) -> Floats:
    """1 − x."""
    return 1 - x


def blended(x: Floats, draws: Draws) -> Floats:
    """|x − random crop of one of scikit-learn's two photographs|, the recipe of MNIST-M."""
    size, photos = (x.shape[1], x.shape[2]), load_sample_images().images
    crops = np.stack([random_crop(photos, size, random) for random in draws.generators])
    return np.abs(x - crops / 255)


def noisy(x: Floats, draws: Draws) -> Floats:
    """x + N(0, (50/255)²)."""
    return x + draws.normal(0.0, 50 / 255, *x.shape[1:])


def dark(x: Floats, draws: Draws) -> Floats:
    """x / 4."""
    return x / 4


def bright(x: Floats, draws: Draws) -> Floats:
    """x / 2 + 127/255."""
    return x / 2 + 127 / 255


def blurred(x: Floats, draws: Draws) -> Floats:
    """Convolution with a Gaussian of 1.5 pixels; the border is mirrored."""
    return ndimage.gaussian_filter(x, (0, 1.5, 1.5, 0), mode="reflect")


def tinted(x: Floats, draws: Draws) -> Floats:
    """x, dimmed in green and blue, under a veil of blue."""
    return x * TINT + VEIL


EIGHT: Mapping[str, Corruption] = {
    function.__name__: Corruption(function, small=[()], large=[()])
    for function in (clean, negative, blended, noisy, dark, bright, blurred, tinted)
}
