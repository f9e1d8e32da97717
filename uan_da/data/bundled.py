"""The digits and photographs that scikit-learn bundles, read from its folder: importing it takes over a second."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uan_da.data.adapter import Pixels


@lru_cache(1)
def digits() -> tuple[NDArray[Any], NDArray[np.int64]]:
    """``sklearn.datasets.load_digits``: images ``(1797, 8, 8)`` of 0…16, and labels."""
    table = np.loadtxt(_folder() / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


@lru_cache(1)
def photos() -> tuple[Pixels, ...]:
    """``sklearn.datasets.load_sample_images``: photographs ``(H, W, 3)``."""
    return tuple(np.asarray(Image.open(_folder() / "images" / name)) for name in ("china.jpg", "flower.jpg"))


def _folder() -> Path:
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets"
