"""The embedded digits: real handwritten digits, plain and blended into photographs, with no download.

``optdigits`` is the Optical Recognition of Handwritten Digits set that scikit-learn bundles. ``optdigits_m`` follows
the recipe of MNIST-M (Ganin & Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015,
arXiv:1409.7495):

    image = |crop of a photograph − digit|, per colour channel

with the two photographs that scikit-learn bundles.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images
from sklearn.model_selection import train_test_split

from uan_da.data.adapter import Examples, Split

Pixels = NDArray[np.uint8]
SIZE, MARGIN = 28, 4
TRAIN_WIDTH = 0.6
"""The part of each photograph, from its left edge, that training images are cut from; test images get the rest."""

Domain = Literal["optdigits", "optdigits_m"]
PARTS: Sequence[tuple[Domain, Split, int]] = (
    ("optdigits", "test", 360),
    ("optdigits_m", "test", 360),
    ("optdigits", "train", 539),
    ("optdigits_m", "train", 538),
)
"""No digit is in two of these; together they are the 1797 that there are."""


class Arrays:
    """Examples from an array of images ``(N, H, W)`` or ``(N, H, W, 3)`` and labels ``(N,)``."""

    def __init__(self, images: Pixels, labels: NDArray[np.int64]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[index]), int(self.labels[index])


class Digits:
    """Handwritten digits, plain (``optdigits``) and blended into photographs (``optdigits_m``)."""

    domains = ("optdigits", "optdigits_m")
    classes = tuple("0123456789")

    def __init__(self, *, seed: int = 0) -> None:
        """``seed`` decides the parts and the crops: it is the data's own, so that all runs share one test set."""
        self.seed = seed

    def load(self, domain: str, split: Split) -> Examples:
        """The examples of one domain and split."""
        digits = load_digits()
        chosen = self._parts(digits.target)[domain, split]
        images, labels = _enlarge(digits.images[chosen]), digits.target[chosen].astype(np.int64)
        if domain == "optdigits_m":
            images = self._blend(images, split)
        return Arrays(images, labels)

    def _parts(self, labels: NDArray[np.int64]) -> dict[tuple[str, str], NDArray[np.int64]]:
        """Indices of the digits of each part, every part with the classes in the same proportion."""
        parts: dict[tuple[str, str], NDArray[np.int64]] = {}
        left = np.arange(len(labels))
        for domain, split, size in PARTS[:-1]:
            left, chosen = train_test_split(left, test_size=size, stratify=labels[left], random_state=self.seed)
            parts[domain, split] = chosen
        domain, split, size = PARTS[-1]
        assert len(left) == size
        return parts | {(domain, split): left}

    def _blend(self, digits: Pixels, split: Split) -> Pixels:
        """MNIST-M's recipe on ``digits`` ``(N, H, W)``: ``(N, H, W, 3)``."""
        random = np.random.default_rng([self.seed, {"train": 0, "test": 1}[split]])
        photos = [_region(photo, split) for photo in load_sample_images().images]
        crops = np.stack([_random_crop(photos, random) for _ in digits]).astype(np.int16)
        blended: Pixels = np.abs(crops - digits[..., None]).astype(np.uint8)
        return blended


def _enlarge(digits: NDArray[Any]) -> Pixels:
    """8×8 digits of 0…16 to MNIST's layout: 20×20 of 0…255, within a margin of 4."""
    inner = SIZE - 2 * MARGIN
    pixels = (digits * (255 / 16)).round().astype(np.uint8)
    large = [np.asarray(Image.fromarray(d).resize((inner, inner), Image.Resampling.BICUBIC)) for d in pixels]
    padded: Pixels = np.pad(np.stack(large), ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    return padded


def _region(photo: Pixels, split: Split) -> Pixels:
    border = round(photo.shape[1] * TRAIN_WIDTH)
    return photo[:, :border] if split == "train" else photo[:, border:]


def _random_crop(photos: Sequence[Pixels], random: np.random.Generator) -> Pixels:
    photo = photos[int(random.integers(len(photos)))]
    top, left = (int(random.integers(length - SIZE + 1)) for length in photo.shape[:2])
    crop: Pixels = photo[top : top + SIZE, left : left + SIZE]
    return crop
