"""MNIST-M, made from MNIST on this machine."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uan_da.data.adapter import Arrays, Split
from uan_da.data.adapters.idx import Idx
from uan_da.data.blend import blend, load_photos


class MnistM:
    """MNIST-M by its recipe: MNIST's digits (IDX files), blended into photographs.

    The published set blends into crops of BSDS500; give its folder as ``photos`` for that. The crops are this package's
    own draws either way, so that figures on it compare with each other and not to the digit with published ones.
    """

    def __init__(self, folder: Path, classes: Sequence[str], *, seed: int = 0, photos: Path | None = None) -> None:
        """``seed`` decides the crops; ``photos`` is a folder of photographs, scikit-learn's without."""
        self.mnist, self.seed, self.photos = Idx(folder, classes), seed, photos

    def load(self, domain: str, split: Split) -> Arrays:
        """Images ``(N, 28, 28, 3)``; ``domain`` is the folder of MNIST's files."""
        digits = self.mnist.load(domain, split)
        random = np.random.default_rng([self.seed, {"train": 0, "test": 1}[split]])
        return Arrays(blend(digits.images, load_photos(self.photos, split), random), digits.labels)
