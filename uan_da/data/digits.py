"""The embedded digits: real handwritten digits, plain and blended into photographs, with no download.

``optdigits`` is the Optical Recognition of Handwritten Digits set that scikit-learn bundles. ``optdigits_m`` follows
the recipe of MNIST-M (Ganin & Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015,
arXiv:1409.7495):

    image = |crop of a photograph − digit|, per colour channel

with the two photographs that scikit-learn bundles, or those of any folder.
"""

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uan_da.data.adapter import Arrays, Examples, Pixels, Split
from uan_da.data.blend import blend, load_photos
from uan_da.data.bundled import digits

SIZE, MARGIN = 28, 2

Domain = Literal["optdigits", "optdigits_m"]
PARTS: Sequence[tuple[Domain, Split, int]] = (
    ("optdigits", "test", 360),
    ("optdigits_m", "test", 360),
    ("optdigits", "train", 539),
    ("optdigits_m", "train", 538),
)
"""No digit is in two of these; together they are the 1797 that there are."""

REST = "optdigits_rest"


class Digits:
    """Handwritten digits, plain (``optdigits``) and blended into photographs (``optdigits_m``)."""

    domains = ("optdigits", "optdigits_m")
    classes = tuple("0123456789")

    def __init__(self, *, seed: int = 0, photos: Path | None = None) -> None:
        """``seed`` decides the parts and the crops: it is the data's own, so that all runs share one test set.

        ``photos``: a folder of photographs to blend into; scikit-learn's without.
        """
        self.seed, self.photos = seed, photos

    def load(self, domain: str, split: Split) -> Examples:
        """The examples of one domain and split; ``optdigits_rest`` are the digits of ``optdigits_m``, plain."""
        labels = digits()[1]
        chosen = parts(self.seed)["optdigits_m" if domain == REST else domain, split]
        images = _large()[chosen]
        if domain == "optdigits_m":
            images = self._blend(images, split)
        return Arrays(images, labels[chosen])

    def _blend(self, digits: Pixels, split: Split) -> Pixels:
        """MNIST-M's recipe on ``digits`` ``(N, H, W)``: ``(N, H, W, 3)``."""
        random = np.random.default_rng([self.seed, {"train": 0, "test": 1}[split]])
        return blend(digits, load_photos(self.photos, split), random)


@lru_cache
def parts(seed: int) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Indices of the digits of each part, every part with the classes in the same proportion."""
    if seed == 0:  # as below, in a file: importing what draws them takes over a second
        lines = (files("uan_da.data") / "digits_parts.txt").read_text().splitlines()
        drawn = [np.array(line.split(), dtype=np.int64) for line in lines]
        return {(domain, split): rows for (domain, split, _), rows in zip(PARTS, drawn, strict=True)}
    from sklearn.model_selection import train_test_split

    labels = digits()[1]
    found, left = dict[tuple[str, str], NDArray[np.int64]](), np.arange(len(labels))
    for domain, split, size in PARTS[:-1]:
        left, found[domain, split] = train_test_split(left, test_size=size, stratify=labels[left], random_state=seed)
    return found | {PARTS[-1][:2]: left}


@lru_cache(1)
def _large() -> Pixels:
    """All digits, 8×8 of 0…16, enlarged to 24×24 of 0…255, within a margin of 2."""
    inner = SIZE - 2 * MARGIN
    pixels = (digits()[0] * (255 / 16)).round().astype(np.uint8)
    large = [np.asarray(Image.fromarray(d).resize((inner, inner), Image.Resampling.BICUBIC)) for d in pixels]
    padded: Pixels = np.pad(np.stack(large), ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    return padded
