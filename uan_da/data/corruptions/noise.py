"""Noise: Gaussian, shot, impulse, speckle."""

import numpy as np

from uan_da.data.corruptions.corruption import Corruption, Floats
from uan_da.data.corruptions.draws import Draws


def gaussian_noise(x: Floats, draws: Draws, deviation: float) -> Floats:
    """x + n, n ~ N(0, deviation²) per value: a sensor in low light."""
    return x + draws.normal(0.0, deviation, *x.shape[1:])


def shot_noise(x: Floats, draws: Draws, photons: float) -> Floats:
    """Poisson(photons · x) / photons: light arrives in quanta."""
    noisy: Floats = draws.poisson(x * photons) / photons
    return noisy


def impulse_noise(x: Floats, draws: Draws, amount: float) -> Floats:
    """A share ``amount`` of the values is replaced, by 0 or 1 with equal chance: salt and pepper."""
    draw = draws.uniform(0.0, 1.0, *x.shape[1:])
    return np.where(draw < amount / 2, 0.0, np.where(draw < amount, 1.0, x))


def speckle_noise(x: Floats, draws: Draws, deviation: float) -> Floats:
    """x + x·n, n ~ N(0, deviation²): noise in proportion to the light."""
    return x + x * draws.normal(0.0, deviation, *x.shape[1:])


GAUSSIAN_NOISE = Corruption(
    gaussian_noise,
    small=[(0.04,), (0.06,), (0.08,), (0.09,), (0.10,)],
    large=[(0.08,), (0.12,), (0.18,), (0.26,), (0.38,)],
)
SHOT_NOISE = Corruption(
    shot_noise,
    small=[(500,), (250,), (100,), (75,), (50,)],
    large=[(60,), (25,), (12,), (5,), (3,)],
)
IMPULSE_NOISE = Corruption(
    impulse_noise,
    small=[(0.01,), (0.02,), (0.03,), (0.05,), (0.07,)],
    large=[(0.03,), (0.06,), (0.09,), (0.17,), (0.27,)],
)
SPECKLE_NOISE = Corruption(
    speckle_noise,
    small=[(0.06,), (0.1,), (0.12,), (0.16,), (0.2,)],
    large=[(0.15,), (0.2,), (0.35,), (0.45,), (0.6,)],
)
