"""MNIST-M, and other digits blended into photographs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uan_da.data.adapter import Arrays, Pixels, Split
from uan_da.data.adapters.idx import Idx
from uan_da.data.bundled import photos as bundled_photos
from uan_da.data.image_files import open_image
from uan_da.data.listing import list_images
from uan_da.errors import UserError
from uan_da.folders import expanded

TRAIN_WIDTH = 0.6
"""The part of each photograph, from its left edge, that training images are cut from; test images get the rest."""


def blend(digits: Pixels, photos: Sequence[Pixels], random: np.random.Generator) -> Pixels:
    """|random crop of a random photograph − digit| for ``digits`` ``(N, H, W)``: ``(N, H, W, 3)``."""
    size = digits.shape[1:]
    blended = np.empty((*digits.shape, 3), dtype=np.uint8)
    for index, digit in enumerate(digits):
        crop = random_crop(photos, (size[0], size[1]), random).astype(np.int16)
        blended[index] = np.abs(crop - digit[..., None])
    return blended


def load_photos(folder: Path | None, split: Split) -> list[Pixels]:
    """The split's part of each photograph ``(H, W, 3)`` in ``folder``, or of the two that scikit-learn bundles.

    Raises:
        UserError: the folder holds no photographs.
    """
    if folder is None:
        photos = list(bundled_photos())
    else:
        photos = [np.asarray(open_image(path).convert("RGB")) for path in list_images(expanded(folder))]
        if not photos:
            raise UserError(f"{folder}: holds no photographs to blend into")
    return [_region(photo, split) for photo in photos]


def random_crop(photos: Sequence[Pixels], size: tuple[int, int], random: np.random.Generator) -> Pixels:
    """A crop of ``size`` (height, width) from one of the ``photos``."""
    photo = photos[int(random.integers(len(photos)))]
    if photo.shape[0] < size[0] or photo.shape[1] < size[1]:
        raise UserError(f"a photograph's part of {photo.shape[1]}×{photo.shape[0]} pixels is smaller than a digit")
    top, left = (int(random.integers(length - side + 1)) for length, side in zip(photo.shape[:2], size, strict=True))
    crop: Pixels = photo[top : top + size[0], left : left + size[1]]
    return crop


def _region(photo: Pixels, split: Split) -> Pixels:
    border = round(photo.shape[1] * TRAIN_WIDTH)
    return photo[:, :border] if split == "train" else photo[:, border:]


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
