"""Random numbers of a batch of images, each image's from a generator of its own."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from uan_da.seeding import fold


class Draws:
    """Draws for N images: an image's draws are a function of the seed, the names and its index alone, whatever batch it
    is in. Every method returns an array whose first axis is the image."""

    def __init__(self, generators: Iterable[np.random.Generator]) -> None:
        self.generators = list(generators)

    @classmethod
    def of(cls, indices: Iterable[int], seed: int, *names: str | int) -> Self:
        """The draws of the images at ``indices``."""
        return cls(np.random.default_rng(fold(seed, *names, int(index))) for index in indices)

    def normal(self, mean: float, deviation: float, *shape: int) -> NDArray[np.float64]:
        """Gaussian draws ``(N, *shape)``."""
        return np.stack([random.normal(mean, deviation, shape) for random in self.generators])

    def uniform(self, low: float, high: float, *shape: int) -> NDArray[np.float64]:
        """Uniform draws ``(N, *shape)``."""
        return np.stack([np.asarray(random.uniform(low, high, shape)) for random in self.generators])

    def integers(self, low: int, high: int, *shape: int) -> NDArray[np.int64]:
        """Integers from ``low`` to ``high`` − 1, ``(N, *shape)``."""
        return np.stack([np.asarray(random.integers(low, high, shape)) for random in self.generators])

    def poisson(self, rates: NDArray[np.float64]) -> NDArray[Any]:
        """Poisson draws of the ``rates`` ``(N, …)``."""
        return np.stack([random.poisson(rate) for random, rate in zip(self.generators, rates, strict=True)])
