"""NumPy archives."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uan_da.data.adapter import UNKNOWN, Arrays, MissingData, Split
from uan_da.data.split import SplitRule, in_split
from uan_da.errors import UserError


class Npz:
    """NumPy ``.npz`` files with arrays of images ``(N, H, W)`` or ``(N, H, W, 3)``, uint8, and labels ``(N,)``."""

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        *,
        file: str = "{domain}.npz",
        images: str = "{split}_images",
        labels: str = "{split}_labels",
        split: SplitRule = "hash",
    ) -> None:
        """``file``, and the arrays' names, may hold ``{domain}`` and ``{split}``; without the latter ``split`` decides.

        An archive without the labels' array is unlabelled.
        """
        self.folder, self.classes, self.file, self.split = folder, classes, file, split
        self.images, self.labels = images, labels

    def load(self, domain: str, split: Split) -> Arrays:
        """The arrays of the domain and split."""
        file, image_key, label_key = (
            text.format(domain=domain, split=split) for text in (self.file, self.images, self.labels)
        )
        path = self.folder / file
        if not path.is_file():
            raise MissingData(f"{path}: no such file")
        try:
            with np.load(path, allow_pickle=False) as archive:
                names = sorted(archive.files)
                if image_key not in names:
                    raise UserError(f"{path}: has no array {image_key!r} (available: {', '.join(names)})")
                images = archive[image_key]
                labels = archive[label_key] if label_key in names else np.full(len(images), UNKNOWN)
        except UserError:
            raise
        except Exception as error:  # archives that are damaged make their readers raise all kinds
            raise UserError(f"{path}: not a NumPy archive of plain arrays ({error})") from None
        if images.ndim == 4 and images.shape[3] == 1:
            images = images[..., 0]
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
            raise UserError(
                f"{path}: {image_key}: expected uint8 (N, H, W) or (N, H, W, 3), but got {images.dtype} {images.shape}"
            )
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(
                f"{path}: {label_key}: expected {len(images)} integers, but got {labels.dtype} {labels.shape}"
            )
        if "{split}" in self.file + self.images:
            return Arrays(images, labels)
        chosen = np.array([in_split(str(index), split, self.split) for index in range(len(images))], dtype=bool)
        return Arrays(images[chosen], labels[chosen])
